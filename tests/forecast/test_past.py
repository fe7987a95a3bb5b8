"""rehearsal/past.py: real models as a finished run recorded them, else as assumed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from eli5b_batch.errors import JournalDamagedError, RunFolderError
from eli5b_batch.forecast.past import PastCall, PastModel, PastRun, look_back
from eli5b_batch.records import make_key, parse_key

if TYPE_CHECKING:
    from pathlib import Path

CALL = parse_key(make_key("p", "answer", "1b", {"hint": "none"}))
DATA = {"sha256": "0", "reader": "jsonl"}
MANIFEST: dict[str, Any] = {
    "name": "small", "protocol": "eli5b", "simulated": False, "graded_steps": ["answer"], "expected_answers": 0,
    "teacher": None, "students": None, "data": DATA, "models": {}, "created_at": "x", "starts": [],
}  # fmt: skip


def record(**changes: object) -> dict[str, Any]:
    return {
        "status": "ok",
        "request_hash": "0" * 16,
        "step": "answer",
        "model": "1b",
        "provider": "gpus",
        "reply": {"text": "42"},
        "usage": {"input_tokens": 100, "output_tokens": 50},
        "timing": {"latency": 4.0, "load": 0.0},
    } | changes


def write(folder: Path, *records: dict[str, Any]) -> Path:
    """A run folder with these records, each of a call of its own unless it names one."""
    keyed = [{"key": make_key(f"p{n}", "answer", "1b", {}), **r} for n, r in enumerate(records)]
    (folder / "calls.jsonl").write_bytes(b"".join(orjson.dumps(r) + b"\n" for r in keyed))
    return folder


def test_a_run_tells_tokens_seconds_without_loading_and_the_mean_load(tmp_path: Path) -> None:
    run = write(
        tmp_path,
        record(),
        record(timing={"latency": 10.0, "load": 6.0}),
        # a server that tells its work: it waited 5 s while another call loaded the model
        record(timing={"latency": 9.0, "load": 0.0}, reply={"durations": {"total": 9.0, "prompt_eval": 1, "eval": 3}}),
        record(timing={"latency": 4.03, "load": 0.03}),  # a loaded model is told to have loaded for some milliseconds
        record(status="error", usage=None, timing=None),
    )
    past = look_back(run)
    assert past.calls == {("answer", "1b"): [PastCall(100, 50, 4.0)] * 4}
    assert past.load_s == {"gpus": 6.0}


def test_only_records_that_count_are_drawn_from(tmp_path: Path) -> None:
    twice, newer = make_key("p", "answer", "1b", {}), {"usage": {"input_tokens": 7, "output_tokens": 5}}
    run = write(tmp_path, record(key=twice), record(), record(key=twice, **newer), record(key=twice, status="error"))
    assert look_back(run).calls == {("answer", "1b"): [PastCall(100, 50, 4.0), PastCall(7, 5, 4.0)]}
    first = len((run / "calls.jsonl").read_bytes().split(b"\n")[0]) + 1
    second = len((run / "calls.jsonl").read_bytes().split(b"\n")[1]) + 1
    (run / "manifest.json").write_bytes(orjson.dumps({**MANIFEST, "redo": {"answer": first + second}}))
    assert look_back(run).calls == {("answer", "1b"): [PastCall(7, 5, 4.0)]}


def test_each_call_draws_a_recorded_one_and_always_the_same() -> None:
    seen = [PastCall(10, n, float(n)) for n in range(1, 101)]
    mind = PastModel(PastRun(calls={("answer", "1b"): seen}), {"1b": "llama3.2:1b"}, seed=0)
    drawn = [mind.reply(mind.fingerprint("k", b"%d" % n), CALL, "llama3.2:1b", "hello", 9) for n in range(300)]
    again = [mind.reply(mind.fingerprint("k", b"%d" % n), CALL, "llama3.2:1b", "hello", 9) for n in range(300)]
    assert drawn == again
    assert len({r.output_tokens for r in drawn}) > 80
    assert all(r.generation_s == r.output_tokens and r.input_tokens == 10 for r in drawn)


def test_what_was_never_recorded_is_assumed_as_check_does() -> None:
    mind = PastModel(PastRun(), {"1b": "llama3.2:1b"}, seed=0)
    reply = mind.reply(mind.fingerprint("k", b""), CALL, "llama3.2:1b", "x" * 400, 600)
    assert (reply.input_tokens, reply.output_tokens, reply.generation_s) == (101, 300, 5.0)


def test_a_folder_without_answers_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"^--from .*calls.jsonl can't be read: No such file"):
        look_back(tmp_path)
    with pytest.raises(RunFolderError, match="no call has been answered there"):
        look_back(write(tmp_path, record(status="error")))
    with pytest.raises(JournalDamagedError, match="not the record of a call"):
        look_back(write(tmp_path, {"status": "ok"}))


def test_a_run_whose_host_tells_no_tokens_says_nothing(tmp_path: Path) -> None:
    silent = record(usage={"input_tokens": 0, "output_tokens": 0})
    with pytest.raises(RunFolderError, match="no call has been answered there with its tokens told"):
        look_back(write(tmp_path, silent))
    assert look_back(write(tmp_path, silent, record())).calls == {("answer", "1b"): [PastCall(100, 50, 4.0)]}


@pytest.mark.parametrize(
    "wrong",
    [
        {"usage": {"input_tokens": 100, "output_tokens": "many"}},
        {"usage": {"input_tokens": 100, "output_tokens": 1e11}},
        {"usage": {"input_tokens": -1, "output_tokens": 5}},
        {"timing": {"latency": 4.0, "load": 1e308}},
        {"timing": {"latency": True, "load": 0.0}},
        {"reply": ["42"]},
        {"reply": {"durations": {"prompt_eval": 1}}},
    ],
)
def test_a_figure_that_can_be_none_is_told_by_its_place(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(JournalDamagedError, match=r"calls\.jsonl: the line at byte \d\d+ is no record of a call"):
        look_back(write(tmp_path, record(), record(**wrong)))
