"""Quirks: each answers what its table says, the same calls meet them whenever they are sent, and the books say so."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp
import orjson
import pytest
from aiohttp.test_utils import TestServer

from eli5b_batch.job.schema import Limits, Simulation
from eli5b_batch.records import make_key
from eli5b_batch.simulated.ledger import Ledger
from eli5b_batch.simulated.model import BookEntry, SimulatedModel
from eli5b_batch.simulated.ollama import SimulatedOllama
from eli5b_batch.simulated.openai import SimulatedAPI
from eli5b_batch.simulated.quirks import QUIRKS
from eli5b_batch.simulated.quirks.fates import SPELL_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

PATHS = {"openai": "/v1/chat/completions", "ollama": "/api/chat"}
TEXT = "What is 6 times 7?"
MODELS = {"small": "llama3.2:1b", "large": "llama3.1:8b"}

FIRST: dict[str, tuple[int, bytes]] = {
    "request_too_large": (429, b"Limit 30000, Requested 30100"),
    "poisoned_429": (429, b"does not admit"),
    "quota_429": (429, b"free-models-per-day"),
    "model_429": (429, b"llama3.2:1b is temporarily rate-limited upstream"),
    "error_200_401": (200, b'"code":401'),
    "error_200_402": (200, b'"code":402'),
    "error_200_429": (200, b'"code":429'),
    "error_200_502": (200, b'"code":502'),
    "retired_410": (410, b"The model 'llama3.2:1b' has reached its end of life"),
    "field_400": (400, b"Unsupported parameter: 'max_tokens'"),
    "seed_422": (422, b"extra_forbidden"),
    "bad_key_400": (400, b"API_KEY_INVALID"),
    "region_403": (403, b"unsupported_country_region_territory"),
    "suspended_412": (412, b"PRECONDITION_FAILED"),
    "unknown_403": (403, b"was blocked"),
    "html_403": (403, b"<title>Just a moment...</title>"),
    "html_200": (200, b"<title>Sign in</title>"),
    "status_498": (498, b"capacity"),
    "status_424": (424, b"Failed dependency"),
    "status_202": (202, b""),
    "status_204": (204, b""),
    "status_425": (425, b"Too early"),
    "content_parts": (200, b'"content":[{"type":"thinking"'),
    "content_null_refusal": (200, b'"content":null,"refusal":"I'),
    "content_null_tool_calls": (200, b'"content":null,"tool_calls":[{'),
    "surrogate": (200, rb"\ud83d"),
    "nan_logprobs": (200, b'"logprob": -Infinity'),
    "bom": (200, b'\xef\xbb\xbf{"'),
    "latin1": (200, b"\xe9"),
    "truncated_json": (200, b'"content":"SIMULATED'),
    "run_on": (200, b"<|eot_id|>"),
    "finish_error": (200, b'"finish_reason":"error"'),
    "finish_abort": (200, b'"finish_reason":"abort"'),
    "finish_insufficient_system_resource": (200, b'"finish_reason":"insufficient_system_resource"'),
    "finish_max_tokens": (200, b'"finish_reason":"MAX_TOKENS"'),
    "finish_max_output_tokens": (200, b'"finish_reason":"max_output_tokens"'),
    "finish_model_length": (200, b'"finish_reason":"model_length"'),
    "finish_content_filter": (200, b'"finish_reason":"content_filter"'),
    "repeat_limit_500": (500, b'{"error":"prediction aborted, token repeat limit reached"}'),
    "repeat_abort_200": (200, b'"done":false'),
    "thinks_reasoning_content": (200, b'"reasoning_content":"SIMULATED thought'),
    "thinks_reasoning": (200, b'"reasoning":"SIMULATED thought'),
    "thinks_both_fields": (200, b'"reasoning_content":"SIMULATED thought'),
    "thinks_reasoning_details": (200, b'"reasoning":null,"reasoning_details":[{"type":"reasoning.text"'),
    "thinks_field": (200, b'"thinking":"SIMULATED thought'),
    "thinks_parts": (200, b'"content":[{"type":"thinking","thinking":[{"type":"text","text":"SIMULATED thought'),
    "thinks_think_tag": (200, b'"content":"<think>\\nSIMULATED thought'),
    "thinks_other_tags": (200, b"SIMULATED thought"),
    "thinks_no_opening_tag": (200, b'"content":"SIMULATED thought'),
    "thinks_unclosed": (200, b'"content":"<think>\\nSIMULATED thought'),
    "thinks_twice": (200, b'"content":"<think>\\nSIMULATED thought'),
    "thinks_harmony": (200, b'"content":"<|channel|>analysis<|message|>SIMULATED thought'),
    "thinks_harmony_bare": (200, b'"content":"analysisSIMULATED thought'),
    "thinks_only": (200, b'"content":""'),
    "thinks_only_whole": (200, b'"content":""'),
    "thinks_hidden": (200, b'"content":""'),
    "thinks_token_total": (200, b'"content":"SIMULATED'),
    "ends_special": (200, b'"content":"SIMULATED'),
    "starts_special": (200, b'"content":"<|start_header_id|>assistant<|end_header_id|>\\n\\nSIMULATED'),
    "retry_after_epoch_s": (429, b"slow down"),
    "retry_after_epoch_ms": (429, b"slow down"),
    "retry_after_duration": (429, b"slow down"),
    "retry_after_http_date": (429, b"slow down"),
    "retry_after_ms": (429, b"slow down"),
    "limit_headers_openai": (200, b'"content":"SIMULATED'),
    "limit_headers_groq": (200, b'"content":"SIMULATED'),
    "sibling_529_date": (529, b"Overloaded"),
    "sibling_empty_200": (200, b""),
    "sibling_403_type": (403, b"edge_policy_7"),
    "sibling_451": (451, b"legal"),
    "sibling_413": (413, b"Limit 6000, Requested 12328"),
    "sibling_429_at_once": (429, b"try again now"),
    "sibling_429_page": (429, b"<title>Service unavailable</title>"),
    "sibling_429_month": (429, b"monthly quota"),
    "sibling_500": (500, b"crashes"),
    "sibling_503_page": (503, b"<title>Service unavailable</title>"),
    "sibling_error_text": (200, b'{"error":"upstream connect error"}'),
    "sibling_error_null": (200, b'{"error":null,'),
    "sibling_error_of_choice": (200, b'"error":{"code":502'),
    "sibling_choices_empty": (200, b'"choices":[]'),
    "sibling_stream": (200, b"\n\ndata: [DONE]\n\n"),
    "sibling_no_gzip": (200, b"SIMULATED, not gzip"),
    "sibling_truncated": (200, b'"content":"SIMULATED'),
    "sibling_usage_null": (200, b'"usage":null'),
    "sibling_no_finish_reason": (200, b'"content":"SIMULATED'),
    "sibling_finish_stop": (200, b'"finish_reason":"STOP"'),
    "sibling_finish_length": (200, b'"finish_reason":"Length"'),
    "sibling_double_keys": (200, b'{"choices":null,"usage":null,'),
    "sibling_huge_number": (200, b'"created":' + b"9" * 400),
    "sibling_deep": (200, b"[" * 3000 + b"]" * 3000),
    "sibling_nul": (200, rb"\u0000"),
    "sibling_leading_space": (200, b"\n\n   \n{"),
    "sibling_declared_latin1": (200, b"\xe9"),
    "sibling_content_object": (200, b'"content":{"type":"text"'),
}
"""The first answer to a call that meets the quirk: its status, and what stands in its body."""


class Answer(NamedTuple):
    status: int
    body: bytes
    headers: dict[str, str]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Asker:
    """Sends a chat about the problem with this number, again and again the same."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def __call__(
        self, problem: int = 0, *, model: str = "small", key: bool = True, without: str = "", **fields: object
    ) -> Answer:
        body = {"model": MODELS[model], "messages": [{"role": "user", "content": TEXT}], "stream": False}
        name = make_key(f"p{problem}", "answer", model, {"hint": "none", "hint_for": "any", "sample": 0})
        asked = {**body, "seed": problem, "max_tokens": 1024, **fields}
        asked.pop(without, None)
        headers = {"x-eli5b-call": name} if key else {}
        async with self._session.post(self._url, json=asked, headers=headers) as response:
            return Answer(response.status, await response.read(), {k.lower(): v for k, v in response.headers.items()})

    async def fates(self, problems: range) -> list[int]:
        """The problems that are not answered as usual."""
        return [n for n in problems if (await self(n)).status != 200]


