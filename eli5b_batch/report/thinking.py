"""What models were asked to think, and how many of their replies hold thoughts.

Must not know: files, verdicts, statistics.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from eli5b_batch.report.wording import level, named

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

OFF: Final = "off"


def holds_thoughts(reply: Mapping[str, Any], usage: Mapping[str, Any]) -> bool:
    """Whether a record shows thoughts, or counts tokens of thoughts that its host hides."""
    older = reply.get("reasoning_content") or reply.get("reasoning")  # so in records of before `thinking`
    return bool(reply.get("thinking") or older or usage.get("reasoning_tokens"))


class Thinking:
    """Of every model: how many calls were answered, and in how many of them the newest reply holds thoughts."""

    def __init__(self) -> None:
        self._replies: Counter[str] = Counter()
        self._thought: Counter[str] = Counter()
        self._holding: set[str] = set()

    def add(self, key: str, model: str, *, thought: bool, new: bool) -> None:
        """Take the newest reply of a call; `new`: the first one it got."""
        if new:
            self._replies[model] += 1
        before = key in self._holding
        if thought != before:
            self._thought[model] += thought - before
            (self._holding.add if thought else self._holding.remove)(key)

    @property
    def counts(self) -> dict[str, tuple[int, int]]:
        """By model: replies, and those with thoughts."""
        return {model: (count, self._thought[model]) for model, count in sorted(self._replies.items())}


def thinking(counts: Mapping[str, tuple[int, int]], models: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What was asked of each model and what was seen, in the manifest's order.

    Args:
        counts: as `Thinking` has them.
        models: of the manifest; those of older versions do not say what was asked, and are left out.
    """
    return [
        {"model": name, "asked": told["thinking"], "replies": counts[name][0], "thought": counts[name][1]}
        for name, told in models.items()
        if "thinking" in told and name in counts
    ]


def notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Where thinking was not as asked, and who thought without being asked: a sentence of each kind at most."""
    seen = [row for row in rows if row["thought"]]
    unasked = [row for row in seen if row["asked"] is None]
    not_off = [row for row in seen if row["asked"] == OFF]
    missed = [row for row in rows if row["asked"] is not None and row["asked"] != OFF and not row["thought"]]
    found = []
    if not_off:
        found.append(f"Thinking is off, and thoughts came all the same: {named(map(_share, not_off))}.")
    if missed:
        asked = named(f"{row['model']} ({level(row['asked'])}, {row['replies']:,} replies)" for row in missed)
        found.append(f"Thinking is asked for, and no reply shows thoughts or counts them: {asked}.")
    if unasked:
        found.append(f"sampling.thinking is left out, and these models thought: {named(map(_share, unasked))}.")
    return found


def _share(row: Mapping[str, Any]) -> str:
    return f"{row['model']}, {row['thought']:,} of {row['replies']:,} replies"
