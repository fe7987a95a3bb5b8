"""One reading of every refusal: this call, this model, this account, wait, later today, or the host in trouble.

Must not know: protocols, hosts by name. A pure function of a response, the model asked for and a clock. 401, 402, 404
and 410 say all there is to say. Else a few sentences that are known to overrule are heeded first, then the typed names
in the body, then what hosts are known to say, and last what the status alone would mean.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from eli5b_batch.backends import complaints, host_words, spans, waits
from eli5b_batch.backends.host_words import Meaning, Status
from eli5b_batch.backends.values import as_object, as_text
from eli5b_batch.errors import BadReplyError, CallError, RateLimitedError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from eli5b_batch.backends.complaints import Complaint
    from eli5b_batch.backends.http import Response
    from eli5b_batch.backends.limit_headers import Scope

_OK: Final = range(200, 300)
_REDIRECT: Final = range(300, 400)
_BAD_REQUEST: Final = 400
_LIMITED: Final = 429
_TOO_LARGE: Final = 413
_FIRST_FAULT: Final = 500
_FAULTS: Final = frozenset({408, 409, 424, 425, 498, 499})
"""Statuses below 500 that pass by themselves: 498 is Groq's for no capacity, 499 tells of a client that hung up."""

_PLAIN: Final = {401: Meaning.KEY, 402: Meaning.CREDIT, 404: Meaning.MODEL, 410: Meaning.MODEL}
"""Statuses that say all there is to say."""

_UNTOLD: Final = {403: Meaning.REFUSED, 412: Meaning.REFUSED, 451: Meaning.REFUSED}
"""What a status means if the body explains nothing; any other 4xx, that something in the request is wrong."""

_ALONE: Final = {Status.LIMIT: Meaning.WAIT, Status.SIZE: Meaning.TOO_LARGE, Status.FAULT: Meaning.TROUBLE}
_OF_THE_CALL: Final = frozenset(
    {Meaning.BAD_REQUEST, Meaning.REFUSED, Meaning.TOO_LARGE, Meaning.FILTERED, Meaning.OVERFLOW}
)

_SOON_S: Final = 3600.0
"""A wait of at most an hour is waited for; a longer one ends the run, which says when to start it again."""

_MOMENT_S: Final = 60.0
"""A quota of a day is never filled again so soon."""

_LIMIT: Final = re.compile(r"\blimit:?\s?(\d[\d,]*)", re.IGNORECASE)
_REQUESTED: Final = re.compile(r"\brequested:?\s?(\d[\d,]*)", re.IGNORECASE)
_LONGEST: Final = 4000
_SHORTEST_NAME: Final = 3
_SHORTEST_LINE: Final = 8


class Refusal(NamedTuple):
    """A refusal, read.

    Attributes:
        meaning: whose it is.
        status: that of HTTP, or the one that a body names.
        answer: both, for a message: `429`, `200 with error 402`.
        sentence: the host's own, or where a redirect leads; on one line, without secrets.
        wait_s: seconds it says to wait; None where it does not say.
        scope: what there was too much of; None where it does not say.
        of_model: it names the model asked for, so the limit is the model's.
        resets: when there is more, for a message; "" where it does not say.
    """

    meaning: Meaning
    status: int
    answer: str
    sentence: str
    wait_s: float | None
    scope: Scope | None
    of_model: bool
    resets: str


def is_complaint(body: object) -> bool:
    """Whether the body of a 2xx that holds no reply says that something went wrong."""
    fields = as_object(body[0] if isinstance(body, list) and body else body)
    failed = fields.get("error") or fields.get("detail") or as_object(fields.get("base_resp")).get("status_code")
    untyped = fields.get("success") is False or "error" in (fields.get("object"), fields.get("type"))
    return bool(failed) or untyped or complaints.read(body).status is not None


def read(response: Response, model: str, wall: Callable[[], float], asked: Sequence[str] = ()) -> Refusal:
    """What a response that is no reply means.

    Args:
        response: the whole of it.
        model: the one asked for.
        wall: unix time, where the response has no date.
        asked: the texts that were sent: some hosts repeat them, and what a prompt says is no word of the host's.
    """
    try:
        body = response.json()
    except RetryableError:  # a text, or a page
        body = response.text[:_LONGEST]
        is_page, is_json = response.is_page, False
    else:
        is_page, is_json = False, True
    complaint = complaints.Complaint() if is_page else complaints.read(body)
    words = complaint.sentence or ("" if is_page or is_json else response.text[:_LONGEST])
    return _read(response, complaint, _without(words, asked), model, wall, is_page=is_page)


def read_inner(response: Response, error: object, model: str, wall: Callable[[], float]) -> Refusal:
    """What an error means that stands inside of a reply, as OpenRouter puts it into a choice."""
    complaint = complaints.read({"error": error})
    return _read(response, complaint, complaint.sentence, model, wall)


def call_error(refusal: Refusal, who: str) -> CallError | None:
    """The failure of one call; None where the refusal is not this call's alone, and the run has to stop."""
    message = f"{who} answered {refusal.answer}: {refusal.sentence}"
    kind, status = refusal.meaning.value, refusal.status
    if refusal.meaning is Meaning.WAIT:
        return RateLimitedError(message, retry_after=refusal.wait_s, scope=refusal.scope, of_model=refusal.of_model)
    if refusal.meaning is Meaning.TROUBLE:
        return RetryableError(kind, message, status=status, retry_after=refusal.wait_s)
    if refusal.meaning is Meaning.NOT_DONE:
        return BadReplyError(kind, message, status=status)
    return CallError(kind, message, status=status) if refusal.meaning in _OF_THE_CALL else None


