"""failures.py: `status --failures` and the last words of a run with failures."""

from __future__ import annotations

import io
import tracemalloc
from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from rich.console import Console

from eli5b_batch.cli.failures import Failures, last_words, outlook, read_failures
from eli5b_batch.cli.progress_bar import ProgressBar
from eli5b_batch.errors import JournalDamagedError, RunFolderError
from eli5b_batch.progress.causes import Causes
from eli5b_batch.records import make_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Cli = Callable[..., tuple[int, str, str]]
    Job = Callable[..., Path]
    Serve = Callable[..., str]

KEY = "a|answer|model:1b"
NOT_YOURS = "api answered 403: this prompt is not for you ({})"


class Silent(ProgressBar):
    def __init__(self) -> None:
        super().__init__(Console(file=io.StringIO()), io.StringIO())


class RunFolder:
    """A manifest and a journal written line by line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.manifest()

    def manifest(self, **changes: object) -> None:
        data = {"sha256": "0", "reader": "jsonl"}
        manifest: dict[str, Any] = {
            "name": "small", "protocol": "eli5b", "simulated": False, "graded_steps": ["answer"], "expected_answers": 0,
            "teacher": None, "students": None, "data": data, "models": {}, "created_at": "x", "starts": [], **changes,
        }  # fmt: skip
        (self.path / "manifest.json").write_bytes(orjson.dumps(manifest))

    def call(
        self, problem: str, error: dict[str, Any] | None = None, *, step: str = "answer", model: str = "1b"
    ) -> str:
        key = make_key(problem, step, model, {"sample": 0})
        record = {
            "key": key, "status": "error" if error else "ok", "request_hash": "0" * 16, "provider": "api",
            "reply": None if error else {"text": "x" * 500}, "error": error,
        }  # fmt: skip
        self.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
        return key

    def write(self, line: bytes) -> None:
        with (self.path / "calls.jsonl").open("ab") as file:
            file.write(line)

    def read(self) -> Failures:
        return read_failures(self.path, Silent())


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def error(message: str = "no answer in time", error_class: str = "timeout", **more: int) -> dict[str, Any]:
    return {"class": error_class, "message": message, "status": None, "attempts": 6, **more}


# --- reading -------------------------------------------------------------------------------------


def test_failed_calls_are_grouped_by_cause_with_who_was_hit_and_how_many_are_given_up(run: RunFolder) -> None:
    for number in range(4):
        run.call(f"p{number}", error(NOT_YOURS.format(number), "refused", starts=number))
    run.call("p0", error(starts=1), step="hint", model="maverick")
    run.call("p9")
    found = run.read()
    assert (found.calls, found.failed) == (6, 5)
    refused, late = found.causes
    assert (refused.error_class, refused.count, refused.given_up) == ("refused", 4, 1)
    assert (refused.message, refused.calls) == (NOT_YOURS.format(0), {("answer", "1b"): 4})
    assert refused.key == "p0|answer|model:1b|sample=0"
    assert (late.count, late.calls) == (1, {("hint", "maverick"): 1})


def test_of_a_call_the_newest_failure_counts_and_none_that_has_an_answer(run: RunFolder) -> None:
    run.call("tried again", error("first"))
    run.call("answered in the end", error("first"))
    run.call("tried again", error("second", starts=2))
    run.call("answered in the end")
    run.call("answered before")
    run.call("answered before", error("later"))
    found = run.read()
    assert (found.calls, found.failed, [cause.message for cause in found.causes]) == (3, 1, ["second"])


def test_records_from_before_a_redo_do_not_count(run: RunFolder) -> None:
    run.call("a")
    run.call("b", error("before"))
    run.call("a", step="hint")
    run.manifest(redo={"answer": (run.path / "calls.jsonl").stat().st_size})
    run.call("a", error("since"))
    found = run.read()
    assert (found.calls, [cause.message for cause in found.causes]) == (2, ["since"])


def test_calls_that_were_never_sent_are_told_last(run: RunFolder) -> None:
    run.call("a", error(), step="hint", model="maverick")
    for number in range(3):
        run.call(f"p{number}", error(f"the call it builds on failed: p{number}|hint|model:maverick", "upstream"))
    assert [cause.error_class for cause in run.read().causes] == ["timeout", "upstream"]


def test_records_without_starts_are_given_up_by_the_attempts_of_the_job_where_that_can_be_read(
    run: RunFolder, job: Job
) -> None:
    run.call("a", error() | {"attempts": 18})
    run.call("b", error() | {"attempts": 17})
    assert [cause.given_up for cause in run.read().causes] == [0]
    job().rename(run.path / "job.yaml")
    assert [cause.given_up for cause in run.read().causes] == [1]


def test_a_torn_last_line_does_not_count_and_another_layout_does(run: RunFolder) -> None:
    run.write(
        orjson.dumps({"status": "error", "error": error("other tools"), "key": KEY, "request_hash": "0" * 16}) + b"\n"
    )
    run.write(b'{"key":"b|answer|model:1b","status":"error","request_hash":"0000')
    found = run.read()
    assert (found.calls, [cause.message for cause in found.causes]) == (1, ["other tools"])


def test_a_folder_without_calls_has_no_failures(run: RunFolder) -> None:
    assert run.read() == Failures(simulated=False, calls=0, failed=0, causes=[])
    (run.path / "calls.jsonl").touch()
    assert run.read() == Failures(simulated=False, calls=0, failed=0, causes=[])


NO_KEY = b'{"key":"a","status":"error","request_hash":"%s"}\n' % (b"0" * 16)


@pytest.mark.parametrize(
    "line", [b"no JSON\n", b'{"key": 1}\n', b'{"key":"a","status":"error","request_hash":"x\n', NO_KEY]
)
def test_a_damaged_line_is_named_with_the_way_out(run: RunFolder, line: bytes) -> None:
    run.call("a")
    run.write(line)
    with pytest.raises(JournalDamagedError, match=r"calls\.jsonl.*--repair"):
        run.read()


def test_what_is_no_run_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"is not a run folder: it has no manifest\.json"):
        read_failures(tmp_path, Silent())


def test_memory_grows_by_a_few_bytes_a_line(run: RunFolder) -> None:
    answer = orjson.dumps({"key": "KEY", "status": "ok", "request_hash": "0" * 16, "reply": {"text": "x" * 200}})
    failed = orjson.dumps({"key": "KEY", "status": "error", "request_hash": "0" * 16, "error": error()})
    lines = [
        (failed if number % 10 == 0 else answer).replace(b"KEY", b"p%d|answer|model:1b" % number) + b"\n"
        for number in range(50_000)
    ]
    run.write(b"".join(lines))
    del lines
    tracemalloc.start()
    found = run.read()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.calls, found.failed, len(found.causes)) == (50_000, 5_000, 1)
    assert peak < 8_000_000


# --- what is said --------------------------------------------------------------------------------


def test_status_shows_failures_by_cause_and_obeys_no_hosts_words(cli: Cli, run: RunFolder) -> None:
    for number in range(2):
        key = run.call(f"p{number}", error(f"\x1b[2Japi answered 403:\n request {number} is not for you", "refused"))
    run.call("p7")
    code, out, err = cli("status", run.path, "--failures")
    assert (code, err) == (0, "")
    assert out.split("\n") == [
        f"{run.path}: 2 of 3 calls on record failed",
        "",
        "2  refused  (answer: 1b 2)",
        "   [2Japi answered 403: request 0 is not for you",
        "   p0|answer|model:1b|sample=0",
        "",
        "They count as wrong. The same command tries them again.",
        f'One in full: grep -F \'"key":"{key.replace("p1", "p0")}"\' {run.path}/calls.jsonl',
        "",
    ]


def test_status_shows_twenty_causes_and_counts_the_others(cli: Cli, run: RunFolder) -> None:
    run.manifest(simulated=True)
    for number in range(30):
        run.call(f"p{number}", error("the field " + "x" * (number + 1) + " is unknown", "bad_request"))
    out = cli("status", run.path, "--failures")[1]
    assert "SIMULATED, 30 of 30 calls on record failed" in out
    assert out.count("is unknown") == 20
    assert "... and 10 calls of 10 rarer causes" in out


def test_status_says_where_nothing_failed(cli: Cli, run: RunFolder) -> None:
    run.call("a")
    assert cli("status", run.path, "--failures") == (0, f"{run.path}: 0 of 1 calls on record failed\n", "")


def test_failures_can_not_be_watched(cli: Cli, run: RunFolder) -> None:
    code, _, err = cli("status", run.path, "--failures", "--watch")
    assert code == 2
    assert "can't be watched" in err


def causes(*failures: tuple[str, str, bool]) -> Causes:
    made = Causes()
    for error_class, message, given_up in failures:
        made.add(error(message, error_class), key="k", step="answer", model="1b", given_up=given_up)
    return made


def test_the_last_words_name_the_three_commonest_causes_in_the_hosts_words(tmp_path: Path) -> None:
    made = causes(
        *[("refused", NOT_YOURS.format(number), False) for number in range(5)],
        *[("upstream", "the call it builds on failed: k", False)] * 9,
        *[("timeout", "no answer in time", False)] * 3,
        *[("too_large", "x" * 1000, False)] * 2,
        ("broken", "half a text", False),
    )
    by_class = Counter({"upstream": 9, "refused": 5, "timeout": 3, "too_large": 2, "broken": 1})
    assert last_words(made.commonest(), by_class, 1200, tmp_path / "my runs") == (
        "20 of 1,200 calls failed (9 upstream, 5 refused, 3 timeout, 2 too_large, 1 broken); they count as wrong. "
        "The commonest causes: 5 refused: 'api answered 403: this prompt is not for you (0)', "
        f"3 timeout: 'no answer in time', 2 too_large: '{'x' * 157}...', 1 for other reasons. "
        "The same command tries them again. "
        f"All of them by cause: python -m eli5b_batch status '{tmp_path}/my runs' --failures"
    )


@pytest.mark.parametrize(
    ("failures", "words"),
    [
        ([("refused", False)], "The same command tries them again."),
        ([("refused", False), ("upstream", False)], "The same command tries them again."),
        (
            [("refused", True)],
            "They failed in 3 starts and are given up; --redo STEP asks a whole step again.",
        ),
        (
            [("refused", True), ("upstream", False)],
            "They failed in 3 starts and are given up with what builds on them; --redo STEP asks a whole step again.",
        ),
        (
            [("refused", True), ("timeout", False)],
            "1 of them failed in 3 starts and are given up; the same command tries the others again.",
        ),
    ],
)
def test_calls_given_up_are_not_said_to_be_tried_again(failures: list[tuple[str, bool]], words: str) -> None:
    made = causes(*[(error_class, error_class, given_up) for error_class, given_up in failures])
    assert outlook(made.commonest()) == words


def test_a_run_with_failures_ends_with_their_causes_and_the_command_that_shows_them(
    cli: Cli, job: Job, serve_openai: Serve
) -> None:
    path = job(
        providers={"api": {"api": "openai", "base_url": serve_openai(["large-70b"], b"<p>busy</p>"), "attempts": 1}},
        models={name: {"provider": "api", "model": "large-70b", "price": "unknown"} for name in ("teacher", "1b")},
        params={"teacher": "teacher", "students": ["1b"], "hints": ["none"]},
    )
    last = ""
    for start in range(4):
        code, out, _ = cli(path, "--display", "none")
        assert code == 3
        last = out.rstrip("\n").split("\n")[-1]
        assert (
            "2 of 2 calls failed (2 server_error); they count as wrong. The commonest causes: 2 server_error: '" in last
        )
        assert "<p>busy</p>" in last
        assert ("The same command tries them again." in last) == (start < 2)
        assert last.endswith("python -m eli5b_batch status outputs/small --failures")
    assert "They failed in 3 starts and are given up" in last
    code, out, _ = cli("status", "outputs/small", "--failures")
    assert code == 0
    assert "2  server_error  (answer: 1b 2; 2 given up)" in out
