"""The cases of refusals.py: which quirks a run meets, what should come of it, and what did.

Must not know: how runs are started or stopped. Everything here is a pure function of a run's records and books.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from eli5b_batch.records import parse_key
from eli5b_batch.simulated.quirks import QUIRKS
from eli5b_batch.simulated.quirks.fates import SPELL_S
from eli5b_batch.simulated.quirks.thoughts import THOUGHTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from books import Entry

CALLS_PER_PROBLEM: Final = 3
"""One hint, and an answer with and without it."""
IN_FLIGHT: Final = 8
UNDISTURBED: Final = "undisturbed"

_MOST_RATIO: Final = 1.3
_MOST_TO_STOP: Final = 2 * IN_FLIGHT
_PER_WAIT_S: Final = 2.5
_SLACK_S: Final = 5.0
_TOO_MANY: Final = 429
_WITHOUT_TEXT: Final = frozenset({"thinks_unclosed", "thinks_only", "thinks_only_whole", "thinks_hidden"})


class Case(NamedTuple):
    """One run.

    Args:
        quirk: what its calls meet; `UNDISTURBED`: nothing.
        share: of the calls.
        code: the exit code it should end with.
        kinds: classes in which the calls that met it should have failed; empty: they should be answered.
        sendings: most often that one call is sent.
        again: calls that met it should have been sent again: what came first is no reply.
        finish: how a reply that met it should be said to have ended.
        most: most requests in all; None: as many as the calls, and what the sendings allow.
        most_429s: most refusals for the account's limits.
        words: of the host, which should stand in what the run prints.
        beside: an undisturbed run is made beside it, which it should not take much longer than.
        waits: it should take no longer than that one and the waits that were told.
        spares: the other models should be served while one is not.
        limits: of the account, which the job does not know.
        usd: the job's budget.
        seed: of the simulation.
    """

    quirk: str
    share: float = 0.1
    code: int = 0
    kinds: frozenset[str] = frozenset()
    sendings: int = 1
    again: bool = False
    finish: str = ""
    most: int | None = None
    most_429s: int = 0
    words: str = ""
    beside: bool = False
    waits: bool = False
    spares: bool = False
    limits: Mapping[str, float] = {}
    usd: float = 100.0
    seed: int = 0

    @property
    def on_slots(self) -> bool:
        """Whether the students are served by slots, and the quirk is theirs."""
        return self.quirk in QUIRKS and QUIRKS[self.quirk].wires == {"ollama"}


def _fails(quirk: str, *kinds: str, sendings: int = 1, words: str = "", **settings: Any) -> Case:  # noqa: ANN401
    return Case(quirk, code=3, kinds=frozenset(kinds), sendings=sendings, words=words, **settings)


def _stops(quirk: str, words: str, **settings: Any) -> Case:  # noqa: ANN401
    return Case(quirk, 1.0, 5, most=_MOST_TO_STOP, words=words, **settings)


def _passes(*quirks: str) -> list[Case]:
    return [Case(quirk, sendings=3, again=True) for quirk in quirks]


def _kept(finish: str, *quirks: str) -> list[Case]:
    return [Case(quirk, finish=finish) for quirk in quirks]


def _waits(*quirks: str) -> list[Case]:
    return [Case(quirk, 0.05, sendings=2, again=True, waits=True) for quirk in quirks]


CASES: Final[list[Case]] = [
    Case(UNDISTURBED),
    _fails("request_too_large", "too_large", words="Request too large", share=0.04, beside=True),
    _fails("poisoned_429", "refused", sendings=6, words="does not admit", share=0.04, beside=True),
    _stops("quota_429", "free-models-per-day"),
    Case("model_429", 0.5, sendings=100, words="rate-limited upstream", spares=True, seed=4),
    _stops("error_200_401", "User not found"),
    _stops("error_200_402", "Insufficient credits"),
    _stops("error_200_402", "Insufficient credits", usd=0.05),
    Case("error_200_429", 0.05, sendings=3, again=True, waits=True),
    *_passes("error_200_502"),
    _stops("retired_410", "end of life"),
    _stops("field_400", "Unsupported parameter"),
    _stops("seed_422", "Extra inputs are not permitted"),
    _stops("bad_key_400", "API key not valid"),
    _stops("region_403", "Country, region"),
    _stops("suspended_412", "is suspended"),
    _fails("unknown_403", "refused", "bad_request", words="was blocked"),
    *_passes("html_403", "html_200", "status_498", "status_424", "status_202", "status_204", "status_425"),
    *_kept("whole", "content_parts"),
    Case("content_null_refusal", code=3, finish="filtered"),  # what builds on a hint without text is never sent
    Case("content_null_tool_calls", code=3, finish="whole"),
    *_kept("whole", "surrogate", "nan_logprobs", "bom", "latin1", "run_on"),
    *_passes("truncated_json", "finish_error", "finish_abort", "finish_insufficient_system_resource"),
    *_kept("cut", "finish_max_tokens", "finish_max_output_tokens", "finish_model_length"),
    *_kept("filtered", "finish_content_filter"),
    _fails("repeat_limit_500", "not_done", words="token repeat limit", share=0.275),
    _fails("repeat_abort_200", "not_done", share=0.275),
    *_kept("whole", *(name for name in THOUGHTS if name not in _WITHOUT_TEXT)),
    # without a text: a failure, or a reply that was cut; with either nothing builds on such a hint
    *(_fails(name, "empty_reply", "", sendings=6, share=0.04) for name in THOUGHTS if name in _WITHOUT_TEXT),
    *_waits(*(name for name in QUIRKS if name.startswith("retry_after_"))),
    Case("limit_headers_openai", 1.0, most_429s=1, limits={"requests_per_minute": 600}),
    Case("limit_headers_groq", 1.0, most_429s=2, limits={"tokens_per_minute": 60_000}),
]

SIBLINGS: Final[list[Case]] = [
    *_waits("sibling_529_date"),
    *_passes("sibling_empty_200"),
    _fails("sibling_403_type", "refused", "bad_request"),
    _fails("sibling_451", "refused", "bad_request", words="legal reasons"),
    _fails("sibling_413", "too_large", words="Request too large"),
    _fails("sibling_429_at_once", "refused", sendings=6, words="try again now", share=0.04),
    *_passes("sibling_429_page"),
    _stops("sibling_429_month", "monthly quota"),
    _fails("sibling_500", "server_error", sendings=6, words="crashes it", share=0.04),
    *_passes("sibling_503_page", "sibling_error_text"),
    *_kept("whole", "sibling_error_null"),
    *_passes("sibling_error_of_choice", "sibling_choices_empty", "sibling_no_gzip"),
    Case("sibling_stream", sendings=3),  # it can be read
    _fails("sibling_truncated", "bad_reply", "broken", sendings=6, share=0.04),
    *_kept("whole", "sibling_usage_null", "sibling_no_finish_reason", "sibling_finish_stop"),
    *_kept("cut", "sibling_finish_length"),
    *_kept("whole", *(f"sibling_{name}" for name in ("double_keys", "huge_number", "deep", "nul", "leading_space"))),
    *_kept("whole", "sibling_declared_latin1", "sibling_content_object"),
]


class Run(NamedTuple):
    """What is left of one run: the lines of its journal, its servers' books by time, and how it ended.

    `code` is None where it had not ended in the time given; `printed` is all that it printed, `last` its last words.
    """

    records: Sequence[Mapping[str, Any]]
    ledger: Sequence[Entry]
    seconds: float
    code: int | None
    printed: str
    last: str


@dataclass
class Row:
    """One line of the table; `hits` are calls that met the quirk, `sendings` the most of one call."""

    quirk: str
    requests: int
    on_record: int
    calls: int
    answered: int
    failed: dict[str, int]
    hits: int
    sendings: int
    seconds: float
    code: int | None
    last: str
    words: bool | None
    ratio: float | None = None
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """The line."""
        failed = ", ".join(f"{count} {kind}" for kind, count in self.failed.items() if kind != "upstream") or "-"
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        code = "no end" if self.code is None else str(self.code)
        figures = f"{self.requests:>5} {self.on_record:>4} {self.answered:>4} {self.failed.get('upstream', 0):>4}"
        times = f"{self.seconds:>5.1f} {ratio:>5} {code:>6}"
        return f"{self.quirk:<35} {figures} {failed:<22} {times}  {self.last[:120]}"


HEAD: Final = (
    f"{'quirk':<35} {'sent':>5} {'rec.':>4} {'ans.':>4} {'upst':>4} {'failed':<22} {'s':>5} {'ratio':>5} {'exit':>6}"
    "  last line"
)


def tell(case: Case, run: Run, calls: int, undisturbed_s: float | None) -> Row:
    """A run as a line of the table, with what is not as it should be.

    Args:
        case: what was run.
        run: what is left of it.
        calls: of the job.
        undisturbed_s: seconds of the undisturbed run; None where there was none.
    """
    latest = {record["key"]: record for record in run.records}
    failed = Counter(kind for record in latest.values() if (kind := _kind(record)))
    met = {entry.key for entry in run.ledger if entry.fault == case.quirk}
    sent = Counter(entry.key for entry in run.ledger)
    row = Row(
        quirk=case.quirk + (f", {case.usd:g} USD" if case.usd < 1 else ""),
        requests=len(run.ledger),
        on_record=len(latest),
        calls=calls,
        answered=len(latest) - failed.total(),
        failed=dict(failed.most_common()),
        hits=len(met),
        sendings=max(sent.values(), default=0),
        seconds=round(run.seconds, 2),
        code=run.code,
        last=run.last,
        words=case.words in run.printed if case.words else None,
        ratio=round(run.seconds / undisturbed_s, 2) if undisturbed_s and run.code in (0, 3) else None,
    )
    row.wrong = [*_wrong_end(case, row), *_wrong_time(case, row, run, undisturbed_s)]
    if run.code == case.code and case.code in (0, 3):
        row.wrong += [*_wrong_calls(case, latest, met, sent), *_wrong_requests(case, row, run, sent, met)]
    return row


def _wrong_end(case: Case, row: Row) -> Iterable[str]:
    if row.code != case.code:
        yield f"exit {'none' if row.code is None else row.code}, not {case.code}"
    if not row.hits and case.quirk in QUIRKS and QUIRKS[case.quirk].stage != "headers":
        yield "no call met it"
    if row.words is False:
        yield f"not said: {case.words!r}"
    if case.most is not None and row.requests > case.most:
        yield f"{row.requests} requests, more than {case.most}"


def _wrong_time(case: Case, row: Row, run: Run, undisturbed_s: float | None) -> Iterable[str]:
    if case.beside and row.ratio is not None and row.ratio > _MOST_RATIO:
        yield f"{row.ratio} times the undisturbed run, more than {_MOST_RATIO}"
    if case.waits and undisturbed_s is not None:
        most = undisturbed_s + _PER_WAIT_S * row.hits + _SLACK_S
        if row.seconds > most:
            yield f"{row.seconds:.0f} s, more than {most:.0f} s"
    if case.spares:
        spared_s = _spared_s(case, run)
        if spared_s > SPELL_S:
            yield f"the other model was served after {spared_s:.0f} s, not within {SPELL_S:.0f} s"


def _spared_s(case: Case, run: Run) -> float:
    """Seconds from the first request until the last reply of the models that were not limited."""
    limited = {parse_key(entry.key).model for entry in run.ledger if entry.fault == case.quirk}
    others = [entry.t for entry in run.ledger if entry.worked and parse_key(entry.key).model not in limited]
    return max(others, default=0.0) - min((entry.t for entry in run.ledger), default=0.0)


def _wrong_calls(
    case: Case, latest: Mapping[str, Mapping[str, Any]], met: Iterable[str], sent: Mapping[str, int]
) -> Iterable[str]:
    """What became of the calls that met the quirk, and of all others."""
    wrong = Counter[str]()
    for key in met:
        wrong.update(_wrong_call(case, latest[key], sent[key]))
    for key in set(latest) - set(met):
        if (kind := _kind(latest[key])) not in ("", "upstream"):
            wrong[f"{kind} without having met the quirk"] += 1
    yield from (f"{sentence} ({count} call{'s' * (count > 1)})" for sentence, count in sorted(wrong.items()))
    upstream = sum(_kind(record) == "upstream" for record in latest.values())
    hints = sum(parse_key(key).step == "hint" and not _has_text(latest[key]) for key in met)
    if upstream != hints:
        yield f"{upstream} upstream of {hints} hints that failed or have no text"


def _has_text(record: Mapping[str, Any]) -> bool:
    return record["status"] == "ok" and bool(record["reply"]["text"].strip())


def _kind(record: Mapping[str, Any]) -> str:
    """The class of a failure; empty for an answer."""
    return "" if record["status"] == "ok" else str(record["error"]["class"])


def _wrong_call(case: Case, record: Mapping[str, Any], sendings: int) -> Iterable[str]:
    kind = _kind(record)
    if kind not in (case.kinds or {""}):
        yield kind or "answered"
    finish = (record.get("reply") or {}).get("finish", "whole")  # older packages do not say
    if case.finish and not kind and finish != case.finish:
        yield f"finish {finish}, not {case.finish}"
    if sendings > case.sendings:
        yield f"sent {sendings} times"
    if case.again and sendings == 1:
        yield "what came first was taken for the reply"


def _wrong_requests(case: Case, row: Row, run: Run, sent: Mapping[str, int], met: Iterable[str]) -> Iterable[str]:
    refused = sum(entry.status == _TOO_MANY and entry.fault is None for entry in run.ledger)
    if refused > case.most_429s:
        yield f"{refused} refusals for the account's limits, more than {case.most_429s}"
    if row.on_record != row.calls:
        yield f"{row.on_record} of {row.calls} calls on record"
    again = sum(count - 1 for key, count in sent.items() if key not in set(met)) - refused
    if again > 0:
        yield f"{again} requests of other calls sent again"
