"""Is the budget a hard cap? Runs with less money than they need, audited against the books of the servers they paid.

    python scripts/audit/budget_runs.py --runs 20
    python scripts/audit/budget_runs.py --runs 1 --first-seed 3 --problems 4  # the quick form, as in the test suite

Each run is the ordinary command on jobs/quickstart.yaml with 2 samples, in a folder of its own. Its seed draws a price
for the teacher and each student, how long replies are and may be, how many calls are in flight, what kinds of fault the
servers have (from none to most), and the budget: 5 % to 80 % of what the whole job came to without one. Every third
run is killed once at a random moment (SIGKILL) and resumed by the same command. All must stop by themselves, for their
budget.

`by servers` is what the servers' own books say they did, delivered or not, in USD; `in full` adds the longest possible
reply for every request whose sender left while it was worked on. `by journal` is what calls.jsonl says, `set aside`
what the runner itself counts in spending.jsonl: spent, and possibly billed for calls that broke off; `used` is `by
servers` as a share of the cap. Exit code 1 if `in full` or `set aside` is above the cap, if `in full` is above `set
aside`, or if a run did not stop for its budget.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import statistics
import sys
import tempfile
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
from aiohttp import web

from books import read_ledger
from crash_stage import ROOT, Moment, Runner, draw_faults
from eli5b_batch.errors import BudgetError
from eli5b_batch.job.load import load_job
from eli5b_batch.job.prices import Price
from eli5b_batch.job.reserved_names import CALL_HEADER
from eli5b_batch.job.schema import SimulatedProvider
from eli5b_batch.records import parse_key
from eli5b_batch.records.spending import Spending
from eli5b_batch.run.plan import load_experiment
from eli5b_batch.simulated.__main__ import ServerConfig, SlotConfig, apps
from eli5b_batch.simulated.faults import listen
from eli5b_batch.simulated.ledger import Ledger
from eli5b_batch.simulated.model import BookEntry, count_tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from aiohttp.typedefs import Handler, Middleware

    from books import Entry
    from eli5b_batch.job.schema import Job, Model

JOB: Final = ROOT / "jobs" / "quickstart.yaml"
DUST: Final = 1 + 1e-9
"""Sums of the same floats in another order may differ by this factor."""

_SLOTS: Final[tuple[tuple[int, list[str]], ...]] = ((0, ["llama3.2:1b", "llama3.2:3b"]), (1, []))
_CLIENT_LEFT: Final = 499
_KILLED_EVERY: Final = 3
_CHANCES: Final = (0.0, 0.15, 0.4, 0.8)
_HEAD: Final = (
    f"{'seed':>4} {'cap':>10} {'by servers':>10} {'in full':>10} {'by journal':>10} {'set aside':>10}"
    f" {'used':>6} {'faults':>6} {'kills':>5}"
)


class Bill(NamedTuple):
    """What servers may ask for, USD: for work they did, and with work broken off half-way billed in full."""

    done: float
    in_full: float


def bill(ledger: Iterable[Entry], read: Mapping[str, int], models: Mapping[str, Model]) -> Bill:
    """Price a ledger by token class.

    Args:
        ledger: its entries; each counts the tokens of both sides.
        read: input tokens by call key, the same whenever the call is sent.
        models: by the job's names, with their prices.
    """
    done = broken_off = 0.0
    for entry in ledger:
        if entry.worked:
            model = models[parse_key(entry.key).model]
            done += _usd(model, read[entry.key], entry.tokens - read[entry.key])
        elif entry.status == _CLIENT_LEFT and entry.key in read:
            model = models[parse_key(entry.key).model]
            broken_off += _usd(model, read[entry.key], model.sampling.max_tokens)
    return Bill(done, done + broken_off)


def _usd(model: Model, read: int, written: int) -> float:
    assert isinstance(model.price, Price)
    return (model.price.input * read + model.price.output * written) / 1e6


@dataclass
class Row:
    """One run; money in USD."""

    seed: int
    cap: float
    servers: float
    in_full: float
    journal: float
    set_aside: float
    used: float
    faults: int
    kills: int
    codes: list[int]
    wrong: list[str] = field(default_factory=list)

    @property
    def above(self) -> bool:
        """Whether the cap was broken, by anybody's books."""
        return max(self.in_full, self.set_aside) > self.cap * DUST

    def __str__(self) -> str:
        """A line of the table."""
        money = f"{self.servers:10.6f} {self.in_full:10.6f} {self.journal:10.6f} {self.set_aside:10.6f}"
        wrong = f"  {'; '.join(self.wrong)}" if self.wrong else ""
        return f"{self.seed:4} {self.cap:10.6f} {money} {self.used:6.1%} {self.faults:6} {self.kills:5}{wrong}"