@asynccontextmanager
async def serving(
    quirks: dict[str, float],
    wire: str = "openai",
    *,
    clock: Callable[[], float] = time.monotonic,
    limits: Limits | None = None,
    ledger: Path | None = None,
    **fields: object,
) -> AsyncIterator[Asker]:
    how = Simulation.model_validate({"latency_s": 0, "tokens_per_s": 1e9, "quirks": quirks, **fields})
    mind = SimulatedModel({f"p{n}": BookEntry(TEXT, "42", 1.0) for n in range(400)}, MODELS, how, seed=0)
    if wire == "openai":
        app = SimulatedAPI(mind, how, limits, clock=clock).app()
    else:
        app = SimulatedOllama(mind, how, MODELS.values(), 2, clock=clock).app()
    if ledger is not None:
        app.middlewares.insert(0, Ledger(ledger).middleware(wire))
    async with TestServer(app) as server, aiohttp.ClientSession(auto_decompress=False) as session:
        yield Asker(session, str(server.make_url(PATHS[wire])))


def test_every_quirk_is_tested() -> None:
    assert list(FIRST) == list(QUIRKS)


@pytest.mark.parametrize(("name", "wire"), [(name, wire) for name in QUIRKS for wire in sorted(QUIRKS[name].wires)])
async def test_a_quirk_answers_what_it_says(name: str, wire: str) -> None:
    status, part = FIRST[name]
    async with serving({name: 1.0}, wire, limits=Limits(requests_per_minute=600)) as ask:
        answer = await ask()
    assert answer.status == status
    assert part in answer.body
    assert bool(part) == bool(answer.body)
    assert answer.headers["server"] == "SIMULATED"
    if part.startswith((b"<title", b"<!")):
        assert answer.headers["content-type"].startswith("text/html")


