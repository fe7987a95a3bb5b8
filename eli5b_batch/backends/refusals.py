"""Reads every refusal: what it concerns (the call, the model, the account, a limit, the host) and how long to wait.

Must not know: protocols, hosts by name. A refusal is a pure function of the response, the requested model and a clock.
The statuses 401, 402, 404 and 410 decide alone. Any other refusal is read in this order: a few sentences that overrule
everything else, the typed names in the body, other known sentences, and last the status alone.
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
"""Statuses below 500 of troubles that pass: 498 is Groq's for lack of capacity, 499 means that a client hung up."""

_PLAIN: Final = {401: Meaning.KEY, 402: Meaning.CREDIT, 404: Meaning.MODEL, 410: Meaning.MODEL}
"""Meanings of the statuses that decide alone."""

_UNEXPLAINED: Final = {403: Meaning.REFUSED, 412: Meaning.REFUSED, 451: Meaning.REFUSED}
"""Meanings of statuses whose body explains nothing; any other 4xx means that something in the request is wrong."""

_ALONE: Final = {Status.LIMIT: Meaning.WAIT, Status.SIZE: Meaning.TOO_LARGE, Status.FAULT: Meaning.TROUBLE}
_OF_THE_CALL: Final = frozenset(
    {Meaning.BAD_REQUEST, Meaning.REFUSED, Meaning.TOO_LARGE, Meaning.FILTERED, Meaning.OVERFLOW}
)

_SOON_S: Final = 3600.0
"""Longest wait, seconds, that a run waits for; a longer one ends the run, with a message that says when to go on."""

_MOMENT_S: Final = 60.0
"""A host that names a quota of a day and a wait of at most so many seconds is not believed the wait."""

_LIMIT: Final = re.compile(r"\blimit:?\s?(\d[\d,]*)", re.IGNORECASE)
_REQUESTED: Final = re.compile(r"\brequested:?\s?(\d[\d,]*)", re.IGNORECASE)
_LONGEST: Final = 4000
_SHORTEST_NAME: Final = 3
_SHORTEST_LINE: Final = 8


class Refusal(NamedTuple):
    """A response that holds no reply, and its meaning.

    Attributes:
        meaning: what the refusal concerns.
        status: the status of HTTP; where that is a 2xx or 400, the one that the body names, if any.
        answer: the statuses of HTTP and of the body, for a message: `429`, `200 with error 402`.
        sentence: the host's explanation, or the address that a redirect leads to; on one line, without secrets.
        wait_s: seconds that the host says to wait; None where it does not say.
        scope: what exceeded the limit; None where the host does not say.
        of_model: the refusal names the requested model, so the limit is the model's.
        resets: when the limit is reset, for a message; "" where the host does not say.
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
    """True if the body of a 2xx that holds no reply tells of an error."""
    fields = as_object(body[0] if isinstance(body, list) and body else body)
    failed = fields.get("error") or fields.get("detail") or as_object(fields.get("base_resp")).get("status_code")
    untyped = fields.get("success") is False or "error" in (fields.get("object"), fields.get("type"))
    return bool(failed) or untyped or complaints.read(body).status is not None


def read(response: Response, model: str, wall: Callable[[], float], prompts: Sequence[str] = ()) -> Refusal:
    """Return the meaning of a response that holds no reply.

    Args:
        response: the whole response.
        model: the requested model, by the host's id.
        wall: unix time, seconds; it counts where the response has no date.
        prompts: the texts of the request; some hosts repeat them, and words of a prompt are not the host's.
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
    return _read(response, complaint, _without(words, prompts), model, wall, is_page=is_page)


def read_inner(response: Response, error: object, model: str, wall: Callable[[], float]) -> Refusal:
    """Return the meaning of an error inside of a reply; OpenRouter puts one into a choice."""
    complaint = complaints.read({"error": error})
    return _read(response, complaint, complaint.sentence, model, wall)


