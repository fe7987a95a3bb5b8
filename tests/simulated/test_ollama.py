from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, ClassVar, cast

import aiohttp
import orjson
import pytest

from eli5b_batch.job.schema import Simulation
from eli5b_batch.records import make_key
from eli5b_batch.simulated.model import BookEntry, SimulatedModel, count_tokens
from eli5b_batch.simulated.model_facts import describe, thinks
from eli5b_batch.simulated.ollama import SimulatedOllama
from eli5b_batch.simulated.quirks.thoughts import THOUGHT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import ClientResponse, web

    Post = Callable[..., Awaitable[ClientResponse]]
    Start = Callable[[web.Application], Awaitable[Post]]

PROBLEM = "00012-abcdef"
TEXT = "What is the sum of the first one hundred whole numbers?"

CHAT = "/api/chat"
ONE_B = "llama3.2:1b"
JSON = "application/json; charset=utf-8"
METRICS = {
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
}
MODELS = {"1b": ONE_B, "3b": "llama3.2:3b"}
DETAILS = {"parent_model", "format", "family", "families", "parameter_size", "quantization_level"}


def fast(**fields: object) -> Simulation:
    """A simulation that takes no time."""
    return Simulation.model_validate({"latency_s": 0, "tokens_per_s": 1e9, **fields})


def mind(**fields: object) -> SimulatedModel:
    return SimulatedModel({PROBLEM: BookEntry(TEXT, "5050", 4.5)}, MODELS, fast(**fields), seed=0)


def key(model: str, sample: int = 0) -> str:
    return make_key(PROBLEM, "answer", model, {"hint": "none", "hint_for": "any", "sample": sample})


def chat(text: str = TEXT, options: dict[str, object] | None = None, **fields: object) -> dict[str, object]:
    return {
        "model": ONE_B,
        "messages": [{"role": "user", "content": text}],
        "stream": False,
        "options": {"temperature": 0.7, "num_ctx": 512, "seed": 7, **(options or {})},
        **fields,
    }


async def serve(start: Start, models: tuple[str, ...] = (ONE_B, "llama3.2:3b"), **simulation: object) -> Post:
    return await start(SimulatedOllama(mind(**simulation), fast(**simulation), models, parallel=4).app())


async def test_a_reply_has_the_fields_of_a_real_one(start: Start) -> None:
    post = await serve(start, latency_s=0.001, tokens_per_s=20_000)
    response = await post(CHAT, chat(), key("1b"))
    body = await response.json()
    assert response.status == 200
    assert response.headers["Content-Type"] == JSON
    assert set(body) == {"model", "created_at", "message", "done_reason", "done", *METRICS}
    assert body["model"] == ONE_B
    assert body["done"] is True
    assert body["done_reason"] == "stop"
    assert set(body["message"]) == {"role", "content"}
    assert body["message"]["content"].startswith("SIMULATED answer [hint=none]")
    assert dt.datetime.fromisoformat(body["created_at"]).tzinfo == dt.UTC
    assert all(isinstance(body[name], int) and body[name] > 0 for name in METRICS)
    assert body["prompt_eval_count"] == -(-len(TEXT) // 4)
    assert body["eval_count"] == -(-len(body["message"]["content"]) // 4)
    assert 900_000 < body["prompt_eval_duration"] < 1_100_000
    assert body["total_duration"] >= body["prompt_eval_duration"] + body["eval_duration"]


async def test_a_stream_is_lines_and_the_metrics_are_on_the_last(start: Start) -> None:
    post = await serve(start)
    request = chat()
    del request["stream"]
    response = await post(CHAT, request, key("1b"))
    first, last = [orjson.loads(line) for line in (await response.read()).splitlines()]
    whole = await (await post(CHAT, chat(), key("1b"))).json()
    assert response.headers["Content-Type"] == "application/x-ndjson"
    assert set(first) == {"model", "created_at", "message", "done"}
    assert first["done"] is False
    assert set(last) == set(whole)
    assert last["message"] == {"role": "assistant", "content": ""}
    assert first["message"]["content"].startswith("SIMULATED")


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (chat(model="nosuch:1b"), 404, 'model "nosuch:1b" not found, try pulling it first'),
        (chat(model="nosuch:1b", stream=True), 404, 'model "nosuch:1b" not found, try pulling it first'),
        (chat(model="llama3.2"), 404, 'model "llama3.2" not found, try pulling it first'),
        ({"messages": []}, 400, "model is required"),
        (b'{"model": "llama3.2:1b", "messages": [', 400, "unexpected EOF"),
        (b"", 400, "missing request body"),
        (b"[]", 400, "json: cannot unmarshal array into Go value of type api.ChatRequest"),
        (
            {"model": ONE_B, "messages": "hello"},
            400,
            "json: cannot unmarshal string into Go struct field ChatRequest.messages of type []api.Message",
        ),
        (
            {"model": 3, "messages": []},
            400,
            "json: cannot unmarshal number into Go struct field ChatRequest.model of type string",
        ),
        (chat(options={"num_predict": "five"}), 500, 'option "num_predict" must be of type integer'),
        (chat(options={"temperature": "warm"}), 500, 'option "temperature" must be of type float32'),
        (chat(options={"stop": "x"}), 500, 'option "stop" must be of type array'),
        (
            chat("x" * 2049, truncate=False),
            400,
            "the prompt is longer than the context length currently available to the model",
        ),
    ],
)
async def test_errors(start: Start, body: object, status: int, error: str) -> None:
    response = await (await serve(start))(CHAT, body)
    assert (response.status, await response.json()) == (status, {"error": error})
    assert response.headers["Content-Type"] == JSON


