"""What the scenarios of runner.py run on: servers, watched processes, data, and the jobs and commands of our runner.

Must not know: scenarios, ratios. Needs Linux, where the CPU seconds of a process that has
ended can be read until it is waited for.
"""

from __future__ import annotations

import datetime as dt
import os
import platform
import random
import select
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson
import psutil  # type: ignore[import-untyped]  # it has neither stubs nor a marker

from measure import Seen, value_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from stub import Spec

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]
QUICKSTART: Final = ROOT / "jobs" / "quickstart.yaml"
_LOOK_S: Final = 0.05
_FINISHED: Final = (0, 3)
"""Exit codes of a run that came to its end: all answered, some failed for good."""
STUDENTS: Final = ("stub:1b", "stub:3b", "stub:8b")


@dataclass
class Ran:
    """A process that has ended: wall seconds, CPU seconds of its own and of its children, CPU over time."""

    seconds: float
    cpu_s: float
    children_cpu_s: float
    samples: list[tuple[float, float]]
    exit_code: int
    output: str

    def cpu_between(self, log: Sequence[Seen]) -> float:
        """CPU seconds of its own from the first request to the last reply of a server's log."""
        begin, end = min(seen.arrived for seen in log), max(seen.replied for seen in log)
        return value_at(self.samples, end) - value_at(self.samples, begin)


def watch(command: Sequence[str], cwd: Path | None = None) -> Ran:
    """Run a command to its end."""
    started = time.monotonic()
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(  # noqa: S603 (our own commands)
            command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
        ) as process,
    ):
        descriptor = os.pidfd_open(process.pid)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        samples, watched = [], psutil.Process(process.pid)
        while True:
            ended = bool(poll.poll(_LOOK_S * 1000))
            cpu = watched.cpu_times()
            samples.append((time.monotonic(), cpu.user + cpu.system))
            if ended:  # and not yet waited for, so that its CPU seconds can still be read
                break
        os.close(descriptor)
        exit_code = process.wait()
        said.seek(0)
        output = said.read().decode()
    seconds, children_s = samples[-1][0] - started, cpu.children_user + cpu.children_system
    return Ran(seconds, samples[-1][1], children_s, samples, exit_code, output)


@dataclass
class Servers:
    """Running stub servers: their addresses, and what each saw once they have ended."""

    urls: dict[str, str]
    logs: dict[str, list[Seen]] = field(default_factory=dict)