def message_of(body: bytes, wire: str) -> dict[str, Any]:
    reply = orjson.loads(body)
    message: dict[str, Any] = reply["message"] if wire == "ollama" else reply["choices"][0]["message"]
    return message


@pytest.mark.parametrize("wire", PATHS)
async def test_a_changed_reply_holds_the_text_of_the_ordinary_one(wire: str) -> None:
    bodies = {}
    for name in ("", "bom", "latin1", "surrogate", "run_on", "truncated_json", "nan_logprobs"):
        async with serving({name: 1.0} if name else {}, wire) as ask:
            bodies[name] = (await ask()).body
    text = message_of(bodies[""], wire)["content"]
    half = len(text) // 2
    assert message_of(bodies["bom"].removeprefix(b"\xef\xbb\xbf"), wire)["content"] == text
    assert message_of(bodies["latin1"].replace(b"\xe9", b"+"), wire)["content"] == f"{text[:half]}+{text[half:]}"
    assert message_of(bodies["surrogate"].replace(rb"\ud83d", b"+"), wire)["content"] == f"{text[:half]}+{text[half:]}"
    assert message_of(bodies["run_on"], wire)["content"].startswith(f"{text}<|eot_id|>")
    assert bodies["truncated_json"].endswith(orjson.dumps(text[:half])[1:-1])
    plain = bodies["nan_logprobs"].replace(b"NaN", b"null").replace(b"-Infinity", b"null")
    assert message_of(plain, wire)["content"] == text


@pytest.mark.parametrize("name", [name for name in QUIRKS if QUIRKS[name].lasts == "always"])
async def test_a_call_meets_its_quirk_whenever_it_is_sent(name: str) -> None:
    wire = min(QUIRKS[name].wires, key=list(PATHS).index)
    async with serving({name: 1.0}, wire, limits=Limits(requests_per_minute=600)) as ask:
        first, second, third = [await ask() for _ in range(3)]
    status, part = FIRST[name]
    assert [answer.status for answer in (first, second, third)] == [status] * 3
    assert all(part in answer.body for answer in (second, third))


@pytest.mark.parametrize("name", [name for name in QUIRKS if QUIRKS[name].lasts == "passes"])
async def test_what_passes_does_so_after_one_or_two_sendings(name: str) -> None:
    seen = set()
    async with serving({name: 1.0}) as ask, serving({}) as plain:
        for problem in range(12):
            text = message_of((await plain(problem)).body, "openai")["content"]
            usual = [is_usual(await ask(problem), text) for _ in range(5)]
            assert usual == [False, usual[1], True, True, True]
            seen.add(usual[1])
    assert seen == {False, True}


def is_usual(answer: Answer, text: str) -> bool:
    try:
        return answer.status == 200 and message_of(answer.body, "openai")["content"] == text
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError):
        return False


