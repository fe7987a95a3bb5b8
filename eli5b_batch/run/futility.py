"""Runs that can't succeed: when the calls of one step to one model fail alike, one after another, for good.

Must not know: files, hosts, how calls are sent. It is told of every outcome and says when to stop.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from eli5b_batch.progress.causes import cause_of

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

SERIES: Final = 5
"""So many failures alike, with no success between them: what a mistyped field does to every call."""

_REFUSALS: Final = frozenset({"bad_request", "refused"})
"""Classes of failure in which a host refuses a model, an account or a field. A prompt that is too long, a filter, a
repeat abort say something of one call only; what fails after retries is the breaker's business."""
_EMPTY: Final = "empty_reply"
_WORDLESS: Final = "wordless"
WORDLESS: Final = {"class": _WORDLESS, "message": "the reply holds no text"}
"""An answered call without a text, as if it were a failure: for what builds on it, it is one."""
_LIMITED: Final = 429
_CAUSES: Final = 100
"""Causes that are told apart of one (step, model)."""


@dataclass(slots=True)
class _Series(Generic[T]):
    """The last failures of one cause since a success, at most `SERIES` of them."""

    error_class: str
    calls: list[T] = field(default_factory=list)


class Futility(Generic[T]):
    """Counts the failures of each (step, model) since its last success, by cause: one refusal may have two sentences.

    `T` is whatever stands for a call.
    """

    def __init__(self) -> None:
        self._series: dict[tuple[str, str], dict[str, _Series[T]]] = {}
        self._built_on: set[str] = set()
        self._worded: Counter[tuple[str, str]] = Counter()
        self._wordless: Counter[tuple[str, str]] = Counter()

    def builds_on(self, step: str) -> None:
        """A prompt holds, or wants, a reply of this step."""
        self._built_on.add(step)

    def succeeded(self, step: str, model: str) -> None:
        """A call was answered by the model: what failed before it was those calls' own."""
        self._series.pop((step, model), None)
        self._worded[step, model] += 1

    def failed(self, step: str, model: str, error: Mapping[str, object], call: T) -> list[T]:
        """A call has failed for good, with the `error` of its record.

        Returns:
            The calls of the series, oldest first, where there are enough of them to stop the run; else nothing.
        """
        if not self.counts(error):
            return []
        error_class = str(error["class"])
        self._wordless[step, model] += error_class == _WORDLESS
        cause = cause_of(error_class, str(error["message"]))
        causes = self._series.setdefault((step, model), {})
        series = causes.setdefault(cause, _Series(error_class))
        series.calls.append(call)
        del series.calls[:-SERIES]
        if len(causes) > _CAUSES:
            del causes[next(iter(causes))]
        return self.series(step, model)

    @staticmethod
    def counts(error: Mapping[str, object]) -> bool:
        """Whether a failure may be every call's; a 429 that no wait helps is one prompt's, as others are answered."""
        return error["class"] in _REFUSALS | {_EMPTY, _WORDLESS} and error.get("status") != _LIMITED

    @property
    def open_series(self) -> list[T]:
        """The calls of every series, long or short."""
        return [call for causes in self._series.values() for series in causes.values() for call in series.calls]

    def series(self, step: str, model: str) -> list[T]:
        """The calls of a series that is long enough to stop the run; else nothing.

        Empty replies are failures of their own answers only, unless others build on them. Replies of thoughts alone
        take longest, so a few of them come in a row where calls go side by side: they count where they are most.
        """
        for series in self._series.get((step, model), {}).values():
            empty = series.error_class in {_EMPTY, _WORDLESS}
            rare = series.error_class == _WORDLESS and self._wordless[step, model] <= self._worded[step, model]
            if len(series.calls) == SERIES and not rare and (not empty or step in self._built_on):
                return series.calls
        return []
