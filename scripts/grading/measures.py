r"""Golds with something round a number (base, unit, money, per cent, degrees, marks) and golds that are words.

Must not know: graders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Iterator


class Made(NamedTuple):
    """A gold and an answer; `right` says whether the answer means the gold."""

    kind: str
    gold: str
    answer: str
    right: bool


def labelled(kind: str, gold: str, rights: Iterable[str], wrongs: Iterable[str] = ()) -> Iterator[Made]:
    """Right and wrong answers to one gold; the wrong ones are of the kind `not KIND`."""
    for answer in rights:
        yield Made(kind, gold, answer, right=True)
    for answer in wrongs:
        yield Made(f"not {kind}", gold, answer, right=False)


def bases(chooser: random.Random) -> Iterator[Made]:
    """Numbers in another base than ten."""
    base = chooser.randint(2, 9)
    digits = str(chooser.randint(1, base - 1))
    digits += "".join(str(chooser.randrange(base)) for _ in range(chooser.randint(2, 6)))
    gold = chooser.choice((f"{digits}_{{{base}}}", f"{digits}_{base}"))
    word = "zero one two three four five six seven eight nine".split()[base]
    last = (int(digits[-1]) + 1) % base
    yield from labelled(
        "base",
        gold,
        (
            f"{digits}_{base}",
            f"{digits}_{{{base}}}",
            f"({digits})_{base}",
            rf"{digits}_{{\text{{{word}}}}}",
            f"N = {gold}",
        ),
        (
            *(f"{digits}_{{{base + 1}}}", f"{digits[:-1]}{last}_{{{base}}}", f"{digits[:-1]}_{{{base}}}"),
            *(f"{digits}0_{{{base}}}", f"{digits}_{{10}}"),
        ),
    )


def words(chooser: random.Random) -> Iterator[Made]:
    """Answers that are words."""
    right, wrong = chooser.sample(["Monday", "Tuesday", "Friday", "Sunday"], 2)
    gold = chooser.choice((rf"\text{{{right}}}", right))
    said = rf"\text{{{right}}}"
    yield from labelled(
        "word",
        gold,
        (
            right,
            right.lower(),
            said,
            rf"\textbf{{{right}}}",
            rf"\mathrm{{{right}}}",
            rf"\text{{ {right} }}",
            f"{right}.",
        ),
        (wrong, rf"\text{{{wrong}}}", right[:-3], rf"\text{{{right} or {wrong}}}", rf"\text{{not {right}}}"),
    )
    right, wrong = chooser.sample(["Yes", "No"], 2)
    yield from labelled("yes or no", rf"\text{{{right}}}", (right.lower(), right), (wrong, rf"\text{{{wrong}}}"))


def choices(chooser: random.Random) -> Iterator[Made]:
    """One of several answers by its letter."""
    right, wrong = chooser.sample("ABCDE", 2)
    gold = chooser.choice((rf"\text{{{right}}}", right, rf"\text{{({right})}}"))
    yield from labelled(
        "choice",
        gold,
        (right, rf"\text{{{right}}}", f"({right})", rf"\textbf{{({right})}}", rf"\mathrm{{{right}}}"),
        (wrong, f"({wrong})", rf"\text{{{wrong}}}", f"{right}, {wrong}", rf"\textbf{{({wrong})}}"),
    )


def units(chooser: random.Random) -> Iterator[Made]:
    """Numbers of some unit, which may be left out."""
    size, unit, other = chooser.randint(2, 90), *chooser.sample(["cm", "m", "kg", "s", "km", "g", "inches"], 2)
    gold = rf"{size} \text{{ {unit}}}"
    yield from labelled(
        "unit",
        gold,
        (
            *(str(size), rf"{size}\text{{ {unit}}}", rf"{size}\,\mathrm{{{unit}}}", f"{size} {unit}"),
            *(rf"{size}~\text{{{unit}}}", rf"{size}.0 \text{{ {unit}}}"),
        ),
        (str(size + 1), rf"{size + 1} \text{{ {unit}}}", rf"{size * 10} \text{{ {unit}}}", f"{size}.5 {unit}"),
    )
    yield Made("another unit", gold, rf"{size} \text{{ {other}}}", right=False)


def money(chooser: random.Random) -> Iterator[Made]:
    """Dollars and cents."""
    cents = chooser.randint(100, 9999)
    price = f"{cents / 100:.2f}"
    tenth = f"{cents / 1000:.3f}" if cents % 10 else str(cents * 10)
    yield from labelled(
        "money",
        rf"\${price}",
        (
            rf"\${price}",
            price,
            rf"\${price} \text{{ dollars}}",
            f"{price} dollars",
            rf"\text{{\${price}}}",
            f"${price}",
        ),
        (f"{(cents + 1) / 100:.2f}", rf"\${cents}", tenth, rf"\${(cents + 100) / 100:.2f}"),
    )


def percentages(chooser: random.Random) -> Iterator[Made]:
    """Per cent, whose sign may be left out."""
    share = chooser.randint(2, 98)
    yield from labelled(
        "per cent",
        rf"{share}\%",
        (rf"{share}\%", f"{share}%", f"{share}", rf"{share} \%", rf"{share} \text{{ percent}}", rf"{share}.0\%"),
        (rf"{share + 1}\%", rf"{share / 10}\%", rf"{share}0\%", f"{share * 100}"),
    )


def ratios(chooser: random.Random) -> Iterator[Made]:
    """Ratios, which are fractions."""
    one, two = chooser.sample([2, 3, 5, 7, 11], 2)
    yield from labelled(
        "ratio",
        f"{one}:{two}",
        (f"{one}:{two}", f"{one} : {two}", rf"\frac{{{one}}}{{{two}}}", f"{one}/{two}", f"{2 * one}:{2 * two}"),
        (f"{two}:{one}", f"{one}:{two + 2}", rf"\frac{{{two}}}{{{one}}}", f"{one}"),
    )


def angles(chooser: random.Random) -> Iterator[Made]:
    """Degrees, whose sign may be left out."""
    size = chooser.randint(91, 170)
    gold = rf"{size}^\circ"
    yield from labelled(
        "angle",
        gold,
        (
            *(gold, rf"{size}^{{\circ}}", f"{size}\u00b0", str(size), rf"{size}\degree", rf"{size} \text{{ degrees}}"),
            *(rf"{size}\ \text{{degrees}}", rf"\angle A = {size}^\circ"),
        ),
        (rf"{size + 1}^\circ", rf"{180 - size}^\circ", rf"{size}\pi", rf"-{size}^\circ"),
    )


def marks(chooser: random.Random) -> Iterator[Made]:
    """Big numbers with thousands marks."""
    large = chooser.randint(10**6, 10**12)
    written = f"{large:,}"
    yield from labelled(
        "marks",
        str(large),
        (written, *(written.replace(",", mark) for mark in ("{,}", r"\,", " ", r",\!"))),
        (f"{large + 1:,}", written[:-4], f"{large:.6e}".replace("e+", r" \times 10^{") + "}", str(large)[:-1]),
    )
    yield from labelled("marks", written, (str(large), rf"{large}.0"), (str(large + 1), str(large)[1:]))
