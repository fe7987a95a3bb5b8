"""How replies ended, and what that means for the answers built on them.

Must not know: files, verdicts, statistics.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from sys import intern
from typing import TYPE_CHECKING, Any, Final

from eli5b_batch.records import CallName, parse_key
from eli5b_batch.report.wording import arm_label, named
from eli5b_batch.thoughts import may_hold, words_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

SAMPLE: Final = "sample"
"""The tag that numbers repeated answers; all other tags tell arms apart."""

_ENDS: Final = ("whole", "cut", "filtered", "broken")
"""As records say it; those of older versions say nothing."""
_WORST_FIRST: Final = ("filtered", "cut", None, "whole")
"""Of several replies in one prompt the worst end counts; None: nobody knows."""
_Group = tuple[str, str, tuple[tuple[str, "str | int"], ...]]


def is_at_limit(reply: Mapping[str, Any]) -> bool:
    """Whether a reply ended at `max_tokens`, in the spelling of most hosts, or with the window full."""
    return reply.get("finish_reason") == "length" or bool(reply.get("window_full"))


def is_wordless(reply: Mapping[str, object]) -> bool:
    """Whether a reply that is on record as answered has nothing that a prompt could hold."""
    return not str(reply.get("text", "")).strip() and not reply.get("tool_calls")


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
    """Replies of one step and model under one setting of its tags: how many, and how many are not as they should be.

    `holding_thoughts`: thoughts stand in the text, and so in the prompts; in records of older versions only.
    """

    step: str
    model: str
    tags: dict[str, str | int]
    replies: int
    cut: int = 0
    filtered: int = 0
    holding_thoughts: int = 0


class Ends:
    """Replies that are no answers, such as hints: how they ended, and which hold thoughts; of others the number."""

    def __init__(self) -> None:
        self._replies: Counter[_Group] = Counter()
        self._not_whole: dict[str, str | None] = {}
        self._thoughtful: set[str] = set()
        self._steps_built_on: set[str] = set()

    def add(self, key: str, name: CallName, finish: str | None, text: str, *, new: bool) -> None:
        """Take the newest reply of a call; `new`: the first one it got. Its text is looked at and not kept."""
        self._replies[_group(name)] += new
        if may_hold(text) and words_of(text).thoughts:
            self._thoughtful.add(key)
        elif self._thoughtful:
            self._thoughtful.discard(key)
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
        for key in self._thoughtful:
            row = found.get(_group(parse_key(key)))
            if row is not None:
                row.holding_thoughts += 1
        return [found[group] for group in sorted(found, key=str)]


def _group(name: CallName) -> _Group:
    return name.step, name.model, tuple(sorted((tag, value) for tag, value in name.tags.items() if tag != SAMPLE))


def spoilt(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of `built_on` of a summary the rows in which a reply was cut off or filtered, or holds thoughts."""
    return [row for row in rows if row["cut"] or row["filtered"] or row["holding_thoughts"]]


def notes(built_on: Sequence[dict[str, Any]]) -> list[str]:
    """What a reader must know of the replies that answers build on: the worst are named, a sentence of each kind."""
    found = []
    unfinished = _worst_first(built_on, "cut", "filtered")
    if unfinished:
        worst_ones = named(f"{_label(row)}, {_counts(row)}" for row in unfinished)
        where = "Answers built on one are marked in the results (built_on_finish)."
        found.append(f"Prompts hold replies that were cut off or filtered: {worst_ones}. {where}")
    thoughtful = _worst_first(built_on, "holding_thoughts")
    if thoughtful:
        worst_ones = named(f"{_label(row)}, {row['holding_thoughts']:,} of {row['replies']:,}" for row in thoughtful)
        found.append(
            f"Prompts hold thoughts of the models whose replies they repeat, for students to read: {worst_ones}."
            " Asked again (--redo), they come without."
        )
    return found


def _worst_first(rows: Iterable[dict[str, Any]], *counts: str) -> list[dict[str, Any]]:
    """The rows with any of these counts above 0, by their share of the replies."""
    found = [row for row in rows if any(row[name] for name in counts)]
    return sorted(found, key=lambda row: sum(row[name] for name in counts) / row["replies"], reverse=True)


def _label(row: dict[str, Any]) -> str:
    return f"{row['step']} by {arm_label(row)}"


def _counts(row: dict[str, Any]) -> str:
    """`12 cut off and 3 filtered of 150`."""
    counts = [f"{row[name]:,} {word}" for name, word in (("cut", "cut off"), ("filtered", "filtered")) if row[name]]
    return f"{' and '.join(counts)} of {row['replies']:,}"
