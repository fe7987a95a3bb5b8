"""All managed servers of a run: started together, watched over, stopped together; leftovers of a killed run ended.

Must not know: how one server lives. Only the process that holds a run folder's lock touches its `servers/`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, Final

import orjson

from eli5b_batch.backends.keys import variables
from eli5b_batch.errors import JobError, ProviderRefusedError, RunFolderError, StorageError
from eli5b_batch.job.schema import OllamaProvider
from eli5b_batch.log import log
from eli5b_batch.records.disk import write_atomically
from eli5b_batch.servers import process_tree
from eli5b_batch.servers.ports import free_ports
from eli5b_batch.servers.process import Patience, ServerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence

    from eli5b_batch.job.schema import Job

SERVERS: Final = "servers"
"""The folder of the servers' logs in a run folder."""
RUNNING: Final = "running.json"
LEFTOVER_PATIENCE_S: Final = 5.0


class Fleet:
    """The managed servers of a run, all of them up.

    Args:
        job: the job, with the address of each server in its slot.
        servers: the servers.
    """

    def __init__(self, job: Job, servers: list[ServerProcess]) -> None:
        self.job = job
        self._servers = servers

    @property
    def restarts(self) -> dict[tuple[str, str], int]:
        """How often each server was started again, by the names of its provider and slot."""
        return {(server.provider, server.slot.name): server.restarts for server in self._servers}


def managed(job: Job, names: Collection[str]) -> dict[str, OllamaProvider]:
    """Return those of the named providers whose servers the run starts itself."""
    chosen = {name: job.providers[name] for name in names}
    return {name: p for name, p in chosen.items() if isinstance(p, OllamaProvider) and p.manage}


def find_program(name: str, provider: OllamaProvider) -> str:
    """Return the absolute path of a provider's executable.

    Raises:
        JobError: there is no such executable, or no folder of models where the job says.
    """
    name_or_path = str(Path(provider.executable).expanduser())
    program = shutil.which(name_or_path)
    if program is None:
        where = "there" if os.sep in name_or_path else "in PATH"
        raise JobError(
            f"providers.{name}.executable: no `{provider.executable}` found {where}; "
            "install it from https://ollama.com/download or name its path"
        )
    if provider.models_dir is not None and not provider.models_dir.expanduser().is_dir():
        raise JobError(
            f"providers.{name}.models_dir: there is no folder {provider.models_dir}; "
            "make it, or leave the key out to use Ollama's own"
        )
    return str(Path(program).absolute())


@asynccontextmanager
async def managed_servers(
    job: Job, names: Collection[str], folder: Path, patience: Patience | None = None
) -> AsyncIterator[Fleet]:
    """Run the servers of every managed provider among `names` for as long as the block runs.

    Args:
        job: the resolved job.
        names: the providers that are needed.
        folder: the folder of the servers' logs and running.json; made if a server is started.
        patience: how long to wait for servers.

    Raises:
        JobError: an executable is missing.
        ProviderRefusedError: a server does not come up; the others are stopped.
        StorageError: the disk refuses.
    """
    providers = managed(job, names)
    servers = _servers(job, providers, folder, patience or Patience()) if providers else []
    watches: list[asyncio.Task[None]] = []
    try:
        await _start(servers, folder)
        watches.extend(asyncio.create_task(server.supervise()) for server in servers)
        for watch in watches:
            watch.add_done_callback(_log_if_broken)
        yield Fleet(_with_addresses(job, servers), servers)
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)  # the error of a broken watch has been logged
        try:
            await asyncio.gather(*(server.stop() for server in servers))
        finally:
            (folder / RUNNING).unlink(missing_ok=True)
        if servers:
            log("servers stopped", restarts=sum(server.restarts for server in servers))


