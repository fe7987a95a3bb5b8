"""What hosts answer beside plain replies, and what a run makes of it: one run for each quirk of the simulated servers.

    python scripts/audit/refusals.py                                     # every quirk of the tables: 15 minutes
    python scripts/audit/refusals.py --only poisoned_429 bom
    python scripts/audit/refusals.py --siblings --json siblings.json
    python scripts/audit/refusals.py --tree ../older --json before.json  # another checkout of the package

Each run is the ordinary command on made-up problems, 40 of them: a teacher's hint and a student's answers without and
with it, three calls a problem, teacher and students on one host (slots for the students where the quirk is Ollama's).
The servers are those of this checkout, in a process of their own; the package that is run may be another one (--tree,
--python), which needs not know quirks. A run that has not ended after --limit seconds is ended: `no end`.

`sent` counts requests in the servers' books, `rec.` calls on record, `ans.` those answered, `upst` those that could not
be asked; `ratio` is the time by that of an undisturbed run. What is wrong with a line stands below the table; the exit
code is 1 where anything is.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from books import read_ledger, whole_lines
from crash_stage import ROOT, write_problems
from eli5b_batch.job.explain import nearest
from eli5b_batch.job.schema import Job
from eli5b_batch.run.plan import load_experiment
from eli5b_batch.simulated.process import simulated_servers
from refusals_cases import CALLS_PER_PROBLEM, CASES, HEAD, IN_FLIGHT, SIBLINGS, UNDISTURBED, Run, tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from refusals_cases import Case, Row

LATENCY_S: Final = 0.3
GIVE_UP_S: Final = 40.0

_SLOT: Final = {"gpu": 0, "parallel": IN_FLIGHT - 1}
_GRACE_S: Final = 15.0
_FAILED: Final = 3
_PRICE: Final = {"input": 0.27, "output": 0.85, "as_of": "2026-03-01"}
_SAID: Final = "eli5b-batch: "
_PROGRESS: Final = re.compile(r"[0-9T:Z-]{20} \S+ \| ")
_SHARES: Final = re.compile(r" \| (problems|hint|answer) [^|]*(?= \|)")
"""How far each step is: the table's own figures say it."""


def job_tree(case: Case, data: Path) -> dict[str, Any]:
    """The job on simulated servers, as they are to be served."""
    simulation: dict[str, Any] = {"latency_s": LATENCY_S, "mean_output_tokens": 60, "seed": case.seed}
    odd = {**simulation, "quirks": {} if case.quirk == UNDISTURBED else {case.quirk: case.share}}
    gpus = {"api": "simulated", "slots": [_SLOT], "simulation": odd}
    api = {"api": "simulated", "limits": dict(case.limits), "simulation": simulation if case.on_slots else odd}
    student = {"provider": "gpus" if case.on_slots else "api", "model": "llama3.2:1b"}
    return {
        "name": "refusals",
        "data": {"reader": "jsonl", "path": str(data)},
        "providers": {"api": api, **({"gpus": gpus} if case.on_slots else {})},
        "models": {
            "teacher": {"provider": "api", "model": "large-70b", "price": _PRICE},
            "1b": student if case.on_slots else {**student, "price": _PRICE},
        },
        "params": {"teacher": "teacher", "students": ["1b"], "hints": ["none", "generic"]},
        "budget": {"usd": case.usd},
    }


def real_tree(tree: dict[str, Any], urls: dict[str, list[str]]) -> dict[str, Any]:
    """The same job, asking the servers at `urls` as if they were real."""
    api = {"api": "openai", "base_url": f"{urls['api'][0]}/v1", "limits": {"concurrency": IN_FLIGHT}, "trace": True}
    slots = [{**_SLOT, "url": url} for url in urls.get("gpus", ())]
    gpus = {"gpus": {"api": "ollama", "slots": slots, "trace": True}} if slots else {}
    return {**tree, "providers": {"api": api, **gpus}}


async def run_case(case: Case, data: Path, place: Path, options: argparse.Namespace) -> Run:
    """Serve, run the command to its end or for as long as it may, and read what is left."""
    tree = job_tree(case, data)
    job = Job.model_validate(tree)
    problems = load_experiment(job, case.quirk).everything_asked_about()
    ledger = place / "ledger"
    ledger.touch()
    async with simulated_servers(job, problems, ledger=ledger) as urls:
        path = place / "job.yaml"
        path.write_bytes(orjson.dumps(real_tree(tree, urls)))  # JSON is YAML
        began = time.monotonic()
        code = await _ended([*_command(options), str(path), *_words_of(place)], place, options)
        seconds = time.monotonic() - began
    out, err = ((place / name).read_text(errors="replace") for name in ("out", "err"))
    records = [orjson.loads(line) for line in whole_lines(place / "run" / "calls.jsonl")]
    return Run(records, read_ledger(ledger), seconds, code, out + err, last_words(code, out, err))


