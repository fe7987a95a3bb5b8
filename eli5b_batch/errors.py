"""Every error of the package, one tree, grouped by the boundary at which it arises.

Must not know: any other module of the package.

    Eli5bError                    exit 1
    ├── JobError                  exit 2   the job file, the command line or the data is wrong
    ├── RunFolderError            exit 2   the run folder can't be used as it is
    │   ├── FolderBusyError                another process writes to it
    │   ├── ChangedRequestError            a recorded call would now be asked differently
    │   └── JournalDamagedError            a line that is not the last one can't be read
    ├── StorageError              exit 1   the disk refused a write; what is on it is safe
    ├── WorkerError               exit 1   no process to grade in can be had
    ├── ProviderError                      a model's server or account
    │   ├── ProviderRefusedError  exit 5   no call can succeed: key, credit, model, address
    │   │   ├── NoServerError              nothing answers at an address
    │   │   ├── KeyRefusedError            the host refuses the key; a key that a program prints may be renewed
    │   │   └── QuotaError                 a quota is used up, and its reset is hours away
    │   ├── ProviderDownError     exit 5   the provider failed for so long that the run gave up
    │   └── CallError                      this one call failed; the run goes on
    │       ├── RetryableError             the call is worth sending again
    │       │   └── RateLimitedError       the server asks for patience; not a failed attempt
    │       └── BadReplyError              the server answered, and the answer can't be used
    ├── UpstreamError                      a prompt needs the text of a reply that failed
    ├── BudgetError               exit 4   the next call could exceed the budget
    └── TimeUpError               exit 130 the time given to this start is over

Exit 3 (finished, some records failed) and 130/143 (interrupted) are outcomes of a run, not errors.
Messages are one sentence: where, what, and what would be right.
"""

from __future__ import annotations

from typing import Any, ClassVar

from eli5b_batch.text import duration


class Eli5bError(Exception):
    """Root of the tree; `exit_code` is the exit status of a command that ends with this error."""

    exit_code: ClassVar[int] = 1


class JobError(Eli5bError):
    """The job file, the command line or the data set is wrong; nothing was created."""

    exit_code = 2


class RunFolderError(Eli5bError):
    """The run folder can't be used: it is another job's, not writable, or not a run folder."""

    exit_code = 2


class FolderBusyError(RunFolderError):
    """Another process holds the run folder's lock."""


class ChangedRequestError(RunFolderError):
    """A call on record would now be asked differently (prompt, model or sampling changed)."""


class JournalDamagedError(RunFolderError):
    """A complete line of the journal can't be read."""


class StorageError(Eli5bError):
    """The file system refused a write; every record written before it is safe."""


class WorkerError(Eli5bError):
    """No worker process comes up, however often it is tried; what is on disk is safe."""


class ProviderError(Eli5bError):
    """Root of all failures of a provider: a model's server, or an account at a host."""

    exit_code = 5


class ProviderRefusedError(ProviderError):
    """No call to this provider can succeed until the user acts: key, credit, model or address."""


class NoServerError(ProviderRefusedError):
    """Nothing that speaks the provider's protocol answers at an address."""


class KeyRefusedError(ProviderRefusedError):
    """The host refused the key. A key that a program prints may be renewed; otherwise the run stops."""


class QuotaError(ProviderRefusedError):
    """A quota of a day or a month is used up; the message says when it resets, where the host tells."""


class ProviderDownError(ProviderError):
    """A provider, or one of its models, has failed for too long.

    Args:
        down_s: seconds for which nothing has worked.
        last: the newest failure of a call; None where no call has failed.
        model: the model that no server can serve any more, where the provider's servers serve different models.
        of_model: the beginning of the message where the servers work and one model is not served, such as
            `large has got nothing but 429s`.
    """

    def __init__(self, down_s: float, last: CallError | None, model: str = "", *, of_model: str = "") -> None:
        subject = f"no slot that serves {model}" if model else "nothing"
        super().__init__(
            f"{of_model or f'{subject} has worked'} for {duration(down_s)}, the last failure: {last or 'not known'}; "
            "the same command goes on once it works again (--give-up-after sets how long a run waits)"
        )


class CallError(ProviderError):
    """One call failed; it becomes an error record of class `kind`.

    Args:
        kind: the class written to the record. Classes of calls without a reply: `timeout`, `connection`,
            `server_error`, `rate_limited`, `bad_request` (a field or the form of the request is wrong), `refused`
            (the host refuses this call for a reason of its own), `too_large` (the request exceeds a limit that no
            wait raises), `filtered` (a filter refused the prompt), `context_overflow`. Classes of replies that can't
            be used: `bad_reply`, `empty_reply`, `not_done`, `broken`.
        message: one sentence.
        status: the HTTP status; None where no response came.
        partial: the part of the reply that arrived and was paid for: a dict with any of `reply` and `usage`.
        unsent: the request was never sent, so it can't be billed.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        status: int | None = None,
        partial: dict[str, Any] | None = None,
        unsent: bool = False,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.unsent = unsent
        self.status = status
        self.partial = partial or {}


class RetryableError(CallError):
    """The call is worth sending again: a time-out, a dropped connection, a 5xx, or a body that is no JSON.

    Args:
        kind: see `CallError`, which explains `message`, `status`, `partial` and `unsent` as well.
        message: one sentence.
        retry_after: seconds that the server says to wait; None where it does not say.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        status: int | None = None,
        partial: dict[str, Any] | None = None,
        unsent: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(kind, message, status=status, partial=partial, unsent=unsent)
        self.retry_after = retry_after


class RateLimitedError(RetryableError):
    """The host asks for patience: a 429, or another refusal with the same meaning.

    Args:
        message: one sentence.
        retry_after: seconds that the server says to wait; None where it does not say.
        scope: what exceeded the limit, `requests` or `tokens`; None where the server does not say.
        of_model: the server says that the limit is the requested model's, not the account's.
    """

    def __init__(
        self, message: str, *, retry_after: float | None, scope: str | None = None, of_model: bool = False
    ) -> None:
        super().__init__("rate_limited", message, status=429, retry_after=retry_after)
        self.scope = scope
        self.of_model = of_model


class BadReplyError(CallError):
    """The server answered, and the answer can't be used: empty, cut, or not done."""


class UpstreamError(Eli5bError):
    """A prompt needs the text of a reply, and that call failed or its reply is empty; `key` is that call's key."""

    def __init__(self, key: str, *, empty: bool = False) -> None:
        super().__init__(
            f"the {'reply' if empty else 'call'} it builds on {'has no text' if empty else 'failed'}: {key}"
        )
        self.key = key


class BudgetError(Eli5bError):
    """The highest possible cost of the next call exceeds the rest of the budget."""

    exit_code = 4


class TimeUpError(Eli5bError):
    """The time given to this start of the run is over; the same command continues the run."""

    exit_code = 130
