"""records/frame.py: the calls of a run folder as a lazy polars frame."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import orjson
import polars as pl
import pytest

from eli5b_batch.errors import JournalDamagedError, RunFolderError
from eli5b_batch.records import read_calls

if TYPE_CHECKING:
    from pathlib import Path

    from tests.records.conftest import RunFolder


def test_columns_are_as_in_the_file_and_each_tag_is_one(run: RunFolder) -> None:
    run.record("p", "hint", tags={"hint": "generic"})
    record = run.record("p", tags={"hint": "generic", "sample": 0}, built_on=["p|hint|hint:generic|model:1b"])
    calls = read_calls(run.path)
    assert calls.collect_schema().names() == [
        *("key", "status", "request_hash", "cost_usd", "problem", "step", "hint", "sample"),
        *(
            "model",
            "provider",
            "slot",
            "simulated",
            "request",
            "reply",
            "usage",
            "timing",
            "error",
            "built_on",
            "schema",
        ),
    ]
    hint, answer = calls.collect().to_dicts()
    assert (hint["sample"], answer["sample"], hint["built_on"]) == (None, 0, None)
    for name in ("key", "status", "cost_usd", "hint", "slot", "simulated", "error", "built_on", "schema"):
        assert answer[name] == record[name]
    for name in ("reply", "usage", "timing"):
        assert {field: value for field, value in answer[name].items() if value is not None} == record[name]
    assert orjson.loads(answer["request"].pop("sampling")) == record["request"].pop("sampling")
    assert answer["request"] == record["request"]


def test_what_a_reply_may_hold_in_any_shape_is_json_text(run: RunFolder) -> None:
    tools = [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]
    logprobs = {"content": [{"token": "a", "logprob": -1.5}]}
    reply = {"text": "", "finish": "cut", "tool_calls": tools, "logprobs": logprobs, "durations": {"eval": 2}}
    run.record("p", reply=reply)
    run.record("q", reply={"text": "x", "reasoning_details": [[1], "a"], "window_full": True, "unheard of": {}})
    run.record("r", ok=False, error={"class": "broken", "message": "m", "attempts": 3, "starts": 1, "kept": True})
    first, second, third = read_calls(run.path).collect().to_dicts()
    assert [orjson.loads(first["reply"][field]) for field in ("tool_calls", "logprobs")] == [tools, logprobs]
    assert first["reply"]["durations"] == {"total": None, "prompt_eval": None, "eval": 2.0}
    assert orjson.loads(second["reply"]["reasoning_details"]) == [[1], "a"]
    assert (second["reply"]["window_full"], second["reply"]["durations"]) == (True, None)
    assert (third["reply"], third["usage"]) == (None, None)
    assert (third["error"]["class"], third["error"]["starts"], third["error"]["kept"]) == ("broken", 1, True)


def test_a_tag_of_numbers_here_and_texts_there_is_a_column_of_texts(run: RunFolder) -> None:
    run.record("p", tags={"level": 3})
    run.record("q", tags={"level": "high"})
    run.record("r")
    assert read_calls(run.path).collect()["level"].to_list() == ["3", "high", None]


def test_a_value_of_another_type_than_its_column_is_null(run: RunFolder) -> None:
    run.record("p", usage={"input_tokens": "many", "output_tokens": 3}, slot=7, reply="text", simulated="yes")
    (row,) = read_calls(run.path).collect().to_dicts()
    assert row["usage"]["input_tokens"] is None
    assert row["usage"]["output_tokens"] == 3
    assert (row["reply"], row["simulated"], row["slot"]) == (None, None, "7")


def test_it_is_asked_as_any_lazy_frame(run: RunFolder) -> None:
    for number in range(10):
        run.record(f"p{number}", ok=number % 2 == 0)
    calls = read_calls(str(run.path))
    ok = pl.col("status") == "ok"
    latency = pl.col("timing").struct.field("latency")
    assert calls.filter(ok).head(3).select("problem").collect()["problem"].to_list() == ["p0", "p2", "p4"]
    assert calls.head(3).filter(ok).select(latency).collect()["latency"].to_list() == [0.0, 2.0]
    assert calls.select(pl.len()).collect().item() == 10
    assert calls.group_by("status").agg(latency.sum()).sort("status").collect().rows() == [
        ("error", 25.0),
        ("ok", 20.0),
    ]


def test_a_folder_without_calls_on_record_is_an_empty_frame_and_what_is_none_an_error(
    run: RunFolder, tmp_path: Path
) -> None:
    assert read_calls(run.path).collect().shape == (0, 17)
    with pytest.raises(RunFolderError, match=r"calls\.jsonl can't be read"):
        read_calls(tmp_path / "none")
    run.write(b"{}\n")
    with pytest.raises(JournalDamagedError, match="--repair"):
        read_calls(run.path)


def test_memory_holds_a_batch_and_the_result(run: RunFolder) -> None:
    run.record("p", reply={"text": "x" * 2_000})
    line = run.calls.read_bytes()
    run.calls.write_bytes(b"".join(line.replace(b'"p|', b'"p%d|' % n) for n in range(20_000)))
    tracemalloc.start()
    frame = read_calls(run.path).select("step", pl.col("usage").struct.field("output_tokens")).collect()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert frame["output_tokens"].sum() == 20 * 20_000
    assert peak < 40_000_000


def test_a_key_that_is_none_is_told(run: RunFolder) -> None:
    run.record("p", key="p")
    with pytest.raises(JournalDamagedError, match=r"calls\.jsonl: a line is not the record of a call"):
        read_calls(run.path)
