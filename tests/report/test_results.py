from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eli5b_batch.errors import JournalDamagedError, RunFolderError
from eli5b_batch.report.finish import BuiltOn
from eli5b_batch.report.results import build_results

if TYPE_CHECKING:
    from pathlib import Path

    from eli5b_batch.report.results import Results
    from tests.report.conftest import RunFolder

COLUMNS = [
    *("problem", "model", "hint", "hint_for", "sample", "verdict", "correct", "answer", "gold"),
    *("input_tokens", "output_tokens", "cost_usd", "latency_s", "call", "finish_reason"),
    *("finish", "built_on_finish", "truncated", "thought", "wordless", "error"),
]


def build(run: RunFolder) -> Results:
    return build_results(run.path, ["answer"])


def test_a_row_has_the_columns_of_the_contract(run: RunFolder) -> None:
    key = run.answer("p1", "1b", "correct", hint="tailored", hint_for="1b", sample=0)
    build(run)
    (row,) = run.results()
    assert list(row) == COLUMNS
    assert row == {
        "problem": "p1",
        "model": "1b",
        "hint": "tailored",
        "hint_for": "1b",
        "sample": 0,
        "verdict": "correct",
        "correct": True,
        "answer": "7",
        "gold": "7",
        "input_tokens": 10,
        "output_tokens": 20,
        "cost_usd": 0.0,
        "latency_s": 0.5,
        "call": key,
        "finish_reason": "stop",
        "finish": None,
        "built_on_finish": None,
        "truncated": False,
        "thought": False,
        "wordless": False,
        "error": None,
    }


def test_the_parquet_file_holds_the_same_rows(run: RunFolder) -> None:
    run.answer("p1", "1b", "correct", hint="none", sample=0)
    run.answer("p1", "1b", "failed", hint="none", sample=1)
    run.call("p2", "1b", hint="none", sample=0)
    build(run)
    assert pl.read_parquet(run.path / "results.parquet").to_dicts() == run.results()
    assert len(run.results()) == 2


def test_rows_come_by_problem_then_model_then_tags_with_numbers_by_value(run: RunFolder) -> None:
    for problem, model, sample in [("b", "x", 0), ("a", "y", 0), ("a", "x", 10), ("a", "x", 9)]:
        run.answer(problem, model, "incorrect", sample=sample)
    build(run)
    rows = [(row["problem"], row["model"], row["sample"]) for row in run.results()]
    assert rows == [("a", "x", 9), ("a", "x", 10), ("a", "y", 0), ("b", "x", 0)]


def test_only_graded_steps_make_rows(run: RunFolder) -> None:
    run.call("p1", "maverick", step="hint", cost=0.25, hint="generic")
    run.answer("p1", "1b", "correct", hint="generic")
    results = build(run)
    assert [row["model"] for row in run.results()] == ["1b"]
    assert [(s.step, s.model, s.calls, s.cost_usd) for s in results.spending] == [
        ("answer", "1b", 1, 0.0),
        ("hint", "maverick", 1, 0.25),
    ]


def test_a_success_beats_an_error_whichever_is_newer(run: RunFolder) -> None:
    first = run.answer("p1", "1b", "failed", sample=0)
    run.call("p1", "1b", sample=0)
    run.grade(first, "correct", "7")
    second = run.call("p2", "1b", sample=0)
    run.grade(second, "correct", "7")
    run.call("p2", "1b", ok=False, sample=0)
    run.grade(second, "failed")
    results = build(run)
    assert [row["verdict"] for row in run.results()] == ["correct", "correct"]
    assert [row["error"] for row in run.results()] == [None, None]
    assert results.spending[0].calls == 2
    assert results.spending[0].failed == 0


def test_among_equals_the_newer_record_and_the_newer_verdict_win(run: RunFolder) -> None:
    key = run.call("p1", "1b", output_tokens=1)
    run.call("p1", "1b", output_tokens=2)
    run.grade(key, "no_answer")
    run.grade(key, "correct", "7")
    build(run)
    (row,) = run.results()
    assert (row["output_tokens"], row["verdict"], row["answer"]) == (2, "correct", "7")


def test_a_failed_call_is_failed_whatever_older_verdicts_say(run: RunFolder) -> None:
    key = run.call("p1", "1b", ok=False)
    run.grade(key, "correct", "7")
    run.call("p2", "1b", ok=False)
    build(run)
    rows = run.results()
    assert [(row["verdict"], row["correct"], row["answer"]) for row in rows] == [("failed", False, None)] * 2
    assert [row["gold"] for row in rows] == ["7", None]
    assert [row["error"] for row in rows] == ["timeout", "timeout"]