async def test_a_share_of_the_calls_meets_a_quirk_in_whatever_order_they_come() -> None:
    async with serving({"unknown_403": 0.3}) as ask:
        met = await ask.fates(range(300))
    async with serving({"unknown_403": 0.3}) as ask:
        assert await ask.fates(range(299, -1, -1)) == met[::-1]
    async with serving({"unknown_403": 0.3}, seed=1) as ask:
        others = await ask.fates(range(300))
    assert 65 < len(met) < 115
    assert met != others
    async with serving({"unknown_403": 0.0}) as ask:
        assert await ask.fates(range(50)) == []
    async with serving({"unknown_403": 1.0}) as ask:
        assert await ask.fates(range(50)) == list(range(50))


async def test_the_fate_of_a_call_does_not_depend_on_what_is_asked_but_on_its_key() -> None:
    async with serving({"unknown_403": 0.3}) as ask:
        met = [(await ask(n)).status for n in range(60)]
        assert [(await ask(n, max_tokens=7)).status for n in range(60)] == met
        without_key = [(await ask(n, key=False)).status for n in range(60)]
        assert [(await ask(n, key=False)).status for n in range(60)] == without_key
    assert set(met) == set(without_key) == {200, 403}


async def test_a_call_meets_one_quirk_at_most() -> None:
    async with serving({"unknown_403": 0.5, "region_403": 0.5}) as ask:
        bodies = [(await ask(n)).body for n in range(60)]
    blocked = [b"was blocked" in body for body in bodies]
    assert blocked == [b"Country" not in body for body in bodies]
    assert set(blocked) == {True, False}


@pytest.mark.parametrize(("name", "field", "status"), [("field_400", "max_tokens", 400), ("seed_422", "seed", 422)])
async def test_a_field_that_is_left_out_is_not_refused(name: str, field: str, status: int) -> None:
    async with serving({name: 1.0}) as ask:
        assert [(await ask()).status, (await ask(without=field)).status] == [status, 200]


def seconds_told(answer: Answer, name: str) -> float:
    """The wait that an answer tells, in whichever way."""
    headers, now = answer.headers, time.time()
    return {
        "retry_after_epoch_s": lambda: float(headers["x-ratelimit-reset"]) - now,
        "retry_after_epoch_ms": lambda: float(headers["x-ratelimit-reset"]) / 1000 - now,
        "retry_after_duration": lambda: float(headers["retry-after"].removeprefix("0m").removesuffix("s")),
        "retry_after_http_date": lambda: parsedate_to_datetime(headers["retry-after"]).timestamp() - now,
        "retry_after_ms": lambda: float(headers["retry-after-ms"]) / 1000,
        "sibling_529_date": lambda: parsedate_to_datetime(headers["retry-after"]).timestamp() - now,
        "error_200_429": lambda: (
            float(orjson.loads(answer.body)["error"]["metadata"]["headers"]["X-RateLimit-Reset"]) / 1000 - now
        ),
    }[name]()


@pytest.mark.parametrize("name", [name for name in QUIRKS if QUIRKS[name].lasts == "wait"])
async def test_a_told_wait_is_the_one_after_which_the_call_passes(name: str) -> None:
    clock = Clock()
    async with serving({name: 1.0}, clock=clock) as ask:
        before = time.time()
        first = await ask()
        took_s = time.time() - before
        told_s = seconds_told(first, name)
        assert 1 - took_s <= told_s <= 2 + took_s
        clock.now += 0.9
        early = await ask()
        assert (early.status, early.body[:60]) == (first.status, first.body[:60])
        clock.now += 1.2
        assert b"SIMULATED answer" in (await ask()).body


async def test_a_quota_tells_that_it_is_15_hours_until_it_is_back() -> None:
    async with serving({"quota_429": 1.0}) as ask:
        answer = await ask()
    assert float(answer.headers["x-ratelimit-reset"]) / 1000 - time.time() == pytest.approx(54_180, abs=60)


async def test_a_spell_is_one_models_and_ends() -> None:
    clock = Clock()
    async with serving({"model_429": 0.5}, clock=clock, seed=4) as ask:  # a seed that divides the models
        statuses = {model: [(await ask(n, model=model)).status for n in range(5)] for model in MODELS}
        assert sorted(map(set, statuses.values()), key=sum) == [{200}, {429}]
        clock.now += SPELL_S
        assert {(await ask(n, model=model)).status for n in range(5) for model in MODELS} == {200}


