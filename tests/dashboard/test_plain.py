from __future__ import annotations

import asyncio
import io
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from eli5b_batch.dashboard import PlainProgress, plain_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from eli5b_batch.snapshot import Slot, Snapshot

    Make = Callable[..., Snapshot]


def unexpected(error: Exception) -> None:
    raise error


@pytest.mark.looptime
async def test_a_plain_line_at_the_start_every_few_seconds_and_at_the_end(snapshot: Make) -> None:
    stream = io.StringIO()

    def look() -> Snapshot:
        return snapshot(updated_at=str(asyncio.get_running_loop().time()))

    async with PlainProgress(look, stream, on_error=unexpected):
        await asyncio.sleep(11)
    lines = stream.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["0.0", "5.0", "10.0", "11.0"]


def test_a_plain_line_says_it_all_in_plain_characters(snapshot: Make) -> None:
    line = plain_line(snapshot())
    assert line == (
        "2026-11-21T01:20:00Z omni_full SIMULATED | running for 20m 00s | problems 1,128/2,821 (40.0%)"
        " | hint 7,334/14,105 (52.0%) 9.8/s left 23m 20s | answer 9,591/28,210 (34.0%) 39.2/s left 23m 20s"
        " | failed 5 | 429s 6 | slots busy 97.0%, loading 1.5% | $4.04 of $25.00 | left 1h 40m"
    )


def test_a_plain_line_of_an_ended_run(snapshot: Make) -> None:
    line = plain_line(snapshot(state="failed", exit_code=5, reason="key\x1b[2J refused:\n401 ü", simulated=False))
    assert "SIMULATED" not in line
    assert "failed after 20m 00s, exit code 5" in line
    assert "left" not in line
    assert line.endswith("| key [2J refused: 401 \\xfc")


def test_a_plain_line_names_the_slots_that_are_down_and_says_nothing_of_slots_where_there_are_none(
    snapshot: Make,
) -> None:
    one, other = snapshot()["slots"]
    down: Slot = {**other, "down": True, "busy_share": 0.37, "busy_s": 444.0, "down_s": 720.0}
    assert "| slots busy 67.0%, loading 1.5%, down: gpu1 |" in plain_line(snapshot(slots=[one, down]))
    assert "slots" not in plain_line(snapshot(slots=[]))


@pytest.mark.looptime
async def test_a_pipe_whose_reader_left_does_not_end_the_run(snapshot: Make) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    errors: list[Exception] = []
    stream = os.fdopen(writer, "w")
    async with PlainProgress(snapshot, stream, on_error=errors.append):
        await asyncio.sleep(60)
    assert [type(error) for error in errors] == [BrokenPipeError, BrokenPipeError]
    with suppress(BrokenPipeError):
        stream.close()


@pytest.mark.looptime
async def test_a_pipe_whose_reader_pages_does_not_stop_the_run(snapshot: Make) -> None:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream, os.fdopen(reader) as page:
        async with PlainProgress(snapshot, stream, on_error=unexpected):
            await asyncio.sleep(5 * 2000)  # far more lines than a pipe holds
            os.read(page.fileno(), 10**6)
