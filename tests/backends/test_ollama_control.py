"""The control side of an Ollama provider: the requests of `check` and `check --pull`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web

from eli5b_batch.backends.base import ModelFacts
from eli5b_batch.backends.ollama import OllamaBackend, pull
from eli5b_batch.errors import ProviderRefusedError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from eli5b_batch.backends.http import Transport

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
    Host = Callable[[Handler], Awaitable[str]]
    Connect = Callable[..., Transport]

DIGEST_1B = "8443ebe3610503d68b910c5ffb79f9734c6d3a9545fd51d9aec377129b71b50d"
DIGEST_3B = "5e721cf0c0c6b40a3f2e906a93927d78e0dff82cc27e8a531e60517f98b99a96"


def details(size: str) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": size,
        "quantization_level": "F16",
    }


def listed(name: str, digest: str = DIGEST_1B) -> dict[str, Any]:
    return {
        "name": name,
        "model": name,
        "modified_at": "2026-11-21T00:03:40.245692289Z",
        "size": 322818,
        "digest": digest,
        "details": details("158K"),
    }


def loaded(name: str, size_vram: int) -> dict[str, Any]:
    return {
        "name": name,
        "model": name,
        "size": 22689152,
        "digest": DIGEST_1B,
        "details": details("158K"),
        "expires_at": "2026-11-21T00:08:51.051689539Z",
        "size_vram": size_vram,
    }


def ollama_server(
    *models: dict[str, Any], running: Sequence[dict[str, Any]] = (), other: Mapping[str, object] | None = None
) -> Handler:
    """Return a handler with the answers of Ollama 0.9.3; `other` replaces some, by the last word of their path."""
    answers: dict[str, object] = {
        "version": {"version": "0.9.3"},
        "tags": {"models": list(models)},
        "ps": {"models": list(running)},
        "show": {"details": details("158K"), "model_info": {"llama.context_length": 8192}},
        **(other or {}),
    }

    async def handler(request: web.BaseRequest) -> web.Response:
        answer = answers[request.path.removeprefix("/api/")]
        if isinstance(answer, web.Response):
            return web.Response(body=answer.body, status=answer.status)
        return web.json_response(answer)

    return handler


async def reach(transport: Transport, models: list[str], *urls: str) -> dict[str, ModelFacts]:
    return await OllamaBackend("gpus", dict.fromkeys(urls, models), transport=transport).reach(models)


async def refusal(facts: Awaitable[object]) -> str:
    with pytest.raises(ProviderRefusedError) as caught:
        await facts
    return str(caught.value)


async def test_every_fact_about_a_model_is_read(host: Host, connect: Connect) -> None:
    url = await host(ollama_server(listed("llama3.2:1b"), listed("llama3.2:3b", DIGEST_3B)))
    assert await reach(connect(), ["llama3.2:1b"], url) == {
        "llama3.2:1b": ModelFacts(
            digest=DIGEST_1B, quantization="F16", parameter_size="158K", server="ollama 0.9.3", on_gpu=None
        )
    }


@pytest.mark.parametrize(("size_vram", "share"), [(22689152, 1.0), (11344576, 0.5), (0, 0.0)])
async def test_the_share_of_a_loaded_model_in_gpu_memory_is_told(
    size_vram: int, share: float, host: Host, connect: Connect
) -> None:
    server = ollama_server(listed("llama3.2:1b"), running=(loaded("llama3.2:1b", size_vram),))
    facts = await reach(connect(), ["llama3.2:1b"], await host(server))
    assert facts["llama3.2:1b"].on_gpu == pytest.approx(share)


async def test_of_several_slots_the_least_share_is_told(host: Host, connect: Connect) -> None:
    shares = (None, 22689152, 11344576, 22689152)
    running = [() if share is None else (loaded("llama3.2:1b", share),) for share in shares]
    urls = [await host(ollama_server(listed("llama3.2:1b"), running=models)) for models in running]
    assert (await reach(connect(), ["llama3.2:1b"], *urls))["llama3.2:1b"].on_gpu == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("model", "listed_name"),
    [
        ("llama3.2", "llama3.2:latest"),
        ("llama3.2:latest", "llama3.2:latest"),
        ("Llama3.2:1B", "llama3.2:1b"),
        ("llama3.2:1b", "LLAMA3.2:1b"),
        ("hf.co/unsloth/Llama-3.2-1B-GGUF:Q4_K_M", "hf.co/unsloth/Llama-3.2-1B-GGUF:Q4_K_M"),
        ("host:5000/me/model", "host:5000/me/model:latest"),
    ],
)
async def test_a_name_without_a_tag_means_latest_and_case_does_not_matter(
    model: str, listed_name: str, host: Host, connect: Connect
) -> None:
    facts = await reach(connect(), [model], await host(ollama_server(listed(listed_name))))
    assert facts[model].digest == DIGEST_1B


@pytest.mark.parametrize("model", ["nosuch:1b", "llama3.2", "llama3.2:1", "3.2:1b"])
async def test_a_missing_model_is_named_with_those_there_and_how_to_get_it(
    model: str, host: Host, connect: Connect
) -> None:
    url = await host(ollama_server(listed("llama3.2:3b", DIGEST_3B), listed("llama3.2:1b")))
    assert await refusal(reach(connect(), [model], url)) == (
        f"providers.gpus: the server at {url} has no model '{model}' (it has: llama3.2:1b, llama3.2:3b); "
        f"run: eli5b-batch check --pull, or: ollama pull {model}"
    )


async def test_a_server_without_models_says_so(host: Host, connect: Connect) -> None:
    assert "(it has: none)" in await refusal(reach(connect(), ["llama3.2:1b"], await host(ollama_server())))


async def test_a_server_that_does_not_run_is_named_with_how_to_start_one(
    connect: Connect, unused_tcp_port: int
) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    assert await refusal(reach(connect(), ["llama3.2:1b"], url)) == (
        f"providers.gpus: no Ollama server answers at {url}; start one with `ollama serve`, or correct the slot's url"
    )


@pytest.mark.parametrize("version", [web.Response(body=b"<html>"), web.Response(status=404), [], "0.9.3", {}, None])
async def test_another_server_at_the_address_is_no_ollama(version: object, host: Host, connect: Connect) -> None:
    url = await host(ollama_server(other={"version": version}))
    assert "no Ollama server answers at" in await refusal(reach(connect(), ["llama3.2:1b"], url))


async def test_a_server_that_refuses_the_host_name_is_not_taken_for_one_that_does_not_run(
    host: Host, connect: Connect
) -> None:
    url = await host(ollama_server(other={"version": web.Response(status=403)}))
    assert "refuses this host name" in await refusal(reach(connect(), ["llama3.2:1b"], url))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"tags": web.Response(status=500, body=b'{"error": "disk on fire"}')}, "answered 500: disk on fire"),
        ({"show": web.Response(status=404, body=b'{"error": "model \'x\' not found"}')}, "answered 404: model 'x'"),
        ({"tags": web.Response(body=b"<html>")}, "does not list its models as Ollama does"),
        ({"ps": {"models": 7}}, "does not list its models as Ollama does"),
        ({"show": {"details": "none"}}, "does not list its models as Ollama does"),
    ],
)
async def test_a_server_that_fails_at_a_later_question_is_named(
    other: Mapping[str, object], message: str, host: Host, connect: Connect
) -> None:
    url = await host(ollama_server(listed("llama3.2:1b"), other=other))
    sentence = await refusal(reach(connect(), ["llama3.2:1b"], url))
    assert sentence.startswith(f"providers.gpus: {url} ")
    assert message in sentence
    assert "\n" not in sentence


async def test_a_server_that_dies_between_two_questions_is_named(host: Host, connect: Connect) -> None:
    async def handler(request: web.BaseRequest) -> web.Response:
        if request.path != "/api/version":
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({"version": "0.9.3"})

    url = await host(handler)
    sentence = await refusal(reach(connect(), ["llama3.2:1b"], url))
    assert sentence.startswith(f"providers.gpus: {url} stopped answering: ")


async def test_two_slots_with_the_same_model_are_one_model(host: Host, connect: Connect) -> None:
    urls = [await host(ollama_server(listed("llama3.2:1b"))) for _ in range(2)]
    assert list(await reach(connect(), ["llama3.2:1b"], *urls)) == ["llama3.2:1b"]


async def test_two_slots_with_different_weights_under_one_name_are_refused(host: Host, connect: Connect) -> None:
    first = await host(ollama_server(listed("llama3.2:1b")))
    second = await host(ollama_server(listed("llama3.2:1b", DIGEST_3B)))
    assert await refusal(reach(connect(), ["llama3.2:1b"], first, second)) == (
        "providers.gpus: llama3.2:1b is not the same model on every slot: digest 8443ebe36105 elsewhere, "
        f"5e721cf0c0c6 at {second}; pull it anew"
    )


async def test_each_slot_is_asked_only_for_its_own_models(host: Host, connect: Connect) -> None:
    first = await host(ollama_server(listed("llama3.2:1b")))
    second = await host(ollama_server(listed("llama3.2:3b", DIGEST_3B)))
    slots = {first: ["llama3.2:1b"], second: ["llama3.2:3b", "llama3.1:8b"]}
    client = OllamaBackend("gpus", slots, transport=connect())
    facts = await client.reach(["llama3.2:1b", "llama3.2:3b"])
    assert {model: fact.digest for model, fact in facts.items()} == {"llama3.2:1b": DIGEST_1B, "llama3.2:3b": DIGEST_3B}


# Pulling a model.

STEPS = [
    {"status": "pulling manifest"},
    {"status": "pulling 749596d6927f", "digest": "sha256:749596d6927f", "total": 322818},
    {"status": "pulling 749596d6927f", "digest": "sha256:749596d6927f", "total": 322818, "completed": 161409},
    {"status": "pulling 749596d6927f", "digest": "sha256:749596d6927f", "total": 322818, "completed": 322818},
    {"status": "verifying sha256 digest"},
    {"status": "writing manifest"},
    {"status": "success"},
]


def streams(
    lines: Sequence[object], requests: list[tuple[str, str, dict[str, Any]]], *, abort: bool = False
) -> Handler:
    """Return a handler that sends one line after another, as a pull does, and then ends or hangs up."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/api/tags":
            return web.json_response({"models": []})
        requests.append((request.method, request.path, orjson.loads(await request.read())))
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        for line in lines:
            await response.write(line if isinstance(line, bytes) else orjson.dumps(line) + b"\n")
        if abort:
            assert request.transport is not None
            request.transport.abort()
        return response

    return handler


