"""keys.py: keys and headers from the environment, and keys that a program prints, with their renewal."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from eli5b_batch.backends import keys
from eli5b_batch.backends.keys import FRESH_S, PrintedKey, Secrets, read_secrets, variables, without_programs
from eli5b_batch.errors import JobError, ProviderRefusedError
from eli5b_batch.job.load import parse_job
from eli5b_batch.job.schema import Job, Member

if TYPE_CHECKING:
    from pathlib import Path

IN_THE_ENVIRONMENT = {"FIRST_KEY": "sk-first", "SECOND_KEY": "sk-second", "TEAM": "team-seven"}
TWO: list[dict[str, Any]] = [
    {"name": "first", "api_key_env": "FIRST_KEY"},
    {"name": "second", "api_key_env": "SECOND_KEY"},
]
PLACE = "providers.api.api_key_command"


def job(**provider: object) -> Job:
    api = {"api": "openai", "base_url": "http://127.0.0.1:9/v1", **provider}
    return parse_job(
        {
            "name": "test",
            "data": {"reader": "quickstart"},
            "providers": {"api": api, "gpus": {"api": "simulated", "slots": [{}]}},
            "models": {"m": {"provider": "api", "model": "org/m", "price": "unknown"}},
        },
        "test.yaml",
    )


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in IN_THE_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


# --- keys and headers from the environment -------------------------------------------------------


def test_each_member_has_its_own_key_and_headers_from_the_environment() -> None:
    members = [{**TWO[0], "headers_env": {"X-Team": "TEAM"}}, TWO[1]]
    assert read_secrets(job(members=members), ["api", "gpus"]) == {
        ("api", "first"): Secrets("sk-first", {"X-Team": "team-seven"}),
        ("api", "second"): Secrets("sk-second"),
    }


def test_a_member_without_a_key_of_its_own_has_the_providers() -> None:
    secrets_by_account = read_secrets(job(api_key_env="FIRST_KEY", members=[{"name": "a"}, TWO[1]]), ["api"])
    assert {account: secrets.key for account, secrets in secrets_by_account.items()} == {
        ("api", "a"): "sk-first",
        ("api", "second"): "sk-second",
    }


def test_the_only_account_has_no_name_and_without_a_key_nothing_is_read() -> None:
    assert read_secrets(job(api_key_env="FIRST_KEY"), ["api"]) == {("api", ""): Secrets("sk-first")}
    assert read_secrets(job(), ["api"]) == {("api", ""): Secrets()}
    assert read_secrets(job(api_key_env="NO_SUCH_KEY"), []) == {}


@pytest.mark.parametrize(
    ("value", "problem"),
    [(None, "has no"), ("", "has no"), ("  \n", "has no"), ("sk-\u00e9", "holds"), ("a\nb", "holds")],
)
@pytest.mark.parametrize("member", [TWO[1], {"name": "second", "headers_env": {"X-Team": "SECOND_KEY"}}])
def test_a_missing_or_broken_value_of_any_member_is_one_sentence_that_names_the_variable_and_no_value(
    monkeypatch: pytest.MonkeyPatch, value: str | None, problem: str, member: dict[str, Any]
) -> None:
    if value is None:
        monkeypatch.delenv("SECOND_KEY")
    else:
        monkeypatch.setenv("SECOND_KEY", value)
    with pytest.raises(JobError) as caught:
        read_secrets(job(members=[TWO[0], member]), ["api"])
    message = str(caught.value)
    place = "api_key_env" if "api_key_env" in member else "headers_env.X-Team"
    assert message.startswith(f"providers.api.{place}: ")
    assert "SECOND_KEY" in message
    assert problem in message
    assert "\n" not in message
    assert "sk-" not in message


def test_a_program_that_is_not_there_is_named_before_it_is_needed() -> None:
    with pytest.raises(JobError) as caught:
        read_secrets(job(api_key_command=["no-such-program", "--secret=7"]), ["api"])
    assert str(caught.value) == (
        f"{PLACE}: there is no program 'no-such-program' to run; correct its name, or give its path"
    )


def test_reading_secrets_runs_no_program(tmp_path: Path) -> None:
    trace = tmp_path / "ran"
    assert read_secrets(job(api_key_command=["touch", str(trace)]), ["api"]) == {("api", ""): Secrets()}
    assert not trace.exists()


def test_secrets_show_themselves_nowhere() -> None:
    secrets = Secrets("sk-1", {"Authorization": "Basic dXNlcjpwYXNz", "X-Empty": ""})
    assert repr(secrets) == "Secrets()"
    assert secrets.all == ("sk-1", "Basic dXNlcjpwYXNz")
    assert secrets.all_headers["Authorization"] == "Bearer sk-1"
    assert Secrets("", {"X-A": "b"}).all_headers == {"X-A": "b"}


def test_every_variable_that_holds_a_secret_is_known() -> None:
    members = [{**TWO[0], "headers_env": {"X-Team": "TEAM"}}, {"name": "none"}]
    assert variables(job(members=members)) == {"FIRST_KEY", "TEAM"}
    assert variables(job()) == frozenset()


def test_a_job_can_be_had_without_the_accounts_whose_key_a_program_prints() -> None:
    plain = job(members=TWO)
    assert without_programs(plain, "api") is plain
    assert without_programs(plain, "gpus") is plain
    assert "api" not in without_programs(job(api_key_command=["print-key"]), "api").providers
    mixed = without_programs(job(api_key_command=["print-key"], members=[TWO[0], {"name": "printed"}]), "api")
    (remaining,) = mixed.providers["api"].accounts  # type: ignore[union-attr]
    assert isinstance(remaining, Member)
    assert (remaining.name, remaining.api_key_env, remaining.api_key_command) == ("first", "FIRST_KEY", None)


# --- keys that a program prints ------------------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Helper:
    """A program that prints the content of the file `text`, with the number of its runs."""

    def __init__(self, folder: Path, text: str = "key-1") -> None:
        self.text = folder / "key.txt"
        self.text.write_text(text)
        self._runs = folder / "runs.txt"
        self._runs.touch()
        self.command = ["sh", "-c", f"echo ran >> {self._runs}; cat {self.text}"]

    @property
    def runs(self) -> int:
        return self._runs.read_text().count("ran")


@pytest.fixture
def helper(tmp_path: Path) -> Helper:
    return Helper(tmp_path)


def printed(command: list[str], clock: Clock | None = None, secrets: tuple[str, ...] = ()) -> PrintedKey:
    return PrintedKey(command, PLACE, clock or Clock(), [*secrets])


async def failure(*command: str, secrets: tuple[str, ...] = ()) -> str:
    with pytest.raises(ProviderRefusedError) as caught:
        await printed([*command], secrets=secrets).value()
    message = str(caught.value)
    assert message.startswith(f"{PLACE}: {command[0]} ")
    assert "\n" not in message
    return message.removeprefix(f"{PLACE}: {command[0]} ")


async def test_the_program_runs_when_the_key_is_first_needed_and_once_for_everyone(helper: Helper) -> None:
    key = printed(helper.command)
    assert helper.runs == 0
    assert await asyncio.gather(*(key.value() for _ in range(8))) == ["key-1"] * 8
    assert helper.runs == 1


async def test_blanks_around_a_key_are_removed(tmp_path: Path) -> None:
    assert await printed(Helper(tmp_path, "\n  key-1\r\n\n").command).value() == "key-1"


async def test_no_shell_reads_the_arguments() -> None:
    assert await printed(["echo", "$HOME;`id`", "*"]).value() == "$HOME;`id` *"


async def test_nobody_can_type_to_the_program_and_its_complaints_are_no_part_of_the_key() -> None:
    assert await printed(["sh", "-c", "cat; echo careful >&2; echo key-1"]).value() == "key-1"


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("exit 3", "failed (it said nothing; exit code 3)"),
        ("echo first >&2; echo '  no login  ' >&2; echo >&2; exit 1", "failed (no login; exit code 1)"),
        ("printf '\\033[31mred\\007' >&2; exit 1", "failed ([31mred; exit code 1)"),
        ("echo key-123456; echo 'old key-123456 or 123456' >&2; exit 1", "failed (old *** or ***; exit code 1)"),
        ("echo 'sk-other is no good' >&2; exit 1", "failed (*** is no good; exit code 1)"),
        ("kill -9 $$", "failed (it said nothing; exit code -9)"),
        ("true", "printed nothing; it must print the key"),
        ("echo ' '", "printed nothing; it must print the key"),
        ("echo a; echo b", "must print the key alone, on one line, and printed more than that"),
        ("printf '\\303\\251'", "must print the key alone, on one line, and printed more than that"),
        ("yes", "must print the key alone, and printed without end"),
        ("yes >&2", "must print the key alone, and printed without end"),
        ("head -c 20000 /dev/zero | tr '\\0' x", "must print the key alone, on one line, and printed more than that"),
    ],
)
async def test_a_program_that_prints_no_key_is_told_in_one_sentence_without_any_secret(
    script: str, sentence: str
) -> None:
    assert await failure("sh", "-c", script, secrets=("sk-other",)) == sentence


async def test_only_the_beginning_of_long_complaints_is_told() -> None:
    assert len(await failure("sh", "-c", "head -c 5000 /dev/zero | tr '\\0' x >&2; exit 1")) < 250


async def test_a_program_that_can_not_be_run_is_told(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no program")
    assert await failure(str(text)) == "can't be run: Permission denied"
    assert await failure(str(tmp_path / "gone")) == "can't be run: No such file or directory"


async def test_a_program_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "PROGRAM_TIMEOUT_S", 0.0)
    assert await failure("sleep", "60") == "printed no key within 0 s; run it by hand"


async def test_a_program_ends_with_all_that_it_has_started_when_nobody_waits_for_it_any_more(tmp_path: Path) -> None:
    ready, alive = tmp_path / "ready", tmp_path / "alive"
    os.mkfifo(ready)
    os.mkfifo(alive)
    child = f"{{ echo go > {ready}; exec sleep infinity; }} > {alive}"
    waiting = asyncio.create_task(printed(["sh", "-c", f"{child} & wait"]).value())
    ended = asyncio.create_task(asyncio.to_thread(alive.read_text))  # reads on until the child is no more
    await asyncio.to_thread(ready.read_text)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert await ended == ""


async def test_an_agent_that_a_program_leaves_behind_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_LAST_WORDS_S", 0.1)
    note = tmp_path / "pid"
    try:
        assert await printed(["sh", "-c", f"sleep 60 & echo $! > {note}; echo key-1"]).value() == "key-1"
        os.kill(int(note.read_text()), 0)  # the agent still runs
    finally:
        os.kill(int(note.read_text()), signal.SIGKILL)


# --- renewing a printed key ----------------------------------------------------------------------


async def test_a_fresh_key_that_has_never_worked_is_not_renewed(helper: Helper) -> None:
    clock = Clock()
    key = printed(helper.command, clock)
    assert not await key.renewed(await key.value())
    clock.now += FRESH_S
    assert not await key.renewed("key-1")
    assert helper.runs == 1


async def test_a_key_that_has_worked_or_is_old_is_renewed_once_for_everyone(helper: Helper) -> None:
    clock = Clock()
    key = printed(helper.command, clock)
    key.has_worked(await key.value())
    helper.text.write_text("key-2")
    assert await asyncio.gather(*(key.renewed("key-1") for _ in range(8))) == [True] * 8
    assert (await key.value(), helper.runs) == ("key-2", 2)
    assert not await key.renewed("key-2")
    clock.now += FRESH_S + 1
    assert await key.renewed("key-2")
    assert helper.runs == 3


async def test_a_late_answer_to_the_old_key_proves_nothing_of_the_new_one(helper: Helper) -> None:
    key = printed(helper.command)
    key.has_worked(await key.value())
    helper.text.write_text("key-2")
    assert await key.renewed("key-1")
    key.has_worked("key-1")
    assert not await key.renewed("key-2")


async def test_the_same_key_printed_again_is_fresh_and_not_renewed_for_ever(helper: Helper) -> None:
    key = printed(helper.command)
    key.has_worked(await key.value())
    assert await asyncio.gather(*(key.renewed("key-1") for _ in range(3))) == [True, False, False]
    assert helper.runs == 2


async def test_a_program_that_has_failed_is_not_asked_again_and_quotes_no_key_of_before(helper: Helper) -> None:
    key = printed(helper.command)
    key.has_worked(await key.value())
    helper.text.rename(helper.text.with_name("key-1.old"))
    for _ in range(2):
        with pytest.raises(ProviderRefusedError, match=r"failed \(cat: .*key\.txt") as caught:
            await key.renewed("key-1")
        assert "key-1" not in str(caught.value)
    assert helper.runs == 2
