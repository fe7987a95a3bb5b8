"""What real models are taken to do: as a finished run recorded it, else as `check` assumes.

Must not know: servers, clocks.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from eli5b_batch.errors import JournalDamagedError, RunFolderError
from eli5b_batch.forecast.recorded import ASSUMED_TOKENS_PER_S, BYTES_PER_TOKEN
from eli5b_batch.job.schema import Simulation
from eli5b_batch.records import counting_records
from eli5b_batch.records.folder import CALLS
from eli5b_batch.simulated.model import CHARS_PER_TOKEN, SimulatedModel, SimulatedReply, fraction_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from eli5b_batch.records import CallName

ASSUMED_LOAD_S: Final = 5.0
"""To load a model of a few billion parameters into a GPU, from a file that is in memory."""

_LOAD_S: Final = 0.5
"""A server names some milliseconds of loading for a model that is loaded; what takes longer was a load."""


_LONGEST_S: Final = 1e6
_AS_IT_IS: Final = Simulation()
_MOST_TOKENS: Final = 1e7
"""What is beyond them was never a call."""


class PastCall(NamedTuple):
    """One answered call of a finished run; `seconds` is what the model took, without waiting or loading."""

    input_tokens: int
    output_tokens: int
    seconds: float


@dataclass
class PastRun:
    """The answered calls of a finished run by (step, job's model), and the mean load by provider, seconds."""

    folder: Path | None = None
    calls: dict[tuple[str, str], list[PastCall]] = field(default_factory=dict)
    load_s: dict[str, float] = field(default_factory=dict)


def look_back(run_dir: Path) -> PastRun:
    """Read the records of a finished run that count.

    Raises:
        RunFolderError: there are none, none tells its tokens, or a line is no record of a call.
    """
    calls: defaultdict[tuple[str, str], list[PastCall]] = defaultdict(list)
    loads: defaultdict[str, list[float]] = defaultdict(list)
    offset = 0
    try:
        for offset, record in counting_records(run_dir):  # noqa: B007 (the message names it)
            if record["status"] != "ok":
                continue
            seen, load = _seen(record)
            if not seen.input_tokens + seen.output_tokens:
                continue  # its host counts no tokens: nothing to draw from
            calls[str(record["step"]), str(record["model"])].append(seen)
            if load >= _LOAD_S:
                loads[str(record["provider"])].append(load)
    except JournalDamagedError:
        raise
    except RunFolderError as error:
        raise RunFolderError(f"--from {run_dir}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise JournalDamagedError(f"{run_dir / CALLS}: the line at byte {offset} is no record of a call") from None
    if not calls:
        raise RunFolderError(
            f"--from {run_dir}: no call has been answered there with its tokens told: it says nothing of the models"
        )
    return PastRun(run_dir, dict(calls), {name: sum(found) / len(found) for name, found in loads.items()})


def _seen(record: dict[str, Any]) -> tuple[PastCall, float]:
    """One answered call, and the seconds of loading before it; a `ValueError` where a figure can't be one."""
    usage, timing = record["usage"], record["timing"]
    load, work = _figure(timing["load"]), record["reply"].get("durations")
    # An Ollama server tells what it worked; the rest of the latency is waiting for a place or another's load.
    seconds = _figure(work["prompt_eval"]) + _figure(work["eval"]) if work else _figure(timing["latency"]) - load
    tokens_in, tokens_out = (int(_figure(usage[side], _MOST_TOKENS)) for side in ("input_tokens", "output_tokens"))
    return PastCall(tokens_in, tokens_out, max(0.0, seconds)), load


def _figure(value: object, most: float = _LONGEST_S) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ValueError(value)
    return float(value)


class PastModel(SimulatedModel):
    """The models of one real provider: each reply is one that was recorded for this step and model, drawn by the call.

    What was never recorded is assumed: half of max_tokens at 60 tokens a second. Texts are filler of the right length.

    Args:
        past: the records.
        models: the job's name of a model -> the provider's id of it.
        seed: of the job.
        simulation: of its servers.
    """

    def __init__(self, past: PastRun, models: Mapping[str, str], seed: int, simulation: Simulation = _AS_IT_IS) -> None:
        super().__init__({}, models, simulation, seed)
        self._past = past.calls

    def reply(
        self,
        fingerprint: bytes,
        call: CallName | None,
        model: str,  # noqa: ARG002 (the call names the job's own)
        prompt: str,
        max_tokens: int | None,
        *,
        thought: str = "",  # noqa: ARG002 (the tokens of a recorded reply hold those of its thoughts)
    ) -> SimulatedReply:
        """See `SimulatedModel.reply`."""
        seen = self._past.get((call.step, call.model)) if call else None
        if seen:
            drawn = seen[int(fraction_of(fingerprint) * len(seen))]
        else:
            output = max(1, (max_tokens or 1) // 2)
            drawn = PastCall(int(len(prompt) / BYTES_PER_TOKEN) + 1, output, output / ASSUMED_TOKENS_PER_S)
        return SimulatedReply(
            text="x" * (CHARS_PER_TOKEN * max(1, drawn.output_tokens)),
            thinking="",
            finish_reason="stop",
            input_tokens=drawn.input_tokens,
            output_tokens=drawn.output_tokens,
            latency_s=0.0,
            generation_s=drawn.seconds,
        )
