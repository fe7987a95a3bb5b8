"""causes.py: which failures have one cause."""

from __future__ import annotations

import datetime as dt
import itertools
import string
import time
import uuid
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eli5b_batch.progress.causes import Causes, cause_of, starts_of
from eli5b_batch.records import make_key

SENTENCES: Final = (
    "api answered 429: Request too large for this organization. Limit 30000, Requested {}",
    "api answered 400: field seed: extra_forbidden ({})",
    "http://127.0.0.1:8001/v1 answered 500: prediction aborted {}",
    "{} was refused",
    "see '{}', \"{}\" and [{}]; try again",
    "api answered 403: {}: not for you",
)
"""Sentences of hosts, with a place for the part that differs from call to call."""

LETTERS: Final = string.ascii_letters + string.digits
TIMES: Final = st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2100, 1, 1))  # noqa: DTZ001 (only their words count)
KINDS: Final[dict[str, st.SearchStrategy[str]]] = {
    "numbers": st.integers(-(10**9), 10**9).map(str),
    "large numbers": st.integers(0, 10**9).map("{:,}".format),
    "floats": st.floats(0, 1e9, allow_nan=False).map(str),
    "money": st.decimals(0, 1000, places=2).map("${}".format),
    "waits": st.one_of(
        st.integers(0, 9999).map("{}ms".format),
        st.integers(0, 99).map("{} s".format),
        st.tuples(st.integers(0, 59), st.integers(0, 59)).map(lambda t: f"{t[0]}m{t[1]}s"),
        st.tuples(st.integers(2, 59), st.integers(2, 59)).map(lambda t: f"{t[0]} minutes and {t[1]} seconds"),
        st.just("1 second"),
    ),
    "times": TIMES.map(dt.datetime.isoformat),
    "dates of headers": TIMES.map(lambda t: f"{t:%a, %d %b %Y %H:%M:%S} GMT"),
    "dates in words": TIMES.map(lambda t: f"{t:%B} {t.day}, {t.year}"),
    "uuids": st.uuids().map(str),
    "uuids without hyphens": st.uuids().map(lambda uuid: uuid.hex),
    "uuids in capitals": st.uuids().map(lambda uuid: str(uuid).upper()),
    "hexadecimal ids": st.text("0123456789abcdef", min_size=8, max_size=40),
    "request ids": st.text(LETTERS, min_size=10, max_size=40).map("req_{}".format),
    "reply ids": st.text(LETTERS + "-_", min_size=10, max_size=40).map("chatcmpl-{}".format),
    "organisations": st.text(LETTERS, min_size=10, max_size=30).map("org-{}".format),
    "keys of calls": st.builds(
        lambda problem, sample, hint: make_key(problem, "answer", "1b", {"sample": sample, "hint": hint}),
        st.text("abc-019", min_size=1, max_size=20),
        st.integers(0, 9),
        st.sampled_from(["none", "generic", "tailored any"]),
    ),
}


@pytest.mark.parametrize("sentence", SENTENCES)
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_one_sentence_with_other_numbers_times_and_ids_is_one_cause(
    data: st.DataObject, kind: str, sentence: str
) -> None:
    first, second = (data.draw(KINDS[kind]) for _ in range(2))
    assert cause_of("refused", sentence.format(*[first] * 3)) == cause_of("refused", sentence.format(*[second] * 3))


@given(st.text(string.ascii_letters, min_size=8, max_size=30), st.text(LETTERS + "-_.", min_size=8, max_size=30))
@pytest.mark.parametrize(
    "label", ["request id: {}", "Request ID {}", "request_id='{}'", "x-request-id={}", "cf-ray {}"]
)
def test_what_is_called_an_id_is_masked_whatever_it_looks_like(label: str, first: str, second: str) -> None:
    sentence = f"something went wrong ({label})"
    assert cause_of("server_error", sentence.format(first)) == cause_of("server_error", sentence.format(second))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("api answered 400: seed is not allowed", "api answered 400: top_k is not allowed"),
        ("api answered 400: 'seed' is not allowed", "api answered 400: 'top_k' is not allowed"),
        ("api answered 429: limit of requests reached", "api answered 429: limit of tokens reached"),
        ("the reply has no content", "the reply is not JSON"),
        ("api answered 403: <html>Please log in</html>", "api answered 403: <html>Access denied</html>"),
        ("model maverick is overloaded", "model scout is overloaded"),
    ],
)
def test_sentences_that_differ_in_words_are_two_causes(first: str, second: str) -> None:
    assert cause_of("bad_request", first) != cause_of("bad_request", second)


