"""The shape of a run seen from outside: what `progress.json` holds and what every display shows.

Must not know: how a run works, files, terminals.

The run builds each snapshot anew, so that a display can keep the last one that it drew and see what changed. Times are
UTC in ISO 8601 (`2026-11-21T01:00:00Z`), durations are seconds, money is USD.
"""

from __future__ import annotations

from typing import Final, Literal, TypedDict

SNAPSHOT_SCHEMA: Final = 1
"""Version of a snapshot; written as `schema`."""

State = Literal["running", "draining", "done", "stopped", "failed"]
"""`draining`: no new call goes out; `stopped`: ended early, resumable; `failed`: ended by an error."""

ENDED: Final[frozenset[State]] = frozenset({"done", "stopped", "failed"})
"""States after which nothing changes any more."""


class ProblemCounts(TypedDict):
    """Problems of the run: `total` in all, `done`, and `active`, of which there are at most `window` at a time."""

    total: int
    done: int
    active: int
    window: int


class StepProgress(TypedDict):
    """Calls of one step to one model. `done` includes `failed` and `replayed` (answered by the journal).

    `began_s` and `ended_s` are of the calls that this start sent: seconds since the start until the first call went
    out, and until the last so far came back; None before. Their difference is the makespan.
    """

    step: str
    model: str
    total: int
    done: int
    failed: int
    replayed: int
    rate_per_s: float
    eta_s: float | None
    began_s: float | None
    ended_s: float | None


class ProviderProgress(TypedDict):
    """One provider: accounts at a host, or a group of servers.

    `queued` calls wait for capacity, `retry_waiting` calls for their next try. Limits are per minute, as they are
    applied now; None where no limit is known. `rate_limited` counts the 429s. `waiting_for` is what has to happen
    before the next call goes out, in a few words; None while calls go out. `last_error` is the newest failure in the
    host's words, and `last_error_s` how many seconds ago it was; None where there was none. `down_s` are the seconds
    since all its servers stopped working and only probes go out; None while any works. `limit_history` are the limits
    of requests per minute so far, as [seconds since the start, limit], newest last; empty for several accounts.
    """

    provider: str
    in_flight: int
    concurrency: int
    queued: int
    requests_per_minute: float
    requests_limit: float | None
    tokens_per_minute: float
    tokens_limit: float | None
    rate_limited: int
    retry_waiting: int
    retries: int
    waiting_for: str | None
    last_error: str | None
    last_error_s: float | None
    down_s: float | None
    limit_history: list[list[float]]


class SlotProgress(TypedDict):
    """One Ollama server.

    `model` is the model it works on, `resident` are the models in its memory, `on_gpu` is the share (0..1) of them in
    GPU memory, None if not known; `loads` counts the models it loaded; `down`: it is only probed now. Its time since
    the start, seconds, is divided into `busy_s` (answering: place-seconds in use, divided by `parallel`), `loading_s`,
    `idle_s` (places without a call) and `down_s`. `busy_share` (0..1) is `busy_s` as a share of their sum.
    """

    provider: str
    slot: str
    url: str
    model: str | None
    resident: list[str]
    on_gpu: float | None
    in_flight: int
    parallel: int
    queued: int
    busy_share: float
    busy_s: float
    loading_s: float
    idle_s: float
    down_s: float
    down: bool
    tokens_per_s: float
    calls: int
    loads: int


SLOT_SECONDS: Final = ("busy_s", "loading_s", "idle_s", "down_s")
"""What a slot's time goes into; all 0 where it was not measured."""


def slot_seconds(slot: SlotProgress) -> float:
    """Return a slot's time so far, seconds."""
    return sum(slot[part] for part in SLOT_SECONDS)


class ArmProgress(TypedDict):
    """Graded answers of one model under one setting of the protocol's tags."""

    model: str
    tags: dict[str, str | int]
    n: int
    correct: int


class CostProgress(TypedDict):
    """Money; `projected_usd` is the estimate for the whole run, None while there is none."""

    spent_usd: float
    projected_usd: float | None
    budget_usd: float | None


class GradingProgress(TypedDict):
    """Answers that wait for a verdict, and verdicts given."""

    waiting: int
    done: int


class Snapshot(TypedDict):
    """How a run stands at one moment; `reason` is one sentence on why it ended or drains, None where there is none.

    `earlier_slots` are the slots of the last start that had any, as it left them, if this start has none. Only the
    file has them.
    """

    schema: int
    run: str
    simulated: bool
    state: State
    reason: str | None
    pid: int
    exit_code: int | None
    started_at: str
    updated_at: str
    elapsed_s: float
    eta_s: float | None
    problems: ProblemCounts
    steps: list[StepProgress]
    providers: list[ProviderProgress]
    slots: list[SlotProgress]
    earlier_slots: list[SlotProgress]
    accuracy: list[ArmProgress]
    cost: CostProgress
    failures: dict[str, int]
    grading: GradingProgress
