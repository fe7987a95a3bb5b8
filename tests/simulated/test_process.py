from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from asyncio.subprocess import Process
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import pytest

from eli5b_batch.data.problem import Problem
from eli5b_batch.errors import ProviderError
from eli5b_batch.job.schema import Job, Limits, SimulatedProvider, Simulation
from eli5b_batch.records import make_key
from eli5b_batch.simulated import process
from eli5b_batch.simulated.process import simulate, simulated_servers

if TYPE_CHECKING:
    from pathlib import Path

MAVERICK = "meta-llama/Llama-4-Maverick-17B"
PROBLEM = Problem(id="00000-abc", text="What is six times seven?", answer="42", difficulty=2.0)
JOB: dict[str, Any] = {
    "name": "small",
    "data": {"reader": "quickstart"},
    "providers": {
        "together": {
            "api": "openai",
            "base_url": "https://api.example.com/v1",
            "api_key_env": "SOME_KEY",
            "limits": {"requests_per_minute": 600, "concurrency": 8},
            "attempts": 3,
        },
        "gpus": {
            "api": "ollama",
            "slots": [
                {"gpu": 0, "url": "http://127.0.0.1:11434", "parallel": 4, "models": ["llama3.2:1b"]},
                {"gpu": 1, "url": "http://127.0.0.1:11435"},
            ],
        },
    },
    "models": {
        "maverick": {
            "provider": "together",
            "model": MAVERICK,
            "price": {"input": 0.27, "output": 0.85, "as_of": "2026-03-01"},
        },
        "1b": {"provider": "gpus", "model": "llama3.2:1b"},
        "8b": {"provider": "gpus", "model": "llama3.1:8b"},
    },
}


def test_the_twin_of_a_job_keeps_everything_but_the_servers() -> None:
    job = Job.model_validate(JOB)
    twin = simulate(job)
    together, gpus = twin.providers["together"], twin.providers["gpus"]
    assert isinstance(together, SimulatedProvider)
    assert isinstance(gpus, SimulatedProvider)
    assert twin.name == "small.simulated"
    assert twin.simulated
    assert (together.limits, together.attempts) == (job.providers["together"].limits, 3)  # type: ignore[union-attr]
    assert gpus.slots is not None
    assert [(s.name, s.parallel, s.models, s.url) for s in gpus.slots] == [
        ("gpu0", 4, ["llama3.2:1b"], None),
        ("gpu1", 1, [], None),
    ]
    assert twin.models == job.models
    assert Job.model_validate(twin.model_dump()) == twin
    assert simulate(twin).providers == twin.providers


def test_the_twin_needs_no_key_no_header_and_no_program_and_keeps_the_questions() -> None:
    access = {"api_key_command": ["no-such-program"], "headers_env": {"X-Team": "NO_SUCH_VARIABLE"}, "omit": ["seed"]}
    tree = {**JOB, "providers": {**JOB["providers"], "together": {**JOB["providers"]["together"], **access}}}
    del tree["providers"]["together"]["api_key_env"]
    tree["models"] = {**JOB["models"], "maverick": {**JOB["models"]["maverick"], "sampling": {"extra": {"min_p": 0.1}}}}
    twin = simulate(Job.model_validate(tree))
    assert access.keys().isdisjoint(twin.providers["together"].model_dump())
    assert twin.models["maverick"].sampling.extra == {"min_p": 0.1}


async def test_no_process_is_started_for_a_job_without_simulated_providers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/program")
    async with simulated_servers(Job.model_validate(JOB), [PROBLEM]) as urls:
        assert urls == {}


async def test_the_servers_answer_and_end_with_the_block() -> None:
    job = simulate(Job.model_validate(JOB))
    prompt = [{"role": "user", "content": f"Solve: {PROBLEM.text}"}]
    async with simulated_servers(job, [PROBLEM]) as urls:
        assert {name: len(found) for name, found in urls.items()} == {"together": 1, "gpus": 2}
        async with aiohttp.ClientSession() as session:
            key = make_key(PROBLEM.id, "answer", "maverick", {"hint": "none", "hint_for": "any", "sample": 0})
            api = f"{urls['together'][0]}/v1/chat/completions"
            body = {"model": MAVERICK, "messages": prompt}
            async with session.post(api, json=body, headers={"x-eli5b-call": key}) as response:
                text = (await response.json())["choices"][0]["message"]["content"]
                assert text.startswith("SIMULATED answer [hint=none]")
            held = []
            for url in urls["gpus"]:
                async with session.get(f"{url}/api/tags") as response:
                    held.append([row["name"] for row in (await response.json())["models"]])
            assert held == [["llama3.2:1b"], ["llama3.1:8b", "llama3.2:1b"]]
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(api)