async def test_what_a_real_server_ignores_is_ignored(start: Start) -> None:
    post = await serve(start)
    assert (await post(CHAT, chat(options={"no_such_option": 1, "num_gpu": None}))).status == 200
    assert (await post(CHAT, chat(messages=[{"role": "wizard", "content": "x"}]))).status == 200
    assert (await post(CHAT, chat(model="LLAMA3.2:1B"))).status == 200


async def test_unknown_paths_and_methods(start: Start) -> None:
    post = await serve(start)
    missing, wrong = await post("/api/nope", {}), await post(CHAT, None)
    assert (missing.status, await missing.text(), missing.content_type) == (
        404,
        "404 page not found",
        "text/plain",
    )
    assert (wrong.status, await wrong.text()) == (405, "405 method not allowed")
    assert wrong.headers["Allow"] == "POST"


async def test_a_long_prompt_is_cut_silently_unless_truncate_is_off(start: Start) -> None:
    post = await serve(start)
    body = await (await post(CHAT, chat(TEXT + "x" * 2048), key("1b"))).json()
    assert body["prompt_eval_count"] == 512
    assert "no problem was given" in body["message"]["content"]
    at_the_edge = await post(CHAT, chat(TEXT + "x" * (2048 - len(TEXT)), truncate=False), key("1b"))
    assert (await at_the_edge.json())["prompt_eval_count"] == 512


@pytest.mark.parametrize(("num_predict", "most"), [(10, 10), (-1, 640), (None, 640), (0, None)])
async def test_num_predict(start: Start, num_predict: int | None, most: int | None) -> None:
    post = await serve(start, mean_output_tokens=2000)
    body = await (await post(CHAT, chat("x", options={"num_ctx": 64, "num_predict": num_predict}))).json()
    assert body["done_reason"] == ("length" if most else "stop")
    assert body["eval_count"] == most if most else body["eval_count"] > 640


async def test_what_is_on_disk_and_in_memory(start: Start) -> None:
    post = await serve(start)
    tags = (await (await post("/api/tags", None)).json())["models"]
    assert [row["name"] for row in tags] == [ONE_B, "llama3.2:3b"]
    assert all(set(row) == {"name", "model", "modified_at", "size", "digest", "details"} for row in tags)
    assert all(set(row["details"]) == DETAILS for row in tags)
    assert await (await post("/api/ps", None)).json() == {"models": []}
    await post(CHAT, chat())
    (loaded,) = (await (await post("/api/ps", None)).json())["models"]
    assert set(loaded) == {"name", "model", "size", "digest", "details", "expires_at", "size_vram"}
    assert loaded["digest"] == tags[0]["digest"]
    assert loaded["size_vram"] == loaded["size"]
    assert "SIMULATED" in (await (await post("/api/version", None)).json())["version"]


