"""report/places.py: who answered, where several hosts serve one model."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from rich.console import Console

from eli5b_batch.report.build import build_report, latest_report

if TYPE_CHECKING:
    from tests.report.conftest import RunFolder

APIS = {"hosts": "openai", "gpus": "ollama"}


def rows(run: RunFolder) -> list[tuple[Any, ...]]:
    """(model, provider, member, calls, answered, failed, cost_usd, cost_unknown)"""
    return [tuple(row.values()) for row in build_report(run.path).summary["members"]]


def fill(run: RunFolder) -> None:
    """Four hints by two hosts, one of which failed at first and was asked again; answers by slots."""
    run.manifest(providers=APIS)
    run.call("p0", "maverick", step="hint", provider="hosts", slot="novita", cost=0.5)
    run.call("p1", "maverick", step="hint", provider="hosts", slot="novita", cost=0.25)
    run.call("p2", "maverick", step="hint", provider="hosts", slot="deepinfra", cost=None, ok=False)
    run.call("p2", "maverick", step="hint", provider="hosts", slot="novita", cost=0.25)
    run.answer("p0", "maverick", "correct", provider="hosts", slot="deepinfra", cost=0.5)
    run.answer("p0", "1b", "correct", slot="gpu0")


def test_calls_are_counted_by_model_and_member_over_all_steps(run: RunFolder) -> None:
    fill(run)
    assert rows(run) == [
        ("maverick", "hosts", "deepinfra", 2, 1, 1, 0.5, 1),
        ("maverick", "hosts", "novita", 3, 3, 0, 1.0, 0),
    ]


def test_one_member_alone_is_told_too_and_slots_are_no_members(run: RunFolder) -> None:
    run.manifest(providers=APIS)
    run.call("p0", "maverick", step="hint", provider="hosts", slot="novita")
    run.call("p0", "1b", slot="gpu0")
    run.call("p1", "1b", slot="gpu1")
    assert rows(run) == [("maverick", "hosts", "novita", 1, 1, 0, 0.0, 0)]


def test_accounts_without_a_name_are_told_beside_members_and_not_alone(run: RunFolder) -> None:
    """A run that one host began, by a version that wrote no providers down, and several went on with."""
    run.manifest()
    run.call("p0", "maverick", step="hint", provider="together", cost=0.5)
    assert rows(run) == []
    run.manifest(providers=APIS)
    run.call("p1", "maverick", step="hint", provider="hosts", slot="novita", cost=0.25)
    run.call("p1", "judge", step="judge", provider="together")
    assert rows(run) == [
        ("maverick", "hosts", "novita", 1, 1, 0, 0.25, 0),
        ("maverick", "together", None, 1, 1, 0, 0.5, 0),
    ]


def test_calls_that_were_never_sent_count_nowhere(run: RunFolder) -> None:
    run.manifest(providers=APIS)
    run.call("p0", "maverick", ok=False, provider="hosts", slot="novita", failure="bad_request")
    run.call("p0", "maverick", ok=False, provider="hosts", slot="novita", failure="bad_request", sent=False)
    run.call("p1", "maverick", ok=False, provider="hosts", failure="upstream", sent=False)
    assert rows(run) == [("maverick", "hosts", "novita", 1, 0, 1, 0.0, 0)]


def test_members_are_shown_on_the_page_and_in_the_terminal(run: RunFolder) -> None:
    fill(run)
    report = build_report(run.path)
    page = (run.path / "report" / "summary.md").read_text()
    assert "## Answers by member\n\n| model | member | calls | answered | failed | cost |" in page
    assert "| maverick | hosts/novita | 3 | 3 | 0 | $1.00 |" in page
    assert "| maverick | hosts/deepinfra | 2 | 1 | 1 (50.0%) | $0.50 + 1 call unknown |" in page
    console = Console(file=io.StringIO(), width=80)
    console.print(report.renderable())
    assert isinstance(console.file, io.StringIO)
    lines = [" ".join(line.split()) for line in console.file.getvalue().split("\n")]
    assert "maverick novita 3 3 0 $1.00" in lines
    assert latest_report(run.path).summary == report.summary


def test_without_members_nothing_is_shown(run: RunFolder) -> None:
    run.manifest(providers={"gpus": "ollama"})
    run.answer("p0", "1b", "correct", slot="gpu0")
    report = build_report(run.path)
    assert report.summary["members"] == []
    assert "by member" not in (run.path / "report" / "summary.md").read_text()
