from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest
from aiohttp import web

from eli5b_batch.simulated.outages import Outages

if TYPE_CHECKING:
    from collections.abc import Sequence


class Connection:
    """What an outage closes."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


class Request:
    def __init__(self) -> None:
        self.transport = Connection()


async def ask(outages: Outages, at_s: float, takes_s: float) -> tuple[float, int, bool]:
    """When the answer came, its status, and whether the connection was dropped instead."""

    async def handler(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(takes_s)
        return web.Response()

    loop = asyncio.get_running_loop()
    await asyncio.sleep(at_s - loop.time())
    request = Request()
    response = await outages.middleware(cast("web.Request", request), handler)
    return round(loop.time(), 3), response.status, request.transport.closed


async def meet(
    calls: Sequence[tuple[float, float]],
    *,
    freezes: Sequence[Sequence[float]] = (),
    refuses: Sequence[Sequence[float]] = (),
) -> list[tuple[float, int, bool]]:
    outages = Outages(freezes, refuses, asyncio.get_running_loop().time)
    return await asyncio.gather(*(ask(outages, *call) for call in calls))


@pytest.mark.looptime
async def test_a_frozen_server_answers_when_the_freeze_ends() -> None:
    answers = await meet([(0, 1), (8, 3), (15, 1), (19.5, 1), (20, 1), (31, 1)], freezes=[[30, 40], [10, 20]])
    assert answers == [
        (1, 200, False),
        (20, 200, False),  # the work went on, its reply waited
        (21, 200, False),
        (21, 200, False),
        (21, 200, False),
        (41, 200, False),
    ]


@pytest.mark.looptime
async def test_a_refusing_server_answers_503_and_drops_connections_by_turns() -> None:
    answers = await meet([(0, 1), (9, 2), (10, 1), (11.5, 1), (12, 1), (20, 1)], refuses=[[10, 20]])
    assert answers == [
        (1, 200, False),
        (11, 200, True),  # its reply is dropped
        (10, 503, False),
        (11.5, 503, True),
        (12, 503, False),
        (21, 200, False),
    ]


@pytest.mark.looptime
async def test_a_freeze_may_end_in_a_refusal() -> None:
    assert await meet([(2, 1)], freezes=[[1, 5]], refuses=[[4, 6]]) == [(5, 503, False)]


@pytest.mark.looptime
async def test_time_counts_from_the_start_of_the_server() -> None:
    await asyncio.sleep(100)
    assert await meet([(103, 1), (106, 1)], freezes=[[2, 5]]) == [(106, 200, False), (107, 200, False)]
