"""Measures chats through the `ollama` package's client against chats through the project's own transport.

    python scripts/bench/ollama_transport.py                                  # simulated server, own process
    python scripts/bench/ollama_transport.py --url http://127.0.0.1:11434     # a real server

The clients take turns, round after round, in one process and on one event loop, with the same messages, options and
number of calls in flight; a ratio is taken within a round, so that a machine that slows down slows both. CPU seconds
are this process's own, without the server's. The figures in docs/decisions/0002 come from here.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import httpx
import ollama

from eli5b_batch.backends.base import ChatRequest
from eli5b_batch.backends.fields import KEEP_ALIVE
from eli5b_batch.backends.http import Transport
from eli5b_batch.backends.ollama import OllamaBackend
from eli5b_batch.errors import BadReplyError
from eli5b_batch.job.schema import Job
from eli5b_batch.simulated.process import simulated_servers
from measure import spread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    Chat = Callable[[int], Awaitable[str]]
    """Asks with this seed; returns the text of the reply."""

TIMEOUT_S: Final = 600.0
SAMPLING: Final = {"temperature": 0.7, "top_p": 0.9, "num_ctx": 8192}
PROMPT: Final = "Solve the following problem. Show your work and put the final answer in \\boxed{}.\n\n" + (
    "A train leaves a station at noon and runs north at 60 km/h; another leaves it an hour later. " * 8
)


class Task(NamedTuple):
    """What every client is asked to do."""

    url: str
    model: str
    max_tokens: int
    in_flight: int

    @property
    def messages(self) -> list[dict[str, str]]:
        """One prompt, about as long as a student's with a hint."""
        return [{"role": "system", "content": "You solve problems."}, {"role": "user", "content": PROMPT}]


class Round(NamedTuple):
    """One client's figures in one round."""

    calls_per_s: float
    cpu_s_per_1000: float
    characters: int


@asynccontextmanager
async def package_client(task: Task, **extra: Any) -> AsyncIterator[Chat]:  # noqa: ANN401 (httpx's own arguments)
    """`ollama.AsyncClient`, which can't ask for `truncate` and `shift`; everything else is as in the own transport."""
    client = ollama.AsyncClient(host=task.url, timeout=TIMEOUT_S, **extra)

    async def chat(seed: int) -> str:
        options = {**SAMPLING, "num_predict": task.max_tokens, "seed": seed}
        reply = await client.chat(task.model, task.messages, options=options, keep_alive=KEEP_ALIVE)
        return reply.message.content or ""

    try:
        yield chat
    finally:
        await client.close()  # type: ignore[no-untyped-call]


def raised_client(task: Task) -> AbstractAsyncContextManager[Chat]:
    """The same client with a pool that keeps as many connections as there are calls in flight."""
    return package_client(
        task, limits=httpx.Limits(max_connections=task.in_flight, max_keepalive_connections=task.in_flight)
    )


@asynccontextmanager
async def own_transport(task: Task) -> AsyncIterator[Chat]:
    """`OllamaBackend` over `Transport`, as a run uses it."""
    backend = OllamaBackend("bench", {task.url: [task.model]}, transport=Transport(task.in_flight, TIMEOUT_S))

    async def chat(seed: int) -> str:
        sampling = {**SAMPLING, "max_tokens": task.max_tokens}
        request = ChatRequest("bench", task.model, task.messages, sampling, seed)
        try:
            return (await backend.chat(request, task.url)).text
        except BadReplyError as error:  # answered, only not usable; the other clients return such replies
            return str(error.partial["reply"]["text"])

    try:
        yield chat
    finally:
        await backend.close()


OWN: Final = "own transport"
CLIENTS: Final[Mapping[str, Callable[[Task], AbstractAsyncContextManager[Chat]]]] = {
    "ollama client": package_client,
    "ollama client, larger pool": raised_client,
    OWN: own_transport,
}