def _read(
    response: Response,
    complaint: Complaint,
    words: str,
    model: str,
    wall: Callable[[], float],
    *,
    is_page: bool = False,
) -> Refusal:
    now = spans.server_time(response.headers, wall)
    scope = _scope(complaint)
    wait_s = waits.seconds(response.headers, complaint, now, scope)
    if wait_s is not None and wait_s <= _MOMENT_S and host_words.PER_DAY_NAME.search(" ".join(complaint.names)):
        wait_s = None
    status, answer = response.status, str(response.status)
    if complaint.status and complaint.status != status and (status in _OK or status == _BAD_REQUEST):
        status, answer = complaint.status, f"{answer} with error {complaint.status}"
    sentence = response.headers.get("location", "nowhere") if status in _REDIRECT else complaint.sentence
    meaning = _page_meaning(status) if is_page else _meaning(status, complaint, words, wait_s)
    if meaning is Meaning.TROUBLE:  # its limits are filled again at some time, which says nothing of its trouble
        wait_s = waits.asked_for(response.headers, complaint, now)
    return Refusal(
        meaning,
        status,
        answer,
        response.quote(sentence) or response.excerpt(),
        wait_s,
        scope,
        _mentions(model, complaint),
        _resets(wait_s, now),
    )


def _without(words: str, asked: Sequence[str]) -> str:
    """What a host says, without the lines of the prompt that it repeats."""
    for line in {line.strip() for text in asked for line in text.splitlines()}:
        if len(line) >= _SHORTEST_LINE:
            words = words.replace(line, " ")
    return words


def _page_meaning(status: int) -> Meaning:
    """A page for people comes from something on the way, whatever its status; it says nothing of the call."""
    if status in _REDIRECT:
        return Meaning.ADDRESS
    return Meaning.WAIT if status == _LIMITED else Meaning.TROUBLE


def _meaning(status: int, complaint: Complaint, sentence: str, wait_s: float | None) -> Meaning:
    if status in _REDIRECT:
        return Meaning.ADDRESS
    if status in _PLAIN:
        return _PLAIN[status]
    beside = _beside(status)
    soon = wait_s is not None and wait_s <= _SOON_S
    meaning = host_words.of_sentence(sentence, beside, host_words.OVERRULING) or host_words.of_names(
        complaint.names, beside
    )
    if meaning is None:
        meaning = host_words.of_sentence(sentence, beside) or _alone(status, beside)
        if beside is Status.LIMIT and meaning is Meaning.CREDIT and soon:
            meaning = Meaning.WAIT  # what is soon over is no lack of credit, whatever the sentence sounds like
    return _patience(meaning, complaint, sentence, wait_s) if meaning in (Meaning.WAIT, Meaning.LATER) else meaning


def _beside(status: int) -> Status:
    """What a status says by itself."""
    if status == _LIMITED:
        return Status.LIMIT
    if status == _TOO_LARGE:
        return Status.SIZE
    return Status.FAULT if status in _FAULTS or status >= _FIRST_FAULT else Status.UNSURE


def _alone(status: int, beside: Status) -> Meaning:
    """What is meant where nothing is said; an error in a 200 is the host's trouble, as is a 2xx without a reply."""
    if status in _OK:
        return Meaning.TROUBLE
    return _ALONE.get(beside) or _UNTOLD.get(status, Meaning.BAD_REQUEST)


def _patience(meaning: Meaning, complaint: Complaint, sentence: str, wait_s: float | None) -> Meaning:
    """Whether waiting helps: not a request that is over the limit by itself, not today if the limit is one of days."""
    over = _over_limit(sentence)
    if over or (over is None and host_words.TOO_LARGE.search(sentence)):
        return Meaning.TOO_LARGE
    if wait_s is not None:
        return Meaning.WAIT if wait_s <= _SOON_S else Meaning.LATER
    names = " ".join(complaint.names)
    long = host_words.LONG_WINDOW.search(sentence) or host_words.LONG_WINDOW_NAME.search(names)
    return Meaning.LATER if long else meaning


def _over_limit(sentence: str) -> bool | None:
    """Whether more is requested than any limit ever allows, by the sentence's own figures; None where it has none."""
    limits, requested = _figures(_LIMIT, sentence), _figures(_REQUESTED, sentence)
    return max(requested) > max(limits) if limits and requested else None


def _figures(words: re.Pattern[str], sentence: str) -> list[float]:
    return [float(figure.replace(",", "")) for figure in words.findall(sentence)]


def _scope(complaint: Complaint) -> Scope | None:
    for scope, (name, words) in host_words.SCOPES.items():
        if any(map(name.fullmatch, complaint.names)) or words.search(complaint.sentence):
            return scope
    return None


def _mentions(model: str, complaint: Complaint) -> bool:
    """Whether a complaint names the model asked for, with or without what its id begins with."""
    name = model.rsplit("/", 1)[-1]
    if len(name) < _SHORTEST_NAME:
        return False
    texts = [complaint.sentence, *(as_text(fields.get("model")) for fields in complaint.fields)]
    named = re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\d)", re.IGNORECASE)
    return any(map(named.search, texts))


def _resets(wait_s: float | None, now: float) -> str:
    if wait_s is None:
        return ""
    hours, minutes = divmod(round(wait_s / 60), 60)
    moment = datetime.fromtimestamp(now + wait_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"resets in {hours} h {minutes} min, at {moment}"
