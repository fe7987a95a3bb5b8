"""The stage of crash_matrix.py: servers that keep books, the runner as a process of its own, kills, file systems.

Must not know: what is audited.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import orjson
import psutil  # type: ignore[import-untyped]  # it has neither stubs nor a marker

from books import Start, whole_lines
from crash_proc import CONNECTIONS, Waits, unread_ports, wait_until_stopped
from eli5b_batch.job.schema import Job
from eli5b_batch.run.plan import load_experiment
from eli5b_batch.run.store import RECORD_BYTES
from eli5b_batch.servers.ports import free_ports
from eli5b_batch.simulated.process import simulated_servers

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Iterator, Mapping

    from eli5b_batch.data.problem import Problem

ROOT: Final = Path(__file__).resolve().parents[2]
LEFTOVER_S: Final = 30.0
"""Longest that any process of a runner may outlive it."""

_POLL_S: Final = 0.004
_LONGEST_RUN_S: Final = 300.0
_SLOTS: Final[list[dict[str, Any]]] = [
    {"gpu": 0, "parallel": 6, "models": ["llama3.2:1b", "llama3.2:3b"]},
    {"gpu": 1, "parallel": 6},
]
_CONCURRENCY: Final = 12
_SIMULATION: Final = {"latency_s": 0.03, "tokens_per_s": 4000, "mean_output_tokens": 60}
_PARAMS: Final = {
    "teacher": "maverick",
    "students": ["1b", "3b", "8b"],
    "hints": ["none", "generic", "tailored", "tailored_any", "rewritten", "placebo"],
    "teacher_alone": True,
    "cross_match": True,
    "samples": 2,
}
_MODELS: Final = {
    "maverick": {
        "provider": "api",
        "model": "meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8",
        "price": {"input": 0.27, "output": 0.85, "as_of": "2026-03-01"},
        "sampling": {"temperature": 0.7, "max_tokens": 1024},
    },
    **{
        name: {"provider": "gpus", "model": model, "sampling": {"max_tokens": 1024, "num_ctx": 8192}}
        for name, model in {"1b": "llama3.2:1b", "3b": "llama3.2:3b", "8b": "llama3.1:8b"}.items()
    },
}


_ROUGH: Final = {
    "api": {
        "error_rate": 0.03,
        "drop_rate": 0.02,
        "garbage_rate": 0.03,
        "lost_rate": 0.03,
        "hang_rate": 0.02,
        "late_rate": 0.05,
        "late_s": 0.7,
    },
    # A dropped connection lets a whole slot rest for seconds: few of them, or nothing else would be tested.
    "gpus": {
        "error_rate": 0.02,
        "drop_rate": 0.002,
        "garbage_rate": 0.02,
        "lost_rate": 0.003,
        "hang_rate": 0.01,
        "late_rate": 0.03,
        "late_s": 2.5,
    },
}


def draw_faults(rng: random.Random) -> dict[str, dict[str, float]]:
    """Rates of every kind of fault, by provider, other ones for each seed: a request's fate depends on nothing else."""
    return {
        provider: {name: value if name == "late_s" else value * rng.uniform(0.5, 2) for name, value in usual.items()}
        for provider, usual in _ROUGH.items()
    }


def write_problems(path: Path, count: int) -> None:
    """A data set of so many problems, always the same."""
    rows = ({"problem": f"Problem {n}. What is {n} + 7 - {n}?", "answer": "7"} for n in range(count))
    with path.open("wb") as file:
        file.writelines(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)


