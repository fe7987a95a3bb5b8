"""One managed server's life: started, waited for, started again when it dies, stopped.

Must not know: the other servers, the calls. Every server is started from the thread of the event loop, since the kernel
ties a process to the thread that started it; see `die_with_parent.py`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import os
import signal
import subprocess
import sys
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from eli5b_batch.backends.http import CONTROL_TIMEOUT_S, Transport
from eli5b_batch.errors import ProviderRefusedError, RetryableError
from eli5b_batch.job.reserved_names import TOKEN
from eli5b_batch.log import log
from eli5b_batch.servers import die_with_parent, process_tree
from eli5b_batch.servers.environment import own_variables, whole_environment
from eli5b_batch.servers.ports import HOST, free_ports, is_free

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import psutil  # type: ignore[import-untyped]

    from eli5b_batch.job.schema import OllamaProvider, Slot

_POLL_S: Final = 0.1
_PORTS_TO_TRY: Final = 3
_LONGEST_LINE: Final = 300
_TAIL_BYTES: Final = 8192


class Patience(NamedTuple):
    """How long to wait for a server, seconds, and how often to start it again.

    `start_s` is the wait for its first answer, `stop_s` for its end after SIGTERM. Pauses before restarts grow from
    `first_pause_s` to `longest_pause_s`; `restarts` in a row are the most.
    """

    start_s: float = 60.0
    stop_s: float = 10.0
    first_pause_s: float = 1.0
    longest_pause_s: float = 30.0
    restarts: int = 10
    settled_s: float = 60.0
    """A server that has worked for so many seconds has recovered: its restarts are counted from 0 again."""

    def pause_s(self, restarts: int) -> float:
        """Return the seconds to wait after so many restarts in a row: 1, 2, 4 ... 30 by default."""
        return min(self.first_pause_s * 2.0**restarts, self.longest_pause_s)


class ServerProcess:
    """The server of one slot: a process, and the next one after a crash.

    Args:
        provider: the name of the provider in the job.
        settings: the provider's settings in the job.
        slot: the slot.
        program: the executable, as an absolute path.
        port: the port on which the server listens for the whole run. If it is taken at the first start, another one.
        log_path: the file to which the server's output is appended.
        secrets: variables of the run's environment that the server must not see.
        patience: how long to wait for the server.
        changed: called whenever a new process is the server.
    """

    def __init__(
        self,
        provider: str,
        settings: OllamaProvider,
        slot: Slot,
        *,
        program: str,
        port: int,
        log_path: Path,
        secrets: frozenset[str],
        patience: Patience,
        changed: Callable[[], None],
    ) -> None:
        self.provider = provider
        self.slot = slot
        self.restarts = 0
        """How often the server was started again."""
        self._settings = settings
        self._program = program
        self._port = port
        self._log_path = log_path
        self._secrets = secrets
        self._patience = patience
        self._changed = changed
        self._process: subprocess.Popen[bytes] | None = None
        self._token = ""
        self._started = 0.0
        self._log_from = 0

    @property
    def url(self) -> str:
        """The address of the server."""
        return f"http://{HOST}:{self._port}"

    def record(self) -> dict[str, Any] | None:
        """Return what a later run needs to find the server's processes: a row of running.json; None before `start`."""
        if self._process is None:
            return None
        return {
            "provider": self.provider,
            "slot": self.slot.name,
            "pid": self._process.pid,
            "started": self._started,
            "token": self._token,
            "url": self.url,
        }

    async def start(self) -> None:
        """Start the server and wait until it answers. If another program has taken its port, try another port.

        Raises:
            ProviderRefusedError: the server ends, or does not answer in time.
        """
        for _ in range(_PORTS_TO_TRY - 1):
            try:
                await self._launch()
            except ProviderRefusedError:
                if is_free(self._port):
                    raise
                (self._port,) = free_ports(1)
            else:
                return
        await self._launch()

    async def supervise(self) -> None:
        """Start the server again whenever it dies, after growing pauses; return when it has died too often."""
        loop = asyncio.get_running_loop()
        answered_at = loop.time()
        failures = 0
        while True:
            await self._ended()
            if loop.time() - answered_at >= self._patience.settled_s:
                failures = 0
            while True:
                if failures == self._patience.restarts:
                    self._log("server given up", level=logging.ERROR, after_restarts=failures, log=str(self._log_path))
                    return
                await asyncio.sleep(self._patience.pause_s(failures))
                failures += 1
                try:
                    if not is_free(self._port):
                        raise ProviderRefusedError(f"port {self._port} has been taken by another program")  # noqa: TRY301
                    await self._launch()
                except (ProviderRefusedError, OSError) as error:
                    self._log("server not restarted", level=logging.WARNING, reason=str(error))
                else:
                    break
            self.restarts += 1
            answered_at = loop.time()
            self._log("server restarted", level=logging.WARNING, restarts=self.restarts)

    async def stop(self) -> None:
        """Send the server SIGTERM, and SIGKILL to the processes left after a while, or at once on cancellation."""
        process = self._process
        if process is None:
            return
        try:
            if process.poll() is None:
                process.terminate()
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._patience.stop_s):
                        await self._exit_code(process)
        finally:
            self._kill_at_once()

    async def _launch(self) -> None:
        self._spawn()
        answered = False
        try:
            await self._answer()
            answered = True
        finally:
            if not answered:
                await self._kill()

    def _spawn(self) -> None:
        self._token = uuid.uuid4().hex
        own = own_variables(self._settings, self.slot, port=self._port, token=self._token)
        with self._log_path.open("ab") as output:
            variables = " ".join(f"{name}={value}" for name, value in own.items() if name != TOKEN)
            now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
            output.write(f"--- eli5b_batch {now}: {variables} {self._program} serve\n".encode())
            output.flush()
            self._log_from = output.tell()
            self._process = subprocess.Popen(  # noqa: S603 (the program that the job names)
                # -I and -S: die_with_parent.py needs only the standard library, and without site it starts in 20 ms.
                [sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid()), self._program, "serve"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=whole_environment(os.environ, self._settings, own, secrets=self._secrets),
                start_new_session=True,
            )
        self._started = process_tree.started_at(self._process.pid)
        self._log("server started", pid=self._process.pid, url=self.url, gpu=self.slot.gpu, parallel=self.slot.parallel)
        self._changed()

    async def _answer(self) -> None:
        """Wait until the server itself, and no other program, answers at its address."""
        assert self._process is not None
        answer = asyncio.create_task(self._ask())
        try:
            async with asyncio.timeout(self._patience.start_s):
                # Another program that holds the port may accept the request and never answer. The loop notices all
                # the same when the server ends.
                while not answer.done():
                    code = self._process.poll()
                    if code is not None:
                        raise ProviderRefusedError(
                            f"providers.{self.provider}: the server of {self.slot.name} {_how(code)} before it "
                            f"answered: {self._last_line()} (its log: {self._log_path})"
                        )
                    await asyncio.wait([answer], timeout=_POLL_S)
        except TimeoutError:
            raise ProviderRefusedError(
                f"providers.{self.provider}: the server of {self.slot.name} does not answer at {self.url} within "
                f"{self._patience.start_s:g} s; see its log, {self._log_path}"
            ) from None
        else:
            answer.result()
        finally:
            answer.cancel()
            await asyncio.wait([answer])

    async def _ask(self) -> None:
        """Ask for the version until there is an answer, and the answer is from the server itself."""
        transport = Transport(1, CONTROL_TIMEOUT_S)
        try:
            # Who listens on the port is looked up last: that takes a walk over all processes of the machine.
            while not (  # noqa: ASYNC110 (a server that starts has no event to wait for)
                await _is_served(transport, self.url) and process_tree.listens(self._members(), self._port)
            ):
                await asyncio.sleep(_POLL_S)
        finally:
            await transport.close()

    async def _ended(self) -> None:
        """Wait until the server has died, and kill the processes that are left of it."""
        assert self._process is not None
        code = await self._exit_code(self._process)
        self._log("server died", level=logging.WARNING, how=_how(code), last_line=self._last_line())
        await self._kill()  # the runner outlives a SIGKILL of the server, and holds the GPU's memory

    async def _exit_code(self, process: subprocess.Popen[bytes]) -> int:
        while (code := process.poll()) is None:  # noqa: ASYNC110 (looking costs next to nothing, on every kind of loop)
            await asyncio.sleep(_POLL_S)
        return code

    def _members(self) -> list[psutil.Process]:
        assert self._process is not None
        return process_tree.members(self._process.pid, self._started, self._token)

    async def _kill(self) -> None:
        """Kill the processes that are left of the server; calls to the other servers go on meanwhile."""
        assert self._process is not None
        await process_tree.kill(self._members())
        self._process.kill()
        with suppress(TimeoutError):  # a driver that hangs lets no process go
            async with asyncio.timeout(process_tree.DEATH_S):
                await self._exit_code(self._process)

    def _kill_at_once(self) -> None:
        """Do as `_kill` does, without an `await`: a run that ends may be cancelled again at any time."""
        assert self._process is not None
        process_tree.kill_at_once(self._members())
        self._process.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(process_tree.DEATH_S)

    def _last_line(self) -> str:
        """Return the last line that the server has printed since it was started."""
        try:
            with self._log_path.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(self._log_from, end - _TAIL_BYTES))
                lines = file.read().decode(errors="replace").split("\n")
        except OSError as error:  # the user may have deleted the log
            return f"its log can't be read: {error.strerror}"
        last_line = next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")
        return last_line[:_LONGEST_LINE]

    def _log(self, event: str, *, level: int = logging.INFO, **fields: str | float) -> None:
        log(event, level=level, error=None, provider=self.provider, slot=self.slot.name, **fields)


def _how(code: int) -> str:
    """Return how a process ended, in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


async def _is_served(transport: Transport, url: str) -> bool:
    try:
        response = await transport.get(f"{url}/api/version")
        return "version" in response.json()
    except (RetryableError, TypeError):
        return False
