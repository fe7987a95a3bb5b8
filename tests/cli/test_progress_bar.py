from __future__ import annotations

import io

from rich.console import Console

from eli5b_batch.cli.progress_bar import ProgressBar


def test_off_a_terminal_a_line_every_five_seconds_says_how_far_it_is() -> None:
    shown, lines, now = io.StringIO(), io.StringIO(), 100.0
    with ProgressBar(Console(file=shown), lines, clock=lambda: now) as bar:
        for tenth in range(150):
            now = 100 + tenth / 10
            bar.show("reading calls.jsonl", tenth / 150)
    assert shown.getvalue() == ""
    assert lines.getvalue().splitlines() == [
        "eli5b-batch: reading calls.jsonl, 33.3%",
        "eli5b-batch: reading calls.jsonl, 66.7%",
    ]


def test_on_a_terminal_a_bar_is_drawn_after_a_second_and_gone_at_the_end() -> None:
    shown, lines, now = io.StringIO(), io.StringIO(), 100.0
    with ProgressBar(Console(file=shown, force_terminal=True, width=100), lines, clock=lambda: now) as bar:
        now = 100.9
        bar.show("reading calls.jsonl", 0.25)
        assert shown.getvalue() == ""
        now = 101.1
        bar.show("reading calls.jsonl", 0.5)
        assert "reading calls.jsonl" in shown.getvalue()
        assert "50%" in shown.getvalue()
    assert shown.getvalue().endswith("\x1b[2K")  # the bar's line is erased
    assert lines.getvalue() == ""


def test_with_nowhere_for_lines_nothing_is_written() -> None:
    shown, now = io.StringIO(), 0.0
    with ProgressBar(Console(file=shown), None, clock=lambda: now) as bar:
        now = 60.0
        bar.show("rehearsing", 0.5)
    assert shown.getvalue() == ""
