"""The secrets of accounts: keys and headers from the environment, and keys that a program prints and that expire.

Must not know: requests and replies. No secret is written, logged or shown: messages hold the names of variables and
programs, and the last line that a program printed on stderr, with every known secret masked.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from eli5b_batch.backends.masking import mask
from eli5b_batch.errors import JobError, ProviderRefusedError
from eli5b_batch.job.schema import OpenAIProvider
from eli5b_batch.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from eli5b_batch.job.schema import Job, Member

PROGRAM_TIMEOUT_S: Final = 30.0
"""A program that has not printed its key after so many seconds is ended."""
FRESH_S: Final = 60.0
"""A key that was printed less than so many seconds ago, has never worked and is refused is not printed again."""

_LAST_WORDS_S: Final = 1.0
"""Longest wait, seconds, for the rest of a program's output after its end."""
_STDOUT, _STDERR = 1, 2
_MOST_BYTES: Final = 16_384
"""Bytes of each output of a program that are kept; more than any header that a server takes."""
_FLOOD_BYTES: Final = 1_000_000
"""Bytes of output after which a program is ended; more than any program has to print for a key."""
_LONGEST_WORDS: Final = 200
_SECRET_LENGTH: Final = 16
_HIDDEN: Final = "***"


@dataclass(frozen=True)
class Secrets:
    """The secrets in the requests of one account.

    Attributes:
        key: the key; "" where the account has none, or a program prints it.
        headers: header name -> secret value.
    """

    key: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def all_headers(self) -> dict[str, str]:
        """The headers, with `Authorization` where there is a key."""
        return {**self.headers, "Authorization": f"Bearer {self.key}"} if self.key else {**self.headers}

    @property
    def all(self) -> tuple[str, ...]:
        """Every secret: no message may hold any of them."""
        return tuple(filter(None, (self.key, *self.headers.values())))


def read_secrets(job: Job, providers: Collection[str]) -> dict[tuple[str, str], Secrets]:
    """Return the keys and headers of these providers, from the environment, by provider and member. Runs no program.

    Raises:
        JobError: a variable is not set, or a program that prints a key does not exist.
    """
    secrets = {}
    for name in providers:
        provider = job.providers[name]
        for member in provider.accounts if isinstance(provider, OpenAIProvider) else ():
            secrets[name, member.name] = _of(member, f"providers.{name}")
    return secrets


def _of(member: Member, place: str) -> Secrets:
    if member.api_key_command and shutil.which(member.api_key_command[0]) is None:
        raise JobError(
            f"{place}.api_key_command: there is no program {member.api_key_command[0]!r} to run; correct its name, or "
            "give its path"
        )
    key = _read(member.api_key_env, f"{place}.api_key_env", "key") if member.api_key_env else ""
    sources = (member.headers_env or {}).items()
    return Secrets(key, {h: _read(variable, f"{place}.headers_env.{h}", "header") for h, variable in sources})


def _read(variable: str, place: str, noun: str) -> str:
    """Return the value of an environment variable; `noun` is what messages call the value."""
    value = os.environ.get(variable, "").strip()
    if not value:
        raise JobError(
            f"{place}: the environment has no {variable}; set it (export {variable}=...), "
            "or try the job without keys: --simulate"
        )
    if not _may_be_sent(value):
        raise JobError(f"{place}: {variable} holds a character no {noun} has (a line break?)")
    return value


def _may_be_sent(value: str) -> bool:
    return value.isascii() and value.isprintable()


def without_programs(job: Job, name: str) -> Job:
    """Return the job without those accounts of provider `name` whose key a program prints.

    The provider itself is left out if no account remains. If no program prints a key, the same object is returned.
    """
    provider = job.providers[name]
    accounts = provider.accounts if isinstance(provider, OpenAIProvider) else []
    remaining = [account for account in accounts if not account.api_key_command]
    if len(remaining) == len(accounts):
        return job
    providers = {other: p for other, p in job.providers.items() if other != name}
    if remaining:
        providers[name] = provider.model_copy(update={"members": remaining})
    return job.model_copy(update={"providers": providers})


def variables(job: Job) -> frozenset[str]:
    """Return the names of all environment variables that hold a secret of the job."""
    providers = [provider for provider in job.providers.values() if isinstance(provider, OpenAIProvider)]
    accounts = [account for provider in providers for account in provider.accounts]
    variables_of_accounts = [[account.api_key_env or "", *(account.headers_env or {}).values()] for account in accounts]
    return frozenset(variable for names in variables_of_accounts for variable in names if variable)


class _Printed(NamedTuple):
    """A key that a program has printed, and the time of that by the clock, seconds."""

    key: str
    at: float


