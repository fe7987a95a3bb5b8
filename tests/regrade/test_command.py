"""`regrade` at the command line: what it prints where, how it explains a verdict, how it leaves."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from eli5b_batch.cli.regrade_shown import RegradeBar
from eli5b_batch.grading.graders import GRADERS
from eli5b_batch.records.folder import locked

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.regrade.conftest import Folder

    Cli = Callable[..., tuple[int, str, str]]

NOW = GRADERS["math"].name


# --- regrade -------------------------------------------------------------------------------------


def test_it_prints_what_changed_and_builds_the_report(cli: Cli, folder: Folder) -> None:
    changed = folder.graded(0, r"So \boxed{2}", "incorrect")
    folder.graded(1, r"So \boxed{5}", "correct")
    folder.graded(1, None, "failed", sample=1)
    code, out, err = cli("regrade", "run")
    assert (code, err) == (0, "")
    lines = [re.sub(r"\s+", " ", line).strip() for line in out.split("\n")]
    assert re.fullmatch(
        rf"run: 2 answers graded again by {NOW} \(before: math/1\) in \d\.\ds: 1 verdict changed; 1 call failed",
        lines[0],
    )
    assert "before \\ now correct incorrect failed" in lines
    assert "incorrect 1 - -" in lines
    assert "1b: hint none 3 33.3% 66.7% +33.3 1" in lines
    assert [changed, "incorrect -> correct gold 2"] == lines[lines.index(changed) :][:2]
    assert "was old by boxed/old (math/1)" in lines
    assert "all changed verdicts run/report/regraded.jsonl" in lines
    assert f"one, step by step eli5b-batch regrade run --explain '{changed}'" in lines
    assert "report run/report/summary.md" in lines
    assert f"graded by {NOW}" in (folder.path / "report" / "summary.md").read_text()
    assert "\x1b" not in out


def test_again_it_says_that_nothing_changed(cli: Cli, folder: Folder) -> None:
    folder.graded(0, r"So \boxed{2}", "incorrect")
    cli("regrade", "run")
    code, out, _ = cli("regrade", "run", "--workers", "2")
    assert code == 0
    assert "no verdict changed\ngrades.jsonl already says just that and is left as it is\n" in out
    assert "regraded.jsonl" not in out


def test_another_grader_may_be_named_and_the_job_is_said_to_decide(cli: Cli, folder: Folder) -> None:
    folder.graded(0, r"So \boxed{2}", "correct")
    code, out, _ = cli("regrade", "run", "--grader", "number")
    assert code == 0
    assert f"graded again by {GRADERS['number'].name}" in out
    assert "the job names math: its next run grades by that again, unless it is given grader: number" in out
    code, _, err = cli("regrade", "run", "--grader", "maths")
    assert (code, err) == (2, "eli5b-batch: --grader maths: no such grader; did you mean 'math'?\n")
    code, _, err = cli("regrade", "run", "--grader", "judge")
    assert code == 2
    assert err.startswith("eli5b-batch: --grader judge: a judge's verdicts are calls")


def test_what_is_simulated_says_so(cli: Cli, folder: Folder) -> None:
    folder.graded(0, r"So \boxed{2}", "incorrect")
    folder.manifest(simulated=True)
    assert "SIMULATED" in cli("regrade", "run")[1].split("\n")[0]


@pytest.mark.parametrize("extra", [[], ["--explain", "00000"]])
def test_bad_folders_are_said_in_one_sentence(cli: Cli, folder: Folder, extra: list[str]) -> None:
    def refused(*args: str) -> str:
        code, out, err = cli("regrade", *args, *extra)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
        return err.removeprefix("eli5b-batch: ")

    assert refused("nowhere") == "nowhere is not a run folder: it has no manifest.json\n"
    assert refused("run") == "run has no answers yet: its calls.jsonl holds no call\n"
    folder.graded(0, r"So \boxed{2}", "incorrect")
    job = folder.path / "job.yaml"
    job.write_text("name: [")
    assert "run/job.yaml:1:" in refused("run")
    job.unlink()
    assert refused("run") == "run/job.yaml: no such job file; the next run of the job writes job.yaml again\n"
    (folder.path / "manifest.json").write_text("{")
    assert "run/manifest.json: is damaged" in refused("run")


def test_a_run_that_goes_on_is_not_regraded(cli: Cli, folder: Folder) -> None:
    key = folder.graded(0, r"So \boxed{2}", "incorrect")
    with locked(folder.path):
        code, _, err = cli("regrade", "run")
        assert (code, "run is in use by another run" in err) == (2, True)
        assert cli("regrade", "run", "--explain", key)[0] == 0


# --- --explain -----------------------------------------------------------------------------------


def test_one_verdict_is_explained_without_changing_anything(cli: Cli, folder: Folder) -> None:
    key = folder.graded(0, "First\nSo \x1b[31m\\boxed{2}", "incorrect")
    before = folder.files()
    code, out, err = cli("regrade", "run", "--explain", key)
    assert (code, err) == (0, "")
    lines = out.split("\n")
    assert lines[0] == f"key        {key}"
    assert lines[1] == "model      1b (llama3.2:1b)"
    assert lines[2] == "gold       2"
    assert lines[3] == "on record  incorrect: answer old; by boxed/old of math/1, 250.00 ms"
    assert re.fullmatch(rf"now        correct: answer 2; by boxed/\w+ of {NOW}, \d+\.\d\d ms", lines[4])
    assert lines[6:9] == ["the reply:", "  | First", r"  | So [31m\boxed{2}"]
    assert lines[10] == f"step by step, {NOW}:"
    assert lines[11] == "  final answer, by the rule `boxed`: 2"
    assert "    text: the same but for spaces: correct" in lines
    assert folder.files() == before


def test_a_verdict_by_another_grader_is_explained_by_its_rule(cli: Cli, folder: Folder) -> None:
    key = folder.graded(0, r"So \boxed{2}", "incorrect")
    lines = cli("regrade", "run", "--explain", key, "--grader", "number")[1].split("\n")
    verdict = re.fullmatch(r"now        correct: answer 2; by (\w+)/(\w+) of (number/\d+), .*", lines[4])
    assert verdict
    assert lines[-4:-1] == [
        f"step by step, {verdict[3]}:",
        f"  final answer, by the rule {verdict[1]}",
        f"  verdict: correct, by {verdict[2]}",
    ]


def test_the_verdicts_of_before_are_told_too(cli: Cli, folder: Folder) -> None:
    key = folder.graded(0, r"So \boxed{2}", "incorrect")
    cli("regrade", "run")
    out = cli("regrade", "run", "--explain", key)[1]
    assert "\nearlier    incorrect: answer old; by boxed/old of math/1\non record  correct: answer 2;" in out


def test_an_answer_without_a_verdict_and_one_whose_call_failed_are_explained(cli: Cli, folder: Folder) -> None:
    fresh, failed = folder.reply(0, r"So \boxed{2}"), folder.graded(1, None, "failed")
    out = cli("regrade", "run", "--explain", fresh)[1]
    assert "\non record  no verdict yet\nnow        correct: " in out
    out = cli("regrade", "run", "--explain", failed)[1]
    assert out.endswith("the call failed (timeout: too slow): nothing to grade\n")


def test_of_a_long_reply_the_end_is_shown(cli: Cli, folder: Folder) -> None:
    key = folder.graded(0, "line\n" * 500 + r"So \boxed{2}", "incorrect")
    lines = cli("regrade", "run", "--explain", key)[1].split("\n")
    shown = [line for line in lines if line.startswith("  | ")]
    assert lines[6] == "the reply ends (2,512 characters):"
    assert (shown[0], shown[-1], len(shown)) == ("  | ...", r"  | So \boxed{2}", 13)


def test_the_record_that_counts_is_explained(cli: Cli, folder: Folder) -> None:
    folder.reply(0, r"\boxed{9}")
    key = folder.reply(0, r"\boxed{2}")
    folder.reply(0, None)
    assert "  | \\boxed{2}\n" in cli("regrade", "run", "--explain", key)[1]
    folder.manifest(redo={"answer": (folder.path / "calls.jsonl").stat().st_size})
    folder.reply(0, None)
    assert "nothing to grade" in cli("regrade", "run", "--explain", key)[1]


def test_a_part_of_a_key_is_enough_where_only_one_has_it(cli: Cli, folder: Folder) -> None:
    keys = [folder.graded(n, r"So \boxed{2}", "correct", sample=m) for n in (0, 1) for m in (0, 11, 1)]
    assert cli("regrade", "run", "--explain", "00001-")[0] == 2
    code, _, err = cli("regrade", "run", "--explain", keys[0][:20])
    assert code == 2
    assert err == (
        f"eli5b-batch: run: 3 answers have {keys[0][:20]!r} in their keys; give more of it, such as\n"
        f"  {keys[0]}\n  {keys[2]}\n  {keys[1]}\n"
    )
    assert cli("regrade", "run", "--explain", keys[1][5:])[1].startswith(f"key        {keys[1]}\n")
    assert cli("regrade", "run", "--explain", keys[2])[1].startswith(f"key        {keys[2]}\n")  # begins another's


def test_for_an_unknown_key_the_nearest_are_named(cli: Cli, folder: Folder) -> None:
    keys = [folder.graded(n, r"So \boxed{2}", "correct", hint=hint) for n in (0, 1) for hint in ("none", "generic")]
    hint_call = folder.reply(0, "a hint", "hint")
    wrong = keys[2].replace("model:1b", "model:1c")
    code, out, err = cli("regrade", "run", "--explain", wrong)
    assert (code, out) == (2, "")
    head, first, *_ = err.split("\n")
    assert head == f"eli5b-batch: run: no answer on record has the key {wrong!r}; the nearest are"
    assert first == f"  {keys[2]}"
    assert "no answer on record has the key" in cli("regrade", "run", "--explain", hint_call)[2]


# --- progress ------------------------------------------------------------------------------------


def test_off_a_terminal_lines_say_how_far_it_is_unless_it_is_to_be_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eli5b_batch.cli.progress_bar._LINE_S", 0.0)
    lines = io.StringIO()
    with RegradeBar(Console(file=io.StringIO()), lines) as bar:
        bar.tell(1_200, 0.485)
    assert lines.getvalue() == "eli5b-batch: grading again: 1,200 answers, 48.5%\n"
    with RegradeBar(Console(file=io.StringIO()), lines, quiet=True) as bar:
        bar.tell(1_300, 0.5)
    assert "1,300" not in lines.getvalue()


def test_on_a_terminal_a_bar_moves_and_is_gone_at_the_end(folder: Folder) -> None:
    for n in range(3000):
        folder.graded(0, r"So \boxed{2}", "incorrect", sample=n)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "eli5b_batch", "regrade", "run"]
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, cwd=folder.path.parent, env=environment) as shown:  # noqa: S603
        os.close(theirs)
        text = b""
        try:
            while chunk := os.read(ours, 65536):
                text += chunk
        except OSError:  # how Linux says that nobody writes to the terminal any more
            os.close(ours)
    assert shown.returncode == 0
    assert b"grading again" in text
    assert re.search(rb"\x1b\[\?25h.*3,000 answers graded again", text, re.DOTALL)
