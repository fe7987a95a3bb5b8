from __future__ import annotations

import itertools
import random
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from rich.console import Console

from eli5b_batch.errors import RunFolderError
from eli5b_batch.report.build import Report, _made_from, build_report, latest_report
from eli5b_batch.report.wording import (
    arm_label,
    p_value,
    points,
    size_of,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.report.conftest import RunFolder

FILES = {"summary.json", "summary.md", "accuracy.png", "accuracy.svg"}


def fill(run: RunFolder, *, cross: bool = False, hints: tuple[str, ...] = ("none", "generic", "tailored")) -> None:
    draw = random.Random(0)
    for at in range(6):
        for student in ("1b", "3b", "8b"):
            for hint in hints:
                targets = ["1b", "3b", "8b"] if cross and hint == "tailored" else [student]
                for target in targets if hint == "tailored" else ["any"]:
                    verdict = draw.choice(["correct", "incorrect", "failed"])
                    run.answer(f"p{at}", student, verdict, hint=hint, hint_for=target, sample=0)
        run.answer(f"p{at}", "maverick", "correct", hint="none", hint_for="any", sample=0)


def shown(report: Report, width: int = 80) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(report.renderable())
    return capture.get()


def test_the_latest_report_is_made_again_only_where_something_changed(run: RunFolder) -> None:
    fill(run)
    first = latest_report(run.path)
    made = (run.path / "report" / "accuracy.png").stat().st_mtime_ns
    again = latest_report(run.path)
    assert (again.summary, again.paths) == (first.summary, first.paths)
    assert shown(again) == shown(first)
    assert (run.path / "report" / "accuracy.png").stat().st_mtime_ns == made
    (run.path / "report" / "summary.md").unlink()
    latest_report(run.path)
    assert (run.path / "report" / "summary.md").exists()
    run.answer("p9", "1b", "correct", hint="none", hint_for="any", sample=0)
    assert latest_report(run.path).summary != first.summary


@pytest.mark.parametrize("damage", [b"{", b"[]", b'{"schema": 1}', b'{"made_from": "x", "arms": null}'])
def test_a_damaged_summary_is_made_anew(run: RunFolder, damage: bytes) -> None:
    fill(run)
    summary = latest_report(run.path).summary
    (run.path / "report" / "summary.json").write_bytes(damage)
    assert latest_report(run.path).summary == summary


def test_a_summary_of_an_earlier_version_is_made_anew(run: RunFolder) -> None:
    fill(run)
    summary = latest_report(run.path).summary
    old = {name: value for name, value in summary.items() if name not in {"pace", "slots"}} | {"schema": 1}
    path = run.path / "report" / "summary.json"
    path.write_bytes(orjson.dumps({**old, "made_from": _made_from(run.path, old)}))
    assert latest_report(run.path).summary == summary


def test_every_file_is_written_and_nothing_else(run: RunFolder) -> None:
    fill(run)
    report = build_report(run.path)
    assert {path.name for path in report.paths} == FILES | {"results.jsonl", "results.parquet"}
    assert all(path.stat().st_size > 0 for path in report.paths)
    assert {path.name for path in (run.path / "report").iterdir()} == FILES
    assert not [path for path in run.path.iterdir() if path.name.startswith(".")]
    written = orjson.loads((run.path / "report" / "summary.json").read_bytes())
    assert {k: v for k, v in written.items() if k != "made_from"} == report.summary


def test_the_figure_is_a_picture_about_1600_pixels_wide(run: RunFolder) -> None:
    fill(run, cross=True)
    build_report(run.path)
    png = (run.path / "report" / "accuracy.png").read_bytes()
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(png[16:20], "big") == pytest.approx(1600, abs=2)
    svg = (run.path / "report" / "accuracy.svg").read_text()
    for text in (
        "Own-size hints: generic against tailored",
        "Every condition, own-size hints",
        "Tailored hints crossed: accuracy, %",
        "maverick alone",
        "small: 6 problems, 1 sample each",
    ):
        assert text in svg


def test_two_conditions_make_one_panel(run: RunFolder) -> None:
    for student in ("1b", "3b"):
        run.answer("p1", student, "correct", hint="generic", hint_for="any", sample=0)
        run.answer("p1", student, "correct", hint="tailored", hint_for=student, sample=0)
    build_report(run.path)
    svg = (run.path / "report" / "accuracy.svg").read_text()
    assert "generic against tailored" in svg
    assert "Every condition" not in svg
    assert "crossed" not in svg


def test_bars_stand_side_by_side_in_the_order_of_conditions(run: RunFolder) -> None:
    fill(run, hints=("tailored", "generic", "placebo", "none"))
    build_report(run.path)
    svg = (run.path / "report" / "accuracy.svg").read_text()
    bars = re.findall(r'student: 3b; [^"]*hint: ([a-z ]+)"[^>]* aria-roledescription="bar" d="M([\d.]+),', svg)
    _, _, *panel = [(float(x), hint) for hint, x in bars]
    assert [hint for _, hint in sorted(panel)] == ["no hint", "placebo", "generic", "tailored"]
    steps = [right - left for (left, _), (right, _) in itertools.pairwise(sorted(panel))]
    assert min(steps) > 25


def test_names_that_do_not_fit_side_by_side_are_broken_into_lines(run: RunFolder) -> None:
    students = [f"qwen3-{size}-thinking-{mode}" for size in ("0.6b", "1.7b", "4b") for mode in ("off", "on")]
    run.manifest(students=students)
    for student in students:
        run.answer("p1", student, "correct", hint="none", hint_for="any")
    build_report(run.path)
    figure = (run.path / "report" / "accuracy.svg").read_text()
    assert figure.count(">qwen3-0.6b-<") == 2
    assert figure.count(">thinking-off<") == 3
    assert "qwen3-0.6b-thinking" not in re.sub(r'aria-label="[^"]*"', "", figure)


def test_another_protocol_gets_a_bar_per_arm(run: RunFolder) -> None:
    run.manifest(protocol="delegate", students=None, teacher=None)
    run.answer("p1", "gpt", "correct", method="router")
    run.answer("p1", "slm", "incorrect")
    report = build_report(run.path)
    svg = (run.path / "report" / "accuracy.svg").read_text()
    assert "Accuracy by arm" in svg
    assert "gpt: method router" in svg
    assert "gpt: method router" in shown(report)


def test_simulated_stands_everywhere(run: RunFolder) -> None:
    fill(run)
    run.manifest(simulated=True)
    report = build_report(run.path)
    folder = run.path / "report"
    assert (folder / "summary.md").read_text().startswith("# SIMULATED small\n")
    assert orjson.loads((folder / "summary.json").read_bytes())["simulated"] is True
    assert "SIMULATED small: 6 problems" in (folder / "accuracy.svg").read_text()
    assert shown(report).startswith("SIMULATED small")


def test_a_real_run_is_not_called_simulated(run: RunFolder) -> None:
    fill(run)
    report = build_report(run.path)
    texts = [(run.path / "report" / name).read_text() for name in ("summary.md", "summary.json", "accuracy.svg")]
    assert not any("SIMULATED" in text for text in [*texts, shown(report)])


def test_the_page_has_every_table(run: RunFolder) -> None:
    fill(run, cross=True)
    build_report(run.path)
    page = (run.path / "report" / "summary.md").read_text()
    for heading in (
        "## Accuracy by arm",
        "## Differences within a student",
        "## Does it matter for whom a hint was written?",
        "## Gap to the teacher closed",
        "## Calls, tokens and cost",
        "## How these numbers are made",
    ):
        assert heading in page
    assert "| 1b: hint tailored, hint_for 3b | " in page
    assert "6 problems are few" in page


def slots(run: RunFolder, number: int) -> None:
    """The progress of a run with so many slots, of which the first was busy least and the second was down."""
    usual = {
        "provider": "gpus",
        "calls": 9,
        "loads": 2,
        "on_gpu": 0.63,
        "loading_s": 10.0,
        "idle_s": 0.0,
        "down_s": 0.0,
    }
    rows = [{**usual, "slot": f"gpu{i}", "busy_s": 30.0 + i} for i in range(number)]
    rows[1] |= {"down_s": 49.0, "on_gpu": None}
    run.progress(slots=rows)


def test_slots_and_students_stand_in_every_form_of_the_report(run: RunFolder) -> None:
    run.manifest(starts=["1970-01-01T00:10:00+00:00"])
    run.answer(
        "p1", "1b", "correct", hint="none", hint_for="any", slot="gpu0", started=1000, latency=200, output_tokens=80
    )
    slots(run, 2)
    report = build_report(run.path)
    page = (run.path / "report" / "summary.md").read_text()
    assert "| 1b | 1 | 3m 20s | 0.4 |" in page
    assert "| gpus/gpu0 | 9 | 30s (75.0%) | 10s (25.0%) | 0.0s (0.0%) | 0.0s (0.0%) | 2 | 2.0 | 63.0% |" in page
    assert "| gpus/gpu1 | 9 | 31s (34.4%) | 10s (11.1%) | 0.0s (0.0%) | 49s (54.4%) | 2 | 0.0 | - |" in page
    text = shown(report)
    assert re.search(r"1b +1 +3m 20s +0\.4", text)
    assert re.search(r"gpu0, 63\.0% on GPU +9 +75\.0% +25\.0% +0\.0% +0\.0% +2 +2\.0", text)
    written = orjson.loads((run.path / "report" / "summary.json").read_bytes())
    assert [row["seconds"] for row in written["slots"]] == [40.0, 90.0]


def test_of_many_slots_the_terminal_shows_the_least_busy(run: RunFolder) -> None:
    fill(run)
    slots(run, 64)
    text = shown(build_report(run.path))
    assert [int(number) for number in re.findall(r"gpu(\d+)", text)] == [1, *(0, 2, 3, 4, 5, 6, 7)]
    assert "the 8 least busy of 64 slots" in " ".join(text.split())
    assert (run.path / "report" / "summary.md").read_text().count("| gpus/gpu") == 64


def test_a_start_with_nothing_left_for_slots_takes_nothing_from_the_report(run: RunFolder) -> None:
    run.manifest(starts=["1970-01-01T00:10:00+00:00", "1970-01-01T01:00:00+00:00"])
    run.answer("p1", "1b", "correct", hint="none", hint_for="any", slot="gpu0", started=1000, output_tokens=80)
    gpu = {"provider": "gpus", "slot": "gpu0", "calls": 1, "busy_s": 30.0, "loading_s": 10.0, "on_gpu": None}
    run.progress(slots=[], earlier_slots=[gpu])
    build_report(run.path)
    page = (run.path / "report" / "summary.md").read_text()
    assert "## Slots, last start that used them" in page
    assert "| gpus/gpu0 | 1 | 30s (75.0%) | 10s (25.0%) | 0.0s (0.0%) | 0.0s (0.0%) | 0 | 2.0 | - |" in page


def test_limits_are_told_of_providers_that_had_any(run: RunFolder) -> None:
    fill(run)
    run.progress(providers=[{"provider": "api", "limit_history": [[0.0, 3000], [4.5, 1400]]}, {"provider": "gpus"}])
    assert [row["provider"] for row in build_report(run.path).summary["limits"]] == ["api"]


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"schema": 1, "slots": [{"slot": "gpu0"}]}'])
def test_a_progress_file_that_is_none_takes_only_slots_and_limits_from_the_report(
    run: RunFolder, content: bytes
) -> None:
    fill(run)
    (run.path / "progress.json").write_bytes(content)
    summary = build_report(run.path).summary
    assert (summary["slots"], summary["limits"]) == ([], [])


