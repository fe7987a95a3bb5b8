"""The documents agree with the code: schema, keys, fields, links, names of tests."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from eli5b_batch.cli.app import app
from eli5b_batch.data.readers import READERS
from eli5b_batch.errors import Eli5bError
from eli5b_batch.grading.graders import GRADERS
from eli5b_batch.job.schema import Job
from eli5b_batch.progress.snapshot import Snapshot
from eli5b_batch.protocols.eli5b.conditions import CONDITIONS
from eli5b_batch.protocols.eli5b.protocol import Params
from eli5b_batch.records import RESERVED
from eli5b_batch.run.engine import _SOME_FAILED, INTERRUPTED
from eli5b_batch.simulated.quirks import QUIRKS
from tests.test_layers import ANYBODY, ROOMS

ROOT = Path(__file__).parent.parent
JOBS = sorted((ROOT / "jobs").glob("*.yaml"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "scripts").glob("*/README.md")])
GUIDES = ["CONTRIBUTING.md", "docs/extending.md", "docs/promises.md"]
"""Documents that say where things stand in the code."""
EXTENDING = (ROOT / "docs" / "extending.md").read_text()

NAMED_TEST = re.compile(r"`(tests/\S+?\.py)::(\w+)`")
PATH = re.compile(r"\.?[\w-]+(?:/[\w.-]+)*(?:/|\.(?:py|txt|md|json|jsonl|yaml|toml))")
CODE_BLOCK = re.compile(r"^ *```\w+\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
QUOTATIONS = [
    (code.partition("\n")[0].removeprefix("# "), code.partition("\n")[2].rstrip())
    for code in map(textwrap.dedent, CODE_BLOCK.findall(EXTENDING))
    if code.startswith("# eli5b_batch/")
]
"""Code of the package that the guide quotes, with the file that it names."""
WORDS_OF_A_CHANGE = 30


def words_in_code(document: str) -> set[str]:
    """Return every word that a document sets in backticks."""
    text = (ROOT / document).read_text()
    return set(re.findall(r"\w+", " ".join(re.findall(r"`([^`\n]+)`", text))))


def keys_of(schema: dict[str, Any]) -> set[str]:
    """Return every key that a JSON Schema defines, in all its sections."""
    sections = [schema, *schema.get("$defs", {}).values()]
    return {key for section in sections for key in section.get("properties", {})}


def codes_of(error: type[Eli5bError]) -> set[int]:
    """The exit codes of a class of errors and of all below it."""
    return {error.exit_code}.union(*map(codes_of, error.__subclasses__()))


def without_code_blocks(text: str) -> str:
    """A document's prose and tables."""
    return CODE_BLOCK.sub("", text)


def places_of(path: str) -> list[Path]:
    """The files and folders that a guide can mean: from the root, else in the package."""
    return [place for place in (ROOT / path, ROOT / "eli5b_batch" / path) if place.exists()][:1]


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


def test_every_promise_names_a_test_and_every_named_test_exists() -> None:
    promises = (ROOT / "docs" / "promises.md").read_text().partition("\n## Exit codes\n")[0]
    rows = re.findall(r"^\| (?!promise \||---)(.+) \| (.+) \|$", promises, re.MULTILINE)
    assert rows
    assert [promise for promise, test in rows if not NAMED_TEST.fullmatch(test)] == []


@pytest.mark.parametrize("document", [*GUIDES, "README.md"])
def test_every_test_that_a_document_names_exists(document: str) -> None:
    for file, test in NAMED_TEST.findall((ROOT / document).read_text()):
        assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file}::{test}"


def test_the_exit_codes_are_those_of_the_errors_and_of_the_engine() -> None:
    section = (ROOT / "docs" / "promises.md").read_text().partition("\n## Exit codes\n")[2].partition("\n## ")[0]
    listed = [int(code) for row in re.findall(r"^\| (\d[\d, ]*) \|", section, re.MULTILINE) for code in row.split(", ")]
    assert sorted(listed) == sorted({0, _SOME_FAILED, *INTERRUPTED.values(), *codes_of(Eli5bError)})


def test_the_layers_in_the_guide_are_those_that_the_imports_are_held_to() -> None:
    section = (ROOT / "CONTRIBUTING.md").read_text().partition("\n## Layers\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| .+ \| (.+) \|$", section, re.MULTILINE)
    assert rows == [(room, allowed or "nothing") for room, allowed in ROOMS.items()]
    assert set(re.findall(r"`(\w+)`", section.partition("beside the rooms:")[2].partition("\n\n")[0])) == ANYBODY


