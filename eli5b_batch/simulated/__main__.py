"""The process of the simulated servers: one configuration in, the servers' addresses out, then service.

Must not know: the run. Started by `launch`. The first line of standard input is a `Config` as JSON; the first
line of standard output maps each server's name to its addresses. The process ends when standard input does,
so that it dies with whoever started it, however that ends, and on SIGTERM. Ctrl-C reaches every process of a
terminal and is ignored here: the run drains through these servers.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import orjson
from pydantic import Field

from eli5b_batch.event_loop import run as run_loop
from eli5b_batch.job.schema import Limits, Simulation
from eli5b_batch.job.values import Section
from eli5b_batch.simulated.faults import listen
from eli5b_batch.simulated.ledger import Ledger
from eli5b_batch.simulated.model import BookEntry, SimulatedModel
from eli5b_batch.simulated.ollama import SimulatedOllama
from eli5b_batch.simulated.openai import SimulatedAPI

if TYPE_CHECKING:
    from aiohttp import web


class SlotConfig(Section):
    """One Ollama server; no models means all of its provider's."""

    name: str
    parallel: int = 1
    loaded: int | None = None
    models: list[str] = Field(default_factory=list)


class ServerConfig(Section):
    """The servers of one provider: one API, or one Ollama server per slot."""

    name: str
    wire: Literal["openai", "ollama"]
    models: dict[str, str]
    simulation: Simulation
    limits: Limits | None = None
    slots: list[SlotConfig] = Field(default_factory=list)
    api_key: str | None = Field(None, description="The key that requests must bring; left out: none.")
    ports: list[int] = Field(default_factory=list, description="One per server; left out: any that are free.")


class Config(Section):
    """What the process is told: the job's seed, the answer book (JSON Lines), the servers, and where to keep books."""

    seed: int
    book: Path
    servers: list[ServerConfig]
    ledger: Path | None = Field(None, description="See `ledger.py`; left out: no books are kept.")


def read_book(path: Path) -> dict[str, BookEntry]:
    """The answer book, by problem id."""
    rows = (orjson.loads(line) for line in path.read_bytes().splitlines())
    return {row["id"]: BookEntry(row["text"], row["answer"], row["difficulty"]) for row in rows}


def apps(server: ServerConfig, book: dict[str, BookEntry], seed: int) -> dict[str, web.Application]:
    """The applications of one provider by name: one, or one per slot in their order."""
    mind = SimulatedModel(book, server.models, server.simulation, seed)
    if server.wire == "openai":
        return {server.name: SimulatedAPI(mind, server.simulation, server.limits, api_key=server.api_key).app()}
    return {
        f"{server.name}/{slot.name}": SimulatedOllama(
            mind, server.simulation, slot.models or mind.models, slot.parallel, loaded=slot.loaded, name=slot.name
        ).app()
        for slot in server.slots
    }


async def serve(config: Config, lifeline: int) -> None:
    """Start the servers, print their addresses, and serve until `lifeline` (a pipe to read from) ends."""
    book = read_book(config.book)
    ledger = Ledger(config.ledger) if config.ledger else None
    urls: dict[str, list[str]] = {}
    for server in config.servers:
        served = apps(server, book, config.seed)
        for (name, app), port in zip(served.items(), server.ports or [0] * len(served), strict=True):
            if ledger is not None:
                app.middlewares.insert(0, ledger.middleware(name))
            urls.setdefault(server.name, []).append(await listen(app, port))
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    loop.add_reader(lifeline, lambda: None if os.read(lifeline, 4096) else over.set())
    print(orjson.dumps(urls).decode(), flush=True)  # noqa: T201 (the one line that the starter waits for)
    await over.wait()  # what is in flight then is dropped, as by a server that dies
    loop.remove_reader(lifeline)


def main() -> None:
    """Read the configuration and serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    config = Config.model_validate_json(sys.stdin.buffer.readline())
    run_loop(serve(config, sys.stdin.fileno()))


if __name__ == "__main__":
    main()
