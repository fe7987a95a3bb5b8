r"""How right and how fast answers are graded: our grader beside math-verify 0.9.0 with its defaults, in one run.

    python scripts/grading/bench.py --data data/omni_math_rule.jsonl --failures
    python scripts/grading/bench.py --sets corpus self --ours-only
    python scripts/grading/bench.py --cases /tmp/cases.jsonl --limit 500 --json figures.json

Sets: `corpus` (tests/grading/corpus/*.jsonl, one set per file), `self` (every gold against itself, boxed and in a
sentence), `wrong` (golds against perturbed golds), `right` (golds against equal rewrites), `made` (golds of kinds that
Omni-MATH has few of, both ways), `gsm8k` (its golds in its formats). Each call runs in a process that is killed after
5 s, which counts as wrong and as a hang. Times are of the call in a warm process. How cases are made: cases.py.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import track
from rich.table import Table

from cases import MAKERS, Case, read_cases, write_cases
from golds import CORPUS
from worker import Said, Worker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CONSOLE: Final = Console()
COLUMNS: Final = (
    "set", "grader", "n", "right %", "fp", "fn", "errors", "median", "p99", "max", "hangs",
)  # fmt: skip
"""`fp`, `fn`: false positives and negatives; `errors`: verdicts error and timeout, and calls that raised."""


class Graded(NamedTuple):
    """One case and what a grader said of it."""

    case: Case
    said: Said

    @property
    def agrees(self) -> bool:
        """Whether the grader is right about the case; a killed or dead call never is."""
        return self.said.right is self.case.right and self.said.verdict not in ("killed", "died", "raised")


def load(options: argparse.Namespace) -> dict[str, list[Case]]:
    """The cases by set: the corpus as it is, all others from `--cases` if that is there, else made and kept there."""
    wanted = options.sets or ["corpus", *MAKERS]
    made: dict[str, list[Case]] = {}
    if "corpus" in wanted:
        for path in sorted(CORPUS.glob("*.jsonl")):
            made[f"corpus/{path.stem}"] = read_cases(path, path.stem)
    kept: dict[str, list[Case]] = {}
    if options.cases and options.cases.exists():
        for case in read_cases(options.cases):
            kept.setdefault(case.set, []).append(case)
    for name, maker in MAKERS.items():
        if name not in wanted:
            continue
        if name not in kept:
            kept[name] = maker(options.data.parent, options.seed)
        made[name] = kept[name]
    if options.cases:
        write_cases(options.cases, [case for cases in kept.values() for case in cases])
    if options.limit:
        chooser = random.Random(options.seed)
        made = {name: chooser.sample(cases, min(options.limit, len(cases))) for name, cases in made.items()}
    return made


def figures(name: str, grader: str, graded: Sequence[Graded]) -> dict[str, float | str]:
    """One row of the table."""
    times = sorted(1000 * one.said.seconds for one in graded)
    wrong = [one for one in graded if not one.agrees]
    return {
        "set": name,
        "grader": grader,
        "n": len(graded),
        "right %": 100 * (1 - len(wrong) / len(graded)),
        "fp": sum(one.said.right for one in wrong),
        "fn": sum(one.case.right for one in wrong),
        "errors": sum(one.said.verdict in ("error", "raised", "died", "timeout") for one in graded),
        "median": statistics.median(times),
        "p99": times[min(len(times) - 1, int(0.99 * len(times)))],
        "max": times[-1],
        "hangs": sum(one.said.verdict == "killed" for one in graded),
    }


def _written(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def show(rows: Sequence[Mapping[str, float | str]]) -> None:
    """The rows as a table."""
    table = Table(*COLUMNS, title="Graders on labelled cases, times in ms", padding=(0, 0), box=SIMPLE)
    for column in table.columns[2:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*(_written(row[name]) for name in COLUMNS))
    CONSOLE.print(table)


def show_failures(grader: str, graded: Sequence[Graded], most: int) -> None:
    """Every case the grader is wrong about, and how many there are of each kind."""
    failures = [one for one in graded if not one.agrees]
    for one in failures[:most]:
        case, said = one
        print(
            f"{grader} {case.set}/{case.kind}: expected {'right' if case.right else 'wrong'}, got {said.verdict}",
            end="",
        )
        print(f" by {said.rule}, {1000 * said.seconds:.0f} ms: {case.why}")
        print(f"    gold     {case.gold[:300]!r}")
        print(f"    response {case.response[-300:]!r}")
        if said.answer:
            print(f"    answer   {said.answer[:200]!r}")
    for (name, kind), count in Counter((one.case.set, one.case.kind) for one in failures).most_common():
        print(f"  {count:5} {grader} {name}/{kind}")


def main() -> None:
    """Load or make the cases, run the graders, show what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=Path("data/omni_math_rule.jsonl"), help="gsm8k_test.jsonl beside it"
    )
    parser.add_argument("--sets", nargs="+", choices=["corpus", *MAKERS], help="default: all")
    parser.add_argument("--kinds", nargs="+", help="only cases of these kinds")
    parser.add_argument("--limit", type=int, help="cases of each set, chosen by the seed")
    parser.add_argument("--cases", type=Path, help="where made cases are kept")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ours-only", action="store_true", help="without math-verify")
    parser.add_argument("--failures", nargs="?", type=int, const=sys.maxsize, default=0, help="print so many per set")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    sets = load(options)
    if options.kinds:
        sets = {name: [case for case in cases if case.kind in options.kinds] for name, cases in sets.items()}
    rows, everything = [], []
    for grader in ["ours"] if options.ours_only else ["ours", "math-verify"]:
        with Worker(grader) as worker:
            for name, cases in sets.items():
                if not cases:
                    continue
                worker.start()
                graded = [
                    Graded(case, worker.call(case.response, case.gold))
                    for case in track(cases, f"{grader}: {name}", console=Console(stderr=True), transient=True)
                ]
                rows.append(figures(name, grader, graded))
                everything.append((grader, graded))
        whole = [one for who, graded in everything if who == grader for one in graded]
        if whole:
            rows.append(figures("all", grader, whole))
    for grader, graded in everything:
        if options.failures:
            show_failures(grader, graded, options.failures)
    rows.sort(key=lambda row: [*sets, "all"].index(str(row["set"])))
    show(rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
