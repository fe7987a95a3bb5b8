"""The documents hold what the code does: schema, keys, fields, links, names of tests and modules."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from eli5b_batch.cli.app import app
from eli5b_batch.job.schema import Job
from eli5b_batch.progress.snapshot import Snapshot
from eli5b_batch.protocols.eli5b.protocol import Params
from eli5b_batch.records import RESERVED
from eli5b_batch.simulated.quirks import QUIRKS

ROOT = Path(__file__).parent.parent
JOBS = sorted((ROOT / "jobs").glob("*.yaml"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "scripts").glob("*/README.md")])


def words_in_code(document: str) -> set[str]:
    """Every word that a document sets in backticks."""
    text = (ROOT / document).read_text()
    return set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", text))))


def keys_of(schema: dict[str, Any]) -> set[str]:
    """Every key that a JSON Schema defines, in all its sections."""
    sections = [schema, *schema.get("$defs", {}).values()]
    return {key for section in sections for key in section.get("properties", {})}


def test_the_shipped_schema_is_what_the_command_prints() -> None:
    printed = CliRunner().invoke(app, ["schema"]).output
    assert (ROOT / "jobs" / "job.schema.json").read_text() == printed, (
        "run: python -m eli5b_batch schema > jobs/job.schema.json"
    )


@pytest.mark.parametrize("job", JOBS, ids=lambda path: path.stem)
def test_a_shipped_job_tells_editors_its_schema(job: Path) -> None:
    assert job.read_text().startswith("# yaml-language-server: $schema=job.schema.json\n")


def test_every_key_of_a_job_is_explained() -> None:
    keys = keys_of(Job.model_json_schema()) | keys_of(Params.model_json_schema())
    assert keys <= words_in_code("docs/job-file.md")


def test_the_list_of_quirks_is_the_table_of_the_servers() -> None:
    section = (ROOT / "docs" / "job-file.md").read_text().partition("### Quirks\n")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `(\w+)` \| (.*) \|$", section, re.MULTILINE)
    assert listed == [(name, quirk.about) for name, quirk in QUIRKS.items()]
    shared = set(re.findall(r"`(\w+)`", section.partition("slots`, which have")[2].partition(" as well")[0]))
    assert shared == {name for name, quirk in QUIRKS.items() if len(quirk.wires) > 1}


def test_every_field_of_a_run_folder_is_explained() -> None:
    assert RESERVED | set(Snapshot.__required_keys__) <= words_in_code("docs/run-folder.md")


def test_every_promise_of_the_readme_names_a_test_that_exists() -> None:
    named = re.findall(r"`(tests/\S+?\.py)::(\w+)`", (ROOT / "README.md").read_text())
    assert named
    for file, test in named:
        assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file}::{test}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", document.read_text())
    assert [link for link in links if "://" not in link and not (document.parent / link).exists()] == []


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    notes = {p.name for p in folder.glob("[0-9]*.md")}
    assert notes == set(re.findall(r"\]\(([0-9]\S+\.md)\)", (folder / "README.md").read_text()))
