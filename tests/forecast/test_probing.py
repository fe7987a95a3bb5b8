"""`check --probe`: one tiny call of each paid model, as each of its accounts, and what came of it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web
from rich.console import Console

from eli5b_batch.forecast.check import check_job
from eli5b_batch.job.load import load_job
from eli5b_batch.run.plan import load_experiment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Job = Callable[..., Path]
    Serve = Callable[[web.Application], str]

PRICE = {"input": 1.0, "output": 2.0, "as_of": "2026-03-01"}
KEY = "sk-0123456789abcdef"


class API:
    """A host that lists its models and answers as told, by model: a status and what the body holds."""

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, dict[str, Any]]] = []
        self.answers: dict[str, tuple[int, dict[str, Any]]] = {}

    async def chat(self, request: web.Request) -> web.Response:
        body = orjson.loads(await request.read())
        self.asked.append((request.headers.get("Authorization"), body))
        choice = {"message": {"role": "assistant", "content": "2"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 20, "completion_tokens": 5}
        status, fields = self.answers.get(body["model"], (200, {}))
        return web.json_response(
            {"choices": [choice], "usage": usage} | fields if status == 200 else fields, status=status
        )

    async def models(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": model} for model in ("large-70b", "middle-30b", "llama3.2:1b")]})

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v1/models", self.models)
        app.router.add_post("/v1/chat/completions", self.chat)
        return app


@pytest.fixture
def api() -> API:
    return API()


@pytest.fixture
def write(job: Job, serve: Serve, api: API, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a job whose teacher, and whatever else is priced, is served by the host."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEST_KEY", KEY)
    url = f"{serve(api.app())}/v1"

    def make(teacher: dict[str, Any] | None = None, student: dict[str, Any] | None = None, **provider: Any) -> Path:  # noqa: ANN401
        return job(
            providers={"api": {"api": "openai", "base_url": url, "api_key_env": "TEST_KEY", **provider}},
            models={
                "teacher": {"provider": "api", "model": "large-70b", "price": PRICE, **(teacher or {})},
                "1b": {"provider": "api", "model": "llama3.2:1b", "price": "free", **(student or {})},
            },
        )

    return make


async def probed(path: Path, *, probe: bool = True) -> tuple[int, list[str]]:
    """Exit code, and the printed lines that tell of probes or of what would stop the run."""
    console = Console(file=io.StringIO(), width=80)
    experiment = load_experiment(load_job(path), "job.yaml")
    before = sorted(path.parent.rglob("*"))
    code = await check_job(experiment, path.parent / "outputs" / "run", console, probe=probe)
    assert sorted(path.parent.rglob("*")) == before
    assert isinstance(console.file, io.StringIO)
    printed = console.file.getvalue()
    assert KEY not in printed
    return code, [line for line in printed.split("\n") if line.startswith(("probe: ", "would stop", "nothing would"))]


async def test_without_the_option_no_model_is_asked(write: Callable[..., Path], api: API) -> None:
    code, lines = await probed(write(), probe=False)
    assert (code, lines, api.asked) == (0, ["nothing would stop the run."], [])


async def test_a_paid_model_is_asked_one_tiny_call_and_what_it_cost_is_said(
    write: Callable[..., Path], api: API
) -> None:
    code, lines = await probed(write())
    assert code == 0
    assert lines == [
        "probe: models.teacher: answered; 20 tokens in, 5 out, $0.000030",
        "probe: all together cost $0.000030, which no budget counts and no run folder holds.",
        "nothing would stop the run.",
    ]
    ((authorization, body),) = api.asked
    assert authorization == f"Bearer {KEY}"
    assert (body["model"], body["max_tokens"]) == ("large-70b", 16)
    assert len(body["messages"]) == 1


async def test_the_sampling_is_the_models_own_but_for_the_length_by_whatever_name(
    write: Callable[..., Path], api: API
) -> None:
    extra = {"min_p": 0.1, "max_completion_tokens": 500}
    sampling = {"temperature": 0.3, "max_tokens": 500, "stop": ["Q:"], "extra": extra}
    await probed(write({"sampling": sampling}, omit=["seed", "max_tokens"]))
    ((_, body),) = api.asked
    assert {name: value for name, value in body.items() if name != "messages"} == {
        "model": "large-70b",
        "stream": False,
        "temperature": 0.3,
        "stop": ["Q:"],
        "min_p": 0.1,
        "max_completion_tokens": 16,
    }


async def test_a_model_whose_replies_are_shorter_still_is_asked_for_no_more(
    write: Callable[..., Path], api: API
) -> None:
    await probed(write({"sampling": {"max_tokens": 4}}))
    assert [body["max_tokens"] for _, body in api.asked] == [4]


async def test_a_refused_field_is_told_in_the_hosts_words_and_gives_the_code_of_a_refusal(
    write: Callable[..., Path], api: API
) -> None:
    api.answers["large-70b"] = 400, {"error": {"message": f"seed: Extra inputs are not permitted ({KEY})"}}
    code, lines = await probed(write(student={"price": PRICE}))
    assert code == 5
    assert lines == [
        "probe: models.1b: answered; 20 tokens in, 5 out, $0.000030",
        "probe: all together cost $0.000030, which no budget counts and no run folder holds.",
        (
            "would stop the run: models.teacher: its probe was refused: api answered 400: "
            "seed: Extra inputs are not permitted (***)"
        ),
    ]


async def test_a_refused_key_and_missing_credit_are_told(write: Callable[..., Path], api: API) -> None:
    for status, words in ((401, "set TEST_KEY to a valid key (401: no)"), (402, "no credit left")):
        api.answers["large-70b"] = status, {"error": {"message": "no"}}
        code, lines = await probed(write())
        assert code == 5
        assert lines[-1].startswith("would stop the run: models.teacher: its probe was refused: providers.api: ")
        assert words in lines[-1]


async def test_every_member_is_asked_and_named(
    write: Callable[..., Path], api: API, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_KEY", "sk-other")
    members = [{"name": "one"}, {"name": "two", "api_key_env": "OTHER_KEY"}]
    code, lines = await probed(write(student={"price": PRICE}, members=members))
    assert code == 0
    assert [line.split(":")[1].strip() for line in lines[:4]] == [
        f"models.{name} (member {member})" for member in ("one", "two") for name in ("teacher", "1b")
    ]
    assert sorted((key, body["model"]) for key, body in api.asked) == [
        ("Bearer sk-0123456789abcdef", "large-70b"),
        ("Bearer sk-0123456789abcdef", "llama3.2:1b"),
        ("Bearer sk-other", "large-70b"),
        ("Bearer sk-other", "llama3.2:1b"),
    ]
    assert lines[4] == "probe: all together cost $0.000120, which no budget counts and no run folder holds."


async def test_every_member_is_asked_by_its_own_id_and_paid_its_own_price(write: Callable[..., Path], api: API) -> None:
    members = [
        {"name": "own"},
        {"name": "dear", "models": {"teacher": {"model": "middle-30b", "price": {**PRICE, "output": 4.0}}}},
        {"name": "free", "models": {"teacher": {"price": "free"}, "1b": {"price": PRICE}}},
        {"name": "secret", "models": {"teacher": {"price": "unknown"}}},
    ]
    code, lines = await probed(write(members=members))
    assert (code, lines[-1]) == (0, "nothing would stop the run.")
    assert lines[:-1] == [
        "probe: models.teacher (member own): answered; 20 tokens in, 5 out, $0.000030",
        "probe: models.teacher (member dear): answered; 20 tokens in, 5 out, $0.000040",
        "probe: models.1b (member free): answered; 20 tokens in, 5 out, $0.000030",
        "probe: models.teacher (member secret): answered; 20 tokens in, 5 out, cost unknown",
        "probe: all together cost $0.000100 and what is unknown, which no budget counts and no run folder holds.",
    ]
    asked = sorted(body["model"] for _, body in api.asked)
    assert asked == ["large-70b", "large-70b", "llama3.2:1b", "middle-30b"]


async def test_an_unknown_price_is_paid_and_its_cost_unknown(write: Callable[..., Path], api: API) -> None:
    code, lines = await probed(write({"price": "unknown"}))
    assert code == 0
    assert lines[:2] == [
        "probe: models.teacher: answered; 20 tokens in, 5 out, cost unknown",
        "probe: all together cost $0.000000 and what is unknown, which no budget counts and no run folder holds.",
    ]
    assert len(api.asked) == 1


async def test_thoughts_that_used_up_the_few_tokens_are_an_answer(write: Callable[..., Path], api: API) -> None:
    choice = {"message": {"role": "assistant", "content": "", "reasoning": "Hm."}, "finish_reason": "length"}
    api.answers["large-70b"] = 200, {"choices": [choice]}
    code, lines = await probed(write())
    assert code == 0
    assert lines[0] == "probe: models.teacher: answered; 20 tokens in, 5 out, $0.000030"


async def test_a_host_that_is_busy_is_no_refusal(write: Callable[..., Path], api: API) -> None:
    api.answers["large-70b"] = 503, {"error": {"message": "overloaded"}}
    code, lines = await probed(write())
    assert code == 0
    assert lines[0] == (
        "probe: models.teacher: no answer for now, and a run would try again: api answered 503: overloaded"
    )
    assert lines[-1] == "nothing would stop the run."


async def test_where_nothing_is_paid_nothing_is_asked(write: Callable[..., Path], api: API) -> None:
    code, lines = await probed(write({"price": "free"}))
    assert (code, api.asked) == (0, [])
    assert lines[0].startswith("probe: no paid model was asked")


async def test_simulated_providers_are_not_asked(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    models = {
        "teacher": {"provider": "api", "model": "large-70b", "price": PRICE},
        "1b": {"provider": "gpus", "model": "llama3.2:1b"},
    }
    code, lines = await probed(job(models=models))
    assert code == 0
    assert lines[0].startswith("probe: no paid model was asked")


async def test_a_provider_that_would_stop_the_run_anyway_is_not_probed(write: Callable[..., Path], api: API) -> None:
    code, lines = await probed(write({"model": "gone-70b"}))
    assert (code, api.asked) == (5, [])
    assert lines[0].startswith("probe: no paid model was asked")
    assert "no longer serves, or never served, the model 'gone-70b'" in lines[-1]


# --- keys that a program prints ------------------------------------------------------------------


async def test_only_a_probe_runs_the_program_that_prints_a_key(
    write: Callable[..., Path], api: API, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    runs.touch()
    command = ["sh", "-c", f"echo ran >> {runs}; echo {KEY}"]
    path = write(api_key_env=None, api_key_command=command)
    code, _ = await probed(path, probe=False)
    assert (code, runs.read_text(), api.asked) == (0, "", [])
    code, lines = await probed(path)
    assert (code, runs.read_text()) == (0, "ran\n")
    assert lines[0] == "probe: models.teacher: answered; 20 tokens in, 5 out, $0.000030"
    assert [authorization for authorization, _ in api.asked] == [f"Bearer {KEY}"]
