"""Whole runs whose key a program prints: the key expires, is renewed, and stands in no file and no message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web

from eli5b_batch.job.schema import Simulation
from eli5b_batch.simulated.model import SimulatedModel
from eli5b_batch.simulated.openai import SimulatedAPI

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Cli = Callable[..., tuple[int, str, str]]

FAST = Simulation(latency_s=0, tokens_per_s=1e9)
MODELS = {"teacher": "large-70b", "1b": "llama3.2:1b"}


class Host:
    """A simulated API whose key changes after every `calls_per_key` calls, and a program that prints the valid key."""

    def __init__(self, folder: Path, calls_per_key: int) -> None:
        self.api = SimulatedAPI(SimulatedModel({}, MODELS, FAST, seed=0), FAST, api_key="")
        self.refused = 0
        self._calls_per_key = calls_per_key
        self._answered = self._number = 0
        self._text, self._runs = folder / "key.txt", folder / "runs.txt"
        self._runs.touch()
        self.command = ["sh", "-c", f"echo ran >> {self._runs}; cat {self._text}"]
        self.change()

    def change(self) -> None:
        self._number += 1
        self._text.write_text(f"sk-printed-{self._number}\n")
        self.api._authorization = f"Bearer sk-printed-{self._number}"

    @property
    def runs(self) -> int:
        return self._runs.read_text().count("ran")

    async def chat(self, request: web.Request) -> web.StreamResponse:
        response = await self.api.answer(request)
        self.refused += response.status == 401
        self._answered += response.status == 200
        if response.status == 200 and self._answered % self._calls_per_key == 0:
            self.change()
        return response

    async def models(self, request: web.Request) -> web.StreamResponse:
        return await self.api._refusals(request, self.api._list_models)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_get("/v1/models", self.models)
        return app


@pytest.fixture
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    return Host(tmp_path_factory.mktemp("host"), calls_per_key=5)


@pytest.fixture
def write(job: Callable[..., Path], serve: Callable[[web.Application], str], host: Host) -> Callable[..., Path]:
    url = f"{serve(host.app())}/v1"

    def make(**provider: Any) -> Path:  # noqa: ANN401 (values of a job)
        api = {"api": "openai", "base_url": url, "api_key_command": host.command, **provider}
        return job(
            providers={"api": api},
            models={own: {"provider": "api", "model": model, "price": "free"} for own, model in MODELS.items()},
            params={"teacher": "teacher", "students": ["1b"], "hints": ["none", "generic"], "samples": 6},
        )

    return make


def records(folder: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (folder / "calls.jsonl").read_bytes().splitlines()]


def test_a_run_outlives_its_keys_and_no_call_loses_an_attempt(
    cli: Cli, write: Callable[..., Path], host: Host, tmp_path: Path
) -> None:
    code, _, err = cli(write(limits={"concurrency": 1}), "--display", "none")
    assert (code, err) == (0, "")
    made = records(tmp_path / "outputs" / "small")
    assert len(made) == 2 + 2 * 2 * 6
    assert {(record["status"], record["timing"]["attempts"], record["cost_usd"]) for record in made} == {("ok", 1, 0.0)}
    assert (host.refused, host.runs) == (5, 6)  # of 26 calls, of which a key answers five
    for path in (tmp_path / "outputs").rglob("*"):
        assert path.is_dir() or b"sk-printed" not in path.read_bytes()


def test_a_fresh_key_that_is_refused_ends_the_run_before_anything_is_made(
    cli: Cli, write: Callable[..., Path], host: Host, tmp_path: Path
) -> None:
    host.api._authorization = "Bearer another"
    code, out, err = cli(write(), "--display", "none")
    assert (code, out, host.runs) == (5, "", 1)
    assert err == (
        "eli5b-batch: providers.api: the key was refused: set what api_key_command prints to a valid key "
        "(401: No valid API key was sent.)\n"
    )
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    "command", [["rehearse"], ["check"], ["check", "--simulate"], ["run", "--simulate", "--display", "none"]]
)
def test_nothing_but_a_run_and_a_probe_runs_the_program(
    cli: Cli, write: Callable[..., Path], host: Host, command: list[str]
) -> None:
    code, _, err = cli(command[0], write(headers_env={"X-Team": "HOME"}), *command[1:])
    assert (code, err, host.runs, host.refused) == (0, "", 0, 0)
    code, out, _ = cli("check", write(), "--probe", "--set", "models.teacher.price=unknown")
    assert (code, host.runs) == (0, 1)
    assert "probe: models.teacher: answered; " in out
