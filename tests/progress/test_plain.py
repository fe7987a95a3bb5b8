from __future__ import annotations

import asyncio
import io
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from eli5b_batch.progress import PlainProgress, plain_line
from eli5b_batch.progress.plain import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from eli5b_batch.progress.snapshot import SlotProgress, Snapshot

    Make = Callable[..., Snapshot]


def unexpected(error: Exception) -> None:
    raise error


@pytest.mark.looptime
async def test_a_plain_line_is_written_at_the_start_every_few_seconds_and_at_the_end(snapshot: Make) -> None:
    stream = io.StringIO()

    def look() -> Snapshot:
        return snapshot(updated_at=str(asyncio.get_running_loop().time()), providers=[])

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


def test_a_plain_line_of_an_ended_run_says_how_it_ended(snapshot: Make) -> None:
    line = plain_line(snapshot(state="failed", exit_code=5, reason="key\x1b[2J refused:\n401 ü", simulated=False))
    assert "SIMULATED" not in line
    assert "failed after 20m 00s, exit code 5" in line
    assert "left" not in line
    assert line.endswith("| key [2J refused: 401 \\xfc")


def test_a_plain_line_names_the_slots_that_are_down_and_says_nothing_of_slots_where_there_are_none(
    snapshot: Make,
) -> None:
    usual, other = snapshot()["slots"]
    down: SlotProgress = {**other, "down": True, "busy_share": 0.37, "busy_s": 444.0, "down_s": 720.0}
    assert "| slots busy 67.0%, loading 1.5%, down: gpu1 |" in plain_line(snapshot(slots=[usual, down]))
    assert "slots" not in plain_line(snapshot(slots=[]))


def standing(
    snapshot: Make, elapsed_s: float, wait: str | None, error: str | None = None, state: str = "running"
) -> Snapshot:
    provider = {**snapshot()["providers"][0], "waiting_for": wait, "last_error": error, "last_error_s": 12.0}
    return snapshot(elapsed_s=elapsed_s, providers=[provider], state=state)


def test_a_wait_is_written_at_once_where_it_is_new_and_again_once_a_minute(snapshot: Make) -> None:
    trouble = Trouble()
    lines = {
        at: trouble.lines(standing(snapshot, at, f"a 429 of maverick: {300 - at} s to go", "answered 429: not now"))
        for at in range(0, 181, 5)
    }
    assert [at for at, due in lines.items() if due] == [0, 55, 110, 165]
    [line] = lines[55]
    assert line.startswith("2026-11-21T01:20:00Z together: waits for a 429 of maverick: 245 s to go; last failure 12s")
    assert line.endswith(" ago: answered 429: not now")
    assert trouble.lines(standing(snapshot, 182, "a probe of gpu0: 3 s to go"))
    assert trouble.lines(standing(snapshot, 184, "a probe of gpu0: 1 s to go", "answered 500: broken"))


def test_waits_that_come_and_go_are_not_written_each_time(snapshot: Make) -> None:
    trouble = Trouble()
    waits = [None, "a 429 of maverick: 1 s to go", "money in flight"]
    written = [trouble.lines(standing(snapshot, at, waits[at % 3])) for at in range(1, 50)]
    assert sum(bool(lines) for lines in written) == 2


def test_a_run_that_goes_well_or_has_ended_says_nothing_of_waiting(snapshot: Make) -> None:
    assert Trouble().lines(standing(snapshot, 5, None)) == []
    assert Trouble().lines(standing(snapshot, 5, "money in flight", "HTTP 500", state="done")) == []


@pytest.mark.parametrize("words", ["\x1b[2Jboom\r\n\x07" * 2_000, "ü" * 10_000, "\ud83d " * 9_000, "a " * 10_000])
def test_a_hosts_words_are_bounded_and_not_obeyed(snapshot: Make, words: str) -> None:
    [line] = Trouble().lines(standing(snapshot, 5, words, words))
    assert len(line) < 500
    assert all(" " <= character <= "~" for character in line)


def test_many_providers_in_trouble_are_counted(snapshot: Make) -> None:
    provider = {**snapshot()["providers"][0], "last_error": "HTTP 500"}
    lines = Trouble().lines(snapshot(providers=[{**provider, "provider": f"p{n}"} for n in range(30)]))
    assert (len(lines), lines[-1]) == (9, "+22 more")


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
