r"""Whether two expressions have the same value: exactly where they are rational, else to 1,000 digits.

Must not know: LaTeX, sets and intervals, pools.

Numbers that are not rational are computed to 50 and to 100 digits. A difference that is nothing but rounding shrinks
with the precision, a real one stays; what shrinks is computed once more to 1,000 digits.

Formulas in letters are compared at points, as polynomials are tested for identity (Schwartz 1980, Zippel 1979): at
whole numbers where a letter is counted with (a binomial, a floor, an exponent), else at large ones; where roots or
logarithms of letters occur, at points at which everything stays real, if there are any.

Every operation draws on a budget of work, so that no formula takes more than about a second.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

from eli5b_batch.grading.formulas.exact import IrrationalError, Rationals, equal, exactly
from eli5b_batch.grading.formulas.numeric import Numbers, context
from eli5b_batch.grading.formulas.tree import Node
from eli5b_batch.grading.formulas.work import TooBigError, UndefinedError, WorkBudget

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


_TOLERANCE: Final = Fraction(1, 10**6)
"""Relative, for a decimal against an irrational number; its last digit must be right, too."""
_LOST: Final = 25
"""Digits that large arguments may cost."""
_MOST_DIGITS: Final = 25_000
"""Before the point; of longer numbers the first 26,000 are compared."""
_SLACK: Final = 8
"""Digits by which rounding may vary."""
_DIGITS: Final = 6
"""That a decimal must have to stand for an irrational number, the zeros in front not counted."""


def same(ours: Node, theirs: Node, work: WorkBudget) -> bool | None:
    """Whether two expressions are equal; None where that can't be found out here.

    Raises:
        TooBigError: it takes more work than there is.
    """
    letters = ours.letters() | theirs.letters()
    if letters:
        return _same_at_points(ours, theirs, sorted(letters), work)
    exact = exactly(ours, work), exactly(theirs, work)
    if exact[0] is not None and exact[1] is not None:
        return equal(exact[0], exact[1])
    for decimal, other in ((0, 1), (1, 0)):
        sides = ours, theirs
        if exact[decimal] is not None and exact[other] is None and _has_decimal(sides[decimal]):
            return not _has_decimal(sides[other]) and _approximates(sides[decimal], sides[other], work)
    try:
        return _same_numbers(ours, theirs, {}, work, sure=True)
    except UndefinedError:
        return None


def rational(node: Node, work: WorkBudget) -> Fraction | None:
    """The value of a formula without letters where it is a fraction of no great length, else None."""
    if node.letters():
        return None
    value = exactly(node, work)
    return value if isinstance(value, Fraction) else None


def real(node: Node, work: WorkBudget) -> Any:  # noqa: ANN401 - mpmath has no types
    """A real number to 50 digits, None where there is none; for putting things in order only."""
    work.charge(20)
    if node.letters():
        return None
    try:
        value = Numbers(50, {}, work, real=True).value(node)
    except (UndefinedError, TooBigError):
        return None
    return value if isinstance(value, context().mpf) else None


def proportional(ours: Node, theirs: Node, work: WorkBudget) -> bool | None:
    """Whether two expressions in letters are the same but for a factor without letters."""
    letters = sorted(ours.letters() | theirs.letters())
    ratios = []
    for point in _real_points(letters, frozenset())[:10]:
        try:
            one, two = (Numbers(60, point, work, real=False).value(node) for node in (ours, theirs))
        except (UndefinedError, TooBigError):
            continue
        if one and two:
            ratios.append(one / two)
    if len(ratios) < _ENOUGH:
        return None
    return all(abs(ratio - ratios[0]) < abs(ratios[0]) * context().mpf(10) ** -40 for ratio in ratios)


# --- numbers -------------------------------------------------------------------------------------


def _same_numbers(
    ours: Node, theirs: Node, point: Mapping[str, Fraction], work: WorkBudget, *, sure: bool, real: bool = False
) -> bool:
    """Whether the difference shrinks as the precision grows; `sure`: to 1,000 digits behind the point."""
    rough, fine = (_difference(ours, theirs, digits, point, work, real=real) for digits in (50, 100))
    if not _shrinks(rough, fine, (50, 100)):
        return False
    if not sure:
        return True
    digits = 1_000 + min(_MOST_DIGITS, max(0, int(context().mag(fine[1]) * 0.302))) if fine[1] else 1_000
    try:
        finest = _difference(ours, theirs, digits, point, work, real=real)
    except UndefinedError:
        return True
    return _shrinks(fine, finest, (100, digits))


def _difference(
    ours: Node, theirs: Node, digits: int, point: Mapping[str, Fraction], work: WorkBudget, *, real: bool
) -> tuple[Any, Any]:
    """The absolute difference, and the size of the larger side."""
    one, two = (Numbers(digits, point, work, real=real).value(node) for node in (ours, theirs))
    return abs(one - two), max(abs(one), abs(two))


def _shrinks(before: tuple[Any, Any], after: tuple[Any, Any], digits: tuple[int, int]) -> bool:
    """Whether a difference, given beside the size of the larger side, shrinks as the digits grow."""
    if after[0] == 0:
        return True
    ten, (few, many) = context().mpf(10), digits
    if before[0] == 0:  # a coincidence of rounding, or a difference too small to be seen before
        return bool(after[0] <= after[1] * ten ** (_LOST - many))
    return bool(after[0] <= before[0] * ten ** (_SLACK - many + few))


def _has_decimal(node: Node) -> bool:
    return any(part.op == "num" and part.name for part in node.walk())


def _approximates(decimal: Node, exact: Node, work: WorkBudget) -> bool | None:
    """Whether a decimal is an irrational number, rounded or cut off to its last digit, to a millionth at least."""
    try:
        one, two = (Numbers(50, {}, work, real=False).value(node) for node in (decimal, exact))
    except UndefinedError:
        return None
    off = abs(one - two)
    if off > abs(two) * _TOLERANCE.numerator / _TOLERANCE.denominator:
        return False
    decimals = [part.name for part in decimal.walk() if part.op == "num" and part.name]
    if any(len(written.replace(".", "").lstrip("0")) < _DIGITS for written in decimals):
        return False
    if decimal.op == "num" or (decimal.op == "neg" and decimal.args[0].op == "num"):
        unit = context().mpf(10) ** -len(decimals[0].partition(".")[2])
        return bool(off <= unit / 2 or (off < unit and abs(one) < abs(two)))
    return True


# --- letters -------------------------------------------------------------------------------------

_COUNTING: Final = ("factorial", "binom")
_ROUNDING: Final = ("floor", "ceil", "mod")
_SIGNED: Final = ("abs", *_ROUNDING)
_WHOLE: Final = frozenset("ijklmnpqKMN")
"""Letters taken to stand for whole numbers where they are rounded, or stand beside pi in a sine."""
_COORDINATES: Final = frozenset("xyzt")
"""Letters taken to be negative as often as not."""
_STEPS: Final = (1, 7, 11, 13, 17)
_LARGE: Final = tuple(Fraction(n) for n in (
    104729, 1299709, 15485863, 32452843, 49979687, 67867967, 86028121, 122949823, 141650939, 160481183,
))  # fmt: skip
_ENOUGH: Final = 3
_TRIES: Final = 24


def _points(letters: Sequence[str], nodes: Sequence[Node], counted: frozenset[str]) -> list[dict[str, Fraction]]:
    """Whole numbers for letters that are counted with, large ones for others: of both signs where signs matter."""
    signed = any(map(_has_signs, nodes))
    points = []
    for n in range(_TRIES):
        point = {}
        for k, letter in enumerate(letters):
            if letter in counted:  # every remainder of 2, 3, 4, 6, 8 and 12; letters in every order
                point[letter] = Fraction(2 + (n * _STEPS[k % len(_STEPS)] + 3 * k) % _TRIES)
                continue
            large = _LARGE[(n * 7 + k * 3) % len(_LARGE)] + 2 * n + 13 * k
            if signed:
                whole = (n + k) % 3 == 0
                large = (large % 97 if whole else large / 999_983) * (-1 if (n + k) % 2 else 1)
            point[letter] = large
        points.append(point)
    return points


def _has_signs(node: Node) -> bool:
    """Whether it matters here that a letter can be negative."""
    return any(part.op in _SIGNED or part.name == "sgn" or _is_root_of_square(part) for part in node.walk())


def _is_root_of_square(node: Node) -> bool:
    """The root of x^2; of lengths, such as r, it is taken for r."""
    if node.op != "root" or not node.letters() & _COORDINATES:
        return False
    powers = (part.args[1].value for part in node.walk() if part.op == "pow")
    return any(power is not None and power % 2 == 0 for power in powers)


def _counted(nodes: Sequence[Node], *, exponents: bool) -> frozenset[str]:
    """The letters that stand for whole numbers: in a binomial, rounded, in a period of pi; or in an exponent."""
    found: set[str] = set()
    for node in nodes:
        for part in node.walk():
            if part.op in _COUNTING:
                found |= part.letters()
            elif part.op in ("sum", "prod"):
                found |= part.args[0].letters() | part.args[1].letters()
            elif part.op in _ROUNDING or (part.op == "call" and Node("const", name="pi") in part.walk()):
                found |= part.letters() if part.letters() & _WHOLE else frozenset()
            elif part.op == "pow" and exponents:
                found |= part.args[1].letters()
    return frozenset(found)


def _real_points(letters: Sequence[str], counted: frozenset[str]) -> list[dict[str, Fraction]]:
    """Points at which roots and logarithms are often real: positive, small and large, in every order."""
    points = []
    for n in range(_TRIES):
        point = {}
        for k, letter in enumerate(letters):
            if letter in counted and n % 2 == 0:
                point[letter] = Fraction(2 + (n * 3 + k * (5 + n % 4)) % 17)
            else:
                scale = (Fraction(1, 3), Fraction(1), Fraction(7, 2), Fraction(41))[(n + k * (1 + n // 4)) % 4]
                point[letter] = scale * Fraction(1000 + (n * 7919 + k * 104729) % 9973, 3571)
        points.append(point)
    return points


def _same_at_points(ours: Node, theirs: Node, letters: Sequence[str], work: WorkBudget) -> bool | None:
    both = (ours, theirs)
    points = _points(letters, both, _counted(both, exponents=True))
    exact = _compare_at(points, lambda p: _equal_exactly(ours, theirs, p, work), enough=_TRIES)
    if exact is not None:
        return exact

    def numbers(point: Mapping[str, Fraction], *, real: bool = False) -> bool:
        return _same_numbers(ours, theirs, point, work, sure=point is points[0], real=real)

    if counted := _counted(both, exponents=False):
        points = _real_points(letters, counted)[::2]
        points += [{k: v + (9 if k in counted else 0) for k, v in point.items()} for point in points]
        # Where counting gives no real number, neither may the other side.
        return _compare_at(points, numbers)
    points = _real_points(letters, counted)
    if any(map(_has_signs, both)):
        points = [{k: -v for k, v in point.items()} if n % 2 else point for n, point in enumerate(points)]
    in_reals = _compare_at(points, lambda point: numbers(point, real=True))
    return _compare_at(points, numbers) if in_reals is None else in_reals


def _equal_exactly(ours: Node, theirs: Node, point: Mapping[str, Fraction], work: WorkBudget) -> bool:
    one, two = (Rationals(point, work).value(node) for node in (ours, theirs))
    return equal(one, two)


def _compare_at(
    points: Sequence[Mapping[str, Fraction]], compare: Callable[[Mapping[str, Fraction]], bool], *, enough: int = 10
) -> bool | None:
    """True: equal at every point that has values, and those are enough; None: too few have."""
    seen = 0
    for point in points:
        try:
            if not compare(point):
                return False
        except (UndefinedError, TooBigError):
            continue
        except IrrationalError:
            return None
        seen += 1
        if seen == enough:
            break
    return True if seen >= _ENOUGH else None
