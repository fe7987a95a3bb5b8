from __future__ import annotations

import pytest

from eli5b_batch.backends.values import as_count, as_list, as_object, as_text


@pytest.mark.parametrize(
    ("value", "count"),
    [(12, 12), (12.9, 12), (0, 0), (-5, 0), (-0.5, 0), (1e300, 2**53), (2**63, 2**53), (True, 0), (None, 0)],
)
def test_a_count_is_a_whole_number_that_json_can_carry_on(value: object, count: int) -> None:
    assert as_count(value) == count
    assert isinstance(as_count(value), int)


@pytest.mark.parametrize("value", [None, 1, 1.5, True])
def test_what_is_neither_text_nor_object_nor_list_counts_as_empty(value: object) -> None:
    assert (as_text(value), as_object(value), as_list(value)) == ("", {}, [])


def test_a_text_is_no_object_and_an_object_no_list() -> None:
    assert (as_text("a"), as_object("a"), as_list("a")) == ("a", {}, [])
    assert (as_text({"a": 1}), as_object({"a": 1}), as_list({"a": 1})) == ("", {"a": 1}, [])
    assert (as_text(["a"]), as_object(["a"]), as_list(["a"])) == ("", {}, ["a"])
