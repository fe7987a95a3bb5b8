"""spending.jsonl: what was set aside for paid calls and what they came to, so that a budget holds across crashes.

Must not know: calls, providers. Written only for jobs with a budget. A reservation stands in the file before its call
is sent; a process that dies leaves it open, and an open reservation counts as spent in full: the call may be billed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from eli5b_batch.errors import JournalDamagedError
from eli5b_batch.records.lines import JsonLines

if TYPE_CHECKING:
    from pathlib import Path

_DUST_USD: Final = 1e-9
"""What may be left of adding and taking away the same floats."""


class Spending:
    """The file and its sums, in USD.

    `spent` is what replies came to; `unconfirmed` what calls that broke off, or were in flight when a process died,
    may have come to at most.

    Args:
        path: the file; made if missing.
        on_record: what the journal's records cost: never less is taken for spent, as after starts without a budget.

    Raises:
        JournalDamagedError: a complete line can't be read.
    """

    def __init__(self, path: Path, on_record: float) -> None:
        self._file = JsonLines(path)
        self.spent = self.unconfirmed = 0.0
        reserved = 0.0
        for number, (_, line) in enumerate(self._file.scan(), 1):
            try:
                row: dict[str, Any] = orjson.loads(line)
                reserved += row.get("reserved", 0.0) - row.get("settled", 0.0)
                if "settled" in row and row["usd"] is None:
                    self.unconfirmed += row["settled"]
                else:
                    self.spent += row.get("usd", 0.0)
            except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
                raise JournalDamagedError(
                    f"{path}:{number}: this line is damaged; without it nobody knows what is left of the budget: "
                    "move the file away to start from the costs in calls.jsonl"
                ) from None
        if reserved > _DUST_USD:
            self.unconfirmed += reserved
        self.spent = max(self.spent, on_record)

    def reserved(self, usd: float) -> None:
        """So much is set aside for a call about to be sent."""
        self._file.append(orjson.dumps({"reserved": usd}, option=orjson.OPT_APPEND_NEWLINE))

    def settled(self, reserved: float, usd: float | None) -> None:
        """A call came to `usd`; None: it broke off, and may have been billed in full."""
        self._file.append(orjson.dumps({"settled": reserved, "usd": usd}, option=orjson.OPT_APPEND_NEWLINE))

    def close(self) -> None:
        """Sync and close; safe to call twice."""
        self._file.close()
