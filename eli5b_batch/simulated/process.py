"""Starts and ends the process of the simulated servers, and turns a job into its simulated twin.

Must not know: how the servers work, what the run does with them.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import orjson

from eli5b_batch.errors import ProviderError
from eli5b_batch.job.schema import OllamaProvider, OpenAIProvider, SimulatedProvider

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Mapping, Sequence

    from eli5b_batch.data.problem import Problem
    from eli5b_batch.job.schema import Job

MODULE: Final = "eli5b_batch.simulated"
START_DEADLINE_S: Final = 60.0
"""For the imports of a fresh process on a busy machine; one that dies is not waited for."""
END_DEADLINE_S: Final = 5.0

_log = logging.getLogger(__name__)


def simulate(job: Job) -> Job:
    """The same job with every provider replaced by its simulated twin; its name gets `.simulated` behind it.

    Limits, slots, timeouts and attempts stay, and so do the models with their prices and the budget.
    """
    providers: dict[str, SimulatedProvider] = {}
    for name, provider in job.providers.items():
        if isinstance(provider, SimulatedProvider):
            providers[name] = provider
            continue
        twin: dict[str, Any] = {"timeout_s": provider.timeout_s, "attempts": provider.attempts}
        if isinstance(provider, OpenAIProvider):
            twin["limits"], _ = provider.shape
        elif isinstance(provider, OllamaProvider):
            twin["slots"] = [slot.model_copy(update={"url": None}) for slot in provider.shape[1]]
        providers[name] = SimulatedProvider(api="simulated", **twin)
    return job.model_copy(update={"name": f"{job.name}.simulated", "providers": providers})


@asynccontextmanager
async def simulated_servers(
    job: Job,
    problems: Sequence[Problem],
    *,
    ledger: Path | None = None,
    ports: Mapping[str, Sequence[int]] | None = None,
) -> AsyncIterator[dict[str, list[str]]]:
    """Serve every simulated provider of `job` for as long as the block runs.

    Args:
        job: any job; without a simulated provider no process is started.
        problems: what is asked; their answers are told to the servers.
        ledger: the file in which the servers keep books of what they did, see `ledger.py`; None: they keep none.
        ports: loopback ports by provider, one per server; a provider not named gets free ones.

    Yields:
        Addresses by provider, `http://127.0.0.1:PORT`: one for an API (without `/v1`), one per slot for GPUs,
        in the job's order.

    Raises:
        ProviderError: the servers did not start.
    """
    servers = [
        {**_server(job, n, p), "ports": list((ports or {}).get(n, ()))}
        for n, p in job.providers.items()
        if isinstance(p, SimulatedProvider)
    ]
    if not servers:
        yield {}
        return
    with tempfile.TemporaryFile() as complaints:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", MODULE),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
        )
        try:
            with tempfile.TemporaryDirectory(prefix="eli5b-") as folder:
                book = Path(folder) / "book.jsonl"
                _write_book(book, problems)
                books = str(ledger) if ledger else None
                config = orjson.dumps({"seed": job.seed, "book": str(book), "servers": servers, "ledger": books})
                urls = await _start(process, config, complaints)
            yield urls
            if process.returncode is not None:
                _log.warning("the simulated servers ended before the run did: %s", _last_line(complaints))
        finally:
            await _end(process)


def _server(job: Job, name: str, provider: SimulatedProvider) -> dict[str, Any]:
    server: dict[str, Any] = {
        "name": name,
        "wire": "ollama" if provider.slots else "openai",
        "models": {own: model.model for own, model in job.models_of(name).items()},
        "simulation": provider.simulation.model_dump(),
    }
    if provider.slots:
        server["slots"] = [
            {"name": s.name, "parallel": s.parallel, "loaded": s.loaded, "models": s.models} for s in provider.slots
        ]
    elif provider.limits:
        server["limits"] = provider.limits.model_dump()
    return server


def _write_book(path: Path, problems: Sequence[Problem]) -> None:
    with path.open("wb") as file:
        for p in problems:
            row = {"id": p.id, "text": p.text, "answer": p.answer, "difficulty": p.difficulty}
            file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))


async def _start(process: Process, config: bytes, complaints: IO[bytes]) -> dict[str, list[str]]:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_DEADLINE_S):
            with suppress(ConnectionError):  # it died before it had read all: its last words say why
                process.stdin.write(config + b"\n")
                await process.stdin.drain()
            line = await process.stdout.readline()
            if not line:
                await process.wait()
    except TimeoutError:
        raise ProviderError(f"the simulated servers did not start within {START_DEADLINE_S:g} s") from None
    if not line:
        raise ProviderError(f"the simulated servers did not start: {_last_line(complaints)}")
    urls: dict[str, list[str]] = orjson.loads(line)
    return urls


async def _end(process: Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        async with asyncio.timeout(END_DEADLINE_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _last_line(complaints: IO[bytes]) -> str:
    complaints.seek(0)
    lines = complaints.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "no reason given")
