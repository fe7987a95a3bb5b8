"""futility.py: which failures in a row stop a run, and which say something of one call only."""

from __future__ import annotations

import pytest

from eli5b_batch.report.finish import is_wordless
from eli5b_batch.run.futility import SERIES, WORDLESS, Futility


def error(error_class: str = "bad_request", message: str = "no field 7", status: int | None = 400) -> dict[str, object]:
    return {"class": error_class, "message": message, "status": status}


def test_a_series_of_one_cause_is_returned_oldest_first_whatever_numbers_its_sentences_hold() -> None:
    futility: Futility[int] = Futility()
    series = [futility.failed("answer", "m", error(message=f"no field {n}"), n) for n in range(SERIES)]
    assert series == [[]] * (SERIES - 1) + [list(range(SERIES))]


def test_a_success_another_cause_another_step_and_another_model_each_begin_anew() -> None:
    futility: Futility[int] = Futility()
    for n in range(SERIES - 1):
        assert futility.failed("answer", "m", error(), n) == []
    assert futility.failed("hint", "m", error(), 10) == []
    assert futility.failed("answer", "n", error(), 11) == []
    assert futility.failed("answer", "m", error(message="another sentence"), 12) == []
    assert futility.open_series == [0, 1, 2, 3, 12, 10, 11]
    futility.succeeded("answer", "m")
    assert futility.open_series == [10, 11]


def test_a_host_that_has_two_sentences_for_one_refusal_is_found_out_too() -> None:
    futility: Futility[int] = Futility()
    sentences = ("red is not allowed", "blue is not welcome")
    series = [futility.failed("answer", "m", error("refused", sentences[n % 2], 403), n) for n in range(9)]
    assert series == [[]] * 8 + [[0, 2, 4, 6, 8]]


@pytest.mark.parametrize(
    "one",
    [error(kind) for kind in ("context_overflow", "too_large", "filtered", "not_done", "broken", "server_error")]
    + [error("refused", "refused 6 times", status=429)],
    ids=lambda one: str(one["class"]),
)
def test_what_says_something_of_one_call_only_never_counts_and_breaks_no_series(one: dict[str, object]) -> None:
    futility: Futility[int] = Futility()
    for n in range(SERIES - 1):
        futility.failed("answer", "m", error(), n)
    assert futility.failed("answer", "m", one, 20) == []
    assert len(futility.failed("answer", "m", error(), 21)) == SERIES


def test_empty_replies_count_once_others_are_known_to_build_on_them() -> None:
    futility: Futility[int] = Futility()
    for n in range(2 * SERIES):
        assert futility.failed("hint", "m", error("empty_reply", "no content", None), n) == []
    assert futility.series("hint", "m") == []
    futility.builds_on("hint")
    assert futility.series("hint", "m") == list(range(SERIES, 2 * SERIES))


def test_answers_without_a_text_stop_a_run_only_where_others_build_on_them_and_they_are_most() -> None:
    futility: Futility[int] = Futility()
    for n in range(SERIES):
        assert futility.failed("answer", "m", WORDLESS, n) == []
    for _ in range(SERIES + 1):
        futility.succeeded("hint", "m")
    futility.builds_on("hint")
    # Thoughts alone take longest: such replies of one round come in together, behind the others.
    for n in range(SERIES + 1):
        assert futility.failed("hint", "m", WORDLESS, n) == []
    assert futility.failed("hint", "m", WORDLESS, 9) == [2, 3, 4, 5, 9]


@pytest.mark.parametrize(
    ("reply", "wordless"),
    [({"text": ""}, True), ({"text": " \n"}, True), ({"text": "5"}, False), ({"text": "", "tool_calls": [1]}, False)],
)
def test_a_reply_is_wordless_where_a_prompt_could_hold_nothing_of_it(
    reply: dict[str, object],
    wordless: bool,  # noqa: FBT001 (what is expected)
) -> None:
    assert is_wordless(reply) is wordless
