"""refusals.py: what it finds wrong with made-up runs, and two small runs from end to end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from books import Entry
from eli5b_batch.records import make_key
from eli5b_batch.simulated.quirks import QUIRKS
from refusals import last_words
from refusals_cases import CASES, SIBLINGS, UNDISTURBED, Run, tell

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "scripts" / "audit" / "refusals.py"
PROBLEMS = 4


def hint(problem: int) -> str:
    return make_key(f"p{problem}", "hint", "teacher", {"hint": "generic", "hint_for": "any"})


def answer(problem: int, condition: str) -> str:
    return make_key(f"p{problem}", "answer", "1b", {"hint": condition, "hint_for": "any", "sample": 0})


KEYS = [key for n in range(PROBLEMS) for key in (hint(n), answer(n, "none"), answer(n, "generic"))]


class Made:
    """A run in which everything is answered at once, to be changed."""

    def __init__(self) -> None:
        self.records: dict[str, dict[str, Any]] = {
            key: {"key": key, "status": "ok", "reply": {"text": "A hint."}} for key in KEYS
        }
        self.ledger = [self.entry(key, t=n / 10) for n, key in enumerate(KEYS)]

    def entry(self, key: str, fault: str | None = None, status: int = 200, t: float = 0.0, tokens: int = 9) -> Entry:
        return Entry(t, "api", key, 5000, status, delivered=True, tokens=tokens, fault=fault)

    def fails(self, key: str, kind: str) -> None:
        self.records[key] = {"key": key, "status": "error", "error": {"class": kind}}

    def wrong(self, quirk: str, code: int | None = 0, printed: str = "", seconds: float = 10.0) -> list[str]:
        case = next(case for case in (*CASES, *SIBLINGS) if case.quirk == quirk)
        run = Run(list(self.records.values()), self.ledger, seconds, code, printed, "the last line")
        row = tell(case, run, len(KEYS), 10.0)
        assert str(row).endswith("the last line")
        return row.wrong


@pytest.fixture
def made() -> Made:
    return Made()


def test_every_quirk_has_a_case() -> None:
    named = [case.quirk for case in (*CASES, *SIBLINGS)]
    assert set(named) == {*QUIRKS, UNDISTURBED}
    assert {name for name in QUIRKS if name.startswith("sibling_")} == {case.quirk for case in SIBLINGS}


def test_a_call_refused_for_good_fails_once_and_takes_with_it_what_builds_on_it(made: Made) -> None:
    made.ledger[0] = made.entry(hint(0), "request_too_large", 429, tokens=0)
    made.fails(hint(0), "too_large")
    made.fails(answer(0, "generic"), "upstream")
    made.ledger = [entry for entry in made.ledger if entry.key != answer(0, "generic")]
    said = "429: Request too large for"
    assert made.wrong("request_too_large", 3, said) == []
    assert made.wrong("request_too_large", 3, said, 13.1) == ["1.31 times the undisturbed run, more than 1.3"]
    assert made.wrong("request_too_large", None) == ["exit none, not 3", "not said: 'Request too large'"]
    made.ledger.append(made.ledger[0])
    assert made.wrong("request_too_large", 3, said) == ["sent 2 times (1 call)"]
    made.fails(answer(1, "none"), "server_error")
    made.fails(hint(0), "bad_request")
    assert made.wrong("request_too_large", 3, said) == [
        "bad_request (1 call)",
        "sent 2 times (1 call)",
        "server_error without having met the quirk (1 call)",
    ]


def test_what_passes_has_to_be_sent_again(made: Made) -> None:
    made.ledger[1] = made.entry(answer(0, "none"), "html_200", tokens=0)
    assert made.wrong("html_200") == ["what came first was taken for the reply (1 call)"]
    made.ledger.append(made.entry(answer(0, "none")))
    assert made.wrong("html_200") == []
    made.ledger.append(made.entry(answer(1, "none")))
    assert made.wrong("html_200") == ["1 requests of other calls sent again"]
    assert made.wrong("error_200_502") == ["no call met it", "2 requests of other calls sent again"]


def test_a_run_that_can_not_succeed_has_to_stop_early(made: Made) -> None:
    made.ledger = [made.entry(key, "region_403", 403, tokens=0) for key in KEYS * 2]
    made.records = {}
    assert made.wrong("region_403", 5, "Country, region, or") == ["24 requests, more than 16"]
    made.ledger = made.ledger[:9]
    assert made.wrong("region_403", 5, "Country, region, or") == []


def test_the_end_of_a_reply_is_compared(made: Made) -> None:
    made.ledger[2] = made.entry(answer(0, "generic"), "finish_content_filter")
    assert made.wrong("finish_content_filter") == ["finish whole, not filtered (1 call)"]
    made.records[answer(0, "generic")]["reply"] = {"finish": "filtered"}
    assert made.wrong("finish_content_filter") == []


def test_the_other_model_has_to_be_served_while_one_is_limited(made: Made) -> None:
    students = [entry for entry in made.ledger if "|answer|" in entry.key]
    made.ledger += [made.entry(entry.key, "model_429", 429, tokens=0) for entry in students]
    assert made.wrong("model_429", printed="temporarily rate-limited upstream") == []
    made.ledger[0] = made.entry(hint(0), t=20.0)
    assert made.wrong("model_429", printed="temporarily rate-limited upstream") == [
        "the other model was served after 20 s, not within 8 s"
    ]


def test_waits_take_the_time_that_was_told(made: Made) -> None:
    made.ledger += [made.entry(hint(0), "retry_after_ms", 429, tokens=0)]
    assert made.wrong("retry_after_ms", seconds=17) == []
    assert made.wrong("retry_after_ms", seconds=18) == ["18 s, more than 18 s"]


def test_refusals_for_limits_that_were_told_are_counted(made: Made) -> None:
    made.ledger += [made.entry(hint(0), None, 429, tokens=0)]
    assert made.wrong("limit_headers_openai") == []
    made.ledger += [made.entry(hint(0), None, 429, tokens=0)]
    assert made.wrong("limit_headers_openai") == ["2 refusals for the account's limits, more than 1"]
    del made.records[hint(3)]
    assert made.wrong("limit_headers_openai")[1:] == ["11 of 12 calls on record"]


def test_the_last_line_says_how_it_ended() -> None:
    progress = "2026-12-01T12:56:38Z refusals | running for 0s | problems 1/3 (33.3%) | hint 1/3 | failed 0\n"
    assert last_words(0, "", progress) == "running for 0s | failed 0"
    assert last_words(None, "", f"{progress}eli5b-batch: stopped by SIGTERM\n") == "running for 0s | failed 0"
    assert last_words(5, "", f"{progress}eli5b-batch: no key\n0 of 3 calls\n") == "no key"
    assert last_words(3, "  /a/report\n1 of 3 calls failed\n  /a/b\n", progress) == "1 of 3 calls failed"
    assert last_words(2, "", "") == ""


def test_two_small_runs_come_to_their_ends(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--only", "undisturbed", "html_200", "--problems", "6"]
    done = subprocess.run(  # noqa: S603 (our own script)
        [*command, "--limit", "200", "--json", str(tmp_path / "rows.json")],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "as they should be: 2 of 2"
    plain, odd = orjson.loads((tmp_path / "rows.json").read_bytes())
    assert (plain["requests"], plain["answered"], plain["code"], plain["hits"]) == (18, 18, 0, 0)
    assert odd["answered"] == 18
    assert odd["requests"] > 18
    assert odd["hits"] > 0
