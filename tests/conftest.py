"""What holds for every test, and what several of them need."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
import yaml
from aiohttp import web
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

# A busy machine is no failure.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


def pytest_configure() -> None:
    # Otherwise the plugins' question "which loop is current?" makes one in the first test that has none,
    # nobody closes it, and its ResourceWarning fails whichever test runs when it is collected.
    asyncio.set_event_loop(None)


@pytest.fixture
def cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line in this process, from an empty folder: its exit code, stdout and stderr."""
    from eli5b_batch.cli.app import main  # noqa: PLC0415 (most tests need no command line)

    monkeypatch.chdir(tmp_path)
    for name in ("ELI5B_DISPLAY", "FORCE_COLOR", "COLUMNS", "TOGETHER_API_KEY"):
        monkeypatch.delenv(name, raising=False)

    def run(*args: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(arg) for arg in args])
        asyncio.set_event_loop(None)
        code = left.value.code
        assert isinstance(code, int)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Path]:
    """Writes job.yaml, a small sound job on two problems; sections given replace its own, None leaves one out."""
    (tmp_path / "data.jsonl").write_text(
        '{"problem": "What is 1 + 1?", "answer": "2"}\n{"problem": "What is 2 + 3?", "answer": "5"}\n'
    )

    def write(**sections: object) -> Path:
        tree: dict[str, object] = {
            "name": "small",
            "data": {"reader": "jsonl", "path": "data.jsonl"},
            "providers": {
                "api": {"api": "simulated", "limits": {}},
                "gpus": {"api": "simulated", "slots": [{"gpu": 0, "parallel": 2}]},
            },
            "models": {
                "teacher": {"provider": "api", "model": "large-70b"},
                "1b": {"provider": "gpus", "model": "llama3.2:1b"},
            },
            "params": {"teacher": "teacher", "students": ["1b"], "hints": ["none", "generic"]},
            **sections,
        }
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in tree.items() if v is not None}, sort_keys=False))
        return path

    return write


@pytest.fixture
def serve() -> Iterator[Callable[[web.Application], str]]:
    """Serves an application on loopback, in a thread with a loop of its own, and gives its address."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    runners: list[web.AppRunner] = []

    async def start(app: web.Application) -> str:
        runner = web.AppRunner(app)
        runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def stop() -> None:
        for runner in runners:
            await runner.cleanup()

    yield lambda app: asyncio.run_coroutine_threadsafe(start(app), loop).result(60)
    asyncio.run_coroutine_threadsafe(stop(), loop).result(60)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def serve_openai(serve: Callable[[web.Application], str]) -> Callable[..., str]:
    """An API that lists the models given and answers every question with one body; gives its address with `/v1`."""

    def start(models: Sequence[str], reply: bytes = b"") -> str:
        async def listed(_: web.Request) -> web.Response:
            return web.json_response({"object": "list", "data": [{"id": model} for model in models]})

        async def answer(_: web.Request) -> web.Response:
            return web.Response(body=reply)

        app = web.Application()
        app.router.add_get("/v1/models", listed)
        app.router.add_post("/v1/chat/completions", answer)
        return f"{serve(app)}/v1"

    return start


@pytest.fixture
def serve_ollama(serve: Callable[[web.Application], str]) -> Callable[..., str]:
    """An Ollama server that holds the models given and answers every question with one body; gives its address.

    `on_gpu` is the share of them in GPU memory, None if they are not loaded; `able`: what they can do, if it says so.
    """

    def start(
        models: Sequence[str],
        reply: bytes = b"",
        on_gpu: float | None = None,
        able: Sequence[str] | None = None,
        version: str = "0.13.0",
    ) -> str:
        rows = [{"name": m, "model": m, "digest": f"{m} 0123456789", "size": 100, "details": {}} for m in models]
        loaded = [] if on_gpu is None else [row | {"size_vram": round(on_gpu * 100)} for row in rows]
        told = {"/api/version": {"version": version}, "/api/tags": {"models": rows}, "/api/ps": {"models": loaded}}

        async def tell(request: web.Request) -> web.Response:
            return web.json_response(told[request.path])

        async def show(_: web.Request) -> web.Response:
            details = {"quantization_level": "Q8_0", "parameter_size": "1.2B"}
            able_to = {} if able is None else {"capabilities": list(able)}
            return web.json_response({"details": details, "model_info": {}, **able_to})

        async def answer(_: web.Request) -> web.Response:
            return web.Response(body=reply)

        app = web.Application()
        for path in told:
            app.router.add_get(path, tell)
        app.router.add_post("/api/show", show)
        app.router.add_post("/api/chat", answer)
        return serve(app)

    return start
