"""How replies ended, and what that means for the answers built on them.

Must not know: files, verdicts, statistics.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from sys import intern
from typing import TYPE_CHECKING, Any, Final

from eli5b_batch.records import CallName, parse_key
from eli5b_batch.report.wording import arm_label

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

SAMPLE: Final = "sample"
"""The tag that numbers repeated answers; all other tags tell arms apart."""

_ENDS: Final = ("whole", "cut", "filtered", "broken")
"""As records say it; those of older versions say nothing."""
_WORST_FIRST: Final = ("filtered", "cut", None, "whole")
"""Of several replies in one prompt the worst end counts; None: nobody knows."""
_NAMED: Final = 3
"""So many kinds of replies that were cut off or filtered are named in the note; the page has them all."""

_Group = tuple[str, str, tuple[tuple[str, "str | int"], ...]]


def is_at_limit(reply: Mapping[str, Any]) -> bool:
    """Whether a reply ended at `max_tokens`, in the spelling of most hosts, or with the window full."""
    return reply.get("finish_reason") == "length" or bool(reply.get("window_full"))


def finish_of(reply: Mapping[str, Any], *, ok: bool) -> str | None:
    """How a reply ended; of older records only that it was cut off is known, else None.

    Args:
        reply: as on record; empty where nothing arrived.
        ok: whether the call was answered.
    """
    finish = reply.get("finish")
    if finish in _ENDS:
        return intern(finish)
    return "cut" if ok and is_at_limit(reply) else None


def worst(ends: Iterable[str | None]) -> str | None:
    """Of the ends of the replies in one prompt the one that counts; None where there is none."""
    found = set(ends)
    return next((end for end in _WORST_FIRST if end in found), None)


@dataclass(slots=True)
class BuiltOn:
    """Replies of one step and model under one setting of its tags: how many, and how many ended early."""

    step: str
    model: str
    tags: dict[str, str | int]
    replies: int
    cut: int = 0
    filtered: int = 0


class Ends:
    """The ends of replies that are no answers, such as hints; of those that are whole only their number is kept."""

    def __init__(self) -> None:
        self._replies: Counter[_Group] = Counter()
        self._not_whole: dict[str, str | None] = {}
        self._steps_built_on: set[str] = set()

    def add(self, key: str, name: CallName, finish: str | None, *, new: bool) -> None:
        """Take the newest reply of a call; `new`: the first one it got."""
        self._replies[_group(name)] += new
        if finish == "whole":
            self._not_whole.pop(key, None)
        else:
            self._not_whole[key] = finish

    def are_built_on(self, keys: Collection[str]) -> None:
        """Some call's prompt holds the replies to these calls."""
        self._steps_built_on.update(parse_key(key).step for key in keys)

    def of(self, key: str) -> str | None:
        """How the reply to a call that was added ended."""
        return self._not_whole.get(key, "whole")

    def built_on(self) -> list[BuiltOn]:
        """The replies of every step that some call builds on, by step, model and tags."""
        found = {
            group: BuiltOn(group[0], group[1], dict(group[2]), replies)
            for group, replies in self._replies.items()
            if group[0] in self._steps_built_on
        }
        for key, finish in self._not_whole.items():
            row = found.get(_group(parse_key(key)))
            if row is not None:
                row.cut += finish == "cut"
                row.filtered += finish == "filtered"
        return [found[group] for group in sorted(found, key=str)]


def _group(name: CallName) -> _Group:
    return name.step, name.model, tuple(sorted((tag, value) for tag, value in name.tags.items() if tag != SAMPLE))


def unfinished(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of `built_on` of a summary the rows in which a reply was cut off or filtered."""
    return [row for row in rows if row["cut"] or row["filtered"]]


def notes(built_on: Sequence[dict[str, Any]]) -> list[str]:
    """What a reader must know of the replies that answers build on: the worst are named, one sentence at most."""
    rows = sorted(unfinished(built_on), key=lambda row: (row["cut"] + row["filtered"]) / row["replies"], reverse=True)
    if not rows:
        return []
    named = [f"{row['step']} by {arm_label(row)}, {_counts(row)}" for row in rows[:_NAMED]]
    worst_ones = "; ".join([*named, "..."] if len(rows) > _NAMED else named)
    where = "Answers built on one are marked in the results (built_on_finish)."
    return [f"Prompts hold replies that were cut off or filtered: {worst_ones}. {where}"]


def _counts(row: dict[str, Any]) -> str:
    """`12 cut off and 3 filtered of 150`."""
    counts = [f"{row[name]:,} {word}" for name, word in (("cut", "cut off"), ("filtered", "filtered")) if row[name]]
    return f"{' and '.join(counts)} of {row['replies']:,}"
