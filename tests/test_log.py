"""log.py: one JSON object per line, also beside a full disk."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from eli5b_batch.log import display_failed, log, run_log

if TYPE_CHECKING:
    import pytest


def test_each_event_is_one_json_object_with_its_fields(tmp_path: Path) -> None:
    with run_log(tmp_path / "run.log"):
        log("call failed", level=logging.WARNING, key="a\nb", attempts=3)
        display_failed(ValueError("no"))
    first, second = (orjson.loads(line) for line in (tmp_path / "run.log").read_bytes().splitlines())
    assert (first["level"], first["event"], first["key"], first["attempts"]) == ("warning", "call failed", "a\nb", 3)
    assert second["event"] == "display failed"
    assert "ValueError: no" in second["traceback"]


def test_nothing_is_logged_outside_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with run_log(tmp_path / "run.log"):
        pass
    log("late")
    assert (tmp_path / "run.log").read_bytes() == b""
    assert capsys.readouterr().err == ""


def test_a_log_that_can_not_be_written_is_reported_once_and_raises_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with run_log(Path("/dev/full")):
        log("one")
        log("two")
    assert capsys.readouterr().err == "eli5b-batch: /dev/full can't be written; 'one' is not logged\n"


def test_after_a_run_the_log_goes_where_it_went_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with run_log(tmp_path / "run.log"):
        log("within", level=logging.WARNING)
    log("after", level=logging.WARNING)
    assert [record.getMessage() for record in caplog.records] == ["after"]