def test_a_run_without_slots_says_nothing_of_them(run: RunFolder) -> None:
    fill(run)
    build_report(run.path)
    page = (run.path / "report" / "summary.md").read_text()
    assert "## Slots" not in page
    assert "## Students" not in page


def test_answers_cut_off_and_failed_are_shown_by_arm_and_class_only_where_there_are_any(run: RunFolder) -> None:
    run.answer("p1", "1b", "correct", hint="none", hint_for="any")
    build_report(run.path)
    assert "cut off or failed" not in (run.path / "report" / "summary.md").read_text()
    run.answer("p2", "1b", "failed", hint="none", hint_for="any", failure="not_done")
    run.answer("p2", "1b", "incorrect", hint="generic", hint_for="any", finish_reason="length")
    report = build_report(run.path)
    page = (run.path / "report" / "summary.md").read_text()
    assert "## Answers cut off or failed\n\n| arm | answers | cut off | not_done |" in page
    assert "| 1b: hint none, hint_for any | 2 | 0 | 1 (50.0%) |" in page
    assert "| 1b: hint generic, hint_for any | 1 | 1 (100.0%) | 0 |" in page
    assert "More than 1% of the answers are cut off or failed in 2 of 2 arms" in " ".join(shown(report).split())


def test_the_page_shows_filtered_answers_and_replies_in_prompts_that_ended_early(run: RunFolder) -> None:
    tags: dict[str, Any] = {"hint": "generic", "hint_for": "any"}
    key = run.call("p1", "maverick", step="hint", finish="cut", **tags)
    run.call("p2", "maverick", step="hint", finish="whole", **tags)
    run.answer("p1", "1b", "incorrect", finish="filtered", built_on=[key], **tags)
    report = build_report(run.path)
    page = (run.path / "report" / "summary.md").read_text()
    assert (
        "## Answers cut off, filtered or failed\n\n"
        "| arm | answers | cut off | filtered | built on a reply cut off or filtered |\n"
    ) in page
    assert "| 1b: hint generic, hint_for any | 1 | 0 | 1 (100.0%) | 1 (100.0%) |\n" in page
    assert "## Replies in prompts: cut off, filtered, or with thoughts in them\n" in page
    assert "| hint | maverick: hint generic, hint_for any | 2 | 1 (50.0%) | 0 | 0 |\n" in page
    assert "Prompts hold replies that were cut off or filtered: hint by maverick" in " ".join(shown(report).split())


