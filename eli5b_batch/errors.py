"""Every error of the package, one tree, grouped by the boundary at which it arises.

Must not know: any other module of the package.

    Eli5bError                    exit 1
    ├── JobError                  exit 2   the job file, the command line or the data is wrong
    ├── RunFolderError            exit 2   the run folder can't be used as it is
    │   ├── FolderBusyError                another process writes to it
    │   ├── ChangedRequestError            a recorded call would now be asked differently
    │   └── JournalDamagedError            a line that is not the last one can't be read
    ├── StorageError              exit 1   the disk refused a write; what is on it is safe
    ├── ProviderError                      a model's server or account
    │   ├── ProviderRefusedError  exit 5   no call can succeed: key, credit, model, address
    │   │   ├── NoServerError              nothing answers at an address
    │   │   ├── KeyRefusedError            the key; one that a program prints may be renewed
    │   │   └── QuotaError                 a quota is used up, and it is hours until there is another
    │   ├── ProviderDownError     exit 5   it did not work for so long that the run gave up
    │   └── CallError                      this one call failed; the run goes on
    │       ├── RetryableError             worth sending again
    │       │   └── RateLimitedError       the server asks for patience; not a failed attempt
    │       └── BadReplyError              answered, and the answer can't be used
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
    """Root of the tree; `exit_code` is what the command line returns for it."""

    exit_code: ClassVar[int] = 1


class JobError(Eli5bError):
    """The job file, the command line or the data set is wrong; nothing was created."""

    exit_code = 2


class RunFolderError(Eli5bError):
    """The run folder can't be used: another job's, not writable, not a run folder."""

    exit_code = 2


class FolderBusyError(RunFolderError):
    """Another process holds the run folder's lock."""


class ChangedRequestError(RunFolderError):
    """A call on record would now be asked differently (prompt, model or sampling changed)."""


class JournalDamagedError(RunFolderError):
    """A complete line of the journal can't be read."""


class StorageError(Eli5bError):
    """The file system refused a write; every record written before it is safe."""


class ProviderError(Eli5bError):
    """Root of what a provider can do wrong."""

    exit_code = 5


class ProviderRefusedError(ProviderError):
    """No call to this provider can succeed until the user acts: key, credit, model or address."""


class NoServerError(ProviderRefusedError):
    """Nothing that speaks the provider's protocol answers at an address."""


class KeyRefusedError(ProviderRefusedError):
    """The key was refused. Where a program prints the key, another one may be taken; else the run stops."""


class QuotaError(ProviderRefusedError):
    """A quota of a day or a month is used up; the message says when there is another, where the host says so."""


class ProviderDownError(ProviderError):
    """Every server of a provider has failed for too long; `last` is the newest failure of a call.

    `model` is given where a provider's servers serve different models: the one that none can serve any more.
    `of_model` is said instead where servers work and a model is not served: what has been so with it.
    """

    def __init__(self, down_s: float, last: CallError | None, model: str = "", *, of_model: str = "") -> None:
        nothing = f"no slot that serves {model}" if model else "nothing"
        super().__init__(
            f"{of_model or f'{nothing} has worked'} for {duration(down_s)}, the last failure: {last or 'none told'}; "
            "the same command goes on once it works again (--give-up-after sets how long a run waits)"
        )


class CallError(ProviderError):
    """One call failed; it becomes an error record of class `kind`.

    Args:
        kind: the class written to the record. Of calls that no reply came to: `timeout`, `connection`,
            `server_error`, `rate_limited`, `bad_request` (a field, or the form of the request), `refused` (this call,
            for a reason of the host's own), `too_large` (for a limit that no wait raises), `filtered` (the prompt),
            `context_overflow`. Of replies that can't be used: `bad_reply`, `empty_reply`, `not_done`, `broken`.
        message: one sentence.
        status: the HTTP status, where there was one.
        partial: what did arrive and was paid for: a dict with any of `reply` and `usage`.
        unsent: the request never left, so it can't be billed.
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
    """A time-out, a dropped connection, a 5xx, or a body that is no JSON: worth sending again.

    Args:
        kind: as `CallError`, which explains the other arguments, too.
        message: one sentence.
        retry_after: the server's advice in seconds, None where it gave none.
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
    """The host asks for patience: a 429, or what says the same.

    Args:
        message: one sentence.
        retry_after: as of every error that is worth sending again.
        scope: what there was too much of, `requests` or `tokens`; None where the server does not say.
        of_model: the server says that it is the limit of the model asked for, not of the account.
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
    """A prompt asked for the text of a reply that failed or is empty; `key` names that call."""

    def __init__(self, key: str, *, empty: bool = False) -> None:
        super().__init__(
            f"the {'reply' if empty else 'call'} it builds on {'has no text' if empty else 'failed'}: {key}"
        )
        self.key = key


class BudgetError(Eli5bError):
    """The worst case of the next call does not fit into what is left of the budget."""

    exit_code = 4


class TimeUpError(Eli5bError):
    """The time given to this start is over; the same command goes on."""

    exit_code = 130
