"""How well GPU slots are kept working: on modelled servers, on simulated ones, and on a real Ollama.

    python scripts/bench/slots.py schedule                       # virtual clock: 1, 2, 4 and 8 slots
    python scripts/bench/slots.py feed --slots 64 --parallel 8   # simulated servers, our own CPU and memory
    python scripts/bench/slots.py real --executable ollama       # against alternation and grouping by hand

`schedule` compares the makespan with its lower bound: all work shared evenly, each model loaded once. `real` starts one
server that may keep one model, sends it the same 300 requests in three orders, and counts loads in the server's log.
What the figures mean: docs/performance.md.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import aiohttp
import orjson
import psutil  # type: ignore[import-untyped]  # it has neither stubs nor a marker
from aiohttp import web
from rich.console import Console
from rich.table import Table

from eli5b_batch.forecast.network import ModelledNetwork
from eli5b_batch.forecast.past import PastRun
from eli5b_batch.forecast.rehearsal import rehearse
from eli5b_batch.job.load import parse_job
from eli5b_batch.run.plan import load_experiment
from eli5b_batch.servers.ports import free_ports
from eli5b_batch.simulated.ollama import SimulatedOllama
from stage import ROOT, command, run_job, write_problems

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from eli5b_batch.run.plan import Experiment

CONSOLE: Final = Console()
STUDENTS: Final = {"1b": "llama3.2:1b", "3b": "llama3.2:3b", "8b": "llama3.1:8b"}
LOADS_S: Final = {"1b": 5.0, "3b": 10.0, "8b": 20.0}
SPEEDS: Final = {
    "skewed": {"1b": 240.0, "3b": 120.0, "8b": 60.0},
    "equal": {"1b": 90.0, "3b": 90.0, "8b": 90.0},
}
STEADY: Final = (0.1, 0.9)
"""The part of a run in which it is neither beginning nor ending."""
LEARNT: Final = (0.5, 0.9)
"""The same where many slots begin with a share of each model and change once their costs are known."""


class Worked(NamedTuple):
    """One answered call by the server's own word: `work_s` seconds until `ended`, after `load_s` of loading."""

    ended: float
    work_s: float
    load_s: float


def problems(folder: Path, count: int) -> Path:
    """The file of so many short problems."""
    path = folder / "problems.jsonl"
    write_problems(path, count, tokens=(10, 10))
    return path


def simulated_job(
    data: Path, slots: int, parallel: int, speeds: Mapping[str, float], loads: Mapping[str, float]
) -> dict[str, Any]:
    """The experiment, four hints and nine answers a problem, with a teacher that is fast enough for the slots."""
    gpus = {"latency_s": 0.2, "tokens_per_s": speeds, "load_s": loads, "mean_output_tokens": 400}
    teacher = {"latency_s": 0.5, "tokens_per_s": 60.0, "mean_output_tokens": 300}
    return {
        "name": "slots",
        "data": {"reader": "jsonl", "path": str(data)},
        "providers": {
            "api": {"api": "simulated", "limits": {"concurrency": 512}, "simulation": teacher},
            "gpus": {
                "api": "simulated",
                "slots": [{"gpu": n, "parallel": parallel} for n in range(slots)],
                "simulation": gpus,
            },
        },
        "models": {
            "teacher": {"provider": "api", "model": "teacher", "price": "unknown"},
            **{name: {"provider": "gpus", "model": model} for name, model in STUDENTS.items()},
        },
        "params": {"teacher": "teacher", "students": list(STUDENTS), "hints": ["none", "generic", "tailored"]},
    }


class _BookedServer:
    """A modelled server of which `books` hold what it says of its work."""

    def __init__(self, server: SimulatedOllama, books: list[Worked]) -> None:
        self._server = server
        self._books = books
        self.tell = server.tell

    async def answer(self, request: web.Request) -> web.StreamResponse:
        response = await self._server.answer(request)
        assert isinstance(response, web.Response)
        reply = orjson.loads(cast("bytes", response.body))
        work_s = (reply["prompt_eval_duration"] + reply["eval_duration"]) / 1e9
        now = asyncio.get_running_loop().time()
        self._books.append(Worked(now, work_s, reply["load_duration"] / 1e9))
        return response


class _BookedNetwork(ModelledNetwork):
    """A modelled network whose slots keep books."""

    def __init__(self, books: list[Worked], experiment: Experiment, past: PastRun) -> None:
        super().__init__(experiment, past)
        for place, server in self.servers.items():
            if isinstance(server, SimulatedOllama):
                self.servers[place] = _BookedServer(server, books)