def test_the_terminal_shows_students_by_conditions_in_80_columns(run: RunFolder) -> None:
    fill(run, hints=("none", "placebo", "generic", "rewritten", "tailored_any", "tailored"))
    text = shown(build_report(run.path))
    assert "no hint" in text
    assert "rewritten" in text
    assert "maverick" in text
    assert "tailored -" in text
    assert "Holm" in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_run_without_graded_answers_gets_an_honest_report_and_no_figure(run: RunFolder) -> None:
    fill(run)
    build_report(run.path)
    (run.path / "grades.jsonl").unlink()
    (run.path / "calls.jsonl").unlink()
    report = build_report(run.path)
    assert {path.name for path in (run.path / "report").iterdir()} == {"summary.json", "summary.md"}
    assert "no graded answers yet" in (run.path / "report" / "summary.md").read_text()
    assert "no graded answers yet" in shown(report, width=120)
    run.call("p1", "1b", hint="generic", hint_for="any", sample=0)
    assert build_report(run.path).summary["answers"]["ungraded"] == 1


def test_a_rebuild_changes_no_byte_of_any_text(run: RunFolder) -> None:
    fill(run)
    report = build_report(run.path)
    texts = [path for path in report.paths if path.suffix in {".json", ".jsonl", ".md", ".svg"}]
    before = [path.read_bytes() for path in texts]
    build_report(run.path)
    assert [path.read_bytes() for path in texts] == before


