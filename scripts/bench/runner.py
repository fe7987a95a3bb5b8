"""How fast, how light and how punctual the runner is, against the best simple loop and against servers' limits.

    python scripts/bench/runner.py                              # everything, five rounds: about an hour and a half
    python scripts/bench/runner.py throughput --rounds 3 --large
    python scripts/bench/runner.py limits --only hidden --quick
    python scripts/bench/runner.py all --json bench.json

Every figure is taken side by side with what it is compared to, in the same round, and printed as a median with its
range over the rounds. What each scenario does: docs/performance.md.
"""

from __future__ import annotations

import argparse
import itertools
import math
import shutil
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson
from rich.console import Console
from rich.table import Table

from measure import (
    OK,
    TOO_MANY,
    Schedule,
    goodput,
    makespan,
    rate_of,
    ratios,
    refusals,
    spread,
)
from stage import (
    HERE,
    QUICKSTART,
    ROOT,
    STUDENTS,
    Ran,
    answered,
    api_job,
    api_provider,
    command,
    eli5b_job,
    machine,
    run_floor,
    run_job,
    servers,
    slots_provider,
    watch,
    write_problems,
    write_prompts,
)
from stub import Spec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from measure import Seen

    Figures = dict[str, float]
    Settings = dict[str, Callable[[Path], Figures]]

LATENCIES_S: Final = (0.2, 0.05)
SAMPLES: Final = 5
IN_FLIGHT: Final = 256
PER_MINUTE: Final = 3000.0
TOKENS_PER_MINUTE: Final = 1_200_000.0
LATENCY_S: Final = 0.2
TRIES: Final = 5
TEACHER_CALLS, STUDENT_CALLS = 4, 9
"""Of one problem, in `eli5b_job`."""


@dataclass(frozen=True)
class Size:
    """How much is done; `--quick` shrinks it."""

    calls: tuple[int, ...]
    limited: int
    outage_s: float
    prompts: int
    problems: int


FULL: Final = Size(calls=(5000,), limited=3000, outage_s=60, prompts=500, problems=200)
LARGE: Final = Size(calls=(5000, 20_000), limited=3000, outage_s=60, prompts=500, problems=200)
QUICK: Final = Size(calls=(1000,), limited=750, outage_s=8, prompts=125, problems=50)


def _cost(ran: Ran, log: list[Seen]) -> Figures:
    good = sum(seen.status == OK for seen in log)
    return {
        "calls per second": rate_of(log),
        "seconds of calls": makespan(log),
        "CPU s per 1,000 calls": 1000 * ran.cpu_between(log) / good,
        "CPU s per 1,000 calls, whole process": 1000 * ran.cpu_s / good,
        "process s": ran.seconds,
    }


def _finished(ran: Ran, place: Path, expected: int, log: list[Seen]) -> Figures:
    """What became of the calls: `paid twice` are good replies beyond one per call."""
    on_record = answered(place)
    return {
        "exit code": float(ran.exit_code),
        "lost": float(expected - on_record),
        "paid twice": float(sum(seen.status == OK for seen in log) - on_record),
    }