def test_an_answer_without_a_verdict_is_in_the_frame_and_not_in_the_file(run: RunFolder) -> None:
    run.call("p1", "1b", sample=0)
    # A success after a failure whose verdict is still the old one waits for its own.
    run.answer("p2", "1b", "failed", sample=0)
    run.call("p2", "1b", sample=0)
    assert build(run).frame["verdict"].to_list() == [None, None]
    assert run.results() == []


def test_a_failure_that_was_never_sent_counts_and_a_verdict_of_nothing_does_not(run: RunFolder) -> None:
    run.answer("p1", "1b", "correct", sample=0)
    run.grade("p1|answer|model:1b|sample=1", "failed")
    run.grade("p1|answer|model:1b|sample=2", "correct", "7")
    run.grade("p1|hint|model:1b|sample=2", "correct", "7")
    results = build(run)
    assert [(row["sample"], row["verdict"]) for row in run.results()] == [(0, "correct"), (1, "failed")]
    assert run.results()[1]["error"] == "not_recorded"
    assert results.orphans == 1


def test_records_from_before_a_redo_are_paid_and_no_answers_and_what_they_are_of_is_still_to_come(
    run: RunFolder,
) -> None:
    still_to_come = run.answer("p1", "1b", "correct", cost=0.5)
    failed_now = run.answer("p2", "1b", "correct", cost=0.25)
    end = (run.path / "calls.jsonl").stat().st_size
    run.call("p2", "1b", ok=False)
    run.grade(failed_now, "failed")
    run.grade(still_to_come, "failed")
    results = build_results(run.path, ["answer"], redo={"answer": end})
    assert [(row["problem"], row["verdict"], row["error"]) for row in run.results()] == [("p2", "failed", "timeout")]
    assert results.orphans == 0
    (spent,) = results.spending
    assert (spent.calls, spent.failed, spent.cost_usd) == (1, 1, 0.75)


@pytest.mark.parametrize("redone", [False, True])
def test_an_answer_keeps_the_end_of_the_hint_it_is_built_on_while_that_is_asked_again(
    run: RunFolder, *, redone: bool
) -> None:
    old = hint(run, "p", "cut")
    run.answer("p", "1b", "correct", built_on=[old])
    end = (run.path / "calls.jsonl").stat().st_size
    if redone:
        hint(run, "p", "whole")
    build_results(run.path, ["answer"], redo={"hint": end})
    assert [row["built_on_finish"] for row in run.results()] == ["cut"]


def test_every_line_of_the_journal_is_paid(run: RunFolder) -> None:
    run.call("p1", "maverick", ok=False, cost=None, step="hint")
    run.call("p1", "maverick", cost=0.5, step="hint")
    run.call("p1", "maverick", cost=0.25, step="hint")
    (spent,) = build(run).spending
    assert (spent.calls, spent.failed, spent.cost_usd, spent.cost_unknown) == (1, 0, 0.75, 1)
    assert (spent.input_tokens, spent.output_tokens) == (20, 40)


def test_an_answer_is_truncated_at_max_tokens_or_when_the_window_is_full_and_a_failed_one_is_failed(
    run: RunFolder,
) -> None:
    run.answer("p1", "1b", "correct", sample=0)
    run.answer("p1", "1b", "no_answer", sample=1, finish_reason="length")
    run.answer("p1", "1b", "incorrect", sample=2, window_full=True)
    run.answer("p1", "1b", "failed", sample=3, finish_reason="length", failure="context_overflow")
    build(run)
    assert [row["truncated"] for row in run.results()] == [False, True, True, False]
    assert run.results()[3]["error"] == "context_overflow"
    assert [row["finish"] for row in run.results()] == [None, "cut", "cut", None]  # as far as older records tell


def test_an_answer_says_how_it_ended_in_any_hosts_spelling(run: RunFolder) -> None:
    run.answer("p1", "1b", "correct", sample=0, finish="whole")
    run.answer("p1", "1b", "no_answer", sample=1, finish="cut", finish_reason="MAX_TOKENS")
    run.answer("p1", "1b", "no_answer", sample=2, finish="filtered", finish_reason="content_filter")
    run.answer("p1", "1b", "failed", sample=3, finish="broken", finish_reason="abort", failure="broken")
    run.answer("p1", "1b", "failed", sample=4)
    run.answer("p1", "1b", "correct", sample=5, finish="hand-made")
    build(run)
    assert [(row["finish"], row["truncated"]) for row in run.results()] == [
        ("whole", False),
        ("cut", True),
        ("filtered", False),
        ("broken", False),
        (None, False),
        (None, False),
    ]
    assert run.results()[1]["finish_reason"] == "MAX_TOKENS"