@asynccontextmanager
async def servers_for_a_look(job: Job, name: str) -> AsyncIterator[Fleet]:
    """Run the servers of one provider for as long as the block runs, and remove their logs at the end.

    Raises:
        JobError: an executable is missing.
        ProviderRefusedError: a server does not come up; the logs are kept, since the message names one.
        StorageError: the disk refuses.
    """
    async with AsyncExitStack() as stack:
        folder = Path(mkdtemp(prefix="eli5b-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        try:
            fleet = await stack.enter_async_context(managed_servers(job, [name], folder))
        except ProviderRefusedError:
            stack.pop_all()
            raise
        yield fleet


def _servers(
    job: Job, providers: Mapping[str, OllamaProvider], folder: Path, patience: Patience
) -> list[ServerProcess]:
    """Make the folder of the logs, and a server for every slot, not yet started."""
    programs = {name: find_program(name, provider) for name, provider in providers.items()}
    places = [(name, slot) for name, provider in providers.items() for slot in provider.shape[1]]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        ports = free_ports(len(places))
    except OSError as error:
        raise StorageError(f"{folder}: servers can't be started: {error.strerror or error}") from None
    servers: list[ServerProcess] = []

    def record() -> None:
        rows = [row for server in servers if (row := server.record())]
        try:
            write_atomically(folder / RUNNING, orjson.dumps({"servers": rows}, option=orjson.OPT_INDENT_2))
        except StorageError as error:  # the run goes on: on Linux, servers end with it even without a record
            log("servers not recorded", level=logging.WARNING, reason=str(error))

    for (name, slot), port in zip(places, ports, strict=True):
        log_name = f"{slot.name}.log" if len(providers) == 1 else f"{name}-{slot.name}.log"
        servers.append(
            ServerProcess(
                name,
                providers[name],
                slot,
                program=programs[name],
                port=port,
                log_path=folder / log_name,
                secrets=variables(job),
                patience=patience,
                changed=record,
            )
        )
    return servers


async def _start(servers: Sequence[ServerProcess], folder: Path) -> None:
    """Start all servers at once and wait for all; raise the error of the first that failed."""
    for outcome in await asyncio.gather(*(server.start() for server in servers), return_exceptions=True):
        if isinstance(outcome, OSError):
            raise StorageError(f"{folder}: a server can't be started: {outcome}") from outcome
        if isinstance(outcome, BaseException):
            raise outcome


async def end_leftovers(folder: Path, patience_s: float = LEFTOVER_PATIENCE_S) -> int:
    """End the servers that a killed run has left behind, if any. The caller must hold the run folder's lock.

    Returns:
        How many processes were ended.
    """
    record = folder / RUNNING
    leftovers = [process for row in _read(record) for process in _processes(row)]
    stubborn = await process_tree.end(leftovers, patience_s)
    if leftovers:
        log("leftover servers ended", level=logging.WARNING, processes=len(leftovers), killed=len(stubborn))
    try:
        record.unlink(missing_ok=True)
    except OSError as error:
        raise RunFolderError(f"{record}: can't be removed: {error.strerror}; it is no file that a run made") from None
    return len(leftovers)


def _read(record: Path) -> list[Any]:
    """Return the rows of running.json; none where there is no such file or it can't be read."""
    try:
        rows = orjson.loads(record.read_bytes())["servers"]
    except FileNotFoundError:
        return []
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError) as error:
        log("leftover servers unknown", level=logging.WARNING, reason=f"{record} can't be read: {error}")
        return []
    return rows if isinstance(rows, list) else []


def _processes(row: Any) -> list[Any]:  # noqa: ANN401 (JSON; psutil has no types)
    """Return the processes of one row of running.json; none for a row that no run wrote."""
    match row:
        case {"pid": int(pid), "started": float(started), "token": str(token)} if token:
            return process_tree.members(pid, started, token)
    return []


def _with_addresses(job: Job, servers: list[ServerProcess]) -> Job:
    """Return the job with the address of each server in its slot."""
    urls = {(server.provider, server.slot.name): server.url for server in servers}
    providers = dict(job.providers)
    for name in {server.provider for server in servers}:
        slots = job.providers[name].shape[1]
        addressed = [slot.model_copy(update={"url": urls[name, slot.name]}) for slot in slots]
        providers[name] = job.providers[name].model_copy(update={"slots": addressed})
    return job.model_copy(update={"providers": providers})


def _log_if_broken(watch: asyncio.Task[None]) -> None:
    """Log the error of a watch that ended by a bug. The run can go on without the watch."""
    if not watch.cancelled() and (error := watch.exception()):
        log("server no longer watched", level=logging.ERROR, error=error)
