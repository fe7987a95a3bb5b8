"""Whole runs over loopback in which hosts call one model differently and take different prices for it."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web

from eli5b_batch.job.load import load_job
from eli5b_batch.records.journal import read_records
from eli5b_batch.report.build import build_report
from eli5b_batch.run.execute import execute
from eli5b_batch.run.plan import load_experiment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OWN = "meta/Maverick-FP8"
PRICE = {"input": 1.0, "output": 2.0, "as_of": "2026-07-01"}
DEAR = {"input": 10.0, "output": 20.0, "as_of": "2026-07-01"}


class Host:
    """Serves models by its own ids, and answers nothing else; counts what it answered."""

    def __init__(self, *ids: str) -> None:
        self.ids = ids
        self.asked: Counter[str] = Counter()

    async def listed(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": model} for model in self.ids]})

    async def chat(self, request: web.Request) -> web.Response:
        model = orjson.loads(await request.read())["model"]
        self.asked[model] += 1
        if model not in self.ids:
            return web.json_response({"error": {"message": f"no model {model}"}}, status=404)
        choice = {"message": {"role": "assistant", "content": "It is \\boxed{2}."}, "finish_reason": "stop"}
        return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 10}})

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v1/models", self.listed)
        app.router.add_post("/v1/chat/completions", self.chat)
        return app


@pytest.fixture
def write(job: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a job whose teacher and student are served by the provider given."""
    monkeypatch.chdir(tmp_path)

    def make(name: str, **provider: object) -> Path:
        return job(
            providers={name: {"api": "openai", "limits": {"concurrency": 2}, **provider}},
            models={
                "teacher": {"provider": name, "model": OWN, "price": PRICE},
                "1b": {"provider": name, "model": "small", "price": "free"},
            },
            params={"teacher": "teacher", "students": ["1b"], "hints": ["none", "generic"], "samples": 6},
            budget={"usd": 1.0},
        )

    return make


async def run(path: Path, limit: int) -> list[dict[str, Any]]:
    """Runs the job to its end, and gives everything on record."""
    folder = path.parent / "run"
    ending = await execute(
        load_experiment(load_job(path, limit=limit), "job.yaml"), folder, display=lambda _: nullcontext()
    )
    assert ending.exit_code == 0
    return list(read_records(folder / "calls.jsonl"))


def members(here: str, there: str) -> list[dict[str, Any]]:
    models = {"teacher": {"model": "maverick", "price": DEAR}, "1b": {"model": "small-b"}}
    return [
        {"name": "own", "base_url": f"{here}/v1"},
        {"name": "other", "base_url": f"{there}/v1", "models": models},
    ]


async def test_hosts_with_other_ids_and_prices_answer_one_question(
    write: Callable[..., Path], serve: Callable[[web.Application], str], tmp_path: Path
) -> None:
    here, there = Host(OWN, "small"), Host("maverick", "small-b")
    url = serve(here.app())
    records = await run(write("hosts", base_url=f"{url}/v1", members=members(url, serve(there.app()))), 2)
    assert set(here.asked) <= {OWN, "small"}
    assert set(there.asked) <= {"maverick", "small-b"}
    assert {record["slot"] for record in records} == {"own", "other"}
    assert {record["request"]["model"] for record in records} == {OWN, "small"}
    costs = {("teacher", "own"): 120e-6, ("teacher", "other"): 1200e-6, ("1b", "own"): 0.0, ("1b", "other"): 0.0}
    for record in records:
        assert record["cost_usd"] == pytest.approx(costs[record["model"], record["slot"]])
    rows = {(row["model"], row["member"]): row for row in build_report(tmp_path / "run").summary["members"]}
    assert {at: row["calls"] for at, row in rows.items()} == Counter((r["model"], r["slot"]) for r in records)
    assert sum(row["cost_usd"] for row in rows.values()) == pytest.approx(sum(r["cost_usd"] for r in records))


async def test_a_run_that_one_host_began_goes_on_with_several_and_asks_nothing_again(
    write: Callable[..., Path], serve: Callable[[web.Application], str]
) -> None:
    old, here, there = Host(OWN, "small"), Host(OWN, "small"), Host("maverick", "small-b")
    old_url, url, other = (serve(host.app()) for host in (old, here, there))
    first = await run(write("together", base_url=f"{old_url}/v1"), 1)
    asked = old.asked.total()
    assert asked == len(first)

    several = {"base_url": f"{url}/v1", "members": members(url, other)}
    assert await run(write("hosts", **several), 1) == first
    assert here.asked.total() + there.asked.total() == 0
    assert await run(write("together", base_url=f"{old_url}/v1"), 1) == first
    assert old.asked.total() == asked

    both = await run(write("hosts", **several), 2)
    assert both[: len(first)] == first
    assert here.asked.total() + there.asked.total() == len(both) - len(first) == len(first)
    assert old.asked.total() == asked
    assert {record["provider"] for record in both} == {"together", "hosts"}