async def test_show(start: Start) -> None:
    post = await serve(start)
    body = await (await post("/api/show", {"model": ONE_B})).json()
    assert set(body) == {
        "modelfile",
        "parameters",
        "template",
        "details",
        "model_info",
        "tensors",
        "capabilities",
        "modified_at",
    }
    assert set(body["details"]) == DETAILS
    missing = await post("/api/show", {"model": "nosuch"})
    assert (missing.status, await missing.json()) == (404, {"error": "model 'nosuch' not found"})


@pytest.mark.parametrize(
    ("think", "model", "thoughts"),
    [
        (True, "qwen3:0.6b", True),
        ("low", "qwen3:0.6b", True),
        ("max", "qwen3:0.6b", True),
        (False, "qwen3:0.6b", False),
        (None, "qwen3:0.6b", True),  # turned on where nothing is said
        (False, "gpt-oss:20b", True),  # pays no attention
        (False, ONE_B, False),
        (None, ONE_B, False),
    ],
)
async def test_a_model_thinks_where_a_real_one_would(
    start: Start, think: object, model: str, *, thoughts: bool
) -> None:
    post = await serve(start, (model,))
    plain = chat(model=model, think=think)
    if think is None:
        del plain["think"]
    body = await (await post(CHAT, plain, key("1b"))).json()
    assert body["message"].get("thinking") == (THOUGHT if thoughts else None)
    assert body["message"]["content"].startswith("SIMULATED answer")
    assert body["eval_count"] == count_tokens(body["message"]["content"]) + thoughts * count_tokens(THOUGHT)


@pytest.mark.parametrize(
    ("think", "model", "error"),
    [
        (True, ONE_B, f'"{ONE_B}" does not support thinking'),
        ("high", ONE_B, f'"{ONE_B}" does not support thinking'),
        (
            "hard",
            "qwen3:0.6b",
            'invalid think value: "hard" (must be "high", "medium", "low", "max", true, or false)',
        ),
    ],
)
async def test_thoughts_that_can_not_be_had_are_refused(start: Start, think: object, model: str, error: str) -> None:
    response = await (await serve(start, (model,)))(CHAT, chat(model=model, think=think))
    assert (response.status, await response.json()) == (400, {"error": error})


async def test_a_stream_has_thoughts_before_the_text_and_a_limit_may_be_spent_on_them(start: Start) -> None:
    post = await serve(start, ("qwen3:0.6b",))
    response = await post(CHAT, chat(model="qwen3:0.6b", think=True, stream=True), key("1b"))
    first, second, last = [orjson.loads(line)["message"] for line in (await response.read()).splitlines()]
    assert (first["thinking"], first["content"]) == (THOUGHT, "")
    assert second["content"].startswith("SIMULATED")
    assert last == {"role": "assistant", "content": ""}
    body = await (await post(CHAT, chat(model="qwen3:0.6b", think=True, options={"num_predict": 5}), key("1b"))).json()
    assert (body["message"]["content"], body["message"]["thinking"]) == ("", THOUGHT[:20])
    assert (body["done_reason"], body["eval_count"]) == ("length", 5)


async def test_the_capability_is_told_of_families_that_have_it(start: Start) -> None:
    post = await serve(start, ("qwen3:0.6b", ONE_B))
    told = [(await (await post("/api/show", {"model": m})).json())["capabilities"] for m in ("qwen3:0.6b", ONE_B)]
    assert told == [["completion", "thinking"], ["completion"]]
    names = ["gpt-oss:20b", "deepseek-r1:1.5b", "smollm3:3b", "gemma4:e2b", "magistral", "hf.co/me/Qwen3-4B-GGUF:Q4"]
    assert all(map(thinks, names))
    assert not any(map(thinks, ["qwen2.5:3b", "qwen3-coder:30b", "qwen3-embedding:0.6b", "gemma3:4b", "llama3.1:8b"]))


def test_the_students_differ_in_quantisation_as_the_real_ones_do() -> None:
    models = [describe(name) for name in (ONE_B, "llama3.2:3b", "llama3.1:8b", "qwen3:14b", "gemma")]
    assert [m.quantization for m in models] == ["Q8_0", "Q4_K_M", "Q4_K_M", "Q4_K_M", "Q4_K_M"]
    assert [m.parameter_size for m in models] == ["1.2B", "3.2B", "8.0B", "14.0B", "1.0B"]
    assert len({m.digest for m in models}) == 5