def call_error(refusal: Refusal, host: str) -> CallError | None:
    """Return the failure of one call; None where the refusal concerns more than this call, and the run has to stop.

    Args:
        refusal: the refusal of the call.
        host: the name or address of the refusing host, for the message.
    """
    message = f"{host} answered {refusal.answer}: {refusal.sentence}"
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
    if meaning is Meaning.TROUBLE:  # the resets of the host's limits say nothing of how long its trouble lasts
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


def _without(words: str, prompts: Sequence[str]) -> str:
    """Return a host's words without the lines of the prompts that it repeats."""
    for line in {line.strip() for text in prompts for line in text.splitlines()}:
        if len(line) >= _SHORTEST_LINE:
            words = words.replace(line, " ")
    return words


def _page_meaning(status: int) -> Meaning:
    """Return the meaning of a page of HTML: something on the way sent it, so it says nothing about the call."""
    if status in _REDIRECT:
        return Meaning.ADDRESS
    return Meaning.WAIT if status == _LIMITED else Meaning.TROUBLE


def _meaning(status: int, complaint: Complaint, sentence: str, wait_s: float | None) -> Meaning:
    if status in _REDIRECT:
        return Meaning.ADDRESS
    if status in _PLAIN:
        return _PLAIN[status]
    kind = _kind(status)
    is_soon_over = wait_s is not None and wait_s <= _SOON_S
    meaning = host_words.of_sentence(sentence, kind, host_words.OVERRULING) or host_words.of_names(
        complaint.names, kind
    )
    if meaning is None:
        meaning = host_words.of_sentence(sentence, kind) or _of_status_alone(status, kind)
        if kind is Status.LIMIT and meaning is Meaning.CREDIT and is_soon_over:
            meaning = Meaning.WAIT  # a short wait does not end a lack of credit, whatever the sentence says
    if meaning in (Meaning.WAIT, Meaning.LATER):
        return _of_limit(meaning, complaint, sentence, wait_s)
    return meaning


def _kind(status: int) -> Status:
    """Return the kind of a status."""
    if status == _LIMITED:
        return Status.LIMIT
    if status == _TOO_LARGE:
        return Status.SIZE
    return Status.FAULT if status in _FAULTS or status >= _FIRST_FAULT else Status.UNSURE


def _of_status_alone(status: int, kind: Status) -> Meaning:
    """Return the meaning of a status whose body explains nothing; a 2xx without a reply is the host's trouble."""
    if status in _OK:
        return Meaning.TROUBLE
    return _ALONE.get(kind) or _UNEXPLAINED.get(status, Meaning.BAD_REQUEST)


def _of_limit(meaning: Meaning, complaint: Complaint, sentence: str, wait_s: float | None) -> Meaning:
    """Return the meaning of a refusal for a limit.

    `TOO_LARGE`: the request alone exceeds the limit. `LATER`: the wait is over an hour, or, without a wait, the limit
    is one of a day or longer. `WAIT`: the wait is shorter. Without either, `meaning` stays as it is.
    """
    is_over = _is_over_limit(sentence)
    if is_over or (is_over is None and host_words.TOO_LARGE.search(sentence)):
        return Meaning.TOO_LARGE
    if wait_s is not None:
        return Meaning.WAIT if wait_s <= _SOON_S else Meaning.LATER
    names = " ".join(complaint.names)
    is_long = host_words.LONG_WINDOW.search(sentence) or host_words.LONG_WINDOW_NAME.search(names)
    return Meaning.LATER if is_long else meaning


def _is_over_limit(sentence: str) -> bool | None:
    """True if the request exceeds every limit that the sentence names, by its figures; None where it has no figures."""
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
    """True if a complaint names the requested model, with or without the part of its id before the last slash."""
    name = model.rsplit("/", 1)[-1]
    if len(name) < _SHORTEST_NAME:
        return False
    texts = [complaint.sentence, *(as_text(fields.get("model")) for fields in complaint.fields)]
    pattern = re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w-]|\.\d)", re.IGNORECASE)
    return any(map(pattern.search, texts))


def _resets(wait_s: float | None, now: float) -> str:
    if wait_s is None:
        return ""
    hours, minutes = divmod(round(wait_s / 60), 60)
    moment = datetime.fromtimestamp(now + wait_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"resets in {hours} h {minutes} min, at {moment}"
