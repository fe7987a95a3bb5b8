from __future__ import annotations

import threading
from typing import Any

import mpmath  # type: ignore[import-untyped]
import pytest

from eli5b_batch.grading.formulas.numeric import Numbers, context
from eli5b_batch.grading.formulas.reader import read
from eli5b_batch.grading.formulas.work import TooBigError, UndefinedError, WorkBudget


def value(text: str, *, digits: int = 50, real: bool = False) -> Any:  # noqa: ANN401 - mpmath has no types
    return Numbers(digits, {}, WorkBudget(), real=real).value(read(text))


VALUES = [
    (r"\pi", "3.1415926535897932384626433832795028841971693993751"),
    (r"\sqrt{2}", "1.4142135623730950488016887242096980785696718753769"),
    ("e^1", "2.7182818284590452353602874713526624977572470937"),
    (r"\ln 2", "0.69314718055994530941723212145817656807550013436026"),
    (r"\log_2 8", "3"),
    (r"\sin 30\degree", "0.5"),
    (r"\tan(\pi/4)", "1"),
    (r"\arctan 1", "0.78539816339744830961566084581987572104929234984378"),
    (r"\sqrt[3]{-8}", "-2"),
    ("(-8)^{2/3}", "4"),
    (r"\pi\%", "0.031415926535897932384626433832795028841971693993751"),
    (r"\lfloor \pi \rfloor", "3"),
    (r"\lceil \pi \rceil", "4"),
    (r"|-\pi|", "3.1415926535897932384626433832795028841971693993751"),
    (r"(\frac{1}{2})!", "0.88622692545275801364908374167057259139877472806119"),
    (r"\binom{5/2}{2}", "1.875"),
    (r"sgn(-\pi)", "-1"),
    (r"e^{i\pi}", "-1"),
    (r"\sqrt{-4} \cdot i", "-2"),
    ("1/3", "0.33333333333333333333333333333333333333333333333333"),
    (r"\sum_{k=1}^{2} \sqrt{k}", "2.4142135623730950488016887242096980785696718753769"),
    (r"\prod_{k=1}^{2} \pi", "9.8696044010893586188344909998761511353136994072408"),
]
UNDEFINED = ["1/0", "0^0", "0^{-1}", r"\ln 0", r"\log_1 2", r"\infty", r"\cot 0"]
TOO_BIG = [
    ("e^{e^{e^{10}}}", "an exponent"),
    ("2^{2^{50}}", "an exponent, nearly"),
    (r"\pi^{10^{12}}", "a power"),
    (r"\sin(2^{3000})", "an angle: pi would be needed to as many bits"),
    (r"\exp(2^{3000})", "an exponential"),
    (r"(10^{16}+\frac{1}{2})!", "a factorial"),
]


@pytest.mark.parametrize(("text", "expected"), VALUES)
def test_values_are_right_to_45_digits(text: str, expected: str) -> None:
    said = value(text)
    assert abs(said - context().mpf(expected)) <= context().mpf(10) ** -45


@pytest.mark.parametrize("text", UNDEFINED)
def test_undefined(text: str) -> None:
    with pytest.raises(UndefinedError):
        value(text)


@pytest.mark.parametrize(("text", "why"), TOO_BIG)
def test_what_takes_too_long_is_refused(text: str, why: str) -> None:
    with pytest.raises(TooBigError):
        pytest.fail(f"{why}: {value(text)}")


@pytest.mark.parametrize("text", [r"\sqrt{-1}", "i", r"\ln(-1)", r"\arcsin 2", "(-1)^{1/2}"])
def test_on_the_real_line_nothing_leaves_it(text: str) -> None:
    assert value(text).imag
    with pytest.raises(UndefinedError):
        value(text, real=True)


def test_a_value_of_many_digits() -> None:
    root = value(r"\sqrt{2}", digits=1_000)
    assert abs(root * root - 2) < context().mpf(10) ** -998


def test_a_floor_is_not_a_matter_of_rounding() -> None:
    assert value(r"\lfloor (\sqrt{2})^2 \rfloor") == 2
    assert value(r"\lfloor \sqrt{2}\sqrt{8} \rfloor") == 4
    assert value(r"\lceil \log_3 9 \rceil") == 2
    assert value(r"\lfloor 2 - 10^{-30} \rfloor") == 1


def test_more_digits_are_more_work() -> None:
    def spent(digits: int) -> int:
        work = WorkBudget(10**6)
        Numbers(digits, {}, work, real=False).value(read(r"\sin(\sqrt{2}+1)"))
        return 10**6 - work._left

    assert spent(1_000) > 10 * spent(50) > 0
    work = WorkBudget(100)
    with pytest.raises(TooBigError):
        Numbers(1_000, {}, work, real=False).value(read(r"\sqrt{2}+\sqrt{3}"))


def test_every_thread_has_a_context_and_a_precision_of_its_own() -> None:
    ours = Numbers(50, {}, WorkBudget(), real=False)
    theirs: list[Any] = []

    def compute() -> None:
        theirs.extend((context(), Numbers(1_000, {}, WorkBudget(), real=False).value(read("1/3"))))

    thread = threading.Thread(target=compute)
    thread.start()
    thread.join()
    other, third = theirs
    assert other is not context()
    assert other.dps == 1_000
    assert context().dps == 50
    assert abs(other.mpf(3) * third - 1) < other.mpf(10) ** -998
    assert abs(3 * ours.value(read("1/3")) - 1) < context().mpf(10) ** -48


def test_nobody_else_s_precision_is_touched() -> None:
    before = mpmath.mp.dps
    value(r"\pi", digits=1_000)
    assert mpmath.mp.dps == before
    assert context() is not mpmath.mp


def test_a_letter_is_what_the_point_says() -> None:
    half = read("1/2").args[0].value
    assert half is not None
    assert Numbers(50, {"x": half}, WorkBudget(), real=True).value(read("x^2+x")) == 2