@contextmanager
def servers(place: Path, *specs: Spec) -> Iterator[Servers]:
    """Stub servers in a process of their own, ended on leaving."""
    log = place / "stub.json"
    with subprocess.Popen(  # noqa: S603 (our own script)
        [sys.executable, str(HERE / "stub.py"), str(log)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(orjson.dumps([asdict(spec) for spec in specs], option=orjson.OPT_APPEND_NEWLINE))
        process.stdin.flush()
        running = Servers(orjson.loads(process.stdout.readline()))
        yield running
    running.logs = {name: [Seen(*row) for row in rows] for name, rows in orjson.loads(log.read_bytes()).items()}


def write_problems(path: Path, count: int, *, tokens: tuple[int, int] = (60, 60)) -> None:
    """A data set: problems of so many tokens (four bytes each), log-uniform between two bounds, always the same."""
    drawn = random.Random("bench")
    low, high = tokens
    with path.open("wb") as file:
        for n in range(count):
            size = 4 * low * (high / low) ** drawn.random()
            sentences = " The first condition says that it is even." * int(size / 42)
            text = f"Problem {n}. What is {n} + 7 - {n}?{sentences}"
            file.write(orjson.dumps({"problem": text, "answer": "7"}, option=orjson.OPT_APPEND_NEWLINE))


def write_prompts(path: Path, data: Path, samples: int) -> None:
    """The same questions for the floor, each as often as ours asks it."""
    with path.open("wb") as file:
        for line in data.read_bytes().splitlines():
            prompt = f"Solve this problem.\n\n{orjson.loads(line)['problem']}\n\nEnd with \\boxed{{answer}}."
            file.write(orjson.dumps({"prompt": prompt}, option=orjson.OPT_APPEND_NEWLINE) * samples)


def api_provider(url: str, **limits: object) -> dict[str, Any]:
    """A provider at the OpenAI stub."""
    return {"api": "openai", "base_url": f"{url}/v1", "limits": {"concurrency": 256, "adaptive": True, **limits}}


def slots_provider(slots: Iterable[tuple[str, int, str | None]]) -> dict[str, Any]:
    """A provider at Ollama stubs: address, places and the only model (None: all of them) of each slot."""
    rows = [
        {"gpu": n, "url": url, "parallel": parallel, "models": [model] if model else []}
        for n, (url, parallel, model) in enumerate(slots)
    ]
    return {"api": "ollama", "slots": rows}


def api_job(data: Path, provider: dict[str, Any], samples: int = 1) -> dict[str, Any]:
    """A job whose every call goes to the API: one model that answers each problem `samples` times without a hint."""
    model = {"provider": "api", "model": "stub", "price": "unknown"}
    return {
        "name": "bench",
        "data": {"reader": "jsonl", "path": str(data)},
        "providers": {"api": provider},
        "models": {"teacher": model, "student": model},
        "params": {"teacher": "teacher", "students": ["student"], "hints": ["none"], "samples": samples},
    }


def eli5b_job(data: Path, api: dict[str, Any], gpus: dict[str, Any]) -> dict[str, Any]:
    """The experiment: per problem 4 calls of the teacher, 9 of three students."""
    students = {model.partition(":")[2]: {"provider": "gpus", "model": model} for model in STUDENTS}
    return {
        "name": "bench",
        "data": {"reader": "jsonl", "path": str(data)},
        "providers": {"api": api, "gpus": gpus},
        "models": {"teacher": {"provider": "api", "model": "stub", "price": "unknown"}, **students},
        "params": {"teacher": "teacher", "students": list(students), "hints": ["none", "generic", "tailored"]},
    }


def command(job: Path, run: Path, *settings: str) -> list[str]:
    """The runner's ordinary command without its display; `settings` change the job as `--set` does."""
    words = [word for text in settings for word in ("--set", text)]
    return [sys.executable, "-m", "eli5b_batch", str(job), "--output", str(run), "--display", "none", *words]


def run_job(place: Path, job: dict[str, Any]) -> Ran:
    """Our runner, by its ordinary command; the run folder is `place`/run."""
    path = place / "job.yaml"
    path.write_bytes(orjson.dumps(job))  # JSON is YAML
    ran = watch(command(path, place / "run"), ROOT)
    if ran.exit_code not in _FINISHED:
        raise SystemExit(f"the run ended with exit code {ran.exit_code}:\n{ran.output}")
    return ran


def run_floor(place: Path, url: str, prompts: Path) -> Ran:
    """The floor; its output is `place`/floor.jsonl."""
    ran = watch([sys.executable, str(HERE / "floor.py"), url, str(prompts), str(place / "floor.jsonl")])
    if ran.exit_code:
        raise SystemExit(f"the floor failed:\n{ran.output}")
    return ran


def answered(place: Path) -> int:
    """Calls with an answer on record."""
    with (place / "run" / "calls.jsonl").open("rb") as file:
        rows = (orjson.loads(line) for line in file)
        return len({row["key"] for row in rows if row["status"] == "ok"})


def machine() -> dict[str, Any]:
    """Where and with what it was measured."""
    names = ("eli5b-batch", "aiohttp", "orjson", "uvloop", "pydantic", "polars")
    return {
        "date": f"{dt.datetime.now(dt.UTC):%Y-%m-%d}",
        "cpus": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in names},
    }


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # run from a working copy
        return "not installed"
