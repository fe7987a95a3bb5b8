"""rehearsal/predict.py and the command: what a run takes, and what doubling a limit buys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest

from eli5b_batch.forecast import predict as module
from eli5b_batch.forecast.past import PastCall, PastRun
from eli5b_batch.forecast.predict import predict
from eli5b_batch.forecast.raised_limits import doublings, sampled

if TYPE_CHECKING:
    from collections.abc import Callable

    from eli5b_batch.run.plan import Experiment

    Load = Callable[..., Experiment]
    Cli = Callable[..., tuple[int, str, str]]

ROOT = Path(__file__).parent.parent.parent
SLOW_GPUS = "providers.gpus.simulation={latency_s: 0.2, tokens_per_s: 50}"
SLOW_API = "providers.api.limits={requests_per_minute: 30, concurrency: 8}"


def test_the_limit_that_binds_is_named_and_doubling_it_buys_most(quickstart: Load) -> None:
    prediction = predict(quickstart(SLOW_API, limit=12), PastRun())
    assert prediction.stages[0].bottleneck == "api requests_per_minute"
    assert prediction.seconds == pytest.approx((12 * 5 - 1) / 30 * 60, rel=0.1)
    seconds = {(d.provider, d.limit): d.seconds for d in prediction.doubled}
    assert seconds["api", "requests_per_minute"] == pytest.approx(prediction.seconds / 2, rel=0.1)
    assert seconds["gpus", "parallel"] == pytest.approx(prediction.seconds, rel=0.05)


def test_slots_that_bind_are_named_and_more_of_them_help(quickstart: Load) -> None:
    prediction = predict(quickstart(SLOW_GPUS, limit=12), PastRun())
    assert max(prediction.uses, key=lambda use: use.share).provider == "gpus"
    seconds = {d.limit: d.seconds for d in prediction.doubled}
    assert seconds["parallel"] < 0.75 * prediction.seconds
    assert seconds["slots"] < 0.75 * prediction.seconds
    assert seconds["requests_per_minute"] == pytest.approx(prediction.seconds, rel=0.05)


def test_counts_and_costs_are_the_runs(quickstart: Load) -> None:
    prediction = predict(quickstart(limit=3), PastRun(), doubling=False)
    assert (prediction.calls, prediction.problems, prediction.rehearsed) == (42, 3, 3)
    assert prediction.doubled == []
    assert prediction.usd == pytest.approx(sum(step.usd or 0 for step in prediction.steps))
    assert {step.source for step in prediction.steps} == {"simulation"}
    assert prediction.between[0] <= prediction.seconds <= prediction.between[1]


def test_a_large_job_is_scaled_from_a_sample(quickstart: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = quickstart(SLOW_GPUS, "window=4", limit=36)
    whole = predict(experiment, PastRun(), doubling=False)
    monkeypatch.setattr(module, "WHOLE_CALLS", 100)
    monkeypatch.setattr(module, "LARGE_SAMPLE", 250)
    part = predict(experiment, PastRun(), doubling=False)
    assert part.rehearsed == 18
    assert part.calls == whole.calls
    assert part.seconds == pytest.approx(whole.seconds, rel=0.1)
    assert part.usd == pytest.approx(whole.usd, rel=0.1)


def test_a_sample_has_no_donors_outside_itself(quickstart: Load) -> None:
    some = sampled(quickstart("params.hints=[placebo]", limit=36), 5)
    ids = {p.id for p in some.problems.selected}
    assert len(ids) == 5
    assert {p.id for p in some.everything_asked_about()} == ids
    assert all(some.problems.partners[p.id] != p for p in some.problems.selected)


def test_every_limit_is_doubled_once_and_nothing_else_changes(quickstart: Load) -> None:
    job = quickstart().job
    variants = {(v.provider, v.limit): v for v in doublings(job)}
    assert set(variants) == {
        ("api", "requests_per_minute"),
        ("api", "tokens_per_minute"),
        ("api", "concurrency"),
        ("gpus", "slots"),
        ("gpus", "parallel"),
    }
    raised, _ = variants["api", "concurrency"].job.providers["api"].shape
    assert raised is not None
    assert (raised.concurrency, raised.requests_per_minute) == (64, 3000)
    _, slots = variants["gpus", "slots"].job.providers["gpus"].shape
    assert len({slot.name for slot in slots}) == 4
    assert variants["gpus", "slots"].job.providers["api"] == job.providers["api"]


def test_a_real_job_needs_no_key_and_is_rehearsed_from_assumptions_or_records() -> None:
    from eli5b_batch.job.load import load_job  # noqa: PLC0415
    from eli5b_batch.run.plan import load_experiment  # noqa: PLC0415

    data = "data={reader: quickstart}"
    experiment = load_experiment(load_job(ROOT / "jobs" / "omni_full.yaml", overrides=[data], limit=10), "job")
    assumed = predict(experiment, PastRun(), doubling=False)
    assert {step.source for step in assumed.steps} == {"assumptions"}
    assert next(step.latency_s for step in assumed.steps if step.model == "1b") > 1024 / 60  # and some loads
    calls = {("answer", model): [PastCall(200, 100, 1.0)] for model in ("1b", "3b", "8b", "maverick")}
    recorded = predict(experiment, PastRun(Path("run"), calls), doubling=False)
    assert {(step.step, step.source) for step in recorded.steps} == {("hint", "assumptions"), ("answer", "records")}
    assert recorded.seconds < assumed.seconds / 2


def test_a_cost_above_the_budget_is_said(quickstart: Load) -> None:
    prediction = predict(quickstart("budget={usd: 0.003}"), PastRun(), doubling=False)
    assert "the budget of $0.003 is used up" in str(prediction.ends_early)
    assert prediction.calls < 84


def test_the_command_prints_a_prediction_and_writes_its_figures_and_no_run_folder(cli: Cli, tmp_path: Path) -> None:
    args = ("rehearse", ROOT / "jobs" / "quickstart.yaml", "--limit", 4, "--json", "figures.json")
    code, out, err = cli(*args)
    assert (code, err) == (0, "")
    assert "quickstart (SIMULATED): PREDICTION, 4 problems" in out
    assert "PREDICTION: the run takes" in out
    assert "what doubling one limit buys" in out
    figures = orjson.loads((tmp_path / "figures.json").read_bytes())
    assert (figures["prediction"], figures["simulated"], figures["calls"]) == (True, True, 56)
    assert [p.name for p in tmp_path.iterdir()] == ["figures.json"]
    assert max(len(line) for line in out.split("\n") if "─" in line) <= 80


def test_doublings_can_be_left_out(cli: Cli) -> None:
    _, out, _ = cli("rehearse", ROOT / "jobs" / "quickstart.yaml", "--limit", 2, "--no-doubling")
    assert "doubling" not in out


def test_a_folder_that_says_nothing_is_refused_in_one_sentence(cli: Cli) -> None:
    code, out, err = cli("rehearse", ROOT / "jobs" / "quickstart.yaml", "--from", "nowhere")
    assert (code, out) == (2, "")
    assert err.startswith("eli5b-batch: --from nowhere: nowhere/calls.jsonl can't be read")
    assert err.count("\n") == 1