def _floor(place: Path, calls: int, latency_s: float) -> tuple[Figures, Path]:
    data, prompts = place / "data.jsonl", place / "prompts.jsonl"
    write_problems(data, calls // SAMPLES)
    write_prompts(prompts, data, SAMPLES)
    with servers(place, Spec("api", latency_s=latency_s)) as stub:
        ran = run_floor(place, stub.urls["api"], prompts)
    return _cost(ran, stub.logs["api"]), data


def _named(latency_s: float, calls: int) -> str:
    return f"{1000 * latency_s:.0f} ms, {calls:,} calls"


def floor(size: Size) -> Settings:
    """The floor by itself, against what its 256 in flight could do at most; and the stub's own speed."""

    def alone(latency_s: float, calls: int, place: Path) -> Figures:
        figures, _ = _floor(place, calls, latency_s)
        least = math.ceil(calls / IN_FLIGHT) * latency_s
        return {"seconds of calls, by the least there can be": figures["seconds of calls"] / least} | figures

    def stub(place: Path) -> Figures:
        with servers(place, Spec("api")) as stub:
            ran = watch([sys.executable, str(HERE / "floor.py"), stub.urls["api"], "--raw"])
        return {"replies per second": float(ran.output)}

    settings: Settings = {"stub without latency": stub}
    for latency_s, calls in itertools.product(LATENCIES_S, size.calls):
        settings[_named(latency_s, calls)] = partial(alone, latency_s, calls)
    return settings


def throughput(size: Size) -> Settings:
    """As many teacher calls as there can be, 256 in flight: ours and the floor one after the other."""

    def side_by_side(latency_s: float, calls: int, place: Path) -> Figures:
        theirs, data = _floor(place, calls, latency_s)
        with servers(place, Spec("api", latency_s=latency_s)) as stub:
            job = api_job(data, api_provider(stub.urls["api"], adaptive=False), SAMPLES)
            ran = run_job(place, job)
        log = stub.logs["api"]
        return (
            ratios(_cost(ran, log), theirs) | {"graders' CPU s": ran.children_cpu_s} | _finished(ran, place, calls, log)
        )

    return {_named(*each): partial(side_by_side, *each) for each in itertools.product(LATENCIES_S, size.calls)}


def eli5b(size: Size) -> Settings:
    """The whole experiment, its 256 places divided between teacher and students as their calls are."""
    teacher = round(IN_FLIGHT * TEACHER_CALLS / (TEACHER_CALLS + STUDENT_CALLS))
    each = (IN_FLIGHT - teacher) // len(STUDENTS)

    def side_by_side(latency_s: float, calls: int, place: Path) -> Figures:
        theirs, _ = _floor(place, calls, latency_s)
        data = place / "problems.jsonl"
        problems = calls // (TEACHER_CALLS + STUDENT_CALLS)
        write_problems(data, problems)
        gpus = [Spec(name, "ollama", latency_s=latency_s, models=list(STUDENTS)) for name in STUDENTS]
        with servers(place, Spec("api", latency_s=latency_s), *gpus) as stub:
            slots = slots_provider((stub.urls[name], each, name) for name in STUDENTS)
            api = api_provider(stub.urls["api"], concurrency=teacher, adaptive=False)
            ran = run_job(place, eli5b_job(data, api, slots))
        log = [seen for seens in stub.logs.values() for seen in seens]
        finished = _finished(ran, place, problems * (TEACHER_CALLS + STUDENT_CALLS), log)
        return ratios(_cost(ran, log), theirs) | {"graders' CPU s": ran.children_cpu_s} | finished

    return {_named(*each): partial(side_by_side, *each) for each in itertools.product(LATENCIES_S, size.calls)}


def limits(size: Size) -> Settings:
    """3,000 requests a minute in six guises."""
    third = size.limited / PER_MINUTE * 60 / 3
    steady = [(0.0, PER_MINUTE)]
    halves = [(0.0, PER_MINUTE), (third, PER_MINUTE / 2), (2.5 * third, PER_MINUTE)]
    told = {"requests_per_minute": PER_MINUTE}

    def limited(spec: Mapping[str, Any], job_limits: Mapping[str, object], place: Path) -> Figures:
        data = place / "data.jsonl"
        write_problems(data, size.limited)
        server = Spec("api", **{"latency_s": LATENCY_S, "limit": steady, **spec})
        with servers(place, server) as stub:
            ran = run_job(place, api_job(data, api_provider(stub.urls["api"], **job_limits)))
        log = stub.logs["api"]
        assert server.limit is not None
        schedule = Schedule(server.limit)
        figures = {}
        if server.storm:
            refused = [seen.arrived for seen in log if seen.status == TOO_MANY]
            figures["s from the first 429 to the last"] = refused[-1] - refused[0]
        if server.outage:
            back = min(seen.arrived for seen in log) + server.outage[0] + server.outage[1]
            schedule = schedule.without(server.outage[0], server.outage[0] + server.outage[1])
            late = min((seen.arrived for seen in log if seen.status == OK and seen.arrived >= back), default=back)
            figures["s until calls go out after the outage"] = late - back
        whole = size.limited / schedule.integral(0.0, ran.seconds)
        return (
            {"goodput by limit": goodput(log, schedule), "goodput by limit, whole process": whole}
            | refusals(log)
            | figures
            | _finished(ran, place, size.limited, log)
        )

    settings: dict[str, tuple[dict[str, Any], dict[str, float]]] = {
        "told in the job": ({}, told),
        "from headers": ({"tells": True}, {}),
        "hidden": ({}, {}),
        "hidden, halves, doubles": ({"limit": halves}, {}),
        "told, 400 x 429 in a row": ({"storm": (third, 400)}, told),
        "told, outage, refused": ({"outage": (third, size.outage_s, "refuse")}, told),
        "told, outage, 503": ({"outage": (third, size.outage_s, "503")}, told),
    }
    return {name: partial(limited, *setting) for name, setting in settings.items()}


def tokens(size: Size) -> Settings:
    """Tokens per minute as the limit that binds: prompts of 100 to 10,000 tokens."""

    def limited(spec: Mapping[str, Any], job_limits: Mapping[str, object], place: Path) -> Figures:
        data, limit = place / "data.jsonl", [(0.0, TOKENS_PER_MINUTE)]
        write_problems(data, size.prompts, tokens=(100, 10_000))
        server = Spec("api", latency_s=LATENCY_S, limit=limit, counts="tokens", token_spread=1.2, **spec)
        with servers(place, server) as stub:
            ran = run_job(place, api_job(data, api_provider(stub.urls["api"], **job_limits)))
        log = stub.logs["api"]
        figures = {"goodput by limit": goodput(log, Schedule(limit), tokens=True)}
        return figures | refusals(log) | _finished(ran, place, size.prompts, log)

    settings: dict[str, tuple[dict[str, Any], dict[str, float]]] = {
        "told in the job": ({}, {"tokens_per_minute": TOKENS_PER_MINUTE}),
        "from headers": ({"tells": True}, {}),
        "hidden": ({}, {}),
    }
    return {name: partial(limited, *setting) for name, setting in settings.items()}


def balance(size: Size) -> Settings:
    """Teacher and students, each with a known least time: how close the run comes to the longer one."""
    places = 16
    slow = {"teacher": places * 0.1 / TEACHER_CALLS, "students": places * 0.1 / STUDENT_CALLS}

    def staged(teacher_s: float, student_s: float, place: Path) -> Figures:
        data = place / "data.jsonl"
        write_problems(data, size.problems)
        gpus = [Spec(f"gpu{n}", "ollama", latency_s=student_s, models=list(STUDENTS)) for n in range(2)]
        with servers(place, Spec("api", latency_s=teacher_s), *gpus) as stub:
            slots = slots_provider((stub.urls[gpu.name], places // 2, None) for gpu in gpus)
            api = api_provider(stub.urls["api"], concurrency=places, adaptive=False)
            ran = run_job(place, eli5b_job(data, api, slots))
        bounds = {
            "teacher's bound, s": size.problems * TEACHER_CALLS * teacher_s / places,
            "students' bound, s": size.problems * STUDENT_CALLS * student_s / places,
        }
        span = makespan(*stub.logs.values())
        log = [seen for seens in stub.logs.values() for seen in seens]
        calls = size.problems * (TEACHER_CALLS + STUDENT_CALLS)
        figures = {"makespan by the larger bound": span / max(bounds.values()), "makespan, s": span}
        return figures | bounds | _finished(ran, place, calls, log)

    return {
        "teacher-bound": partial(staged, slow["teacher"], slow["students"] / 3),
        "student-bound": partial(staged, slow["teacher"] / 3, slow["students"]),
        "even": partial(staged, slow["teacher"], slow["students"]),
    }


def startup(_size: Size) -> Settings:
    """What every start costs, beside a bare interpreter; the best of five, since others can only slow it down."""

    def side_by_side(place: Path) -> Figures:
        package = [sys.executable, "-m", "eli5b_batch"]
        run = command(QUICKSTART, place / "run")
        first = watch(run, ROOT)
        if first.exit_code:
            raise SystemExit(f"the quickstart failed:\n{first.output}")
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "--help": [*package, "--help"],
            "nothing left to do": run,
        }
        figures: Figures = {}
        for name, words in commands.items():
            tries = [watch(words, ROOT) for _ in range(TRIES)]
            figures[f"{name}, s"] = min(ran.seconds for ran in tries)
            figures[f"{name}, CPU s"] = min(ran.cpu_s + ran.children_cpu_s for ran in tries)
        bare = figures["python -c pass, s"]
        return {f"{name}, by python -c pass": figures[f"{name}, s"] / bare for name in list(commands)[1:]} | figures

    return {"quickstart": side_by_side}


SCENARIOS: Final[dict[str, Callable[[Size], Settings]]] = {
    "floor": floor,
    "throughput": throughput,
    "eli5b": eli5b,
    "limits": limits,
    "tokens": tokens,
    "balance": balance,
    "startup": startup,
}


def measure(setting: Callable[[Path], Figures]) -> Figures:
    """One round of one setting, in a folder of its own."""
    place = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        return setting(place)
    finally:
        shutil.rmtree(place)


def show(console: Console, scenario: str, rounds: Mapping[str, list[Figures]]) -> None:
    """One scenario as a table."""
    table = Table("setting", "figure", "median", "min to max", title=scenario)
    for setting, measured in rounds.items():
        for name in measured[0]:
            over = spread([figures[name] for figures in measured])
            table.add_row(setting, name, _plain(over.median), f"{_plain(over.least)} to {_plain(over.most)}")
            setting = ""  # noqa: PLW2901 (named once)
        table.add_section()
    console.print(table)


def _plain(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"  # noqa: PLR2004 (four digits or more)


def main() -> None:
    """Measure, round after round, so that a noisy minute does not fall on one setting alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", nargs="*", default=["all"], help=f"all or some of: {', '.join(SCENARIOS)}")
    parser.add_argument("--rounds", type=int, help="5; with --quick 1")
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that it works, not to quote")
    parser.add_argument("--large", action="store_true", help="20,000 calls besides 5,000")
    parser.add_argument("--calls", type=int, help="calls of floor, throughput and eli5b")
    parser.add_argument("--only", default="", metavar="TEXT", help="settings whose name holds this text")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every round's figures, and the machine's")
    options = parser.parse_args()
    chosen = list(SCENARIOS) if "all" in options.scenario else options.scenario
    if unknown := [name for name in chosen if name not in SCENARIOS]:
        parser.error(f"no scenario {unknown[0]!r}; there are all, {', '.join(SCENARIOS)}")
    size = QUICK if options.quick else LARGE if options.large else FULL
    if options.calls:
        size = Size(**{**vars(size), "calls": (options.calls,)})
    number = options.rounds or (1 if options.quick else 5)
    about, results = machine(), {}
    console = Console(width=110)
    console.print(about)
    for name in chosen:
        settings = {s: one for s, one in SCENARIOS[name](size).items() if options.only in s}
        rounds: dict[str, list[Figures]] = {setting: [] for setting in settings}
        for _ in range(number):
            for setting, one in settings.items():
                rounds[setting].append(measure(one))
        if rounds:
            show(console, name, rounds)
        results[name] = rounds
        if options.json:
            written = {"machine": about, "rounds": number, "quick": options.quick, "scenarios": results}
            options.json.write_bytes(orjson.dumps(written, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()