async def measure(chat: Chat, calls: int, in_flight: int) -> Round:
    """`calls` chats with seeds 0, 1, 2, ..., at most `in_flight` at once."""
    seeds = iter(range(calls))
    characters = 0

    async def worker() -> None:
        nonlocal characters
        for seed in seeds:
            text = await chat(seed)
            characters += len(text)

    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(worker())
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Round(calls / wall, cpu / calls * 1000, characters)


async def compare(task: Task, calls: int, rounds: int) -> dict[str, list[Round]]:
    """Every client's figures, round by round; a short first round, in which each loads its modules, does not count."""
    results: dict[str, list[Round]] = {name: [] for name in CLIENTS}
    for number in range(rounds + 1):
        for name, client in CLIENTS.items():
            async with client(task) as chat:
                figures = await measure(chat, calls if number else task.in_flight * 2, task.in_flight)
            if number:
                results[name].append(figures)
                print(
                    f"round {number}  {name:<28} {figures.calls_per_s:8.1f} calls/s"
                    f" {figures.cpu_s_per_1000:8.3f} CPU s per 1,000  {figures.characters:9} characters",
                    flush=True,
                )
    return results


def written(values: Sequence[float], digits: int = 2) -> str:
    """Median and, in brackets, the smallest and largest."""
    median, least, most = spread(values)
    return f"{median:.{digits}f} [{least:.{digits}f} to {most:.{digits}f}]"


def report(results: Mapping[str, Sequence[Round]]) -> None:
    """Print medians over the rounds, and the own transport against each of the others, round by round."""
    print("\nmedian [smallest to largest] over the rounds")
    for name, figures in results.items():
        rate = written([f.calls_per_s for f in figures], 0)
        print(f"{name:<28} calls/s {rate:<24} CPU s per 1,000 {written([f.cpu_s_per_1000 for f in figures], 3)}")
    for name, figures in results.items():
        if name != OWN:
            pairs = list(zip(results[OWN], figures, strict=True))
            faster = written([own.calls_per_s / other.calls_per_s for own, other in pairs])
            cheaper = written([other.cpu_s_per_1000 / own.cpu_s_per_1000 for own, other in pairs])
            print(f"{OWN} against {name}: {faster} times the calls/s, CPU less by {cheaper} times")


@asynccontextmanager
async def simulated(model: str, in_flight: int, latency_s: float) -> AsyncIterator[str]:
    """A simulated Ollama server in a process of its own that answers all of `in_flight` at once; gives its address."""
    job = Job.model_validate(
        {
            "name": "bench",
            "data": {"reader": "quickstart"},
            "providers": {
                "gpus": {
                    "api": "simulated",
                    "slots": [{"gpu": 0, "parallel": in_flight}],
                    "simulation": {"latency_s": latency_s, "tokens_per_s": 1e9},
                }
            },
            "models": {"student": {"provider": "gpus", "model": model}},
        }
    )
    async with simulated_servers(job, []) as urls:
        yield urls["gpus"][0]


async def main(arguments: Sequence[str]) -> None:
    """Read the arguments, measure, print."""
    parser = argparse.ArgumentParser(description="`ollama` client against the project's own transport.")
    parser.add_argument("--url", help="a real Ollama server; left out: a simulated one")
    parser.add_argument("--model", default="llama3.2:1b")
    parser.add_argument("--calls", type=int, default=2000, help="calls per client and round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--latency", type=float, default=0.001, help="seconds per call of the simulated server")
    given = parser.parse_args(arguments)
    if given.url:
        task = Task(given.url.rstrip("/"), given.model, given.max_tokens, given.in_flight)
        report(await compare(task, given.calls, given.rounds))
        return
    async with simulated(given.model, given.in_flight, given.latency) as url:
        task = Task(url, given.model, given.max_tokens, given.in_flight)
        report(await compare(task, given.calls, given.rounds))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
