"""servers/process.py and fleet.py: real processes that are pinned, waited for, started again and ended."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
from typing import TYPE_CHECKING, Any

import orjson
import psutil  # type: ignore[import-untyped]
import pytest

from eli5b_batch.errors import JobError, ProviderRefusedError
from eli5b_batch.job.schema import OllamaProvider
from eli5b_batch.servers import process, process_tree
from eli5b_batch.servers.fleet import managed_servers
from eli5b_batch.servers.ports import HOST, free_ports, is_free
from eli5b_batch.servers.process import Patience, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from eli5b_batch.backends.http import Transport
    from eli5b_batch.job.schema import Job
    from tests.servers.conftest import Fake

QUICK = Patience(start_s=60, stop_s=60, first_pause_s=0.01, longest_pause_s=0.02, restarts=3, settled_s=600)
"""Long waits for events that must come, even where every core is busy; short pauses."""


def server(job: Job, program: Path, folder: Path, *, port: int, patience: Patience = QUICK) -> ServerProcess:
    settings = job.providers["gpus"]
    assert isinstance(settings, OllamaProvider)
    return ServerProcess(
        "gpus",
        settings,
        settings.shape[1][0],
        program=str(program),
        port=port,
        log_path=folder / "gpu0.log",
        secrets=frozenset(),
        patience=patience,
        changed=lambda: None,
    )


def named(events: Callable[[], list[dict[str, Any]]], event: str) -> list[dict[str, Any]]:
    return [row for row in events() if row["event"] == event]


async def test_each_server_is_pinned_to_its_gpu_and_gets_the_settings_of_the_job(
    managed_job: Callable[..., Job], fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_MAX_QUEUE", "8")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    slots = [{"gpu": 0, "parallel": 4, "loaded": 2}, {"gpu": "GPU-0a1b", "parallel": 300}, {"gpu": "cpu"}]
    job = managed_job(*slots, models_dir="weights", env={"FAKE_NOTES": str(fake.folder), "OLLAMA_FLASH_ATTENTION": "1"})
    async with managed_servers(job, ["gpus"], tmp_path / "servers", QUICK) as fleet:
        urls = [slot.url or "" for slot in fleet.job.providers["gpus"].shape[1]]
        by_url = {f"http://{note['env']['OLLAMA_HOST']}": note for note in fake.notes()}
        first, second, third = (by_url[url]["env"] for url in urls)
        assert fleet.restarts == {("gpus", "gpu0"): 0, ("gpus", "gpuGPU-0a1b"): 0, ("gpus", "cpu"): 0}
    assert [e["CUDA_VISIBLE_DEVICES"] for e in (first, second, third)] == ["0", "GPU-0a1b", "-1"]
    assert [e["OLLAMA_NUM_PARALLEL"] for e in (first, second, third)] == ["4", "300", "1"]
    assert [e["OLLAMA_MAX_QUEUE"] for e in (first, second, third)] == ["512", "600", "512"]
    assert [e.get("OLLAMA_MAX_LOADED_MODELS") for e in (first, second, third)] == ["2", None, None]
    assert len({e["ELI5B_SERVER"] for e in (first, second, third)}) == 3
    for e in (first, second, third):
        assert e["OLLAMA_KEEP_ALIVE"] == "-1"
        assert e["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
        assert e["OLLAMA_MODELS"] == os.path.abspath("weights")  # noqa: PTH100 (as written, links and all)
        assert e["OLLAMA_FLASH_ATTENTION"] == "1"
    assert all(note["args"] == ["serve"] for note in fake.notes())


async def test_a_server_never_sees_the_keys_of_apis(
    managed_job: Callable[..., Job], fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", "sk-1")
    job = managed_job()
    api = {"api": "openai", "base_url": "http://127.0.0.1:9/v1", "api_key_env": "SOME_KEY"}
    job = type(job).model_validate({**job.model_dump(mode="python"), "providers": {**_plain(job), "api": api}})
    async with managed_servers(job, ["gpus"], tmp_path / "servers", QUICK):
        assert "SOME_KEY" not in fake.notes()[0]["env"]


def _plain(job: Job) -> dict[str, Any]:
    return {name: provider.model_dump(mode="python") for name, provider in job.providers.items()}


async def test_the_log_of_a_server_begins_with_a_line_of_ours_at_each_start(
    managed_job: Callable[..., Job], tmp_path: Path
) -> None:
    for _ in range(2):
        async with managed_servers(managed_job(), ["gpus"], tmp_path / "servers", QUICK):
            pass
    ours = [line for line in (tmp_path / "servers" / "gpu0.log").read_text().splitlines() if line.startswith("---")]
    assert len(ours) == 2
    assert all("CUDA_VISIBLE_DEVICES=0 " in line and line.endswith("ollama serve") for line in ours)
    assert "ELI5B_SERVER" not in ours[0]


async def test_the_error_on_a_server_that_ends_before_it_answers_has_its_last_line(
    managed_job: Callable[..., Job], fake: Fake, tmp_path: Path
) -> None:
    fake.mood("broken")
    with pytest.raises(ProviderRefusedError) as error:
        async with managed_servers(managed_job(), ["gpus"], tmp_path / "servers", QUICK):
            pass
    assert str(error.value) == (
        "providers.gpus: the server of gpu0 ended with exit code 3 before it answered: Error: no room "
        f"(its log: {tmp_path}/servers/gpu0.log)"
    )
    assert not (tmp_path / "servers" / "running.json").exists()


async def test_a_server_that_never_answers_is_given_up_and_the_others_are_stopped(
    managed_job: Callable[..., Job], fake: Fake, tmp_path: Path, events: Callable[[], list[dict[str, Any]]]
) -> None:
    fake.mood("deaf")
    job, folder = managed_job({"gpu": 0}, {"gpu": 1}), tmp_path / "servers"
    with pytest.raises(ProviderRefusedError, match=r"gpu0 does not answer at http://\S+ within 0.3 s; see its log"):
        async with managed_servers(job, ["gpus"], folder, QUICK._replace(start_s=0.3)):
            pass
    pids = [row["pid"] for row in named(events, "server started")]
    assert len(pids) == 2
    assert not any(psutil.pid_exists(pid) for pid in pids)


async def test_the_first_start_goes_to_another_port_as_soon_as_the_server_ends_because_somebody_took_it(
    managed_job: Callable[..., Job], fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_served = process._is_served
    with socket.create_server((HOST, free_ports(1)[0])) as stranger:
        port = stranger.getsockname()[1]
        taken = f"http://{HOST}:{port}"

        async def ask(transport: Transport, url: str) -> bool:
            if url == taken:
                await asyncio.Event().wait()  # the stranger accepts the request and never answers
            return await is_served(transport, url)

        monkeypatch.setattr(process, "_is_served", ask)
        ours = server(managed_job(), fake.path, tmp_path, port=port, patience=QUICK._replace(start_s=3600))
        try:
            async with asyncio.timeout(60):
                await ours.start()
            assert ours.url != taken
        finally:
            await ours.stop()


async def test_a_server_that_died_is_started_again_on_its_port_and_its_runner_does_not_stay(
    managed_job: Callable[..., Job],
    fake: Fake,
    tmp_path: Path,
    events: Callable[[], list[dict[str, Any]]],
    until: Callable[..., Awaitable[None]],
) -> None:
    async with managed_servers(managed_job(), ["gpus"], tmp_path / "servers", QUICK) as fleet:
        (before,) = fake.notes()
        os.kill(before["pid"], signal.SIGKILL)
        await until(lambda: fleet.restarts["gpus", "gpu0"] == 1)
        _, after = fake.notes()
        assert set(fake.processes()) == {after["pid"], after["runner"]}
        assert after["env"]["OLLAMA_HOST"] == before["env"]["OLLAMA_HOST"]
        (row,) = orjson.loads((tmp_path / "servers" / "running.json").read_bytes())["servers"]
        assert (row["pid"], row["token"]) == (after["pid"], after["env"]["ELI5B_SERVER"])
    assert fake.processes() == []
    assert named(events, "server died")[0]["how"] == "was ended by SIGKILL"
    assert [row["event"] for row in events() if row["event"] != "server died"] == [
        "server started",
        "server started",
        "server restarted",
        "servers stopped",
    ]


async def test_a_server_that_dies_and_hangs_in_its_driver_holds_nobody_up(
    managed_job: Callable[..., Job],
    fake: Fake,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    until: Callable[..., Awaitable[None]],
) -> None:
    hangs: list[int] = []
    turns, looks = itertools.count(), list[int]()
    really = process_tree.is_running

    def is_running(process: psutil.Process) -> bool:
        if process.pid not in hangs:
            return really(process)
        looks.append(next(turns))
        return True

    async def others() -> None:
        while True:
            next(turns)
            await asyncio.sleep(0)

    monkeypatch.setattr(process_tree, "is_running", is_running)
    monkeypatch.setattr(process_tree, "DEATH_S", 0.5)
    async with managed_servers(managed_job(), ["gpus"], tmp_path / "servers", QUICK) as fleet:
        (before,) = fake.notes()
        hangs.append(before["runner"])
        working = asyncio.create_task(others())
        os.kill(before["pid"], signal.SIGKILL)
        await until(lambda: fleet.restarts["gpus", "gpu0"] == 1)
        while_it_hung = looks[-1] - looks[0] - (len(looks) - 1)
        working.cancel()
    assert len(looks) > 1
    assert while_it_hung > 0


async def test_who_listens_on_the_port_is_looked_up_only_once_something_answers(
    managed_job: Callable[..., Job],
    fake: Fake,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    until: Callable[..., Awaitable[None]],
) -> None:
    walks, requests = list[int](), list[str]()
    members, is_served = process_tree.members, process._is_served

    def walk(leader: int, started: float, token: str) -> list[Any]:
        walks.append(leader)
        return members(leader, started, token)

    async def ask(transport: Transport, url: str) -> bool:
        requests.append(url)
        return await is_served(transport, url)

    monkeypatch.setattr(process_tree, "members", walk)
    monkeypatch.setattr(process, "_is_served", ask)
    fake.mood("deaf")
    deaf = server(managed_job(), fake.path, tmp_path, port=free_ports(1)[0])
    start = asyncio.create_task(deaf.start())
    await until(lambda: len(requests) > 2)
    assert walks == []
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    await deaf.stop()
    assert len(walks) == 2  # one to kill it, one to make sure at the end


async def test_a_server_that_does_not_come_up_again_stays_down_and_the_log_says_so(
    managed_job: Callable[..., Job],
    fake: Fake,
    tmp_path: Path,
    events: Callable[[], list[dict[str, Any]]],
    until: Callable[..., Awaitable[None]],
) -> None:
    async with managed_servers(managed_job(), ["gpus"], tmp_path / "servers", QUICK):
        fake.mood("broken")
        os.kill(fake.notes()[0]["pid"], signal.SIGTERM)
        await until(lambda: named(events, "server given up"))
    (given_up,) = named(events, "server given up")
    failed = named(events, "server not restarted")
    assert (given_up["level"], given_up["after_restarts"], len(failed)) == ("error", 3, 3)
    assert "ended with exit code 3 before it answered: Error: no room" in failed[0]["reason"]


async def test_a_server_whose_log_was_deleted_is_started_again_all_the_same(
    managed_job: Callable[..., Job], fake: Fake, tmp_path: Path, until: Callable[..., Awaitable[None]]
) -> None:
    log = tmp_path / "servers" / "gpu0.log"
    async with managed_servers(managed_job(), ["gpus"], tmp_path / "servers", QUICK) as fleet:
        log.unlink()
        os.kill(fake.notes()[0]["pid"], signal.SIGKILL)
        await until(lambda: fleet.restarts["gpus", "gpu0"] == 1)
        assert log.read_text().startswith("--- ")


async def test_restarts_in_a_row_are_counted_from_the_beginning_once_a_server_has_worked_for_a_while(
    managed_job: Callable[..., Job], fake: Fake, tmp_path: Path, until: Callable[..., Awaitable[None]]
) -> None:
    patience = QUICK._replace(settled_s=0, restarts=1)
    async with managed_servers(managed_job(), ["gpus"], tmp_path / "servers", patience) as fleet:
        for n in range(1, 4):
            os.kill(fake.notes()[-1]["pid"], signal.SIGKILL)
            await until(lambda n=n: fleet.restarts["gpus", "gpu0"] == n)


def test_pauses_before_restarts_double_up_to_half_a_minute() -> None:
    assert [Patience().pause_s(n) for n in range(7)] == [1, 2, 4, 8, 16, 30, 30]
    assert (Patience().restarts, Patience().settled_s) == (10, 60)


async def test_a_port_that_was_taken_in_between_is_waited_for(
    managed_job: Callable[..., Job],
    fake: Fake,
    tmp_path: Path,
    events: Callable[[], list[dict[str, Any]]],
    until: Callable[..., Awaitable[None]],
) -> None:
    # The pause is longer than the interval at which this test looks, so that it takes the port before the restart.
    patience = QUICK._replace(first_pause_s=0.1, longest_pause_s=0.1, restarts=20)
    async with managed_servers(managed_job(), ["gpus"], tmp_path / "servers", patience) as fleet:
        note = fake.notes()[0]
        port = int(note["env"]["OLLAMA_HOST"].split(":")[1])
        os.kill(note["pid"], signal.SIGKILL)
        await until(lambda: is_free(port))
        with socket.create_server((HOST, port)):
            await until(lambda: named(events, "server not restarted"))
        await until(lambda: fleet.restarts["gpus", "gpu0"] == 1)
    assert named(events, "server not restarted")[0]["reason"] == f"port {port} has been taken by another program"


@pytest.mark.parametrize("mood", ["", "stubborn"])
async def test_stopping_ends_the_server_and_its_runner(
    managed_job: Callable[..., Job], fake: Fake, tmp_path: Path, mood: str
) -> None:
    if mood:
        fake.mood(mood)
    job, folder = managed_job({"gpu": 0}, {"gpu": 1}), tmp_path / "servers"
    async with managed_servers(job, ["gpus"], folder, QUICK._replace(stop_s=0.3)):
        assert len(fake.processes()) == 4
    assert fake.processes() == []
    assert [p.name for p in sorted(folder.iterdir())] == ["gpu0.log", "gpu1.log"]


async def test_a_run_that_is_cancelled_while_it_waits_for_a_server_to_stop_kills_it(
    managed_job: Callable[..., Job], fake: Fake, tmp_path: Path, until: Callable[..., Awaitable[None]]
) -> None:
    fake.mood("stubborn")

    async def run() -> None:
        async with managed_servers(managed_job(), ["gpus"], tmp_path / "servers", QUICK._replace(stop_s=60)):
            pass

    task = asyncio.create_task(run())
    await until(fake.got_sigterm)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert fake.processes() == []


async def test_the_error_on_a_missing_program_says_where_to_get_it(
    managed_job: Callable[..., Job], tmp_path: Path
) -> None:
    with pytest.raises(JobError) as error:
        async with managed_servers(managed_job(executable="no-such-ollama"), ["gpus"], tmp_path / "servers"):
            pass
    assert str(error.value) == (
        "providers.gpus.executable: no `no-such-ollama` found in PATH; "
        "install it from https://ollama.com/download or name its path"
    )
    assert not (tmp_path / "servers").exists()


async def test_providers_that_are_not_needed_get_no_server(managed_job: Callable[..., Job], tmp_path: Path) -> None:
    job = managed_job()
    async with managed_servers(job, [], tmp_path / "servers") as fleet:
        assert fleet.job == job
        assert fleet.restarts == {}
    assert not (tmp_path / "servers").exists()