def _command(options: argparse.Namespace) -> list[str]:
    return [options.python, "-m", "eli5b_batch"]


def _words_of(place: Path) -> list[str]:
    return ["--output", str(place / "run"), "--display", "plain", "--give-up-after", f"{GIVE_UP_S:g}s"]


async def _ended(command: Sequence[str], place: Path, options: argparse.Namespace) -> int | None:
    """The exit code of a command; None where it had to be ended."""
    with (place / "out").open("wb") as out, (place / "err").open("wb") as err:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=options.tree,
            env={**os.environ, "PYTHONPATH": str(options.tree)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        try:
            async with asyncio.timeout(options.limit):
                return await process.wait()
        except TimeoutError:
            process.send_signal(signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(_GRACE_S):
                    await process.wait()
            return None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def last_words(code: int | None, out: str, err: str) -> str:
    """The line that says how a run ended: its reason, the sum of its failures, or how far it had come."""
    lines = [line for line in err.splitlines() if line.strip()]
    reasons = [line.removeprefix(_SAID) for line in lines if line.startswith(_SAID)]
    progress = [_SHARES.sub("", line.partition(" | ")[2]) for line in lines if _PROGRESS.match(line)]
    if code is None:
        return (progress or lines or [""])[-1]
    if code == _FAILED:
        return [line for line in out.splitlines() if line.strip() and not line.strip().startswith("/")][-1]
    return reasons[0] if reasons else (progress or lines or [""])[-1]


def summary(rows: Sequence[Row]) -> str:
    """The last lines: what is wrong, and how many lines are as they should be."""
    wrong = [f"{row.quirk}: {'; '.join(row.wrong[:5])}" for row in rows if row.wrong]
    return "\n".join([*wrong, f"as they should be: {len(rows) - len(wrong)} of {len(rows)}"])


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these quirks")
    parser.add_argument(
        "--siblings", action="store_true", help="the quirks that no table names, in place of the others"
    )
    parser.add_argument("--problems", type=int, default=40)
    parser.add_argument("--limit", type=float, default=60.0, metavar="SECONDS", help="most for one run (60)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there, too")
    parser.add_argument(
        "--python", default=sys.executable, metavar="PATH", help="the interpreter of the tested package"
    )
    parser.add_argument("--tree", type=Path, default=ROOT, metavar="DIR", help="the checkout of the tested package")
    options = parser.parse_args()
    options.tree = options.tree.resolve()
    known = [case.quirk for case in (*CASES, *SIBLINGS)]
    for name in options.only or ():
        if name not in known:
            parser.error(f"no quirk {name!r}; {nearest(name, known, 'there are')}")
    return options


def chosen(options: argparse.Namespace) -> list[Case]:
    """The cases that the command line asks for."""
    if options.only:
        return [case for case in (*CASES, *SIBLINGS) if case.quirk in options.only]
    return SIBLINGS if options.siblings else CASES


def main() -> int:
    """Run all cases and print what came of them; 1 where something is wrong."""
    options = arguments()
    rows = []
    print(HEAD)
    with tempfile.TemporaryDirectory(prefix="eli5b-refusals-") as work:
        data = Path(work) / "problems.jsonl"
        write_problems(data, options.problems)
        undisturbed_s: dict[bool, float] = {}
        for n, case in enumerate(chosen(options)):
            if case.beside or (case.waits and case.on_slots not in undisturbed_s):
                plain = case._replace(quirk=UNDISTURBED)
                undisturbed_s[case.on_slots] = asyncio.run(
                    run_case(plain, data, _folder(work, f"{n}-plain"), options)
                ).seconds
            run = asyncio.run(run_case(case, data, _folder(work, str(n)), options))
            rows.append(tell(case, run, CALLS_PER_PROBLEM * options.problems, undisturbed_s.get(case.on_slots)))
            if case.quirk == UNDISTURBED:
                undisturbed_s[case.on_slots] = run.seconds
            print(rows[-1], flush=True)
            if options.json:
                options.json.write_bytes(orjson.dumps([asdict(row) for row in rows], option=orjson.OPT_INDENT_2))
    print(summary(rows))
    return int(any(row.wrong for row in rows))


def _folder(work: str, name: str) -> Path:
    folder = Path(work) / name
    folder.mkdir()
    return folder


if __name__ == "__main__":
    sys.exit(main())
