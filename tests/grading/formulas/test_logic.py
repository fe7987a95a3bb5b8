from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from eli5b_batch.grading.formulas.logic import all_in_order, all_of, any_of
from eli5b_batch.grading.formulas.tree import Node

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE = [  # results, all of them?, any of them?
    ([], True, False),
    ([True], True, True),
    ([False], False, False),
    ([None], None, None),
    ([True, True], True, True),
    ([True, False], False, True),
    ([True, None], None, True),
    ([None, False], False, None),
    ([None, True, False], False, True),
]


@pytest.mark.parametrize(("results", "all_", "any_"), TABLE)
def test_all_and_any(results: list[bool | None], all_: bool | None, any_: bool | None) -> None:  # noqa: FBT001
    assert all_of(results) is all_
    assert any_of(results) is any_


@pytest.mark.parametrize("first", [True, False])
def test_no_more_are_asked_for_than_needed(first: bool) -> None:  # noqa: FBT001
    def results() -> Iterator[bool]:
        yield first
        pytest.fail("asked for a second")

    assert (any_of if first else all_of)(results()) is first


def test_rows_of_different_lengths_differ_without_a_look_at_their_items() -> None:
    one = Node("letter", name="x")

    def same(_: Node, __: Node) -> bool:
        pytest.fail("asked")

    assert all_in_order([one], [one, one], same) is False


def test_rows_are_compared_place_by_place() -> None:
    x, y = Node("letter", name="x"), Node("letter", name="y")
    assert all_in_order([x, y], [x, y], Node.__eq__) is True
    assert all_in_order([x, y], [y, x], Node.__eq__) is False