async def test_limits_are_told_as_openai_does() -> None:
    clock = Clock()
    limits = Limits(requests_per_minute=600, tokens_per_minute=1_200_000)
    async with serving({"limit_headers_openai": 1.0}, clock=clock, limits=limits) as ask:
        answers = [await ask(n) for n in range(14)]
    told = {name: value for name, value in answers[3].headers.items() if "limit" in name}
    assert set(told) == {f"x-ratelimit-{what}-{kind}" for what in ("limit", "remaining", "reset") for kind in KINDS}
    assert (told["x-ratelimit-limit-requests"], told["x-ratelimit-limit-tokens"]) == ("600", "1200000")
    assert told["x-ratelimit-remaining-requests"] == "596"
    assert told["x-ratelimit-reset-requests"] == "450ms"
    refused = answers[-1]
    error = orjson.loads(refused.body)["error"]
    assert (refused.status, error["type"], error["code"]) == (429, "requests", "rate_limit_exceeded")
    assert error["message"].endswith("on requests per min: Limit 600. Please try again in 1s.")
    assert refused.headers["retry-after-ms"] == "1000"


async def test_limits_are_told_as_groq_does() -> None:
    limits = Limits(requests_per_minute=60, tokens_per_minute=60_000)
    async with serving({"limit_headers_groq": 1.0}, clock=Clock(), limits=limits) as ask:
        first, second, third = [await ask(n) for n in range(3)]
    assert first.headers["x-ratelimit-limit-requests"] == "86400"  # of a day
    assert first.headers["x-ratelimit-limit-tokens"] == "60000"  # of a minute
    assert second.headers["x-ratelimit-reset-requests"] == "2.25s"
    assert (third.status, third.headers["retry-after"]) == (429, "1")


async def test_without_limits_none_are_told() -> None:
    async with serving({"limit_headers_openai": 1.0}) as ask:
        answer = await ask()
    assert answer.status == 200
    assert not any("limit" in name for name in answer.headers)


KINDS = ("requests", "tokens")


@pytest.mark.parametrize(
    ("name", "wire", "worked", "fault"),
    [
        ("unknown_403", "openai", False, "unknown_403"),
        ("error_200_402", "openai", False, "error_200_402"),
        ("bom", "openai", True, "bom"),
        ("bom", "ollama", True, "bom"),
        ("repeat_limit_500", "ollama", True, "repeat_limit_500"),
        ("limit_headers_groq", "openai", True, None),
    ],
)
async def test_the_books_say_what_was_met_and_whether_work_was_done(
    name: str, wire: str, *, worked: bool, fault: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "ledger.jsonl"
    async with serving({name: 1.0}, wire, ledger=path) as ask:
        answer = await ask()
        async with asyncio.timeout(10):
            while not path.read_bytes():  # noqa: ASYNC110 (a file tells nobody)
                await asyncio.sleep(0.002)
    line = orjson.loads(path.read_bytes())
    assert (line["status"], line["delivered"], line["tokens"] > 0, line["fault"]) == (
        answer.status,
        True,
        worked,
        fault,
    )


async def test_a_reply_that_another_fault_has_spoilt_is_left_as_it_is() -> None:
    async with serving({"bom": 1.0}, garbage_rate=1.0) as ask, serving({}, garbage_rate=1.0) as plain:
        assert (await ask()).body == (await plain()).body
    async with serving({"bom": 1.0}, error_rate=1.0) as ask:
        assert (await ask()).status in (500, 503)


async def test_what_asks_nothing_and_what_is_streamed_meets_no_change() -> None:
    async with serving({"repeat_limit_500": 1.0}, "ollama") as ask:
        assert orjson.loads((await ask(messages=[])).body)["done_reason"] == "load"
        assert (await ask(stream=True)).headers["content-type"] == "application/x-ndjson"
    async with serving({"unknown_403": 1.0}) as ask:
        assert (await ask(messages=[])).status == 400
        assert (await ask(model="small", messages="hello")).status == 403


async def test_a_wrong_key_is_refused_before_any_quirk() -> None:
    how = Simulation(quirks={"unknown_403": 1.0})
    mind = SimulatedModel({}, MODELS, how, seed=0)
    async with TestServer(SimulatedAPI(mind, how, api_key="sk-1").app()) as server, aiohttp.ClientSession() as session:
        statuses = []
        for key in ("sk-1", "sk-2"):
            body = {"model": MODELS["small"], "messages": [{"role": "user", "content": TEXT}]}
            headers = {"Authorization": f"Bearer {key}"}
            async with session.post(server.make_url(PATHS["openai"]), json=body, headers=headers) as response:
                statuses.append(response.status)
    assert statuses == [403, 401]
