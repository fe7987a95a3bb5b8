"""True, False and None, where None is "can't say".

Must not know: what is compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from eli5b_batch.grading.formulas.tree import Node


def all_of(results: Iterable[bool | None]) -> bool | None:
    """False where one is, else None where one is; no more are asked for than needed."""
    unknown = False
    for result in results:
        if result is False:
            return False
        unknown |= result is None
    return None if unknown else True


def any_of(results: Iterable[bool | None]) -> bool | None:
    """True where one is, else None where one is."""
    unknown = False
    for result in results:
        if result:
            return True
        unknown |= result is None
    return None if unknown else False


def all_in_order(ours: Sequence[Node], gold: Sequence[Node], same: Callable[[Node, Node], bool | None]) -> bool | None:
    """Whether two rows have the same items in the same places."""
    if len(ours) != len(gold):
        return False
    return all_of(same(one, two) for one, two in zip(ours, gold, strict=True))
