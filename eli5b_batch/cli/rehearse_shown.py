"""A prediction for people, as tables and sentences, and for programs, as JSON.

Must not know: how it was made. Everything shown says that it is a prediction, and from what.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

import orjson
from rich.box import SIMPLE_HEAD
from rich.table import Table

from eli5b_batch.forecast.past import ASSUMED_LOAD_S
from eli5b_batch.forecast.predict import DRAWS
from eli5b_batch.forecast.recorded import ASSUMED_TOKENS_PER_S, BYTES_PER_TOKEN
from eli5b_batch.text import amount, clean, cost, dollars, duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from eli5b_batch.forecast.predict import Prediction

_WORDS: Final = {
    "requests_per_minute": "requests/min",
    "tokens_per_minute": "tokens/min",
    "concurrency": "calls in flight",
    "slots": "slots",
    "parallel": "places of its slots",
}
_NOTHING_FULL: Final = "no limit: replies and loading models"
_NO_GAIN: Final = 0.005


def as_json(prediction: Prediction) -> bytes:
    """All figures: the fields of `Prediction`."""
    return orjson.dumps(dataclasses.asdict(prediction), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def show(prediction: Prediction, console: Console) -> None:
    """Print it."""
    console.print(_steps(prediction))
    console.print(_stages(prediction))
    console.print(_uses(prediction))
    if prediction.doubled:
        console.print(_doubled(prediction))
    for line in _sentences(prediction):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _table(title: str, left: tuple[str, ...], right: tuple[str, ...]) -> Table:
    """It fits 80 columns; what is longer is folded, never cut."""
    table = Table(
        title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False
    )
    for column in left:
        table.add_column(column, overflow="fold")
    for column in right:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _steps(p: Prediction) -> Table:
    title = f"{p.job}{' (SIMULATED)' if p.simulated else ''}: PREDICTION, {p.problems:,} problems"
    table = _table(title, ("step", "model"), ("calls", "tokens in", "out", "cost", "reply", "waits", "from"))
    for s in sorted(p.steps, key=lambda s: s.step, reverse=True):
        tokens = (amount(s.input_tokens), amount(s.output_tokens))
        times = (duration(s.latency_s), duration(s.queued_s))
        table.add_row(s.step, s.model, f"{s.calls:,}", *tokens, cost(s.usd), *times, s.source)
    return table


def _stages(p: Prediction) -> Table:
    table = _table("what the run waits for (predicted)", ("from", "to", "full"), ("by",))
    for s in p.stages:
        what = _resource(*s.bottleneck.split(" ", 1)) if s.bottleneck else _NOTHING_FULL
        times = (duration(s.begins * p.seconds), duration(s.ends * p.seconds))
        table.add_row(*times, clean(what), f"{s.share:.0%}" if s.bottleneck else "")
    return table


def _uses(p: Prediction) -> Table:
    table = _table("how busy everything is (predicted)", ("provider", "resource"), ("there are", "used", "loads"))
    for u in p.uses:
        loads = p.loads.get(u.resource)
        what = _WORDS.get(u.resource, f"places of {u.resource}")
        table.add_row(u.provider, what, f"{u.limit:,.0f}", f"{u.share:.0%}", "" if loads is None else f"{loads:,}")
    return table


def _doubled(p: Prediction) -> Table:
    table = _table("what doubling one limit buys (predicted)", ("provider", "limit"), ("now", "then", "run", "saves"))
    for d in sorted(p.doubled, key=lambda d: d.seconds):
        saved = 1 - d.seconds / p.seconds
        gain = f"{saved:.0%}" if abs(saved) >= _NO_GAIN else "nothing"
        table.add_row(d.provider, _WORDS[d.limit], f"{d.now:,.0f}", f"{d.then:,.0f}", duration(d.seconds), gain)
    return table


def _sentences(p: Prediction) -> Iterator[str]:
    budget = "" if p.budget_usd is None else f" of a budget of {dollars(p.budget_usd)}"
    retried = "".join(f", {n:,} {what}" for n, what in ((p.rate_limited, "429s"), (p.retries, "retries")) if n)
    least, most = map(duration, p.between)
    spread = f" ({least} to {most} in {DRAWS} draws)" if least != most else ""
    yield (
        f"PREDICTION: the run takes {duration(p.seconds)}{spread} and costs {cost(p.usd)}{budget}; "
        f"{p.calls:,} calls, {p.failed:,} of them failed{retried}."
    )
    if p.ends_early:
        yield f"It would end early: {clean(p.ends_early)}"
    if p.rehearsed < p.problems:
        yield f"rehearsed on {p.rehearsed:,} of {p.problems:,} problems, and scaled in proportion: start and end, too."
    if p.doubled and p.doubled_on < p.problems:
        yield f"doublings: each rehearsed on {p.doubled_on:,} problems, and scaled by what the same ones take as it is."
    sources = {s.source for s in p.steps}
    if "simulation" in sources:
        yield "from simulation: times and tokens of SIMULATED models, by the job's simulation sections."
    if "records" in sources:
        yield f"from records: times and tokens drawn from the answered calls in {p.records}."
    if "assumptions" in sources:
        yield (
            f"from assumptions: replies of half max_tokens, {BYTES_PER_TOKEN:g} bytes a token, "
            f"{ASSUMED_TOKENS_PER_S:g} tokens/s a call however many run beside it, {ASSUMED_LOAD_S:g} s to load a "
            "model; "
            "--from RUN replaces them by what a run measured."
        )
    yield f"rehearsed in {duration(p.real_s)}; no model was asked and nothing written."


def _resource(provider: str, resource: str) -> str:
    return f"{provider}: {_WORDS.get(resource, f'places of {resource}')}"