def judge(row: Row) -> None:
    """Note what is wrong with a run."""
    if row.above:
        row.wrong.append("ABOVE THE CAP")
    if row.in_full > row.set_aside * DUST:
        row.wrong.append("more than was set aside")
    if row.codes[-1] != BudgetError.exit_code:
        row.wrong.append(f"ended with {row.codes[-1]}, not for its budget")


def summary(rows: Sequence[Row]) -> str:
    """The last line."""
    used = [row.used for row in rows]
    below = sum(not row.above for row in rows)
    return (
        f"never above the cap: {below} of {len(rows)}; used {min(used):.1%} to {max(used):.1%} of the cap "
        f"(median {statistics.median(used):.1%})"
    )


def _set(path: str, value: object) -> str:
    return f"{path}={orjson.dumps(value).decode()}"  # JSON is YAML


def _settings(rng: random.Random, problems: int | None) -> list[str]:
    """What a seed changes of the job, as `--set` takes it; for the servers and the runner alike."""
    mean = rng.randint(60, 400)
    settings = ["params.samples=2", _set("data.limit", problems)]
    for name in ("maverick", "1b", "3b", "8b"):
        price = {"input": round(rng.uniform(0.05, 3), 3), "output": round(rng.uniform(0.1, 10), 3)}
        settings.append(_set(f"models.{name}.price", {**price, "as_of": "2026-03-01"}))
        settings.append(_set(f"models.{name}.sampling.max_tokens", int(mean * rng.uniform(0.7, 4))))
    limits = {"concurrency": rng.randint(1, 32)}
    slots = [{"gpu": gpu, "parallel": rng.randint(1, 8), "models": models} for gpu, models in _SLOTS]
    how = {"api": "simulated", "simulation": {"mean_output_tokens": mean}}
    return [
        *settings,
        _set("providers.api", {**how, "limits": limits}),
        _set("providers.gpus", {**how, "slots": slots}),
    ]


def _some_faults(rng: random.Random) -> list[str]:
    """Rates of no, some or most kinds of fault, for `--set`.

    Not all at once: what is set aside for a reply that hangs would hide an error in counting one that is lost.
    """
    chance = rng.choice(_CHANCES)
    return [
        _set(f"providers.{provider}.simulation.{name}", value)
        for provider, usual in draw_faults(rng).items()
        for name, value in usual.items()
        if name == "late_s" or rng.random() < chance
    ]


async def _serve(job: Job, ledger: Path, timeout_s: float) -> tuple[list[str], dict[str, int]]:
    """Serve a simulated job's providers in this event loop.

    Returns:
        What makes the same job ask them as real providers, for `--set`; and the input tokens of every request that
        comes, by call key, which the ledger does not tell apart.
    """
    read: dict[str, int] = {}
    books = Ledger(ledger)
    problems = load_experiment(job, str(JOB)).everything_asked_about()
    book = {p.id: BookEntry(p.text, p.answer, p.difficulty) for p in problems}
    settings = []
    for name, provider in job.providers.items():
        assert isinstance(provider, SimulatedProvider)
        limits, slots = provider.shape
        server = ServerConfig(
            name=name,
            wire="ollama" if slots else "openai",
            models={own: model.model for own, model in job.models_of(name).items()},
            simulation=provider.simulation,
            slots=[SlotConfig(name=s.name, parallel=s.parallel, models=s.models) for s in slots],
        )
        urls = []
        for server_name, app in apps(server, book, job.seed).items():
            app.middlewares.insert(0, _reading(read))
            app.middlewares.insert(0, books.middleware(server_name))
            urls.append(await listen(app))
        real: dict[str, Any] = {"trace": True, "timeout_s": timeout_s, "attempts": 40}
        if limits:
            real |= {"api": "openai", "base_url": f"{urls[0]}/v1", "limits": limits.model_dump()}
        else:
            placed = [{**s.model_dump(), "url": url} for s, url in zip(slots, urls, strict=True)]
            real |= {"api": "ollama", "slots": placed}
        settings.append(_set(f"providers.{name}", real))
    return settings, read


