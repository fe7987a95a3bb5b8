"""Whole runs in which models think, in every way in which thoughts come: none reaches a prompt or a grade."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from eli5b_batch.job.load import load_job
from eli5b_batch.records.journal import read_records
from eli5b_batch.run.execute import execute
from eli5b_batch.run.plan import load_experiment
from eli5b_batch.simulated.quirks import QUIRKS
from eli5b_batch.simulated.quirks.thoughts import ENDS, HEADER, MARK, TAG_PAIRS, THOUGHTS
from tests.run.test_execute import QUICK, Watch

if TYPE_CHECKING:
    from eli5b_batch.run.engine import Ending

QUICKSTART = Path(__file__).parent.parent.parent / "jobs" / "quickstart.yaml"
WORDLESS = ("thinks_unclosed", "thinks_only", "thinks_only_whole", "thinks_hidden")
WITH_WORDS = sorted({*THOUGHTS, "content_parts", "run_on"} - {*WORDLESS})
MARKS = {part.strip() for tag in TAG_PAIRS for part in re.split(r"\{thought\}|\{text\}", tag) if part.strip()}
SIGNS = [MARK, HEADER.strip(), *ENDS, "<|channel|>", "assistantfinal", *MARKS]


async def run(folder: Path, *overrides: str, limit: int = 6) -> Ending:
    job = load_job(QUICKSTART, overrides=[*QUICK, *overrides], limit=limit)
    return await execute(load_experiment(job, "quickstart.yaml"), folder, display=Watch())


def calls(folder: Path, step: str = "") -> list[dict[str, Any]]:
    return [record for record in read_records(folder / "calls.jsonl") if record["step"] == step or not step]


@pytest.mark.parametrize("quirk", WITH_WORDS)
async def test_a_teachers_thoughts_and_special_tokens_stand_in_no_prompt(quirk: str, tmp_path: Path) -> None:
    ending = await run(tmp_path, f"providers.api.simulation.quirks={{{quirk}: 1}}")
    assert ending.exit_code == 0
    hints = calls(tmp_path, "hint")
    for record in hints:
        text = record["reply"]["text"]
        assert text.startswith("SIMULATED hint"), quirk
        assert record["reply"].get("raw") != text
        thinks = quirk.startswith("thinks") and quirk != "thinks_token_total"
        assert ("SIMULATED thought" in record["reply"].get("thinking", "")) is (thinks or quirk == "content_parts")
    asked = orjson.dumps([record["request"]["messages"] for record in calls(tmp_path)]).decode()
    assert [sign for sign in SIGNS if orjson.dumps(sign).decode().strip('"') in asked] == []


@pytest.mark.parametrize("quirk", sorted(name for name in WITH_WORDS if "ollama" in QUIRKS[name].wires))
async def test_a_students_thoughts_are_not_graded(quirk: str, tmp_path: Path) -> None:
    await run(tmp_path / "with", f"providers.gpus.simulation.quirks={{{quirk}: 1}}")
    await run(tmp_path / "without")
    verdicts = {
        name: {
            row["key"]: (row["verdict"], row["answer"])
            for row in map(orjson.loads, (tmp_path / name / "grades.jsonl").read_bytes().splitlines())
        }
        for name in ("with", "without")
    }
    assert verdicts["with"] == verdicts["without"]


@pytest.mark.parametrize("quirk", [name for name in WORDLESS if "ollama" in QUIRKS[name].wires])
async def test_a_student_that_never_comes_to_a_word_has_answered_and_is_not_asked_again(
    quirk: str, tmp_path: Path
) -> None:
    once = await run(tmp_path, f"providers.gpus.simulation.quirks={{{quirk}: 1}}")
    assert once.exit_code == 0
    before = (tmp_path / "calls.jsonl").read_bytes()
    answers = [record for record in calls(tmp_path, "answer") if record["provider"] == "gpus"]
    assert {record["status"] for record in answers} == {"ok"}
    assert {record["reply"]["text"] for record in answers} == {""}
    assert {record["reply"]["finish"] for record in answers} == {"whole" if quirk == "thinks_only_whole" else "cut"}
    assert all(MARK in record["reply"]["thinking"] for record in answers)
    grades = [orjson.loads(line) for line in (tmp_path / "grades.jsonl").read_bytes().splitlines()]
    assert {row["verdict"] for row in grades if "maverick" not in row["key"]} == {"no_answer"}
    await run(tmp_path, f"providers.gpus.simulation.quirks={{{quirk}: 1}}")
    assert (tmp_path / "calls.jsonl").read_bytes() == before


@pytest.mark.parametrize("quirk", WORDLESS)
async def test_a_teacher_that_only_thinks_stops_the_run_and_no_student_is_asked(quirk: str, tmp_path: Path) -> None:
    hinted = ("params.hints=[generic]", "params.teacher_alone=false")
    ending = await run(tmp_path, *hinted, f"providers.api.simulation.quirks={{{quirk}: 1}}", limit=30)
    assert ending.exit_code == 5
    assert str(ending.reason).startswith("models.maverick: its last 5 replies of step hint hold no")
    assert "raise its sampling.max_tokens or lower its thinking" in str(ending.reason)
    assert str(ending.reason).endswith("run again with --redo hint, or under a new name")
    assert {record["error"]["class"] for record in calls(tmp_path, "answer")} <= {"upstream"}
    hints = calls(tmp_path, "hint")
    assert {record["status"] for record in hints} == {"ok"}
    assert len({record["key"] for record in hints}) == len(hints)
