from __future__ import annotations

from fractions import Fraction

import pytest

from eli5b_batch.grading.formulas.tree import Node

ONE, X = Node("num", value=Fraction(1)), Node("letter", name="x")
SUM = Node("add", (ONE, X))

WRITTEN = [
    (ONE, "num 1"),
    (Node("num", value=Fraction(1, 2), name="0.5"), "num 0.5"),
    (Node("num", value=Fraction(0)), "num 0"),
    (X, "letter x"),
    (SUM, "add(num 1, letter x)"),
    (Node("call", (X,), "sin"), "call sin(letter x)"),
]


@pytest.mark.parametrize(("node", "text"), WRITTEN)
def test_a_tree_is_written_as_people_read_it(node: Node, text: str) -> None:
    assert str(node) == text


def test_equal_trees_are_equal_and_can_be_keys() -> None:
    assert Node("add", (ONE, X)) == SUM
    assert len({SUM, Node("add", (ONE, X)), Node("add", (X, ONE))}) == 2


def test_what_is_in_a_tree() -> None:
    product = Node("mul", (SUM, Node("letter", name="y"), X))
    assert product.letters() == {"x", "y"}
    assert ONE.letters() == frozenset()
    assert len(list(product.walk())) == 6
    assert product.has("num", "pow")
    assert not product.has("pow")
    assert (X.depth(), SUM.depth(), product.depth()) == (1, 2, 3)


def test_a_tree_deeper_than_the_stack_is_walked() -> None:
    node = X
    for _ in range(20_000):
        node = Node("neg", (node,))
    assert node.depth() == 20_001
    assert node.has("letter")


def test_a_letter_that_runs_through_a_sum_is_no_variable_of_it() -> None:
    total = Node("sum", (ONE, Node("letter", name="n"), SUM), "x")
    assert total.letters() == {"n"}
    assert Node("mul", (total, X)).letters() == {"n", "x"}