def _reading(read: dict[str, int]) -> Middleware:
    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        if key := request.headers.get(CALL_HEADER):
            prompt = "\n".join(message["content"] for message in orjson.loads(await request.read())["messages"])
            read[key] = max(1, count_tokens(prompt))
        return await handler(request)

    return count


def _runner(folder: Path, settings: Sequence[str]) -> Runner:
    options = [word for text in settings for word in ("--set", text)]
    return Runner(JOB, folder, folder.with_suffix(".words"), options)


async def _whole(settings: Sequence[str], work: Path, timeout_s: float) -> tuple[float, int]:
    """What the job costs without faults and without a budget, USD, and its calls."""
    job = load_job(JOB, overrides=settings)
    real, read = await _serve(job, work / "whole.ledger", timeout_s)
    runner = _runner(work / "whole", [*settings, *real])
    ended = await runner.run()
    if ended.code != 0:
        raise SystemExit(f"the run without a budget ended with {ended.code}: {ended.said}")
    return bill(read_ledger(work / "whole.ledger"), read, job.models).done, len(ended.lines)


async def one_run(seed: int, work: Path, problems: int | None, timeout_s: float) -> Row:
    """One seed, in an empty folder `work`."""
    rng = random.Random(seed)
    settings = _settings(rng, problems)
    usd, calls = await _whole(settings, work, timeout_s)
    share = rng.uniform(0.05, 0.8)
    cap = float(f"{share * usd:.6g}")
    faults = _some_faults(rng)
    job = load_job(JOB, overrides=[*settings, *faults])
    real, read = await _serve(job, work / "ledger", timeout_s)
    runner = _runner(work / "run", [*settings, *real, _set("budget", {"usd": cap})])
    moment = Moment(rng.randint(0, int(share * calls / 2)), rng.uniform(0, 0.1)) if seed % _KILLED_EVERY == 0 else None
    starts = [await runner.run(moment)]
    if starts[0].code < 0:
        starts.append(await runner.run())
    servers = bill(read_ledger(work / "ledger"), read, job.models)
    journal = sum(orjson.loads(line)["cost_usd"] or 0.0 for line in starts[-1].lines)
    with closing(Spending(runner.folder / "spending.jsonl", journal)) as spending:
        set_aside = spending.spent + spending.unconfirmed
    row = Row(
        seed=seed,
        cap=cap,
        servers=servers.done,
        in_full=servers.in_full,
        journal=journal,
        set_aside=set_aside,
        used=servers.done / cap,
        faults=sum("_rate" in text for text in faults),
        kills=len(starts) - 1,
        codes=[start.code for start in starts],
    )
    judge(row)
    return row


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--problems", type=int, help="only the first so many")
    parser.add_argument("--timeout", type=float, default=1.5, help="seconds; what each reply that hangs costs")
    parser.add_argument("--json", type=Path, help="write every figure here")
    return parser.parse_args()


def main() -> int:
    """Run all seeds and print what they came to; 1 when something is wrong."""
    options = arguments()
    work = Path(tempfile.mkdtemp(prefix="eli5b-budget-"))
    rows = []
    print(_HEAD)
    for seed in range(options.first_seed, options.first_seed + options.runs):
        own = work / f"seed-{seed}"
        own.mkdir()
        rows.append(asyncio.run(one_run(seed, own, options.problems, options.timeout)))
        print(rows[-1], flush=True)
    print(summary(rows))
    if options.json:
        options.json.write_bytes(orjson.dumps([asdict(row) for row in rows], option=orjson.OPT_INDENT_2))
    if any(row.wrong for row in rows):
        print(f"run folders and ledgers: {work}")
        return 1
    shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
