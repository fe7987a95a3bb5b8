"""dialects.py: every row agrees with bodies of its host, and every verified cell is shown by one of them.

A line of `bodies/ROW.jsonl` is a reply, a refusal, headers, or a request. `mark` says how far it can be trusted: `seen`
(the server and version in `source` answered so), `documented` (the address in `source` shows it) or `made` (put
together from other sources). `asks` and `reads` hold the test: the question, and what the client reads.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web

from eli5b_batch.backends import limit_headers, refusals
from eli5b_batch.backends.base import ChatReply, ChatRequest
from eli5b_batch.backends.dialects import (
    CELLS,
    DIALECTS,
    PLAIN,
    ROWS,
    CantThinkSoError,
    Dialect,
    of_address,
    of_ollama,
    of_owners,
)
from eli5b_batch.backends.fields import ollama_body, openai_body
from eli5b_batch.backends.host_words import Meaning
from eli5b_batch.backends.http import Response
from eli5b_batch.backends.ollama import OllamaBackend
from eli5b_batch.backends.openai import OpenAIBackend
from eli5b_batch.errors import CallError
from eli5b_batch.job.access import HostDialect, OllamaDialect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from eli5b_batch.backends.http import Transport

    Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
    Host = Callable[[Handler], Awaitable[str]]
    Connect = Callable[..., Transport]

Body = dict[str, Any]

OK = 200

MEANINGS = {
    "wait": Meaning.WAIT,
    "later": Meaning.LATER,
    "trouble": Meaning.TROUBLE,
    "overflow": Meaning.OVERFLOW,
    "not_done": Meaning.NOT_DONE,
    "bad_request": Meaning.BAD_REQUEST,
    "too_large": Meaning.TOO_LARGE,
    "filtered": Meaning.FILTERED,
    "model": Meaning.MODEL,
    "key": Meaning.KEY,
    "credit": Meaning.CREDIT,
    "account": Meaning.ACCOUNT,
}
FOLDER = Path(__file__).parent / "bodies"
BODIES: dict[str, list[Body]] = {
    path.stem: [orjson.loads(line) for line in path.read_bytes().splitlines()]
    for path in sorted(FOLDER.glob("*.jsonl"))
}


def cases(predicate: Callable[[Body], object]) -> list[Any]:
    pairs = [(row, body) for row, bodies in BODIES.items() for body in bodies if predicate(body)]
    return [pytest.param(row, body, id=f"{row}-{body['name']}") for row, body in pairs]


def reads(field: str) -> Callable[[Body], object]:
    return lambda body: field in body.get("reads", {})


def is_reply(body: Body) -> bool:
    """True if a body holds the words of a model; other bodies are refusals, headers alone, and requests."""
    return any(body.get("reads", {}).get(field) is not None for field in ("text", "thinking", "finish", "usage"))


def request(question: dict[str, Any]) -> ChatRequest:
    sampling = {name: value for name, value in question.items() if name not in {"model", "seed"}}
    message = {"role": "user", "content": "?"}
    return ChatRequest("k", question["model"], [message], {"max_tokens": 4096, **sampling}, question.get("seed", 7))


def sent(row: str, question: dict[str, Any]) -> dict[str, Any]:
    dialect, chat_request = DIALECTS[row], request(question)
    if row.startswith("ollama"):
        return ollama_body(chat_request, dialect.family(chat_request.model))
    return openai_body(chat_request, (), dialect)


def holds(whole: object, part: object) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(name in whole and holds(whole[name], part[name]) for name in part)
    return whole == part


def test_every_row_has_its_bodies_and_its_name_in_a_job() -> None:
    names = {*HostDialect.__args__, *OllamaDialect.__args__}  # type: ignore[attr-defined]
    assert DIALECTS.keys() == BODIES.keys() == names
    for row, bodies in BODIES.items():
        assert len({body["name"] for body in bodies}) == len(bodies), row


@pytest.mark.parametrize(("row", "body"), cases(lambda _: True))
def test_a_body_names_its_source(row: str, body: Body) -> None:
    assert body["cells"], row
    assert set(body["cells"]) <= set(CELLS)
    assert ("asks" in body) != ("reads" in body)
    match body["mark"]:
        case "documented":
            assert body["source"].startswith("https://")
        case "seen":
            assert any(sign.isdigit() for sign in body["source"])  # a version
        case _:
            assert (body["mark"], body["source"]) == ("made", "made")


@pytest.mark.parametrize("row", [row for row in ROWS if not row.is_no_host], ids=lambda row: row.name)
def test_a_cell_is_seen_or_documented_where_a_body_is_that_shows_it(row: Dialect) -> None:
    seen, documented = (
        [cell for cell in CELLS if any(body["mark"] == mark and cell in body["cells"] for body in BODIES[row.name])]
        for mark in ("seen", "documented")
    )
    assert list(row.seen) == seen
    assert list(row.documented) == [cell for cell in documented if cell not in seen]


@pytest.mark.parametrize(("row", "body"), cases(lambda body: "sends" in body))
def test_what_is_sent_is_what_the_host_takes(row: str, body: Body) -> None:
    whole = sent(row, body["asks"])
    assert holds(whole, body["sends"])
    assert [name for name in body.get("never") or () if name in whole] == []


@pytest.mark.parametrize(("row", "body"), cases(lambda body: "refuses" in body))
def test_what_a_host_refuses_is_not_sent(row: str, body: Body) -> None:
    question = body["asks"]
    if "thinking" in question:
        with pytest.raises(CantThinkSoError):
            sent(row, question)
    else:
        field = next(name for name in ("seed", "top_k") if name in question)
        assert field not in sent(row, question)


@pytest.mark.parametrize(("row", "body"), cases(is_reply))
async def test_a_reply_is_read(row: str, body: Body, host: Host, connect: Connect) -> None:
    async def handler(_request: web.BaseRequest) -> web.Response:
        return web.Response(
            body=orjson.dumps(body["body"]),
            status=body["status"],
            headers={"Content-Type": "application/json", **body.get("headers", {})},
        )

    url, expected = await host(handler), body["reads"]
    client = (
        OllamaBackend("p", {url: ["m"]}, transport=connect())
        if row.startswith("ollama")
        else OpenAIBackend("p", url, key_env=None, transport=connect(), dialect=DIALECTS[row])
    )
    try:
        reply: ChatReply | CallError = await client.chat(request({"model": "m"}), url)
    except CallError as error:
        reply = error
    if isinstance(reply, ChatReply):
        parts: dict[str, Any] = {"text": reply.text, "thinking": reply.thinking, "finish": reply.finish}
        usage = reply.usage
    else:
        parts, usage = {"text": "", "thinking": "", **reply.partial["reply"]}, reply.partial["usage"]
        assert parts["finish"] == "broken" or reply.kind == "empty_reply"
    stripped = {name: text.strip() for name, text in expected.items() if name in {"text", "thinking"}}
    assert {name: parts[name].strip() for name in stripped} == stripped
    assert parts["finish"] == expected.get("finish", "whole")
    assert holds(usage, expected.get("usage", {}))


@pytest.mark.parametrize(("row", "body"), cases(reads("meaning")))
def test_a_refusal_is_understood(row: str, body: Body) -> None:
    headers = {"content-type": "application/json", **{n.lower(): v for n, v in body.get("headers", {}).items()}}
    answer = body["body"]
    raw = answer.encode() if isinstance(answer, str) else orjson.dumps(answer)
    response = Response(body["status"], headers, raw)
    refusal = refusals.read(response, "m", lambda: body.get("now", 1.8e9))
    assert refusal.meaning is MEANINGS[body["reads"]["meaning"]], row
    if body["reads"].get("pause_s"):
        assert refusal.wait_s == pytest.approx(body["reads"]["pause_s"], abs=1)


@pytest.mark.parametrize(("row", "body"), cases(lambda body: reads("pause_s")(body) and body["status"] == OK))
def test_limits_in_headers_are_read(row: str, body: Body) -> None:
    headers = {name.lower(): value for name, value in body.get("headers", {}).items()}
    advice = limit_headers.advice(headers, lambda: 1.8e9, DIALECTS[row].limit_window_s)
    expected = {name: body["reads"].get(name) for name in ("requests_per_s", "tokens_per_s", "pause_s")}
    assert (advice._asdict() if advice else dict.fromkeys(expected)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("url", "row"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://my-team.openai.azure.com/openai/v1", "azure"),
        ("https://us-east5-aiplatform.googleapis.com/v1/projects/p/locations/l/endpoints/openapi", "vertex"),
        ("https://api.deepinfra.com/v1/openai", "deepinfra"),
        ("https://api.together.xyz/v1", "together"),
        ("https://notapi.together.xyz.example.com/v1", None),
        ("http://127.0.0.1:8000/v1", None),
    ],
)
def test_a_host_is_known_by_its_address(url: str, row: str | None) -> None:
    dialect = of_address(url)
    assert (dialect and dialect.name) == row


@pytest.mark.parametrize(
    ("owners", "row"),
    [(["vllm"], "vllm"), (["llamacpp"], "llama_server"), (["system", "openai"], None), ([], None), (["me"], None)],
)
def test_a_server_is_known_by_the_owner_of_its_models(owners: list[str], row: str | None) -> None:
    dialect = of_owners(owners)
    assert (dialect and dialect.name) == row


@pytest.mark.parametrize(
    ("version", "row"),
    [
        ("0.9.3", "ollama_before_0_12_6"),
        ("0.12.5", "ollama_before_0_12_6"),
        ("0.12.6", "ollama_0_12_6"),
        ("0.12.10", "ollama_0_12_6"),
        ("0.12.11-rc1", "ollama_0_12_11"),
        ("0.17.6", "ollama_0_12_11"),
        ("0.33.0", "ollama_0_17_7"),
        ("1.0", "ollama_0_17_7"),
        ("0.0.0", "ollama_0_17_7"),
        ("", "ollama_0_17_7"),
    ],
)
def test_an_ollama_server_is_known_by_its_version(version: str, row: str) -> None:
    assert of_ollama(version).name == row


def test_the_row_of_unknown_hosts_has_no_switch_and_no_unverified_cell() -> None:
    assert PLAIN.unverified == []
    with pytest.raises(CantThinkSoError, match="name the dialect"):
        sent("plain", {"model": "m", "thinking": "on"})
