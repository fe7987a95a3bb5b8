"""A program that stands in for Ollama: real processes on loopback, with a runner that outlives its server."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

import orjson
import psutil  # type: ignore[import-untyped]
import pytest
import yaml

from eli5b_batch.job.load import load_job
from eli5b_batch.log import run_log
from eli5b_batch.servers import process_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from eli5b_batch.job.schema import Job

FAKE = """
import json, os, signal, subprocess, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

notes = os.environ["FAKE_NOTES"]
if os.path.exists(notes + "/broken"):
    print("Error: no room\\\\n\\\\n")
    sys.exit(3)
if os.path.exists(notes + "/deaf"):
    time.sleep(600)
if os.path.exists(notes + "/stubborn"):
    signal.signal(signal.SIGTERM, lambda *_: open(notes + "/sigterm", "w").close())
host, port = os.environ["OLLAMA_HOST"].split(":")
MODEL = {"name": "llama3.2:1b", "model": "llama3.2:1b", "digest": "0123456789ab", "size": 1, "details": {}}
CHAT = {"message": {"role": "assistant", "content": "\\\\\\\\boxed{2}"}, "done": True, "done_reason": "stop",
        "prompt_eval_count": 9, "eval_count": 3}
REPLIES = {"/api/version": {"version": "0.13.0"}, "/api/tags": {"models": [MODEL]}, "/api/ps": {"models": []},
           "/api/show": {"details": {}, "model_info": {}}, "/api/chat": CHAT}

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = json.dumps(REPLIES[self.path]).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_GET

try:
    server = ThreadingHTTPServer((host, int(port)), Handler)
except OSError:
    print("Error: listen tcp: address already in use")
    sys.exit(1)
runner = subprocess.Popen(["sleep", "600"])
draft = notes + "/draft" + port
with open(draft, "w") as file:
    json.dump({"pid": os.getpid(), "runner": runner.pid, "args": sys.argv[1:], "env": dict(os.environ)}, file)
os.replace(draft, notes + "/" + port + "." + str(os.getpid()) + ".json")
server.serve_forever()
""".replace("\\\\", "\\")


class Fake:
    """The stand-in program, and the notes that its processes left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "notes"
        self.folder.mkdir()
        self.path = folder / "ollama"
        self.path.write_text(f"#!{sys.executable} -IS\n{FAKE}")
        self.path.chmod(0o755)

    def mood(self, name: str) -> None:
        """Let it be broken, deaf or stubborn from the next start on; a stubborn one leaves a note of each SIGTERM."""
        (self.folder / name).touch()

    def cured(self) -> None:
        for name in ("broken", "deaf", "stubborn"):
            (self.folder / name).unlink(missing_ok=True)

    def got_sigterm(self) -> bool:
        """True if a stubborn one has been sent SIGTERM."""
        return (self.folder / "sigterm").exists()

    def notes(self) -> list[dict[str, Any]]:
        """Return the note of every server that was up, oldest first."""
        return [orjson.loads(p.read_bytes()) for p in sorted(self.folder.glob("*.json"), key=os.path.getmtime)]

    def processes(self) -> list[int]:
        """Return the pids of its servers and runners that are running now."""
        pids = [pid for note in self.notes() for pid in (note["pid"], note["runner"])]
        return [pid for pid in pids if is_running(pid)]


def is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):  # far more than is needed, even where every core is busy
        while not condition():  # noqa: ASYNC110 (other processes set no event)
            await asyncio.sleep(0.02)


@pytest.fixture(name="until")
def _until() -> Callable[..., Any]:
    """A function that waits until a condition on other processes is true."""
    return until


@pytest.fixture(autouse=True)
def _unhurried_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed processes are waited for until they have ended, however busy the machine is."""
    monkeypatch.setattr(process_tree, "DEATH_S", 60.0)


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[Fake]:
    """The stand-in program; its processes are ended after the test."""
    program = Fake(tmp_path)
    yield program
    for pid in program.processes():
        psutil.Process(pid).kill()


@pytest.fixture
def managed_file(tmp_path: Path, fake: Fake) -> Callable[..., Path]:
    """A function that writes a job whose teacher and student are on managed servers, one per slot given."""

    def write(*slots: Mapping[str, object], **keys: object) -> Path:
        (tmp_path / "data.jsonl").write_text(
            '{"problem": "What is 1 + 1?", "answer": "2"}\n{"problem": "What is 2 + 3?", "answer": "5"}\n'
        )
        gpus = {
            "api": "ollama",
            "manage": True,
            "executable": str(fake.path),
            "env": {"FAKE_NOTES": str(fake.folder)},
            "slots": list(slots) or [{"gpu": 0}],
            **keys,
        }
        tree = {
            "name": "small",
            "data": {"reader": "jsonl", "path": str(tmp_path / "data.jsonl")},
            "providers": {"gpus": gpus},
            "models": {"1b": {"provider": "gpus", "model": "llama3.2:1b"}},
            "params": {"teacher": "1b", "students": ["1b"], "hints": ["none"]},
        }
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump(tree))
        return path

    return write


@pytest.fixture
def managed_job(managed_file: Callable[..., Path]) -> Callable[..., Job]:
    """A function that writes such a job and loads it."""
    return lambda *slots, **keys: load_job(managed_file(*slots, **keys))


@pytest.fixture
def events(tmp_path: Path) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """A function that returns what has been logged so far."""
    path = tmp_path / "run.log"
    with run_log(path):
        yield lambda: [orjson.loads(line) for line in path.read_bytes().splitlines()]