def schedule(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Makespan by its lower bound and busy share, on a virtual clock."""
    table = Table("students", "slots", "calls", "makespan", "by lower bound", "busy in the steady state", "loads")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind, speeds in SPEEDS.items():
            for slots in args.slots or (1, 2, 4, 8):
                data = problems(Path(folder), args.problems * slots)
                job = simulated_job(data, slots, 4, speeds, LOADS_S)
                books: list[Worked] = []
                experiment = load_experiment(parse_job(job, "bench"), "bench")
                ran = rehearse(experiment, PastRun(), network=partial(_BookedNetwork, books))
                row = {"students": kind, "slots": slots, **_judge(books, ran.seconds, slots, 4)}
                rows.append(row)
                table.add_row(
                    kind,
                    str(slots),
                    f"{row['calls']:,}",
                    f"{row['makespan_s']:,.0f} s",
                    f"{row['by_bound']:.3f}",
                    f"{row['busy']:.1%}",
                    str(row["loads"]),
                )
    CONSOLE.print(table)
    return rows


def _judge(books: Sequence[Worked], seconds: float, slots: int, parallel: int) -> dict[str, Any]:
    loads = sorted(LOADS_S.values())
    least_loading = sum(loads) + loads[0] * max(0, slots - len(loads))
    bound = (sum(w.work_s for w in books) / parallel + least_loading) / slots
    begin, end = (share * seconds for share in STEADY)
    busy = sum(max(0.0, min(w.ended, end) - max(w.ended - w.work_s, begin)) for w in books)
    return {
        "calls": len(books),
        "makespan_s": seconds,
        "by_bound": seconds / bound,
        "busy": busy / ((end - begin) * slots * parallel),
        "loads": sum(w.load_s > 1 for w in books),
    }


def feed(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Many slots on simulated servers, through real sockets: busy share, our CPU for each call, our memory."""
    slots = (args.slots or [64])[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = problems(folder, args.problems)
        job = folder / "job.yaml"
        job.write_bytes(orjson.dumps(simulated_job(data, slots, args.parallel, SPEEDS["skewed"], LOADS_S)))
        seen: list[dict[str, Any]] = []
        with subprocess.Popen(  # noqa: S603 (our own command)
            command(job, folder / "run"), cwd=ROOT, stdout=subprocess.DEVNULL
        ) as process:
            watched = psutil.Process(process.pid)
            while process.poll() is None:
                time.sleep(1)
                look = _look(folder / "run", watched)
                if look is not None and (not seen or look["elapsed_s"] > seen[-1]["elapsed_s"]):
                    seen.append(look)
    if process.returncode:
        raise SystemExit(f"the run ended with exit code {process.returncode}")
    last = seen[-1]["elapsed_s"]
    first, then = (min(seen, key=lambda s: abs(s["elapsed_s"] - share * last)) for share in LEARNT)
    span = {key: then[key] - first[key] for key in ("busy_s", "loading_s", "idle_s", "calls", "cpu_s", "elapsed_s")}
    slot_s = span["busy_s"] + span["loading_s"] + span["idle_s"]
    row = {
        "slots": slots,
        "parallel": args.parallel,
        "calls": then["calls"],
        "busy": span["busy_s"] / slot_s,
        "loading": span["loading_s"] / slot_s,
        "calls_per_s": span["calls"] / span["elapsed_s"],
        "cpu_ms_per_call": 1000 * span["cpu_s"] / span["calls"],
        "memory_mb": max(s["memory_mb"] for s in seen[:-2]),
        "problems_in_flight": max(s["problems"] for s in seen),
    }
    CONSOLE.print(row)
    return [row]


def _look(run: Path, process: psutil.Process) -> dict[str, Any] | None:
    """What progress.json says, and the runner's own CPU seconds and memory."""
    try:
        progress = orjson.loads((run / "progress.json").read_bytes())
        cpu, memory = process.cpu_times(), process.memory_info()
    except (FileNotFoundError, psutil.NoSuchProcess):
        return None  # not there yet, or just gone
    slots = progress["slots"]
    return {
        "elapsed_s": progress["elapsed_s"],
        **{key: sum(s[key] for s in slots) for key in ("busy_s", "loading_s", "idle_s")},
        "calls": sum(step["done"] for step in progress["steps"]),
        "problems": progress["problems"]["active"],
        "cpu_s": cpu.user + cpu.system,
        "memory_mb": memory.rss / 2**20,
    }


def real(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The same requests on one real server that keeps one model: ours, in strict alternation, grouped by hand."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with _server(args, folder / "ours.log") as url:
            run_job(folder, _real_job(folder, url, args))
        lines = (folder / "run" / "calls.jsonl").read_bytes().splitlines()
        records = sorted((orjson.loads(line) for line in lines), key=lambda r: (r["problem"], r["model"]))
        began = min(r["timing"]["started"] for r in records)
        seconds = max(r["timing"]["started"] + r["timing"]["latency"] for r in records) - began
        rows.append(_row("ours", len(records), seconds, folder / "ours.log"))
        requests = [r["request"] for r in records]
        grouped = sorted(requests, key=lambda r: str(r["model"]))
        for order, asked in (("grouped by hand", grouped), ("strict alternation", requests)):
            log = folder / f"{order}.log"
            with _server(args, log) as url:
                seconds = asyncio.run(_ask_all(url, asked, args.parallel))
            rows.append(_row(order, len(asked), seconds, log))
    best = next(row["seconds"] for row in rows if row["order"] == "grouped by hand")
    table = Table("order", "calls", "seconds", "by the best grouping", "loads in the server's log")
    for row in rows:
        row["by_best"] = row["seconds"] / best
        table.add_row(
            row["order"], str(row["calls"]), f"{row['seconds']:.1f}", f"{row['by_best']:.2f}", str(row["loads"])
        )
    CONSOLE.print(table)
    return rows


def _row(order: str, calls: int, seconds: float, log: Path) -> dict[str, Any]:
    loads = log.read_text(errors="replace").count("llama runner started")
    return {"order": order, "calls": calls, "seconds": seconds, "loads": loads}


def _real_job(folder: Path, url: str, args: argparse.Namespace) -> dict[str, Any]:
    sampling = {"temperature": 0.7, "max_tokens": args.max_tokens, "num_ctx": 1024}
    return {
        "name": "real",
        "data": {"reader": "jsonl", "path": str(problems(folder, args.problems))},
        "providers": {
            "api": {"api": "simulated", "limits": {}},
            "gpus": {"api": "ollama", "slots": [{"gpu": 0, "url": url, "parallel": args.parallel}]},
        },
        "models": {
            "teacher": {"provider": "api", "model": "teacher"},
            **{n: {"provider": "gpus", "model": m, "sampling": sampling} for n, m in STUDENTS.items()},
        },
        "params": {"teacher": "teacher", "students": list(STUDENTS), "hints": ["none"]},
    }


@contextmanager
def _server(args: argparse.Namespace, log: Path) -> Iterator[str]:
    """A fresh server that may keep one model."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    limits = {"OLLAMA_MAX_LOADED_MODELS": "1", "OLLAMA_NUM_PARALLEL": str(args.parallel)}
    env = {**os.environ, "OLLAMA_HOST": url.removeprefix("http://"), **limits}
    program = shutil.which(args.executable)
    if program is None:
        raise SystemExit(f"--executable: there is no program {args.executable}")
    with log.open("wb") as out, subprocess.Popen([program, "serve"], env=env, stdout=out, stderr=out) as process:  # noqa: S603
        try:
            asyncio.run(_until_it_answers(url))
            yield url
        finally:
            process.terminate()


async def _until_it_answers(url: str) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        while True:
            try:
                async with session.get(f"{url}/api/version"):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)


async def _ask_all(url: str, requests: Sequence[Mapping[str, Any]], parallel: int) -> float:
    """Send requests in this order, so many at a time; the seconds it took."""
    left = iter(requests)

    async def work(session: aiohttp.ClientSession) -> None:
        for request in left:
            sampling = dict(request["sampling"])
            options = {"num_predict": sampling.pop("max_tokens"), **sampling, "seed": request["seed"]}
            body = {"model": request["model"], "messages": request["messages"], "stream": False, "options": options}
            async with session.post(f"{url}/api/chat", json=body) as response:
                await response.read()

    began = time.monotonic()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=600)) as session:
        await asyncio.gather(*(work(session) for _ in range(parallel)))
    return time.monotonic() - began


def main() -> None:
    """Read the command line and run one scenario."""
    about, _, examples = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=about, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenario", choices=("schedule", "feed", "real"))
    parser.add_argument("--slots", type=int, nargs="+", help="schedule: 1 2 4 8; feed: 64")
    parser.add_argument("--parallel", type=int, default=4, help="calls at once on a slot (feed, real)")
    parser.add_argument("--problems", type=int, help="schedule: for each slot, 500; feed: 4000; real: 100")
    parser.add_argument("--max-tokens", type=int, default=16, help="of a reply (real)")
    parser.add_argument("--executable", default="ollama", help="the server's program (real)")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    args = parser.parse_args()
    scenario, usual = {"schedule": (schedule, 500), "feed": (feed, 4000), "real": (real, 100)}[args.scenario]
    args.problems = args.problems or usual
    rows = scenario(args)
    if args.json:
        args.json.write_bytes(orjson.dumps(rows, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()
