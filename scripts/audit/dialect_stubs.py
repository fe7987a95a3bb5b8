"""What `check` says, and what is sent, for every dialect and every setting of `sampling.thinking`, against stubs.

    python scripts/audit/dialect_stubs.py  # every dialect: about a minute
    python scripts/audit/dialect_stubs.py --only mistral groq

A stub answers on loopback as a host with a model that thinks; the job names the dialect, or the stub says of itself
what it is. For each setting `check` is run on a job with it, then one call is made as a run makes it. Printed are the
sentences of `check`, and the fields of the request that are not in every request. The exit code is 1 where what is said
and what is sent differ: where `check` says that the run would stop, nothing may be sent.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import sys
import tempfile
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson
import yaml
from aiohttp import web
from rich.console import Console

from eli5b_batch.backends.base import ChatRequest
from eli5b_batch.backends.dialects import ROWS
from eli5b_batch.dispatch.budget import Budget
from eli5b_batch.dispatch.stop import Stop
from eli5b_batch.errors import Eli5bError
from eli5b_batch.forecast.check import check_job
from eli5b_batch.job.load import load_job
from eli5b_batch.run.plan import load_experiment
from eli5b_batch.run.providers import open_dispatchers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from eli5b_batch.backends.dialects import Dialect
    from eli5b_batch.job.schema import Job

THINKING: Final = {
    "openai": "gpt-5.2",
    "azure": "gpt-5-mini",
    "mistral": "mistral-small-latest",
    "gemini": "gemini-2.5-flash",
    "vertex": "google/gemini-2.5-flash",
    "openrouter": "qwen/qwen3-32b",
    "together": "Qwen/Qwen3.5-9B",
    "deepinfra": "deepseek-ai/DeepSeek-V4-Flash",
    "novita": "qwen/qwen3.5-397b-a17b",
    "deepseek": "deepseek-flash",
    "groq": "qwen/qwen3.6-27b",
    "vllm": "Qwen/Qwen3-8B",
    "llama_server": "qwen3-8b",
    "plain": "some-model",
}
"""A model that thinks, by dialect; on Ollama it is qwen3:4b."""
VERSIONS: Final = {
    "ollama_before_0_12_6": "0.9.3",
    "ollama_0_12_6": "0.12.6",
    "ollama_0_12_11": "0.13.0",
    "ollama_0_17_7": "0.33.0",
}
SETTINGS: Final[tuple[Any, ...]] = (None, "off", "on", "low", "medium", "high", "max", {"tokens": 512})
USUAL: Final = frozenset({"model", "messages", "stream", "truncate", "shift", "keep_alive", "options", "temperature"})
_PRICE: Final = {"input": 1.0, "output": 1.0, "as_of": "2026-12-01"}


class Stub:
    """A host that lists one model, and keeps the bodies of the chats that it is asked for."""

    def __init__(self, row: Dialect, model: str) -> None:
        self.model = model
        self.asked: list[dict[str, Any]] = []
        self._owner = next(iter(row.owners), "somebody")
        self._version = VERSIONS.get(row.name, "")

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        """Answer whatever is asked."""
        text, thoughts = "It is 42.", "Six times seven."
        usage = {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18}
        message = {"role": "assistant", "content": text, "reasoning_content": thoughts}
        details = {"format": "gguf", "family": "qwen3", "parameter_size": "4B", "quantization_level": "Q4_K_M"}
        if request.method == "POST" and request.path.endswith(("/chat", "/chat/completions")):
            self.asked.append(orjson.loads(await request.read()))
        answers: dict[str, Any] = {
            "/v1/models": {"data": [{"id": self.model, "object": "model", "owned_by": self._owner}]},
            "/v1/chat/completions": {
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": usage,
            },
            "/api/version": {"version": self._version},
            "/api/tags": {"models": [{"model": self.model, "digest": "ab" * 32, "size": 1, "details": details}]},
            "/api/ps": {"models": []},
            "/api/show": {"details": details, "model_info": {}, "capabilities": ["completion", "thinking"]},
            "/api/chat": {
                "model": self.model,
                "message": {"role": "assistant", "content": text, "thinking": thoughts},
                "done": True,
                "done_reason": "stop",
                "prompt_eval_count": 9,
                "eval_count": 9,
            },
        }
        return web.json_response(answers.get(request.path, {}), status=200 if request.path in answers else 404)


@asynccontextmanager
async def serving(stub: Stub) -> AsyncIterator[str]:
    """The stub on a port of its own; gives its address."""
    runner = web.ServerRunner(web.Server(stub, access_log=None))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def job_for(row: Dialect, model: str, url: str, setting: object, folder: Path) -> Path:
    """A job whose teacher and student are the model, asked to think so."""
    sampling = {"max_tokens": 1024, "top_k": 5} | ({} if setting is None else {"thinking": setting})
    slots = row.name in VERSIONS
    says_itself = slots or bool(row.owners)
    api = {"api": "openai", "base_url": f"{url}/v1"} | ({} if says_itself else {"dialect": row.name})
    job = {
        "name": "stub",
        "data": {"reader": "quickstart", "limit": 1},
        "providers": {"host": {"api": "ollama", "slots": [{"gpu": "cpu", "url": url}]} if slots else api},
        "models": {
            "m": {"provider": "host", "model": model, "sampling": sampling, **({} if slots else {"price": _PRICE})}
        },
        "params": {"teacher": "m", "students": ["m"], "hints": ["none"]},
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job))
    return path


async def said(job: Job, folder: Path) -> list[str]:
    """The lines of `check` on how the model is spoken to."""
    screen = io.StringIO()
    await check_job(load_experiment(job, "job.yaml"), folder / "run", Console(file=screen, width=80))
    lines = screen.getvalue().splitlines()
    return [
        line for line in lines if line.startswith(("providers.", "models.m:", "would stop")) and "served" not in line
    ]


async def sent(job: Job, stub: Stub) -> dict[str, Any] | None:
    """The fields of one request beyond those of every request; None where nothing was sent."""
    stub.asked.clear()
    sampling = job.models["m"].sampling.model_dump(exclude_none=True)
    request = ChatRequest("k", stub.model, [{"role": "user", "content": "6 times 7?"}], sampling, 7)
    clock = asyncio.get_running_loop().time
    async with open_dispatchers(job, (), providers=["host"], budget=Budget(None), stop=Stop(), clock=clock) as opened:
        backend = opened["host"].backends[""]
        provider = job.providers["host"]
        slots = provider.shape[1]
        url = (slots[0].url if slots else getattr(provider, "base_url", "")) or ""
        await backend.reach([stub.model])
        with suppress(Eli5bError, ValueError):  # what can't be asked for is not sent: that is what is looked at
            backend.manner(stub.model, sampling)
            await backend.chat(request, url)
    if not stub.asked:
        return None
    body = stub.asked[0]
    return {name: value for name, value in {**body.get("options", {}), **body}.items() if name not in USUAL}


async def show(row: Dialect) -> int:
    """Print what is said and sent for each setting; gives how often the two differ."""
    model, wrong = THINKING.get(row.name, "qwen3:4b"), 0
    print(f"\n{row.name}: {model}")
    with tempfile.TemporaryDirectory() as name:
        async with serving(stub := Stub(row, model)) as url:
            for setting in SETTINGS:
                job = load_job(job_for(row, model, url, setting, Path(name)))
                lines, fields = await said(job, Path(name)), await sent(job, stub)
                stops = any(line.startswith("would stop") for line in lines)
                wrong += stops is not (fields is None)
                if setting is None:
                    print(f"  {lines[0]}")
                print(f"  {setting if setting is not None else 'left out'}")
                for line in lines[1:] if not stops else lines:
                    if line.startswith(("models", "would stop")):
                        print(f"    check: {line}")
                print(f"    sent:  {'nothing' if fields is None else orjson.dumps(fields).decode()}")
    return wrong


async def main() -> int:
    """Every dialect, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[row.name for row in ROWS], default=[row.name for row in ROWS])
    only = parser.parse_args().only
    wrong = sum([await show(row) for row in ROWS if row.name in only])
    print(f"\n{len(only)} dialects, {len(only) * len(SETTINGS)} jobs; said and sent differ in {wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
