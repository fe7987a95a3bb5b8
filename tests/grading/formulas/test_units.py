from __future__ import annotations

from fractions import Fraction

import pytest

from eli5b_batch.grading.formulas.units import unit

SAME = [
    ("cm", "centimeters", "a word for it"),
    ("cm ^2", "square centimeters", "a power in words"),
    ("cm squared", "sq cm", "before or behind"),
    ("m ^3", "cubic metres", "a cube, in British"),
    ("km / h", "kilometers per hour", "a quotient"),
    ("mph", "miles per hour", "in one word"),
    ("$", "dollars", "money"),
    ("US dollars", "$", "of a country"),
    ("Hours", "h", "a capital"),
    ("min.", "minutes", "a full stop"),
    ("m / s ^2", "meters per second squared", "a power below"),
]
TIMES = [  # one unit, how many of another
    ("km", "m", "1000"),
    ("hours", "minutes", "60"),
    ("cents", "dollars", "1/100"),
    ("cm ^2", "m ^2", "1/10000"),
    ("km / h", "m / s", "5/18"),
    ("ft", "inches", "12"),
    ("cubic dm", "cm ^3", "1000"),
    ("m / s ^2", "m / min ^2", "3600"),
]


@pytest.mark.parametrize(("one", "two", "why"), SAME)
def test_one_unit_in_many_wordings(one: str, two: str, why: str) -> None:
    assert unit(one) is not None
    assert unit(one) == unit(two), why


@pytest.mark.parametrize(("one", "two", "times"), TIMES)
def test_units_of_a_kind_have_a_factor(one: str, two: str, times: str) -> None:
    larger, smaller = unit(one), unit(two)
    assert larger is not None
    assert smaller is not None
    assert larger.dimension == smaller.dimension
    assert larger.factor / smaller.factor == Fraction(times)


@pytest.mark.parametrize(("one", "two"), [("m", "m ^2"), ("kg", "m"), ("km / h", "km"), ("lb", "kg"), ("am", "pm")])
def test_units_of_different_kinds(one: str, two: str) -> None:
    first, second = unit(one), unit(two)
    assert first is not None
    assert second is not None
    assert first.dimension != second.dimension


@pytest.mark.parametrize("words", ["ways", "apples", "", "^2", "cm of rope", "or more", "per person", "m for all n"])
def test_anything_else_is_a_remark(words: str) -> None:
    assert unit(words) is None


def test_prices_and_times_of_day() -> None:
    price, day, length = unit("dollars per day"), unit("am"), unit("m")
    assert price is not None
    assert day is not None
    assert length is not None
    assert (price.is_price, day.is_price, length.is_price) == (True, False, False)
    assert (price.is_time_of_day, day.is_time_of_day, length.is_time_of_day) == (False, True, False)