class PrintedKey:
    """The key of one account, printed by a program, which is run when the key is first needed, and when it has expired.

    Args:
        command: the program and its arguments; no shell reads them.
        place: the job's key for the program, for messages.
        clock: the time, seconds.
        secrets: the secrets that no message may hold; every printed key is added to the list.
    """

    def __init__(self, command: Sequence[str], place: str, clock: Callable[[], float], secrets: list[str]) -> None:
        self._command = command
        self._place = place
        self._clock = clock
        self.secrets = secrets
        self._turn = asyncio.Lock()
        self._current: _Printed | None = None
        self._has_worked = False
        self._problem: str | None = None

    async def value(self) -> str:
        """Return the key in use; while the program is running, wait for the key that it prints.

        Raises:
            ProviderRefusedError: the program failed, now or before.
        """
        async with self._turn:
            return (self._current or await self._renew()).key

    def has_worked(self, key: str) -> None:
        """Note that a request with `key` was answered."""
        self._has_worked = self._has_worked or (self._current is not None and self._current.key == key)

    async def renewed(self, refused: str) -> bool:
        """Return whether the key in use is now another than `refused`.

        The program is run for a new key if `refused` is in use and has worked, or is older than `FRESH_S`. Of several
        callers with the same refused key only the first runs the program.

        Raises:
            ProviderRefusedError: the program failed.
        """
        async with self._turn:
            if self._current is not None and self._current.key == refused:
                if not self._has_worked and self._clock() - self._current.at <= FRESH_S:
                    return False
                await self._renew()
            return True

    async def _renew(self) -> _Printed:
        """Run the program and return its key.

        A program that has failed is not run again: the run ends, and many calls may be waiting for the key.
        """
        if self._problem is None:
            try:
                key = await _printed_by(self._command, self._place, self.secrets)
            except ProviderRefusedError as error:
                self._problem = str(error)
                raise
            self.secrets.append(key)
            self._current, self._has_worked = _Printed(key, self._clock()), False
            return self._current
        raise ProviderRefusedError(self._problem)


async def _printed_by(command: Sequence[str], place: str, secrets: Collection[str]) -> str:
    """Run a program and return the key that it prints.

    Raises:
        ProviderRefusedError: the program can't be run, fails, takes too long, or prints something else than a key.
    """
    program = f"{place}: {command[0]}"
    try:
        listener = await _run(command)
    except TimeoutError:
        raise ProviderRefusedError(f"{program} printed no key within {PROGRAM_TIMEOUT_S:g} s; run it by hand") from None
    except OSError as error:
        raise ProviderRefusedError(f"{program} can't be run: {error.strerror}") from None
    text = listener.printed[_STDOUT].decode(errors="replace").strip()
    if listener.is_flooded:
        raise ProviderRefusedError(f"{program} must print the key alone, and printed without end")
    if listener.code != 0:
        words = _last_words(listener.printed[_STDERR].decode(errors="replace"), [*secrets, *text.split()])
        raise ProviderRefusedError(f"{program} failed ({words or 'it said nothing'}; exit code {listener.code})")
    if not text:
        raise ProviderRefusedError(f"{program} printed nothing; it must print the key")
    if len(text) >= _MOST_BYTES or not _may_be_sent(text):
        raise ProviderRefusedError(f"{program} must print the key alone, on one line, and printed more than that")
    return text


async def _run(command: Sequence[str]) -> _Listener:
    """Run a program to its end, without input.

    Raises:
        TimeoutError: the program did not end in time, and has been ended.
        OSError: the program can't be run.
    """
    starting = asyncio.ensure_future(
        asyncio.get_running_loop().subprocess_exec(
            _Listener,
            *command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C does not reach the program; its own processes can be ended with it
        )
    )
    try:
        async with asyncio.timeout(PROGRAM_TIMEOUT_S):
            _, listener = await asyncio.shield(starting)  # a cancelled start could leave processes that nobody ends
            await listener.enough.wait()
        with suppress(TimeoutError):  # a process that the program left behind may hold its output open for ever
            async with asyncio.timeout(_LAST_WORDS_S):
                await listener.silent.wait()
    finally:
        transport, listener = await starting
        if not listener.exited.is_set():
            with suppress(ProcessLookupError):
                os.killpg(transport.get_pid(), signal.SIGKILL)
            await listener.exited.wait()
        listener.code = transport.get_returncode()
        transport.close()
    return listener


class _Listener(asyncio.SubprocessProtocol):
    """Keeps the last bytes of a program's output, and notices the program's end or too much output.

    Attributes:
        printed: the last bytes of each output.
        code: the exit code; None while the program runs.
        is_flooded: the program has printed more than `_FLOOD_BYTES`.
        enough: set when the program has ended or is flooding.
        exited: set when the program has ended.
        silent: set when no more output will be read.
    """

    def __init__(self) -> None:
        self.printed = {_STDOUT: b"", _STDERR: b""}
        self.code: int | None = None
        self.is_flooded = False
        self.enough = asyncio.Event()
        self.exited = asyncio.Event()
        self.silent = asyncio.Event()
        self._open = set(self.printed)
        self._bytes_left = _FLOOD_BYTES

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.printed[fd] = (self.printed[fd] + data)[-_MOST_BYTES:]
        self._bytes_left -= len(data)
        if self._bytes_left < 0:  # reading endless output would block the event loop
            self.is_flooded = True
            self.enough.set()
            self.silent.set()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's)
        self._open.discard(fd)
        if not self._open:
            self.silent.set()

    def process_exited(self) -> None:
        self.exited.set()
        self.enough.set()


def _last_words(complaints: str, secrets: Collection[str]) -> str:
    """Return the last line that is not empty, with secrets masked and without unprintable characters."""
    words = next(filter(None, map(clean, reversed(complaints.split("\n")))), "").split(" ")
    line = " ".join(_HIDDEN if _looks_secret(word) else word for word in words)
    return mask(line, secrets)[:_LONGEST_WORDS]


def _looks_secret(word: str) -> bool:
    """True if a word may be a key that is not among the known secrets: long, with letters and digits, and no path."""
    return (
        len(word) >= _SECRET_LENGTH
        and not word.startswith("/")
        and any(map(str.isdigit, word))
        and any(map(str.isalpha, word))
    )