async def test_an_empty_chat_loads_and_unloads(start: Start) -> None:
    post = await serve(start)
    expected = {"model", "created_at", "message", "done_reason", "done"}
    load = await (await post(CHAT, {"model": ONE_B, "messages": []})).json()
    assert (set(load), load["done_reason"]) == (expected, "load")
    assert len((await (await post("/api/ps", None)).json())["models"]) == 1
    unload = await (await post(CHAT, {"model": ONE_B, "messages": [], "keep_alive": 0})).json()
    assert (set(unload), unload["done_reason"]) == (expected, "unload")
    assert (await (await post("/api/ps", None)).json())["models"] == []


async def test_loading_shows_in_load_duration(start: Start) -> None:
    post = await serve(start)
    models = (ONE_B, ONE_B, "llama3.2:3b")
    loads = [(await (await post(CHAT, chat(model=m))).json())["load_duration"] for m in models]
    assert [load > 1 for load in loads] == [True, False, True]


async def test_a_pull_streams_its_progress_and_brings_the_model(start: Start) -> None:
    post = await serve(start)
    response = await post("/api/pull", {"model": "qwen3:4b"})
    lines = [orjson.loads(line) for line in (await response.read()).splitlines()]
    assert [line["status"] for line in (lines[0], lines[-1])] == ["pulling manifest", "success"]
    assert {"digest", "total", "completed"} < set(lines[1])
    assert (await post(CHAT, chat(model="qwen3:4b"))).status == 200
    assert await (await post("/api/pull", {"model": "qwen3:4b", "stream": False})).json() == {"status": "success"}


@pytest.mark.parametrize("status", [500, 503])
async def test_server_errors(start: Start, status: int) -> None:
    post = await serve(start, error_rate=1.0)
    responses = [await post(CHAT, chat(options={"seed": i})) for i in range(12)]
    errors = {(await r.json())["error"] for r in responses if r.status == status}
    real = {
        500: "an error was encountered while running the model: unexpected EOF",
        503: "server busy, please try again.  maximum pending requests exceeded",
    }
    assert errors == {real[status]}


async def test_a_reply_that_breaks_off_has_no_reason_and_no_counts(start: Start) -> None:
    post = await serve(start, not_done_rate=1.0)
    response = await post(CHAT, chat())
    body = await response.json()
    assert (response.status, set(body), body["done"]) == (200, {"model", "created_at", "message", "done"}, False)
    assert body["message"]["content"].startswith("SIMULATED")
    lines = (await (await post(CHAT, chat(stream=True))).read()).splitlines()
    assert [orjson.loads(line)["done"] for line in lines] == [False]


async def test_models_in_memory_are_listed_with_their_share_on_the_gpu(start: Start) -> None:
    how = fast(memory_gb=4)
    models = (ONE_B, "llama3.2:3b", "llama3.1:8b")
    post = await start(SimulatedOllama(mind(), how, models, 2, loaded=2).app())

    async def listed() -> list[tuple[str, float]]:
        rows = (await (await post("/api/ps", None)).json())["models"]
        return [(row["name"], round(row["size_vram"] / row["size"], 2)) for row in rows]

    await post(CHAT, chat())
    await post(CHAT, chat(model="llama3.2:3b"))
    assert await listed() == [(ONE_B, 1.0), ("llama3.2:3b", 1.0)]
    await post(CHAT, chat(model="llama3.1:8b"))
    assert await listed() == [("llama3.1:8b", 0.82)]  # 4 of 4.9 GB


async def told(server: SimulatedOllama, model: str) -> dict[str, float]:
    """The durations that a reply of a server in this process tells, seconds."""
    response = await server.answer(cast("web.Request", Asked(orjson.dumps(chat(model=model)))))
    reply = orjson.loads(cast("bytes", cast("web.Response", response).body))
    return {name: reply[name] * 1e-9 for name in METRICS if name.endswith("_duration")}


class Asked:
    """What the server reads of a request."""

    transport = None
    headers: ClassVar[dict[str, str]] = {}

    def __init__(self, body: bytes = b"") -> None:
        self._body = body

    async def read(self) -> bytes:
        return self._body