@pytest.mark.parametrize("document", GUIDES)
def test_a_guide_names_files_and_what_stands_in_them(document: str) -> None:
    lines = re.split(r"\n(?=\d+\. |- |\| |\n)", without_code_blocks((ROOT / document).read_text()))
    for line in lines:
        marked = [mark for mark in re.findall(r"`([^`\n]+)`", line) if "NAME" not in mark]
        paths = [path for mark in marked if PATH.fullmatch(mark) for path in places_of(mark)]
        assert [mark for mark in marked if PATH.fullmatch(mark) and not places_of(mark)] == [], line
        text = "\n".join(path.read_text() for path in paths if path.is_file())
        if re.match(r"\d+\. `|\| (?!`)", line) and text:
            words = set(re.findall(r"\w+", text))
            assert [mark for mark in marked if re.fullmatch(r"[A-Za-z_]\w+", mark) and mark not in words] == [], line


@pytest.mark.parametrize("quotation", QUOTATIONS, ids=lambda quotation: quotation[0])
def test_quoted_code_stands_in_the_file_that_it_names(quotation: tuple[str, str]) -> None:
    file, code = quotation
    lines = iter((ROOT / file).read_text().splitlines())
    for line in code.splitlines():  # in this order; the guide leaves out docstrings and some lines
        assert line in lines, line


async def test_the_least_protocol_of_the_guide_asks_each_model_once() -> None:
    (code,) = (textwrap.dedent(block) for block in CODE_BLOCK.findall(EXTENDING) if "async def run(" in block)
    guide: dict[str, Any] = {"__name__": "guide"}
    exec(code, guide)  # noqa: S102 (the project's own document)
    guide["Params"].model_rebuild(_types_namespace=guide)
    params = guide["Params"].model_validate({"models": ["1b", "8b"]}, context={"models": ["1b", "8b"]})
    calls: list[tuple[str, str]] = []

    async def call(model: str, ask: str, *, step: str) -> None:
        calls.append((model, f"{step} {ask}"))

    context = SimpleNamespace(call=call, prompt=lambda name, problem: f"{name} {problem}")
    await guide["run"]("6 x 7", context, params)
    assert calls == [("1b", "answer answer 6 x 7"), ("8b", "answer answer 6 x 7")]
    assert set(guide["GRADED"]) == {"answer"}


def test_every_reader_and_grader_is_explained() -> None:
    schema = Job.model_json_schema()
    assert set(schema["properties"]["grader"]["enum"]) == {*GRADERS, "judge"}
    assert {*READERS, *GRADERS} <= words_in_code("docs/job-file.md")
    assert READERS.keys() <= set(re.findall(r"\w+", schema["$defs"]["Data"]["properties"]["reader"]["description"]))


def test_every_condition_is_explained() -> None:
    assert set(CONDITIONS) <= words_in_code("docs/experiment.md") & words_in_code("docs/job-file.md")


def test_the_map_of_grading_lists_its_modules() -> None:
    section = (ROOT / "docs" / "grading.md").read_text().partition("\n## Where it stands in the code\n")[2]
    cells = re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)
    listed = [name.removesuffix("/") for cell in cells for name in re.findall(r"`(.+?)`", cell)]
    room = ROOT / "eli5b_batch" / "grading"
    assert sorted(listed) == sorted(p.stem for p in room.iterdir() if not p.name.startswith("__"))


def test_a_line_of_the_changelog_is_short() -> None:
    lines = re.split(r"\n(?=- |#|\n)", (ROOT / "CHANGELOG.md").read_text())
    assert [line for line in lines if line.startswith("- ") and len(line.split()) > WORDS_OF_A_CHANGE] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", document.read_text())
    assert [link for link in links if "://" not in link and not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_to_a_section_leads_to_its_heading(document: Path) -> None:
    for page, section in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", document.read_text()):
        headings = re.findall(r"^#+ (.+)$", (document.parent / page if page else document).read_text(), re.MULTILINE)
        assert section in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}, page


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    notes = {p.name for p in folder.glob("[0-9]*.md")}
    assert notes == set(re.findall(r"\]\(([0-9]\S+\.md)\)", (folder / "README.md").read_text()))
