"""Progress as plain lines, for logs, pipes and terminals that can't be redrawn.

Must not know: rich, how the run works.
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Final

from eli5b_batch.progress.causes import cause_of
from eli5b_batch.progress.periodic import Periodic, takes_writes
from eli5b_batch.progress.snapshot import ENDED, slot_seconds
from eli5b_batch.text import clean, count, dollars, duration, percent, shortened, speed

if TYPE_CHECKING:
    from collections.abc import Callable

    from eli5b_batch.progress.snapshot import CostProgress, ProviderProgress, SlotProgress, Snapshot, StepProgress

_AGAIN_S: Final = 55.0
"""Seconds after which waits and last failures are written again: each minute, since lines come every few seconds."""
_LONGEST_WAIT: Final = 120
_LONGEST_FAILURE: Final = 300
_PROVIDERS: Final = 8
"""At most so many providers get a line on what they wait for; a job has two or three."""


class PlainProgress(Periodic):
    """Writes `plain_line` on entry, every few seconds, and on exit; below it, when due, what the providers wait for.

    A stream that takes no output at the moment (a pipe whose reader pages) misses lines, except the last.

    Args:
        snapshot: returns the newest snapshot.
        stream: the stream for the lines.
        interval_s: seconds between two lines.
        on_error: called with the error when writing fails, as when a pipe's reader has gone; the run goes on.
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        stream: IO[str],
        interval_s: float = 5.0,
        *,
        on_error: Callable[[Exception], None],
    ) -> None:
        super().__init__(interval_s, on_error)
        self._snapshot = snapshot
        self._stream = stream
        self._trouble = Trouble()

    def _tick(self) -> None:
        if takes_writes(self._stream):
            self._write()

    def _close(self) -> None:
        self._write()

    def _write(self) -> None:
        snapshot = self._snapshot()
        self._stream.writelines(f"{line}\n" for line in (plain_line(snapshot), *self._trouble.lines(snapshot)))
        self._stream.flush()


class Trouble:
    """The lines below a plain line: what each provider waits for, and its last failure.

    A wait or failure is written at once if it is new, and again once a minute. One that differs from an earlier one
    only in its numbers is not new.
    """

    def __init__(self) -> None:
        self._written: set[tuple[str, str]] = set()
        self._written_at = float("-inf")

    def lines(self, snapshot: Snapshot) -> list[str]:
        """Return the lines that are due, in ASCII; none for a run that has ended: its last message says more."""
        if snapshot["state"] in ENDED:
            return []
        troubled = [p for p in snapshot["providers"] if p["waiting_for"] or p["last_error"]]
        now = {
            (p["provider"], cause_of(kind, p[kind] or "")) for p in troubled for kind in ("waiting_for", "last_error")
        }
        due = snapshot["elapsed_s"] >= self._written_at + _AGAIN_S
        if not now or (now <= self._written and not due):
            return []
        self._written = now if due else self._written | now
        self._written_at = snapshot["elapsed_s"] if due else self._written_at
        lines = [f"{snapshot['updated_at']} {_trouble(p)}" for p in troubled[:_PROVIDERS]]
        return [*lines, f"+{len(troubled) - _PROVIDERS} more"] if len(troubled) > _PROVIDERS else lines


def _trouble(provider: ProviderProgress) -> str:
    parts = []
    if provider["waiting_for"]:
        parts.append(f"waits for {shortened(_ascii(provider['waiting_for']), _LONGEST_WAIT)}")
    if provider["last_error"]:
        ago = "" if provider["last_error_s"] is None else f" {duration(provider['last_error_s'])} ago"
        parts.append(f"last failure{ago}: {shortened(_ascii(provider['last_error']), _LONGEST_FAILURE)}")
    return f"{_ascii(provider['provider'])}: {'; '.join(parts)}"


def plain_line(snapshot: Snapshot) -> str:
    """Return how a run stands, in one line of ASCII without a line break."""
    problems, ended = snapshot["problems"], snapshot["state"] in ENDED
    simulated = " SIMULATED" if snapshot["simulated"] else ""
    exit_code = "" if snapshot["exit_code"] is None else f", exit code {snapshot['exit_code']}"
    parts = [
        f"{snapshot['updated_at']} {snapshot['run']}{simulated}",
        f"{snapshot['state']} {'after' if ended else 'for'} {duration(snapshot['elapsed_s'])}{exit_code}",
        f"problems {_of(problems['done'], problems['total'])}",
        *_steps(snapshot["steps"], ended=ended),
        f"failed {count(sum(step['failed'] for step in snapshot['steps']))}",
        f"429s {count(sum(provider['rate_limited'] for provider in snapshot['providers']))}",
        *_slots(snapshot["slots"]),
        _cost(snapshot["cost"]),
    ]
    if not ended:
        parts.append(f"left {duration(snapshot['eta_s'])}")
    if snapshot["reason"]:
        parts.append(snapshot["reason"])
    return _ascii(" | ".join(parts))


def _ascii(text: str) -> str:
    return clean(text).encode("ascii", "backslashreplace").decode("ascii")


def _of(done: int, total: int) -> str:
    return f"{count(done)}/{count(total)} ({percent(done, total)})"


def _steps(steps: list[StepProgress], *, ended: bool) -> list[str]:
    """Return one text per step, over all its models: the line must not grow with the number of models."""
    texts = []
    for name in dict.fromkeys(step["step"] for step in steps):
        same = [step for step in steps if step["step"] == name]
        done, total = sum(step["done"] for step in same), sum(step["total"] for step in same)
        text = f"{name} {_of(done, total)}"
        if done < total and not ended:
            etas = [step["eta_s"] for step in same if step["done"] < step["total"]]
            estimates = [eta for eta in etas if eta is not None]
            left = max(estimates) if len(estimates) == len(etas) else None
            text += f" {speed(sum(step['rate_per_s'] for step in same))} left {duration(left)}"
        texts.append(text)
    return texts


def _slots(slots: list[SlotProgress]) -> list[str]:
    """Return what the time of all slots together goes into; nothing where there are no slots."""
    if not slots:
        return []
    busy = percent(sum(slot["busy_share"] for slot in slots), len(slots))
    in_all = sum(slot_seconds(slot) for slot in slots)
    text = f"slots busy {busy}, loading {percent(sum(slot['loading_s'] for slot in slots), in_all)}"
    down = [slot["slot"] for slot in slots if slot["down"]]
    return [f"{text}, down: {' '.join(down)}" if down else text]


def _cost(cost: CostProgress) -> str:
    text = dollars(cost["spent_usd"])
    if cost["budget_usd"] is not None:
        text += f" of {dollars(cost['budget_usd'])}"
    return text
