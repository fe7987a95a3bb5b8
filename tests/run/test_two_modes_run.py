"""A whole run of `omni_2026` on simulated servers: each student in two modes, from the job file to the report."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eli5b_batch.job.load import load_job
from eli5b_batch.records.journal import read_records
from eli5b_batch.report.build import build_report
from eli5b_batch.run.execute import execute
from eli5b_batch.run.plan import load_experiment
from eli5b_batch.simulated.process import simulate
from eli5b_batch.simulated.quirks.thoughts import MARK, THOUGHT

if TYPE_CHECKING:
    from eli5b_batch.job.schema import Job

JOB = Path(__file__).parent.parent.parent / "jobs" / "omni_2026.yaml"
PAIRS = {"0.6b-thinks": "0.6b", "1.7b-thinks": "1.7b", "4b-thinks": "4b"}
PROBLEMS = 4


def job(*overrides: str) -> Job:
    return load_job(JOB, overrides=["data={reader: quickstart}", *overrides], limit=PROBLEMS)


async def run(folder: Path, *overrides: str) -> dict[str, Any]:
    """The summary of a run."""
    experiment = load_experiment(simulate(job(*overrides)), "omni_2026.yaml")
    ending = await execute(experiment, folder, display=lambda _: nullcontext())
    assert ending.exit_code == 0
    return build_report(folder).summary


def test_the_modes_of_a_student_differ_in_thinking_alone() -> None:
    models = job().models
    for thinking, plain in PAIRS.items():
        asked = [models[name].sampling.model_dump() for name in (thinking, plain)]
        assert [sampling.pop("thinking") for sampling in asked] == ["on", "off"]
        assert asked[0] == asked[1]
        assert (models[thinking].model, models[thinking].provider) == (models[plain].model, models[plain].provider)


async def test_both_modes_read_the_same_hints_and_are_compared_under_each(tmp_path: Path) -> None:
    summary = await run(tmp_path)
    records = list(read_records(tmp_path / "calls.jsonl"))
    prompts: dict[tuple[str, str, str], object] = {}
    for record in records:
        text, thoughts = record["reply"]["text"], record["reply"].get("thinking", "")
        assert MARK not in text
        assert thoughts == (THOUGHT if record["model"] in {*PAIRS, "gpt-oss"} else "")
        prompts[record["problem"], record["model"], record["hint"]] = record["request"]["messages"]
    assert len(records) == PROBLEMS * 21
    assert all(
        prompts[problem, thinking, hint] == prompts[problem, plain, hint]
        for (problem, thinking, hint) in prompts
        for plain in [PAIRS.get(thinking)]
        if plain
    )
    assert [(row["hint"], row["student"], row["other"]) for row in summary["modes"]] == [
        (hint, *pair) for hint in ("none", "generic", "tailored_any") for pair in PAIRS.items()
    ]
    tokens = {(arm["model"], arm["tags"]["hint"]): arm["mean_output_tokens"] for arm in summary["arms"]}
    assert [(row["output_tokens"], row["output_tokens_other"]) for row in summary["modes"]] == [
        (tokens[row["student"], row["hint"]], tokens[row["other"], row["hint"]]) for row in summary["modes"]
    ]
    asked = {row["model"]: (row["asked"], row["thought"], row["replies"]) for row in summary["thinking"]}
    assert asked["gpt-oss"] == ("medium", 3 * PROBLEMS, 3 * PROBLEMS)
    assert asked["4b"] == ("off", 0, 3 * PROBLEMS)
    assert not any("hinking" in note for note in summary["notes"])


async def test_a_limit_that_thoughts_eat_up_shows_in_the_report_and_fails_no_call(tmp_path: Path) -> None:
    model = "1.7b-thinks"
    summary = await run(tmp_path, f"models.{model}.sampling.max_tokens=20", "models.4b.sampling.thinking=null")
    arms = [arm for arm in summary["arms"] if arm["model"] == model]
    assert [(arm["wordless"], arm["truncated"], arm["no_answer"], arm["failed"]) for arm in arms] == [(4, 4, 4, 0)] * 3
    notes = " ".join(summary["notes"])
    assert f"{model}: hint none, hint_for any, 4 of 4 (4 without a word)" in notes
    assert "sampling.thinking is left out, and these models thought: 4b, 12 of 12 replies." in notes
    assert not any(row["other"] == "4b" for row in summary["modes"])