def test_one_sentence_of_two_classes_is_two_causes() -> None:
    assert cause_of("refused", "not now") != cause_of("filtered", "not now")


def test_a_cause_reads_as_its_class_and_the_words_that_stay() -> None:
    message = (
        "api answered 429: Request too large.\n Limit 30,000, Requested 30,100; try again in 6m0s (request id: ab-c)"
    )
    assert cause_of("too_large", message) == (
        "too_large: api answered #: Request too large. Limit #, Requested #; try again in # (request id #)"
    )


@given(st.text(min_size=1, max_size=30), st.text(max_size=2000))
def test_a_cause_of_any_text_is_bounded_and_on_one_line(error_class: str, message: str) -> None:
    cause = cause_of(error_class, message)
    assert len(cause) <= 200
    assert cause == cause_of(error_class, f" \n{message} ")
    assert not set("\n\r\u2028") & set(cause.removeprefix(error_class))


@pytest.mark.parametrize(
    "unit", ["a", "1", "a|", "|a:", "|a:b ", "req_", "aB", "a1-", "# s ", "request id ", "(((", "\x1b[0"]
)
def test_a_hostile_text_takes_no_time(unit: str) -> None:
    began = time.process_time()
    cause_of("refused", unit * 100_000)
    assert time.process_time() - began < 1.0


def add(
    causes: Causes,
    message: str,
    error_class: str = "refused",
    *,
    key: str = "k",
    model: str = "1b",
    given_up: bool = False,
) -> None:
    error = {"class": error_class, "message": message}
    causes.add(error, key=key, step="answer", model=model, given_up=given_up)


def test_causes_come_with_their_first_sentence_and_who_was_hit_the_commonest_first() -> None:
    causes = Causes()
    add(causes, "no answer within 7 s", "timeout", key="first")
    add(causes, "not for you 1", key="one", model="3b")
    add(causes, "not for you 2", key="two", given_up=True)
    refused, late = causes.commonest()
    assert (refused.error_class, refused.message, refused.key) == ("refused", "not for you 1", "one")
    assert (refused.count, refused.given_up, refused.calls) == (2, 1, {("answer", "1b"): 1, ("answer", "3b"): 1})
    assert (late.error_class, late.message, late.key, late.count) == ("timeout", "no answer within 7 s", "first", 1)


def test_a_common_cause_is_found_among_any_number_of_rare_ones_and_none_is_lost() -> None:
    causes = Causes(most=50)
    words = itertools.product(string.ascii_lowercase, repeat=3)
    for number, letters in enumerate(words):  # 17,576 sentences, as of a host that repeats the prompt in each
        add(causes, f"can't take {' '.join(letters)}", given_up=number % 2 == 0)
        if number > 10_000 and number % 5 == 0:
            add(causes, f"limit {number} reached", "too_large")
    commonest = causes.commonest()
    assert len(commonest) <= 101
    assert sum(cause.count for cause in commonest) == 17_576 + 1_515
    assert commonest[0].various
    assert sum(cause.given_up for cause in commonest) == 17_576 // 2
    common = next(cause for cause in commonest if cause.error_class == "too_large" and not cause.various)
    assert common.count >= 1_515 - 20
    assert commonest.index(common) == 1


@pytest.mark.parametrize(
    ("error", "starts"),
    [
        ({"starts": 2, "attempts": 60}, 2),
        ({"attempts": 5}, 0),
        ({"attempts": 18}, 3),
        ({}, 0),
        ({"starts": 0, "attempts": 0}, 0),
    ],
)
def test_starts_are_those_on_record_and_older_records_count_attempts(error: dict[str, int], starts: int) -> None:
    assert starts_of(error, attempts=6) == starts


def test_ten_thousand_ids_are_one_cause() -> None:
    assert len({cause_of("refused", f"call {uuid.uuid4()} refused after {n} tries") for n in range(10_000)}) == 1