def test_what_is_no_run_folder_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"is not a run folder: it has no manifest\.json"):
        build_report(tmp_path)
    (tmp_path / "manifest.json").write_text("{torn")
    with pytest.raises(RunFolderError, match=r"manifest\.json: is damaged"):
        build_report(tmp_path)
    (tmp_path / "manifest.json").write_text('{"name": "x"}')
    with pytest.raises(RunFolderError, match=r"manifest\.json: is damaged: protocol: Field required"):
        build_report(tmp_path)
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(RunFolderError, match=r"manifest\.json: can't be read: Is a directory"):
        build_report(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, eli5b_batch.report;"
        "print({'altair', 'numpy', 'polars', 'rich', 'scipy', 'vl_convert'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout == "set()\n"


def test_numbers_carry_no_more_digits_than_they_have() -> None:
    assert points(0.0341) == "+3.4"
    assert points(-0.0004) == "+0.0"
    assert p_value(0.0004) == "< 0.001"
    assert p_value(0.0514) == "0.051"


def test_arms_and_sizes_in_words() -> None:
    assert arm_label({"model": "1b", "tags": {"hint": "none", "turn": 2}}) == "1b: hint none, turn 2"
    assert arm_label({"model": "1b", "tags": {}}) == "1b"
    assert size_of({"problems": 1, "samples": 4}) == "1 problem, 4 samples each"
    assert size_of({"problems": 0, "samples": 0}) == "0 problems"
