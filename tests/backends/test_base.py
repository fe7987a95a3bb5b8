"""backends/base.py: which fields of a reply can be recorded."""

from __future__ import annotations

from typing import Any

import orjson

from eli5b_batch.backends.base import recordable


def test_what_can_be_written_is_kept_as_it_is() -> None:
    extra = {"tool_calls": [{"function": {"name": "add"}}]}
    assert recordable(extra) is extra


def test_what_is_nested_too_deeply_to_be_written_is_named_instead() -> None:
    deep: list[Any] = []
    for _ in range(400):
        deep = [deep]
    recorded = recordable({"tool_calls": deep})
    assert recorded == {"left_out": "tool_calls: nested too deeply to be kept"}
    assert orjson.dumps(recorded)
