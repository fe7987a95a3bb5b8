"""Thoughts: each quirk puts the same ones where it says, keeps the text whole, and counts them as its server would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from eli5b_batch.grading import grade
from eli5b_batch.job.schema import Simulation
from eli5b_batch.records import make_key
from eli5b_batch.simulated.model import BookEntry, SimulatedModel, count_tokens
from eli5b_batch.simulated.ollama import SimulatedOllama
from eli5b_batch.simulated.openai import SimulatedAPI
from eli5b_batch.simulated.quirks.thoughts import ENDS, HEADER, MARK, TAG_PAIRS, THOUGHT, THOUGHTS, UNCOUNTED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import ClientResponse, web

    Post = Callable[..., Awaitable[ClientResponse]]
    Start = Callable[[web.Application], Awaitable[Post]]

PATHS = {"openai": "/v1/chat/completions", "ollama": "/api/chat"}
PROBLEM = "What is 6 times 7?"
MODEL = "llama3.2:1b"
TOKENS = count_tokens(THOUGHT)
THINK = f"<think>\n{THOUGHT}\n</think>"

OPENING = {
    "thinks_think_tag": f"{THINK}\n\n",
    "thinks_no_opening_tag": f"{THOUGHT}\n</think>\n\n",
    "thinks_harmony_bare": f"analysis{THOUGHT}assistantfinal",
    "starts_special": HEADER,
}
"""What stands before the whole text."""

TOLD = ("reasoning_content", "reasoning", "both_fields", "reasoning_details", "field", "parts")
"""The thoughts stand apart, and their tokens are told."""


class Seen(NamedTuple):
    """What an answer says, in whichever protocol; `told`: the tokens that are said to be thoughts."""

    message: dict[str, Any]
    finish: str
    tokens: int
    total: int | None
    told: int | None

    @property
    def content(self) -> Any:  # noqa: ANN401 (a text, or a list of parts)
        return self.message["content"]


class Asker:
    """Asks simulated servers for an answer to the problem with this number."""

    def __init__(self, start: Start) -> None:
        self._start = start

    async def server(self, quirk: str, wire: str) -> Callable[[int], Awaitable[Seen]]:
        quirks = {quirk: 1.0} if quirk else {}
        how = Simulation.model_validate({"latency_s": 0, "tokens_per_s": 1e9, "quirks": quirks})
        mind = SimulatedModel(
            {f"p{n}": BookEntry(PROBLEM, "42", 1.0) for n in range(60)}, {"small": MODEL}, how, seed=0
        )
        app = SimulatedAPI(mind, how).app() if wire == "openai" else SimulatedOllama(mind, how, [MODEL], 2).app()
        post = await self._start(app)

        async def ask(problem: int) -> Seen:
            key = make_key(f"p{problem}", "answer", "small", {"hint": "none", "hint_for": "any", "sample": 0})
            body = {"model": MODEL, "messages": [{"role": "user", "content": PROBLEM}], "stream": False}
            response = await post(PATHS[wire], body, key)
            assert response.status == 200
            return seen(await response.json(), wire)

        return ask

    async def pair(self, quirk: str, wire: str) -> tuple[Seen, Seen]:
        """An ordinary answer, and the same one as the quirk makes it."""
        return await (await self.server("", wire))(0), await (await self.server(quirk, wire))(0)


def seen(reply: dict[str, Any], wire: str) -> Seen:
    if wire == "ollama":
        return Seen(reply["message"], reply["done_reason"], reply["eval_count"], None, None)
    choice, usage = reply["choices"][0], reply["usage"]
    told = usage.get("completion_tokens_details", {}).get("reasoning_tokens")
    return Seen(choice["message"], choice["finish_reason"], usage["completion_tokens"], usage["total_tokens"], told)


@pytest.fixture
def asker(start: Start) -> Asker:
    return Asker(start)


def both(*names: str) -> pytest.MarkDecorator:
    """Each of the quirks in each protocol that it occurs in."""
    return pytest.mark.parametrize(
        ("name", "wire"), [(name, wire) for name in names for wire in sorted(THOUGHTS[name].wires)]
    )


def test_a_thought_is_found_by_its_mark_and_graded_as_wrong() -> None:
    assert THOUGHT.count(MARK) == 2
    assert MARK == "SIMULATED thought"
    assert grade(THOUGHT, "42").verdict == "incorrect"
    assert grade(f"{THOUGHT}\n\nFinal answer: \\boxed{{42}}", "42").verdict == "correct"


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("thinks_reasoning_content", {"reasoning_content": THOUGHT}),
        ("thinks_reasoning", {"reasoning": THOUGHT}),
        ("thinks_both_fields", {"reasoning_content": THOUGHT, "reasoning": THOUGHT}),
        ("thinks_field", {"thinking": THOUGHT}),
    ],
)
async def test_fields_hold_thoughts_beside_the_text(asker: Asker, name: str, fields: dict[str, str]) -> None:
    for wire in THOUGHTS[name].wires:
        plain, thinks = await asker.pair(name, wire)
        assert thinks.message == {**plain.message, **fields}


async def test_details_hold_thoughts_where_their_plain_field_is_null(asker: Asker) -> None:
    plain, thinks = await asker.pair("thinks_reasoning_details", "openai")
    assert thinks.content == plain.content
    assert thinks.message["reasoning"] is None
    assert [(row["type"], row["text"]) for row in thinks.message["reasoning_details"]] == [("reasoning.text", THOUGHT)]


async def test_parts_hold_thoughts_and_then_the_text(asker: Asker) -> None:
    plain, thinks = await asker.pair("thinks_parts", "openai")
    assert thinks.content == [
        {"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]},
        {"type": "text", "text": plain.content},
    ]


@both(*OPENING)
async def test_the_whole_text_stands_behind_what_is_put_before_it(asker: Asker, name: str, wire: str) -> None:
    plain, changed = await asker.pair(name, wire)
    assert changed.message == {"role": "assistant", "content": OPENING[name] + plain.content}


@both("thinks_harmony")
async def test_thoughts_and_text_stand_in_channels(asker: Asker, name: str, wire: str) -> None:
    plain, thinks = await asker.pair(name, wire)
    analysis, final = thinks.content.split("<|start|>assistant")
    assert analysis == f"<|channel|>analysis<|message|>{THOUGHT}<|end|>"
    assert final == f"<|channel|>final<|message|>{plain.content}<|return|>"


@both("thinks_twice")
async def test_thoughts_come_again_at_the_end_of_a_line_of_the_text(asker: Asker, name: str, wire: str) -> None:
    plain, thinks = await asker.pair(name, wire)
    nothing, before, after = thinks.content.split(THINK)
    assert nothing == ""
    assert before.removeprefix("\n\n") + after == plain.content
    assert before.endswith("\n")
    assert before.strip()
    assert after.strip()


@pytest.mark.parametrize("wire", PATHS)
async def test_which_other_tags_are_used_is_drawn_from_the_text(asker: Asker, wire: str) -> None:
    plain, thinks = await asker.server("", wire), await asker.server("thinks_other_tags", wire)
    used = []
    for problem in range(60):
        content, text = (await thinks(problem)).content, (await plain(problem)).content
        assert (await thinks(problem)).content == content
        used += [tags for tags in TAG_PAIRS if content == tags.format(thought=THOUGHT, text=text)]
    assert len(used) == 60
    assert set(used) == set(TAG_PAIRS)


@pytest.mark.parametrize("wire", PATHS)
async def test_which_special_token_ends_a_text_is_drawn_from_it(asker: Asker, wire: str) -> None:
    plain, changed = await asker.server("", wire), await asker.server("ends_special", wire)
    used = set()
    for problem in range(60):
        content, text = (await changed(problem)).content, (await plain(problem)).content
        assert content.startswith(text)
        used.add(content.removeprefix(text))
    assert used == set(ENDS)


@both("thinks_unclosed", "thinks_only", "thinks_only_whole", "thinks_hidden")
async def test_thoughts_can_be_all_that_comes(asker: Asker, name: str, wire: str) -> None:
    plain, thinks = await asker.pair(name, wire)
    field = "thinking" if wire == "ollama" else "reasoning_content"
    inside = {"thinks_unclosed": f"<think>\n{THOUGHT}"}.get(name, "")
    beside = {field: THOUGHT} if name in {"thinks_only", "thinks_only_whole"} else {}
    assert thinks.message == {"role": "assistant", "content": inside, **beside}
    assert thinks.finish == ("stop" if name == "thinks_only_whole" else "length")
    assert thinks.tokens == plain.tokens + TOKENS
    assert thinks.told == (thinks.tokens if wire == "openai" and not inside else None)


@both(*(name for name in THOUGHTS if name.startswith("thinks_") and name != "thinks_token_total"))
async def test_thoughts_are_counted_as_their_server_would(asker: Asker, name: str, wire: str) -> None:
    plain, thinks = await asker.pair(name, wire)
    tokens = TOKENS * (2 if name == "thinks_twice" else 1)
    assert thinks.tokens == plain.tokens + tokens
    if plain.total is not None:
        assert thinks.total == plain.total + tokens
        told_apart = name.removeprefix("thinks_") in TOLD
        assert (thinks.told == tokens) == told_apart


async def test_thoughts_can_be_counted_in_the_total_alone(asker: Asker) -> None:
    plain, thinks = await asker.pair("thinks_token_total", "openai")
    assert plain.total is not None
    assert thinks == plain._replace(total=plain.total + UNCOUNTED)


@both("ends_special", "starts_special")
async def test_special_tokens_are_not_counted(asker: Asker, name: str, wire: str) -> None:
    plain, changed = await asker.pair(name, wire)
    assert changed[1:] == plain[1:]


@pytest.mark.parametrize("name", ["thinks_think_tag", "thinks_unclosed", "thinks_only"])
async def test_a_reply_that_was_never_done_gets_neither_counts_nor_an_end(start: Start, name: str) -> None:
    how = Simulation.model_validate({"latency_s": 0, "tokens_per_s": 1e9, "not_done_rate": 1.0, "quirks": {name: 1.0}})
    post = await start(SimulatedOllama(SimulatedModel({}, {"small": MODEL}, how, seed=0), how, [MODEL], 2).app())
    body = {"model": MODEL, "messages": [{"role": "user", "content": PROBLEM}], "stream": False}
    reply = await (await post(PATHS["ollama"], body)).json()
    assert reply["done"] is False
    assert reply.keys().isdisjoint({"eval_count", "done_reason"})
    assert MARK in f"{reply['message']}"
