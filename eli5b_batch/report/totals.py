"""Totals over a journal: what each step took of each model, and how long a model was at work.

Must not know: records, files.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class StepSpending:
    """What one step took of one model, over every line of the journal: calls asked again were paid too."""

    step: str
    model: str
    calls: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    cost_unknown: int = 0


@dataclass(slots=True)
class Pace:
    """What one model was given to do, over every line of the journal, and in what time.

    `makespan_s`: from the first sending to the last answer, seconds; pauses between starts are left out.
    """

    output_tokens: int = 0
    _spans: dict[int, tuple[float, float]] = field(default_factory=dict)

    def add(self, start: int, sent: float, latency_s: float) -> None:
        """Count a call of the run's start number `start`, sent at `sent` (unix seconds)."""
        first, last = self._spans.get(start, (sent, sent))
        self._spans[start] = min(first, sent), max(last, sent + latency_s)

    @property
    def makespan_s(self) -> float | None:
        """None where no call says when it was sent."""
        return sum(last - first for first, last in self._spans.values()) if self._spans else None
