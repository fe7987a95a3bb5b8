r"""A fuzzer for our grader: random formulas, and real replies and golds torn apart and put together again.

    python scripts/grading/fuzz.py --minutes 60 --data data/omni_math_rule.jsonl --finds finds.jsonl

What it checks, of every text: one of the five verdicts and never `error`, the same twice, in under 5 s (over 1 s is
reported) and under 1 GB. Of formulas besides: a boxed gold equals itself, white space changes nothing, and of two
formulas the one equals the other whichever is the gold. Each find is written as a JSON line with the smallest texts
that still show it. Texts that are hostile by design: hostile.py. One process, at low priority.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fuzz_texts import PARTS, Grammar, Mutator, Texts, boxed, real_texts, rewritten
from worker import Said, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VERDICTS: Final = ("correct", "incorrect", "no_answer", "timeout")
"""All but `error`: whatever a text does to a library is known by now, and is one of these."""
SLOW_S: Final = 1.0
MOST_MB: Final = 1024.0
MINIMISING_CALLS: Final = 150
ENOUGH: Final = 25
"""Finds of one kind and rule that are written; the rest are only counted."""


def spaced(formula: str) -> str:
    """White space where it means nothing."""
    return re.sub(r"[+=<]", r" \g<0> ", formula.replace("(", "( ").replace(")", " )"))


class Fuzzer:
    """Tries texts, and makes small what it finds."""

    def __init__(self, worker: Worker, finds: Path, *, seed: int) -> None:
        self.chooser = random.Random(seed)
        self.grammar = Grammar(self.chooser)
        self.calls = 0
        self.counts: Counter[str] = Counter()
        self.verdicts: Counter[str] = Counter()
        self.longest = self.most = 0.0
        self.waiting: list[Texts] = []
        self._worker = worker
        self._finds = finds

    def ask(self, response: str, gold: str) -> Said:
        """One call."""
        self.calls += 1
        return self._worker.call(response, gold)

    def wrong(self, texts: Texts) -> Iterator[str]:
        """What is wrong with the verdicts on these texts."""
        said = self.ask(texts.response, texts.gold)
        self.verdicts[said.verdict] += 1
        self.longest, self.most = max(self.longest, said.seconds), max(self.most, said.peak_mb)
        if said.verdict not in VERDICTS:
            yield f"verdict {said.verdict}: {said.rule[:60]}"
        if said.seconds > SLOW_S:
            yield f"over {SLOW_S:g} s"
        if said.peak_mb > MOST_MB:
            self._worker.end()
            yield "over 1 GB"
        if said.verdict in ("killed", "died"):
            return
        again = self.ask(texts.response, texts.gold)
        if again.verdict != said.verdict:
            yield "another verdict the second time"
        if texts.formula:
            yield from self._wrong_of_formulas(texts, right=said.right)

    def _wrong_of_formulas(self, texts: Texts, *, right: bool) -> Iterator[str]:
        answer = texts.response.removeprefix(r"\boxed{").removesuffix("}")
        if answer == texts.gold and not right:
            yield "a gold is not itself"
        if texts.equal is not None and right is not texts.equal:
            yield "an equal formula is wrong" if texts.equal else "another value is right"
        if right and not self.ask(boxed(spaced(answer)), texts.gold).right:
            yield "white space in the answer matters"
        if right and not self.ask(texts.response, spaced(texts.gold)).right:
            yield "white space in the gold matters"
        if answer != texts.gold and self.ask(boxed(texts.gold), answer).right is not right:
            yield "not symmetric"

    def try_out(self, texts: Texts) -> None:
        """Checks texts; writes what is wrong with the smallest texts that show it."""
        for problem in list(self.wrong(texts)):
            self.counts[problem] += 1
            if self.counts[problem] > ENOUGH:
                continue
            small = self._minimised(texts, problem)
            said = self._worker.call(small.response, small.gold)
            find = {
                "problem": problem,
                "response": small.response,
                "gold": small.gold,
                "said": said._asdict(),
                "first": texts,
            }
            with self._finds.open("a") as file:
                file.write(json.dumps(find) + "\n")
            print(f"{problem}: {small.response[:100]!r} against {small.gold[:100]!r}", flush=True)

    def _minimised(self, texts: Texts, problem: str) -> Texts:
        """Less text with the same problem: halves, quarters, ... are left out as long as it stays."""
        left = MINIMISING_CALLS if not problem.startswith(("over", "verdict killed")) else MINIMISING_CALLS // 5

        def shows(changed: Texts) -> bool:
            nonlocal left
            left -= 1
            return left > 0 and self._shows(changed, problem)

        if texts.equal is not None:  # parts of both would have to be left out at once
            return texts
        if texts.formula and texts.response == boxed(texts.gold):
            return self._cut(texts.gold, lambda text: Texts(boxed(text), text, formula=True), shows, texts)
        texts = self._cut(texts.gold, lambda text: texts._replace(gold=text), shows, texts)
        if texts.formula:
            inside = texts.response.removeprefix(r"\boxed{").removesuffix("}")
            return self._cut(inside, lambda text: texts._replace(response=boxed(text)), shows, texts)
        return self._cut(texts.response, lambda text: texts._replace(response=text), shows, texts)

    def _shows(self, texts: Texts, problem: str) -> bool:
        """Whether texts have a problem; one that they have instead is kept for later."""
        problems = list(self.wrong(texts))
        if problem not in problems and any(not self.counts[other] for other in problems):
            self.waiting.append(texts)
        return problem in problems

    def _cut(self, text: str, put: Callable[[str], Texts], shows: Callable[[Texts], bool], best: Texts) -> Texts:
        parts = PARTS.findall(text)
        size = max(1, len(parts) // 2)
        while parts:
            at, cut = 0, False
            while at < len(parts):
                less = parts[:at] + parts[at + size :]
                candidate = put("".join(less))
                if less and shows(candidate):
                    parts, best, cut = less, candidate, True
                else:
                    at += size
            if size == 1 and not cut:
                break
            size = max(1, size // 2)
        return best


def texts_to_try(fuzzer: Fuzzer, mutator: Mutator) -> Iterator[Texts]:
    """For ever: formulas against themselves and each other, torn texts against torn and whole golds."""
    chooser, grammar = fuzzer.chooser, fuzzer.grammar
    while True:
        depth = chooser.choice((1, 2, 2, 3, 4))
        value = grammar.value(depth)
        structured = grammar.structured(min(depth, 2))
        torn = mutator.one()
        yield Texts(boxed(value), value, formula=True)
        yield Texts(boxed(structured), structured, formula=True)
        yield Texts(boxed(value), grammar.value(chooser.choice((0, 1, 2))), formula=True)
        yield from rewritten(chooser, value)
        yield Texts(torn, mutator.one(), formula=False)
        yield Texts(boxed(torn), chooser.choice((value, structured, "5", mutator.one())), formula=False)
        yield Texts(boxed(value), mutator.one(), formula=False)


def main() -> None:
    """Fuzz for a while."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--data", type=Path, default=Path("data/omni_math_rule.jsonl"))
    parser.add_argument("--finds", type=Path, default=Path("finds.jsonl"))
    parser.add_argument("--seed", type=int, default=None, help="default: a new one, which is printed")
    options = parser.parse_args()
    os.nice(10)
    seed = options.seed if options.seed is not None else time.time_ns() % 10**9
    started = told = time.monotonic()
    with Worker("ours") as worker:
        fuzzer = Fuzzer(worker, options.finds, seed=seed)
        mutator = Mutator(fuzzer.chooser, real_texts(options.data))
        for texts in texts_to_try(fuzzer, mutator):
            fuzzer.try_out(texts)
            while fuzzer.waiting:
                fuzzer.try_out(fuzzer.waiting.pop())
            now = time.monotonic()
            if now - told > 60 or now - started > 60 * options.minutes:  # noqa: PLR2004
                told = now
                print(
                    f"{(now - started) / 60:.1f} min, seed {seed}: {fuzzer.calls:,} calls; {dict(fuzzer.verdicts)};"
                    f" longest {fuzzer.longest:.2f} s, most {fuzzer.most:,.0f} MB;"
                    f" found {dict(fuzzer.counts) or 'nothing'}",
                    flush=True,
                )
            if now - started > 60 * options.minutes:
                break


if __name__ == "__main__":
    main()