def hint(run: RunFolder, problem: str, finish: str | None, **tags: Any) -> str:  # noqa: ANN401 - tags or options of `call`
    return run.call(problem, "maverick", step="hint", finish=finish, **{"hint": "tailored", **tags})


def test_an_answer_says_how_the_worst_reply_in_its_prompt_ended(run: RunFolder) -> None:
    ends = {
        finish: hint(run, f"p{at}", finish, finish_reason=reason)
        for at, (finish, reason) in enumerate(
            [("whole", "stop"), ("cut", "model_length"), ("filtered", "SAFETY"), (None, "stop")]
        )
    }
    ends["derived"] = hint(run, "p9", None, finish_reason="length")
    prompts: list[tuple[list[str | None], str | None]] = [
        ([], None),
        (["whole"], "whole"),
        (["whole", "cut"], "cut"),
        (["cut", "filtered", "whole"], "filtered"),
        ([None], None),
        (["whole", None], None),
        ([None, "cut"], "cut"),
        (["derived"], "cut"),
    ]
    for sample, (held, _) in enumerate(prompts):
        run.answer("p1", "1b", "correct", sample=sample, built_on=[ends[one] for one in held])
    run.answer("p1", "1b", "correct", sample=99, built_on=["p0|hint|hint:lost|model:maverick"])
    run.answer("p2", "1b", "failed", sample=0, built_on=[ends["cut"]])
    build(run)
    assert [row["built_on_finish"] for row in run.results()] == [*(end for _, end in prompts), None, "cut"]


def test_an_answer_on_an_answer_and_a_hint_asked_again_count_as_they_stood_when_it_was_asked(run: RunFolder) -> None:
    cut = hint(run, "p1", "cut")
    run.answer("p1", "1b", "correct", sample=0, built_on=[cut])
    assert hint(run, "p1", "whole") == cut
    draft = run.answer("p1", "1b", "correct", sample=1, built_on=[cut], finish="filtered")
    run.answer("p1", "1b", "correct", sample=2, built_on=[draft, cut])
    assert build(run).built_on == [BuiltOn("hint", "maverick", {"hint": "tailored"}, replies=1)]
    assert [row["built_on_finish"] for row in run.results()] == ["cut", "whole", "filtered"]


def test_a_hint_that_was_lost_and_asked_again_stands_behind_the_answer_that_is_built_on_it(run: RunFolder) -> None:
    run.answer("p1", "1b", "correct", sample=0, built_on=["p1|hint|hint:tailored|model:maverick"])
    assert hint(run, "p1", "cut") == "p1|hint|hint:tailored|model:maverick"
    build(run)
    assert [row["built_on_finish"] for row in run.results()] == ["cut"]


def test_replies_that_others_build_on_are_counted_by_step_model_and_tags(run: RunFolder) -> None:
    ends = ["whole", "cut", "cut", "filtered", None]
    keys = [hint(run, f"p{at}", finish, sample=at % 2) for at, finish in enumerate(ends)]
    keys.append(hint(run, "p0", "cut", hint="generic"))
    run.call("p8", "maverick", step="hint", ok=False, hint="generic")
    run.call("p0", "maverick", step="judge", finish="cut")  # nothing builds on it
    run.answer("p0", "1b", "correct", finish="cut", built_on=keys)
    assert build(run).built_on == [
        BuiltOn("hint", "maverick", {"hint": "generic"}, replies=1, cut=1),
        BuiltOn("hint", "maverick", {"hint": "tailored"}, replies=5, cut=2, filtered=1),
    ]


def test_the_makespan_leaves_out_the_pauses_between_starts(run: RunFolder) -> None:
    for number, (started, latency) in enumerate([(102.0, 3.0), (101.0, 9.0), (1000.0, 2.0), (1001.0, 7.0)]):
        run.call(f"p{number}", "1b", started=started, latency=latency)
    run.call("p9", "3b")  # says not when it was sent
    results = build_results(run.path, ["answer"], [100.0, 999.5])
    assert results.pace["1b"].makespan_s == pytest.approx((110 - 101) + (1008 - 1000))
    assert results.pace["1b"].output_tokens == 80
    assert "3b" not in results.pace


def test_tokens_of_a_slot_are_those_of_the_last_start(run: RunFolder) -> None:
    for number, (started, slot) in enumerate([(101.0, "gpu0"), (1000.0, "gpu0"), (1001.0, "gpu0"), (1001.0, "gpu1")]):
        run.call(f"p{number}", "1b", started=started, slot=slot)
    run.call("p9", "1b", started=2001.0)
    for starts in ([100.0, 999.5], [100.0, 999.5, 2000.0]):  # the last one used no slot
        results = build_results(run.path, ["answer"], starts)
        assert results.slot_tokens == {("gpus", "gpu0"): 40, ("gpus", "gpu1"): 20}