class Servers:
    """The providers' servers, one process each, which outlive any runner and can be killed and started again.

    Args:
        problems: how many problems the job has.
        ledger: the file in which all of them keep books.
        faults: rates of `simulation`, by provider.
    """

    def __init__(self, problems: int, ledger: Path, faults: Mapping[str, Mapping[str, float]] | None = None) -> None:
        self.ledger = ledger
        self._problems = problems
        self._faults = faults or {}
        self._ports = free_ports(1 + len(_SLOTS))
        self._running: dict[str, tuple[AsyncExitStack, psutil.Process]] = {}
        ledger.touch()

    async def __aenter__(self) -> Self:
        for name in ("api", "gpus"):
            await self.start(name)
        return self

    async def __aexit__(self, *_: object) -> None:
        for stack, _process in self._running.values():
            await stack.aclose()

    def job_file(self, path: Path, **provider: float) -> Path:
        """Write the job: real providers at the servers' addresses; `provider` settings hold for both."""
        api, *slots = [f"http://127.0.0.1:{port}" for port in self._ports]
        placed = [{**slot, "url": url} for slot, url in zip(_SLOTS, slots, strict=True)]
        limits = {"concurrency": _CONCURRENCY}
        traced = {"trace": True, "timeout_s": 60, **provider}
        providers = {
            "api": {"api": "openai", "base_url": f"{api}/v1", "limits": limits, **traced},
            "gpus": {"api": "ollama", "slots": placed, **traced},
        }
        path.write_bytes(orjson.dumps(self._tree(providers)))  # JSON is YAML
        return path

    def _tree(self, providers: Mapping[str, object]) -> dict[str, Any]:
        return {
            "name": "crash",
            "data": {"reader": "quickstart", "limit": self._problems},
            "providers": providers,
            "models": _MODELS,
            "params": _PARAMS,
        }

    def _twin(self, name: str) -> Job:
        how = {"api": "simulated", "simulation": {**_SIMULATION, **self._faults.get(name, {})}}
        providers = {
            "api": {**how, "limits": {"concurrency": _CONCURRENCY}},
            "gpus": {**how, "slots": _SLOTS},
        }
        job = Job.model_validate(self._tree(providers))
        return job.model_copy(update={"providers": {name: job.providers[name]}})

    async def start(self, name: str) -> None:
        """Start one provider's process, on the ports it had before."""
        job = self._twin(name)
        ports = {"api": self._ports[:1], "gpus": self._ports[1:]}
        stack = AsyncExitStack()
        before = {p.pid for p in psutil.Process().children()}
        await stack.enter_async_context(
            simulated_servers(job, _problems(job), ledger=self.ledger, ports={name: ports[name]})
        )
        (process,) = [p for p in psutil.Process().children() if p.pid not in before]
        self._running[name] = stack, process

    async def kill(self, name: str) -> None:
        """SIGKILL one provider's process."""
        stack, process = self._running.pop(name)
        process.kill()
        await stack.aclose()


def _problems(job: Job) -> list[Problem]:
    """What the job asks about. Its providers don't matter."""
    return load_experiment(job, "crash").everything_asked_about()


class Moment(NamedTuple):
    """When to end a runner: `delay_s` after the journal has `records` lines; 0 of them is the start."""

    records: int
    delay_s: float


@dataclass
class Ended:
    """How one start of the runner ended."""

    start: Start
    code: int
    said: str
    records_before: int
    lines: list[bytes]
    leftover_s: float = 0.0
    moment: Moment | None = None


@dataclass
class Runner:
    """Starts the same command again and again.

    Args:
        job: the job file.
        folder: the run folder.
        words: a file for what a start prints; outside the run folder.
        options: more arguments.
    """

    job: Path
    folder: Path
    words: Path
    options: list[str] = field(default_factory=list)

    @property
    def journal(self) -> Path:
        """Its calls.jsonl."""
        return self.folder / "calls.jsonl"

    async def run(
        self, moment: Moment | None = None, end: signal.Signals = signal.SIGKILL, file_bytes: int | None = None
    ) -> Ended:
        """One start; sent the signal `end` at `moment`, or left alone.

        Args:
            moment: when it is to end; None: when it is done.
            end: the signal.
            file_bytes: no file of the runner may grow beyond this (RLIMIT_FSIZE).

        Raises:
            TimeoutError: it runs for more than five minutes.
        """
        before = len(whole_lines(self.journal))
        began = time.time()
        with self.words.open("wb") as words:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "eli5b_batch", str(self.job), "--output", str(self.folder)),
                *("--display", "none", *self.options),
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=words,
                start_new_session=True,
            )
        if file_bytes is not None:
            psutil.Process(process.pid).rlimit(psutil.RLIMIT_FSIZE, (file_bytes, file_bytes))
        family: list[psutil.Process] = []
        told: float | None = None
        unread: frozenset[int] | None = None
        waits = Waits(process.pid)
        try:
            async with asyncio.timeout(_LONGEST_RUN_S):
                done = asyncio.ensure_future(process.wait())
                if moment is not None and await self._comes(moment, done, waits):
                    family = _family(process.pid)
                    told = time.time()
                    with suppress(ProcessLookupError, FileNotFoundError):  # it was quicker, and is done
                        if end is signal.SIGKILL and CONNECTIONS.exists():
                            process.send_signal(signal.SIGSTOP)  # it dies as it stands: one can look what is unread
                            wait_until_stopped(process.pid)
                            unread = unread_ports()
                        process.send_signal(end)
                code = await done
        finally:
            if process.returncode is None:
                process.kill()
        gone = time.time()
        leftover_s = await _outlived(process.pid, family)
        lines = whole_lines(self.journal)
        return Ended(
            Start(began, told, gone, unread, waits.lately_s),
            code,
            self.words.read_text(errors="replace"),
            before,
            lines,
            leftover_s,
            moment,
        )

    async def _comes(self, moment: Moment, done: asyncio.Future[int], waits: Waits) -> bool:
        """Wait for the moment; False if the run ends first."""
        records = read = 0
        while not done.done() and records < moment.records:
            if self.journal.exists():
                with self.journal.open("rb") as file:
                    file.seek(read)
                    new = file.read()
                records, read = records + new.count(b"\n"), read + len(new)
            waits.look()
            await asyncio.sleep(_POLL_S)
        ends = time.monotonic() + moment.delay_s
        while not done.done() and (left := ends - time.monotonic()) > 0:
            waits.look()
            await asyncio.wait({done}, timeout=min(left, _POLL_S))
        waits.look()
        return not done.done()


