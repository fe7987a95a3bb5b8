"""Kills a run again and again, and audits what is left against the books of the servers it asked.

    python scripts/audit/crash_matrix.py                                   # 200 kills (SIGKILL) at seeded moments
    python scripts/audit/crash_matrix.py --scenario term --kills 40        # SIGTERM, with --grace
    python scripts/audit/crash_matrix.py --scenario disk --seeds 8         # disks that fill up, then grow
    python scripts/audit/crash_matrix.py --scenario servers --seeds 5      # servers that die, hang, lie and come late
    python scripts/audit/crash_matrix.py --seeds 1 --kills 3 --problems 4  # the quick form, as in the test suite

The job is eli5b with every kind of hint, cross_match and 2 samples, on the quickstart's problems. Its providers are
ordinary ones (`api: openai`, `api: ollama`) at the addresses of simulated servers, which run in processes of their own,
outlive the runner and keep a ledger. The runner is the ordinary command. Each run has a seed, from which the moments
of its kills are drawn: during start-up, mid-run, at the end; kills that come when nothing is left to do count too.
Every run is compared with one that nothing disturbed. Exit code 1 when any target is missed; how to read the table
and what was measured stands in docs/crash-matrix.md.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson
from rich.console import Console
from rich.table import Table

from books import (
    Again,
    answered,
    asked_again,
    lost,
    read_ledger,
    results,
    sentence_problems,
    torn_tails,
    whole_lines,
)
from crash_stage import (
    LEFTOVER_S,
    Ended,
    Moment,
    Runner,
    Servers,
    can_mount,
    disturbed,
    draw_faults,
    grow,
    reserve_bytes,
    small_disk,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_KILLS: Final = 40
"""Of one run: after so many it is left alone."""
MOST_AT_THE_END: Final = 2
"""Of one run, with every call on record: the last kills fall into grading, or into the report."""

_PLENTY: Final = 1 << 29
_WIDTH: Final = 200
_TERMINATED: Final = 143
_HASTE_S: Final = 5.0
"""What a runner may need beyond its grace to leave."""


@dataclass
class Whole:
    """The run that nothing disturbed."""

    keys: Counter[str]
    rows: list[dict[str, Any]]
    calls_bytes: int


@dataclass
class Verdict:
    """What came of one run: figures for a row of the table, and the targets it missed."""

    figures: dict[str, Any]
    missed: list[str] = field(default_factory=list)
    starts: list[dict[str, Any]] = field(default_factory=list)

    def expect(self, name: str, value: Any, wanted: Any) -> None:  # noqa: ANN401 (any figure)
        """Note a figure that has a target."""
        self.figures[name] = value
        if value != wanted:
            self.missed.append(f"{name} is {value}, not {wanted}")


class Trial:
    """One seed of one scenario.

    Args:
        seed: what it draws its moments and rates from.
        options: of the command line.
        work: a folder of its own.
        servers: already serving, for this trial alone.
        whole: the run to compare with.
    """

    def __init__(self, seed: int, options: argparse.Namespace, work: Path, servers: Servers, whole: Whole) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.options = options
        self.work = work
        self.servers = servers
        self.whole = whole

    def runner(self, folder: Path | None = None, **provider: float) -> Runner:
        """The command on a run folder."""
        job = self.servers.job_file(self.work / "job.yaml", **provider)
        grace = ["--grace", str(self.options.grace)]
        return Runner(job, folder or self.work / "run", self.work / "words.txt", grace)

    def again(self, starts: list[Ended]) -> Again:
        """What the ledger says was asked for again."""
        return asked_again(read_ledger(self.servers.ledger), [s.start for s in starts])

    async def signals(self, end: signal.Signals, kills: int) -> Verdict:
        """Scenarios kill and term: end the run again and again, `kills` times at most, until it finishes."""
        runner = self.runner()
        starts: list[Ended] = []
        total = self.whole.keys.total()
        while not starts or starts[-1].start.ended is not None:
            kept = len(starts[-1].lines) if starts else 0
            at_the_end = sum(len(s.lines) >= total for s in starts)
            left = len(starts) < min(kills, MOST_KILLS) and at_the_end < MOST_AT_THE_END
            starts.append(await runner.run(_draw(self.rng, kept, total) if left else None, end))
            if starts[-1].start.ended is not None and starts[-1].code == 0:  # it had finished when the signal came
                break
        verdict = self._audit(runner, starts)
        if end is signal.SIGTERM:
            self._audit_drains(verdict, starts)
        return verdict

    def _audit(self, runner: Runner, starts: list[Ended]) -> Verdict:
        again = self.again(starts)
        phases = Counter(_phase(s, self.whole.keys.total()) for s in starts if s.start.ended is not None)
        verdict = Verdict({"seed": self.seed, "kills": phases.total()})
        verdict.figures |= {phase: phases[phase] for phase in ("start-up", "mid-run", "end")}
        verdict.figures["calls"] = len(starts[-1].lines)
        pairs = zip(starts, [*starts[1:], starts[-1]], strict=True)
        verdict.expect("lost", sum(lost(a.lines, b.lines) for a, b in pairs), 0)
        self._compare(verdict, runner)
        verdict.expect("asked again", len(again.delivered), 0)
        verdict.figures["in hand"] = len(again.in_hand)
        verdict.figures["in the socket"] = len(again.in_the_socket)
        verdict.figures["after its end"] = len(again.undelivered)
        verdict.figures["broken off"] = sum(not e.worked for e in read_ledger(self.servers.ledger))
        leftover = max(s.leftover_s for s in starts)
        verdict.expect("leftovers", sum(s.leftover_s > LEFTOVER_S for s in starts), 0)
        verdict.figures["longest s"] = round(leftover, 2)
        verdict.figures["torn"] = torn_tails(runner.folder)
        for start in starts:
            if start.start.ended is None and start.code != 0:
                verdict.missed.append(f"a start that was left alone ended with {start.code}: {start.said.strip()}")
        verdict.starts = [_told(s) for s in starts]
        return verdict

    def _compare(self, verdict: Verdict, runner: Runner) -> None:
        """The run's records and results against those of the run that nothing disturbed."""
        keys = answered(whole_lines(runner.journal))
        verdict.expect("duplicates", sum(n > 1 for n in keys.values()), 0)
        same = set(keys) == set(self.whole.keys) and results(runner.folder) == self.whole.rows
        verdict.expect("equal", "yes" if same else "no", "yes")

    def _audit_drains(self, verdict: Verdict, starts: list[Ended]) -> None:
        """Nothing was cut off: not even what was under way when the signal came is asked again."""
        again = self.again(starts)
        verdict.expect("asked again at all", len([*again.in_hand, *again.in_the_socket, *again.undelivered]), 0)
        ended = [s for s in starts if s.start.ended is not None]
        verdict.figures["drained"] = sum(s.code == _TERMINATED for s in ended)
        allowed = (0, _TERMINATED, -signal.SIGTERM)
        verdict.expect("other codes", [s.code for s in ended if s.code not in allowed], [])
        slowest = max((s.start.gone - (s.start.ended or 0) for s in ended), default=0.0)
        verdict.figures["slowest s"] = round(slowest, 2)
        verdict.expect("in its grace", "yes" if slowest <= self.options.grace + _HASTE_S else "no", "yes")

    async def disk(self, *, mounted: bool) -> Verdict:
        """A disk that fills up: a sentence, exit 1, again on the full disk, then the same command on a larger one."""
        share = self.rng.uniform(0.01, 0.95)
        disk = self.work / "disk"
        runner = self.runner(disk / "run" if mounted else None)
        verdict = Verdict({"seed": self.seed, "disk": "tmpfs" if mounted else "RLIMIT_FSIZE", "size": f"{share:.0%}"})
        if mounted:
            with small_disk(disk, reserve_bytes() + int(share * self.whole.calls_bytes)):
                starts = [await runner.run(), await runner.run()]
                grow(disk, _PLENTY)
                starts.append(await runner.run())
                self._audit_disk(verdict, runner, starts, refused_at_most=0)
        else:
            size = int(share * self.whole.calls_bytes)
            starts = [await runner.run(file_bytes=size), await runner.run(file_bytes=size), await runner.run()]
            self._audit_disk(verdict, runner, starts)
        return verdict

    def _audit_disk(
        self, verdict: Verdict, runner: Runner, starts: list[Ended], refused_at_most: int | None = None
    ) -> None:
        full, again_full, last = starts
        verdict.figures["kept"] = len(full.lines)
        verdict.expect("codes", f"{full.code} {again_full.code} {last.code}", "1 1 0")
        verdict.expect("lost", lost(full.lines, again_full.lines) + lost(again_full.lines, last.lines), 0)
        self._compare(verdict, runner)
        again = self.again(starts)
        refused = len(again.delivered) + len(again.undelivered)
        if refused_at_most is None:  # the limit is on files, not on space: no reserve helps
            verdict.figures["refused by the disk"] = refused
        else:
            verdict.expect("refused by the disk", refused, refused_at_most)
        wrong = sentence_problems(full.said) + sentence_problems(again_full.said)
        verdict.expect("words", "; ".join(wrong) or "clear", "clear")
        verdict.expect("torn", torn_tails(runner.folder), 0)
        verdict.starts = [_told(s) for s in starts]

    async def rough(self) -> Verdict:
        """Scenario servers: faults of every kind, and servers killed and started again, while one run goes on."""
        runner = self.runner(timeout_s=1.5, attempts=40)
        total = self.whole.keys.total()
        moments = sorted(self.rng.randrange(1, int(total * 0.9)) for _ in range(3))
        async with disturbed(self.servers, self.rng, runner, moments) as killed:
            ended = await runner.run()
        again = self.again([ended])
        near = _near_a_death(again, read_ledger(self.servers.ledger), killed)
        verdict = Verdict({"seed": self.seed, "servers killed": len(killed), "calls": len(ended.lines)})
        verdict.expect("code", ended.code, 0)
        self._compare(verdict, runner)
        verdict.expect("paid twice, unexplained", len(again.delivered) - near, 0)
        verdict.figures |= {"at a server's death": near, "left waiting": len(again.undelivered)}
        verdict.figures |= {kind: again.spoilt[kind] for kind in ("lost", "garbage", "hang", "late")}
        verdict.figures["s"] = round(ended.start.gone - ended.start.began, 1)
        verdict.starts = [_told(ended)]
        return verdict