@pytest.mark.looptime
async def test_models_have_speeds_and_loads_of_their_own() -> None:
    how = fast(tokens_per_s={"1b": 240, "3b": 120}, load_s={"3b": 10})
    server = SimulatedOllama(
        SimulatedModel({}, {**MODELS, "8b": "llama3.1:8b"}, how, seed=0), how, [*MODELS.values(), "llama3.1:8b"], 1
    )
    one, three, eight = [await told(server, m) for m in (ONE_B, "llama3.2:3b", "llama3.1:8b")]
    assert [round(reply["load_duration"], 3) for reply in (one, three, eight)] == [0, 10, 0]
    # As many tokens, give or take what other seeds draw; what is left out has the speed of a job that gives none.
    assert 0.2 < one["eval_duration"] < 3 > three["eval_duration"] > 0.4
    assert eight["eval_duration"] < 0.05


@pytest.mark.looptime
async def test_models_at_work_on_one_gpu_slow_each_other() -> None:
    how = fast(tokens_per_s=100)

    async def both(*, shared: bool) -> list[float]:
        settings = how.model_copy(update={"shared": shared})
        server = SimulatedOllama(SimulatedModel({}, MODELS, settings, seed=0), settings, MODELS.values(), 2, loaded=2)
        replies = await asyncio.gather(*(told(server, model) for model in MODELS.values()))
        return [reply["eval_duration"] for reply in replies]

    (first, second), alone = await both(shared=True), await both(shared=False)
    assert (first, second) == pytest.approx((alone[0], 2 * alone[1]))


@pytest.mark.looptime
async def test_a_model_larger_than_the_memory_is_slow() -> None:
    async def takes(memory_gb: float | None) -> float:
        how = fast(tokens_per_s=100, memory_gb=memory_gb)
        return (await told(SimulatedOllama(SimulatedModel({}, MODELS, how, seed=0), how, [ONE_B], 2), ONE_B))[
            "eval_duration"
        ]

    assert await takes(1) == pytest.approx(5 * await takes(None))


async def test_an_outage_is_that_of_one_slot_and_covers_every_path(start: Start) -> None:
    how, now = fast(refuses={"gpu1": [[0, 10]]}), [0.0]

    async def statuses(name: str) -> list[int | None]:
        now[0] = 0.0
        post = await start(SimulatedOllama(mind(), how, [ONE_B], 1, name=name, clock=lambda: now[0]).app())
        found: list[int | None] = []
        # Every other request is dropped: here the chats, since aiohttp itself may ask a GET again.
        for path in ("/api/version", CHAT, "/api/ps", CHAT, "/api/tags"):
            try:
                found.append((await post(path, chat() if path == CHAT else None)).status)
            except aiohttp.ClientError:
                found.append(None)
        now[0] = 10.0
        return [*found, (await post(CHAT, chat())).status]

    assert await statuses("gpu0") == [200] * 6
    assert await statuses("gpu1") == [503, None, 503, None, 503, 200]


@pytest.mark.looptime
async def test_what_a_get_answers_a_caller_in_this_process_hears_too() -> None:
    how = fast(freezes={"gpu0": [[0, 7]]})
    loop = asyncio.get_running_loop()
    server = SimulatedOllama(mind(), how, [ONE_B], 1, name="gpu0", clock=loop.time)
    for path, key in (("/api/version", "version"), ("/api/tags", "models"), ("/api/ps", "models")):
        response = await server.tell(cast("web.Request", Asked()), path)
        assert key in orjson.loads(cast("bytes", cast("web.Response", response).body))
    assert loop.time() == pytest.approx(7)
    assert (await server.tell(cast("web.Request", Asked()), "/api/nope")).status == 404


async def test_dropped_garbled_and_empty_replies(start: Start) -> None:
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await (await serve(start, drop_rate=1.0))(CHAT, chat())
    garbled = await (await serve(start, garbage_rate=1.0))(CHAT, chat())
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(await garbled.read())
    empty = await (await (await serve(start, empty_rate=1.0))(CHAT, chat())).json()
    assert (empty["message"]["content"], empty["done_reason"], empty["eval_count"]) == ("", "stop", 1)


async def test_a_header_that_is_no_call_key_is_refused(start: Start) -> None:
    assert (await (await serve(start))(CHAT, chat(), "not a key")).status == 400