def test_a_start_in_which_only_hosts_were_asked_leaves_the_tokens_of_slots(run: RunFolder) -> None:
    run.call("p0", "1b", started=101.0, slot="gpu0")
    run.call("p1", "judge", started=1000.0, slot="novita", provider="hosts")
    results = build_results(run.path, ["answer"], [100.0, 999.5])
    assert results.slot_tokens == {("gpus", "gpu0"): 20, ("hosts", "novita"): 20}


def test_a_torn_last_line_is_left_for_later(run: RunFolder) -> None:
    key = run.answer("p1", "1b", "correct", sample=0)
    run.append("calls.jsonl", b'{"key":"p1|answer|model:1b|sample=1","status":"ok","ti')
    run.append("grades.jsonl", b'{"key":"' + key.encode() + b'","verdict":"incor')
    build(run)
    assert [row["verdict"] for row in run.results()] == ["correct"]


@pytest.mark.parametrize(
    "line", [b"{nonsense}\n", b"null\n", b"{}\n", b"\n", b'{"key":"no key","status":"ok"}\n', b'{"key":7}\n']
)
def test_damage_elsewhere_names_the_line_and_the_way_out(run: RunFolder, line: bytes) -> None:
    run.answer("p1", "1b", "correct")
    run.append("calls.jsonl", line)
    with pytest.raises(
        JournalDamagedError, match=r"calls\.jsonl:2: this line can't be read .* run the job again with --repair"
    ):
        build(run)


def test_damaged_verdicts_can_be_remade(run: RunFolder) -> None:
    key = run.call("p1", "1b")
    run.append("grades.jsonl", b'{"key":"' + key.encode() + b'"}\n')
    with pytest.raises(JournalDamagedError, match=r"grades\.jsonl:1: this line can't be read .* remake it"):
        build(run)


def test_other_line_separators_do_not_split_a_line(run: RunFolder) -> None:
    key = run.call("p1", "1b")
    run.grade(key, "correct", answer="7\u2028\u0085\x0c")
    build(run)
    assert run.results()[0]["answer"] == "7\u2028\u0085\x0c"


def test_tags_may_be_missing_or_of_both_kinds(run: RunFolder) -> None:
    run.answer("p1", "1b", "correct", turn=1)
    run.answer("p1", "1b", "correct", turn="last")
    run.answer("p1", "1b", "correct", method="router")
    results = build(run)
    assert results.tags == ("method", "turn")
    assert results.frame["turn"].to_list() == [None, "1", "last"]
    assert [row["turn"] for row in run.results()] == [None, 1, "last"]


def test_a_tag_called_like_a_column_is_refused(run: RunFolder) -> None:
    run.answer("p1", "1b", "correct", gold="x")
    with pytest.raises(RunFolderError, match="'gold'"):
        build(run)


def test_simulated_is_seen_in_the_records(run: RunFolder) -> None:
    run.call("p1", "1b")
    assert not build(run).simulated
    run.call("p2", "1b", simulated=True)
    assert build(run).simulated


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=False))
def test_neither_a_rebuild_nor_the_order_of_arrival_changes_a_byte(
    tmp_path_factory: pytest.TempPathFactory, run: RunFolder, order: random.Random
) -> None:
    for name in ("calls.jsonl", "grades.jsonl"):
        (run.path / name).unlink(missing_ok=True)
    draw = random.Random(5)
    for problem in "abc":
        for sample in range(3):
            for hint in ("none", "generic"):
                verdict = draw.choice(["correct", "incorrect", "failed"])
                run.answer(problem, "1b", verdict, hint=hint, sample=sample)
    build(run)
    first = (run.path / "results.jsonl").read_bytes()
    build(run)
    assert (run.path / "results.jsonl").read_bytes() == first
    other = tmp_path_factory.mktemp("shuffled")
    for name in ("calls.jsonl", "grades.jsonl"):
        lines = (run.path / name).read_bytes().splitlines(keepends=True)
        order.shuffle(lines)
        (other / name).write_bytes(b"".join(lines))
    build_results(other, ["answer"])
    assert (other / "results.jsonl").read_bytes() == first


def test_an_empty_folder_gives_empty_files(tmp_path: Path) -> None:
    assert build_results(tmp_path, ["answer"]).frame.is_empty()
    assert (tmp_path / "results.jsonl").read_bytes() == b""
    assert pl.read_parquet(tmp_path / "results.parquet").is_empty()


def test_an_unreadable_journal_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "calls.jsonl").mkdir()
    with pytest.raises(RunFolderError, match=r"calls\.jsonl can't be read: Is a directory"):
        build_results(tmp_path, ["answer"])