async def pulled(url: str, steps: list[tuple[str, int, int]]) -> None:
    await pull(url, "llama3.2:1b", lambda status, done, total: steps.append((status, done, total)))


async def test_a_pull_reports_its_progress_as_it_comes(host: Host) -> None:
    requests: list[tuple[str, str, dict[str, Any]]] = []
    steps: list[tuple[str, int, int]] = []
    await pulled(await host(streams(STEPS, requests)), steps)
    method, path, body = requests[0]
    assert (method, path) == ("POST", "/api/pull")
    assert body["model"] == "llama3.2:1b"
    assert body["stream"] is True
    assert steps == [
        ("pulling manifest", 0, 0),
        ("pulling 749596d6927f", 0, 322818),
        ("pulling 749596d6927f", 161409, 322818),
        ("pulling 749596d6927f", 322818, 322818),
        ("verifying sha256 digest", 0, 0),
        ("writing manifest", 0, 0),
        ("success", 0, 0),
    ]


@pytest.mark.parametrize(
    ("lines", "abort", "message"),
    [
        (
            [STEPS[0], {"error": "pull model manifest: file does not exist"}],
            False,
            "can't pull 'llama3.2:1b': pull model manifest: file does not exist",
        ),
        (STEPS[:3], True, "the pull of 'llama3.2:1b' broke off: "),
        ([STEPS[0], b"<html>\n"], False, "does not report the pull of 'llama3.2:1b' as Ollama does"),
        ([{"status": "pulling", "total": "many"}], False, "does not report the pull of 'llama3.2:1b' as Ollama does"),
    ],
    ids=["unknown model", "hangs up", "no json", "no progress"],
)
async def test_a_pull_that_fails_says_why(lines: list[object], abort: bool, message: str, host: Host) -> None:  # noqa: FBT001
    url = await host(streams(lines, [], abort=abort))
    sentence = await refusal(pulled(url, []))
    assert sentence.startswith(url)
    assert message in sentence
    assert "\n" not in sentence