def _near_a_death(again: Again, ledger: list[Any], killed: list[float]) -> int:
    """How many of the replies asked again went out just before their server died: a reset may have overtaken them."""
    keys = set(again.delivered)
    return len({e.key for e in ledger if e.key in keys and any(0 <= k - e.t < 0.1 for k in killed)})  # noqa: PLR2004


def _draw(rng: random.Random, kept: int, total: int) -> Moment:
    """A moment to end a run that has `kept` records of `total`: start-up, mid-run or the end."""
    luck = rng.random()
    if luck < 0.25:  # noqa: PLR2004 (shares)
        return Moment(0, rng.uniform(0, 1.5))
    if luck < 0.85 and kept < total - 1:  # noqa: PLR2004
        return Moment(rng.randint(kept + 1, min(total - 1, kept + total // 10)), rng.uniform(0, 0.1))
    return Moment(total - rng.randint(0, 20), rng.uniform(0, 4))


def _phase(ended: Ended, total: int) -> str:
    if len(ended.lines) >= total:
        return "end"
    return "start-up" if len(ended.lines) == ended.records_before else "mid-run"


def _told(ended: Ended) -> dict[str, Any]:
    """One start, for the JSON."""
    start = ended.start
    return {
        "began": start.began,
        "ended_after_s": None if start.ended is None else round(start.ended - start.began, 3),
        "moment": ended.moment and ended.moment._asdict(),
        "code": ended.code,
        "records": [ended.records_before, len(ended.lines)],
        "leftover_s": round(ended.leftover_s, 3),
        "said": ended.said,
    }


async def undisturbed(servers: Servers, work: Path) -> Whole:
    """The run to compare with."""
    runner = Runner(servers.job_file(work / "whole.yaml"), work / "whole", work / "words-whole.txt")
    ended = await runner.run()
    if ended.code != 0:
        raise SystemExit(f"the run that nothing disturbs ended with {ended.code}: {ended.said}")
    keys = answered(whole_lines(runner.journal))
    return Whole(keys, results(runner.folder), runner.journal.stat().st_size)


async def play(options: argparse.Namespace, work: Path, console: Console) -> list[Verdict]:
    """One scenario; its verdicts by seed."""
    me = asyncio.current_task()
    assert me is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, me.cancel)  # leaves no runner behind
    whole_work = work / "undisturbed"
    whole_work.mkdir()
    async with Servers(options.problems, whole_work / "ledger.jsonl") as servers:
        whole = await undisturbed(servers, whole_work)
    mounts = options.scenario == "disk" and can_mount()
    if options.scenario == "disk" and not mounts:
        console.print("no file system can be mounted here: only the limit on file sizes is tried")
    verdicts: list[Verdict] = []
    kills = options.kills if options.scenario in ("kill", "term") else 0
    while len(verdicts) < options.seeds or kills > 0:
        seed = options.first_seed + len(verdicts)
        own = work / f"seed-{seed}"
        own.mkdir()
        faults = draw_faults(random.Random(f"faults/{seed}")) if options.scenario == "servers" else {}
        async with Servers(options.problems, own / "ledger.jsonl", faults) as servers:
            trial = Trial(seed, options, own, servers, whole)
            if options.scenario == "servers":
                verdict = await trial.rough()
            elif options.scenario == "disk":
                verdict = await trial.disk(mounted=mounts and seed % 2 == 0)
            else:
                end = signal.SIGKILL if options.scenario == "kill" else signal.SIGTERM
                verdict = await trial.signals(end, kills)
        kills -= verdict.figures.get("kills", 0)
        console.print(f"seed {seed}: {'; '.join(verdict.missed) or 'ok'}", markup=False, highlight=False)
        verdicts.append(verdict)
    return verdicts


def table(scenario: str, verdicts: list[Verdict]) -> Table:
    """One row a seed, and the sums."""
    drawn = Table(title=f"crash matrix: {scenario}")
    for name in verdicts[0].figures:
        drawn.add_column(name, justify="right")
    for verdict in verdicts:
        drawn.add_row(*map(str, verdict.figures.values()), style="red" if verdict.missed else None)
    drawn.add_section()
    drawn.add_row(*(_sum(name, verdicts) for name in verdicts[0].figures), style="bold")
    return drawn


def _sum(name: str, verdicts: list[Verdict]) -> str:
    values: list[Any] = [v.figures[name] for v in verdicts]
    if name == "seed":
        return "all"
    if all(type(v) is int for v in values):
        return str(sum(values))
    if all(type(v) is float for v in values):
        return f"max {max(values)}"
    return values[0] if len(set(map(str, values))) == 1 and isinstance(values[0], str) else ""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", choices=("kill", "term", "disk", "servers"), default="kill")
    parser.add_argument("--kills", type=int, default=200, help="in all, over as many seeds as it takes (kill, term)")
    parser.add_argument("--seeds", type=int, default=1, help="runs, at least")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--problems", type=int, default=10)
    parser.add_argument("--grace", type=float, default=10.0, help="seconds; passed on to the run")
    parser.add_argument("--json", type=Path, help="write every figure here")
    parser.add_argument("--work", type=Path, help="an empty folder to work in, kept; without it one under /tmp")
    return parser.parse_args()


def main() -> int:
    """Play the scenario, print the table; 1 when a target is missed."""
    options, console = arguments(), Console()
    console.width = max(console.width, _WIDTH)
    work = options.work or Path(tempfile.mkdtemp(prefix="eli5b-crash-"))
    work.mkdir(parents=True, exist_ok=True)
    work = work.resolve()
    verdicts = asyncio.run(play(options, work, console))
    console.print(table(options.scenario, verdicts))
    if options.json:
        rows: list[Mapping[str, Any]] = [
            {"figures": v.figures, "missed": v.missed, "starts": v.starts} for v in verdicts
        ]
        options.json.write_bytes(orjson.dumps(rows, option=orjson.OPT_INDENT_2))
    missed = [m for v in verdicts for m in v.missed]
    console.print(f"{len(missed)} targets missed" if missed else "every target met")
    if missed or options.work:
        console.print(f"run folders and ledger: {work}", markup=False, highlight=False, soft_wrap=True)
    else:
        shutil.rmtree(work)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