async def test_what_is_said_of_one_slot_reaches_its_server() -> None:
    slots = [{"gpu": 0, "loaded": 2}, {"gpu": 1}]
    how = {
        "refuses": {"gpu1": [[0, 1000]]},
        "freezes": {"gpu1": [[2000, 2001]]},
        "load_s": {"1b": 0.01},
        "memory_gb": 7,
    }
    gpus = {"api": "simulated", "slots": slots, "simulation": how}
    job = Job.model_validate({**JOB, "providers": {**JOB["providers"], "gpus": gpus}})
    async with simulated_servers(job, [PROBLEM]) as urls, aiohttp.ClientSession() as session:
        first, second = urls["gpus"]
        for model in ("llama3.2:1b", "llama3.1:8b"):
            async with session.post(f"{first}/api/chat", json={"model": model, "messages": []}) as response:
                assert response.status == 200
        async with session.get(f"{first}/api/ps") as response:
            assert [row["name"] for row in (await response.json())["models"]] == ["llama3.2:1b", "llama3.1:8b"]
        async with session.get(f"{second}/api/version") as response:
            assert response.status == 503


async def test_calls_in_flight_do_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    killed: list[Process] = []
    really = Process.kill

    def kill(process: Process) -> None:
        killed.append(process)
        really(process)

    monkeypatch.setattr(process, "END_DEADLINE_S", 60)
    monkeypatch.setattr(Process, "kill", kill)
    job = simulate(Job.model_validate(JOB))
    slow = SimulatedProvider(api="simulated", limits=Limits(), simulation=Simulation(latency_s=600))
    job = job.model_copy(update={"providers": {**job.providers, "together": slow}})
    body = {"model": MAVERICK, "messages": [{"role": "user", "content": "x"}]}
    async with aiohttp.ClientSession() as session:
        async with simulated_servers(job, [PROBLEM]) as urls:
            api = f"{urls['together'][0]}/v1"
            call = asyncio.ensure_future(session.post(f"{api}/chat/completions", json=body))
            for _ in range(3):
                await session.get(f"{api}/models")
            assert not call.done()
        with pytest.raises(aiohttp.ClientError):
            await call
    assert killed == []


async def test_a_process_that_dies_at_start_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "MODULE", "eli5b_batch.no_such_module")
    with pytest.raises(ProviderError, match=r"did not start: .*no_such_module"):
        async with simulated_servers(simulate(Job.model_validate(JOB)), [PROBLEM]):
            pytest.fail("started")


@pytest.mark.parametrize("way", ["end of input", "SIGTERM"])
def test_the_process_ends_with_its_input_and_on_sigterm(way: str, tmp_path: Path) -> None:
    book = tmp_path / "book.jsonl"
    book.write_bytes(b'{"id":"p","text":"t","answer":"1","difficulty":null}\n')
    servers = [{"name": "api", "wire": "openai", "models": {"m": "m"}, "simulation": {}}]
    config = orjson.dumps({"seed": 0, "book": str(book), "servers": servers})
    with subprocess.Popen(  # noqa: S603 (our own module)
        [sys.executable, "-m", process.MODULE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as servers_process:
        assert servers_process.stdin is not None
        assert servers_process.stdout is not None
        servers_process.stdin.write(config + b"\n")
        servers_process.stdin.flush()
        assert list(orjson.loads(servers_process.stdout.readline())) == ["api"]
        os.kill(servers_process.pid, signal.SIGINT)  # Ctrl-C reaches this process too, and is the run's business
        if way == "SIGTERM":
            os.kill(servers_process.pid, signal.SIGTERM)
        else:
            servers_process.stdin.close()
        assert servers_process.wait(timeout=60) == 0