def _family(pid: int) -> list[psutil.Process]:
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


async def _outlived(session: int, family: list[psutil.Process]) -> float:
    """Seconds that processes of a runner lived on after it: known descendants, and whoever is in its session."""
    began = time.perf_counter()
    while time.perf_counter() - began < LEFTOVER_S + 1:
        if not any(_alive(p) for p in family) and not any(_alive(p) for p in _in_session(session)):
            break
        await asyncio.sleep(_POLL_S)
    return time.perf_counter() - began


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _in_session(session: int) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session:
                yield process
        except ProcessLookupError:
            continue


def can_mount() -> bool:
    """Whether a small file system can be mounted here."""
    return sys.platform == "linux" and os.geteuid() == 0 and _mount("-t", "tmpfs", "-o", "size=64k", probe=True)


def _mount(*arguments: str, probe: bool = False) -> bool:
    if not probe:
        return subprocess.run(["mount", *arguments], check=False, capture_output=True).returncode == 0  # noqa: S603, S607
    folder = Path(tempfile.mkdtemp(prefix="eli5b-crash-probe-"))
    try:
        mounted = _mount(*arguments, "tmpfs", str(folder))
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)  # noqa: S603, S607
    finally:
        folder.rmdir()
    return mounted


def reserve_bytes() -> int:
    """The room that a runner keeps back for calls in flight."""
    return (_CONCURRENCY + sum(int(slot["parallel"]) for slot in _SLOTS)) * RECORD_BYTES


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """A file system of `size` bytes at `folder`."""
    folder.mkdir()
    assert _mount("-t", "tmpfs", "-o", f"size={max(1, size // 1024)}k", "tmpfs", str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S603, S607


def grow(folder: Path, size: int) -> None:
    """Give the file system at `folder` `size` bytes."""
    assert _mount("-o", f"remount,size={size // 1024}k", str(folder))


@asynccontextmanager
async def disturbed(
    servers: Servers, rng: random.Random, runner: Runner, moments: list[int]
) -> AsyncIterator[list[float]]:
    """Kill one of the servers whenever the journal has reached one of `moments` lines, and start it again.

    Yields:
        When each was killed, unix seconds.
    """
    killed: list[float] = []

    async def disturb() -> None:
        for records in moments:
            while len(whole_lines(runner.journal)) < records:  # noqa: ASYNC110 (a file tells nobody)
                await asyncio.sleep(0.05)
            name = rng.choice(["api", "gpus"])
            await servers.kill(name)
            killed.append(time.time())
            await asyncio.sleep(rng.uniform(0, 0.5))
            await servers.start(name)

    task = asyncio.create_task(disturb())
    try:
        yield killed
    finally:
        if not task.done():
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for name in {"api", "gpus"} - set(servers._running):  # noqa: SLF001 (cut off between kill and start)
            await servers.start(name)
