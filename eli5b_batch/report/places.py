"""Which members of a provider answered the calls to a model, and what that cost.

Must not know: files, how it is shown.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(slots=True)
class PlaceCalls:
    """What became of the calls to one model that were sent last to one place: a member, a slot, or the only account.

    Every line of the journal counts: a call that was asked again counts again, where it was sent then.
    """

    model: str
    provider: str
    member: str | None
    calls: int = 0
    answered: int = 0
    failed: int = 0
    cost_usd: float = 0.0
    cost_unknown: int = 0


class CallsByPlace:
    """Counts the lines of a journal by model, provider and place."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str | None], PlaceCalls] = {}

    def add(self, record: Mapping[str, Any]) -> None:
        """Count one record; one of a call that was not sent, or that says again what another said, counts nowhere."""
        if not record.get("timing"):
            return
        at = (record["model"], record.get("provider") or "", record.get("slot"))
        count = self._counts.get(at)
        if count is None:
            count = self._counts[at] = PlaceCalls(*at)
        cost = record.get("cost_usd")
        count.calls += 1
        count.answered += record["status"] == "ok"
        count.failed += record["status"] != "ok"
        count.cost_usd += cost or 0.0
        count.cost_unknown += cost is None

    def sorted(self) -> list[PlaceCalls]:
        """By model, provider and place."""
        return [self._counts[at] for at in sorted(self._counts, key=lambda at: (at[0], at[1], at[2] or ""))]


def by_member(counts: Iterable[PlaceCalls], apis: Mapping[str, str]) -> list[dict[str, Any]]:
    """The rows of every model that a member was asked for, those of other accounts (`member` None) among them.

    Args:
        counts: of a whole journal.
        apis: by provider, its `api`: only `openai` has members, what others name is a slot.
    """
    accounts = [count for count in counts if count.member is None or apis.get(count.provider) == "openai"]
    models = {count.model for count in accounts if count.member is not None}
    return [asdict(count) for count in accounts if count.model in models]