async def test_a_pull_from_a_server_that_does_not_run_says_so(unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    assert (await refusal(pulled(url, []))).startswith(f"{url}: the pull of 'llama3.2:1b' broke off: ")


async def test_a_pull_that_a_server_refuses_says_why(host: Host) -> None:
    async def handler(request: web.BaseRequest) -> web.Response:
        if request.path == "/api/tags":
            return web.json_response({"models": []})
        return web.json_response({"error": "invalid model name"}, status=400)

    url = await host(handler)
    assert await refusal(pulled(url, [])) == f"{url} can't pull 'llama3.2:1b': invalid model name"


async def test_a_model_that_is_there_is_not_pulled_again(host: Host) -> None:
    requests: list[str] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        requests.append(request.path)
        return web.json_response({"models": [{"name": "llama3.2:1b", "model": "llama3.2:1b", "size": 1}]})

    steps: list[tuple[str, int, int]] = []
    await pulled(await host(handler), steps)
    assert (requests, steps) == (["/api/tags"], [("already there", 1, 1)])


async def test_a_slot_that_is_down_is_noted_where_another_serves_its_models(
    host: Host, connect: Connect, unused_tcp_port: int
) -> None:
    up = await host(ollama_server(listed("llama3.2:1b")))
    down = f"http://127.0.0.1:{unused_tcp_port}"
    backend = OllamaBackend("gpus", {down: ["llama3.2:1b"], up: ["llama3.2:1b"]}, transport=connect())
    assert list(await backend.reach(["llama3.2:1b"])) == ["llama3.2:1b"]
    (remark,) = backend.silent.values()
    assert remark.startswith(f"providers.gpus: no Ollama server answers at {down}")


async def test_a_slot_that_is_down_and_the_only_one_for_a_model_is_refused(
    host: Host, connect: Connect, unused_tcp_port: int
) -> None:
    up = await host(ollama_server(listed("llama3.2:1b")))
    down = f"http://127.0.0.1:{unused_tcp_port}"
    backend = OllamaBackend("gpus", {up: ["llama3.2:1b"], down: ["llama3.2:3b"]}, transport=connect())
    assert f"no Ollama server answers at {down}" in await refusal(backend.reach(["llama3.2:1b", "llama3.2:3b"]))


async def test_what_a_server_has_in_memory_is_told_with_its_share_on_the_gpu(host: Host, connect: Connect) -> None:
    url = await host(ollama_server(running=[loaded("llama3.2:1b", 11344576), loaded("other:7b", 0)]))
    backend = OllamaBackend("gpus", {url: ["llama3.2:1b", "llama3.2:3b"]}, transport=connect())
    assert await backend.loaded(url) == {"llama3.2:1b": 0.5}


async def test_a_model_that_was_replaced_during_a_run_ends_it(host: Host, connect: Connect) -> None:
    before = await host(ollama_server(listed("llama3.2:1b", DIGEST_3B)))
    after = await host(ollama_server(listed("llama3.2:1b", DIGEST_1B)))  # and not loaded
    backend = OllamaBackend("gpus", {before: ["llama3.2:1b"], after: ["llama3.2:1b"]}, transport=connect())
    await backend._inspect(after, [])
    backend._digests = {"llama3.2:1b": DIGEST_3B}
    assert await backend.loaded(before) == {}
    message = await refusal(backend.loaded(after))
    assert f"has digest {DIGEST_1B[:12]}, the run began with {DIGEST_3B[:12]}" in message


async def test_a_server_that_does_not_answer_is_an_error_and_no_empty_memory(
    connect: Connect, unused_tcp_port: int
) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}"
    with pytest.raises(RetryableError) as caught:
        await OllamaBackend("gpus", {url: []}, transport=connect()).loaded(url)
    assert caught.value.unsent


async def test_the_memory_of_a_server_that_does_not_list_it_is_unknown(host: Host, connect: Connect) -> None:
    async def handler(request: web.BaseRequest) -> web.Response:
        if request.path == "/api/version":
            return web.json_response({"version": "0.33.0"})
        return web.Response(status=404)

    url = await host(handler)
    assert await OllamaBackend("gpus", {url: ["llama3.2:1b"]}, transport=connect()).loaded(url) is None
