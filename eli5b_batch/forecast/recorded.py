"""What calls will take: tokens, money and time, estimated from a run's records or, before there are any, assumed.

Must not know: providers at work.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from eli5b_batch.dispatch.budget import cost
from eli5b_batch.errors import JournalDamagedError, UpstreamError
from eli5b_batch.job.field_checks import is_bounded
from eli5b_batch.job.members import accounts_of, charge_at, charges_of
from eli5b_batch.job.prices import Price
from eli5b_batch.records.folder import CALLS
from eli5b_batch.records.journal import read_records
from eli5b_batch.records.reader import Lines, Redo, read_standing, record_at
from eli5b_batch.run.calls import Recorded, messages_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from eli5b_batch.job.schema import Job
    from eli5b_batch.protocols.prompts import Prompt
    from eli5b_batch.records.reader import Standing
    from eli5b_batch.run.plan import Plan

Slot = tuple[str, str]
"""(step, model)"""

BYTES_PER_TOKEN: Final = 4.0
"""English with LaTeX in a Llama tokeniser; recorded runs replace it by what was measured."""
ASSUMED_TOKENS_PER_S: Final = 60.0


class KindMeans(NamedTuple):
    """What a run's records say of one (step, model), per call."""

    calls: int
    input_tokens: float
    output_tokens: float
    seconds: float


class RunRecords(NamedTuple):
    """What a run has on record: means per answered call, which records count, and money spent."""

    seen: dict[Slot, KindMeans]
    standing: Standing
    spent_usd: float
    journal: Path

    def is_asked_again(self, key: str, ask: Prompt) -> bool | None:
        """Whether an answer is asked again that is older than a reply it is built on.

        It is not where the prompt says the same with the reply that counts now.

        Args:
            key: of the answer, which is on record.
            ask: its prompt, whatever the replies in it say.

        Returns:
            None where nobody knows, because such a reply has to be asked for first.
        """
        replies = {name: reply for name, reply in ask.values.items() if isinstance(reply, Recorded)}
        if not all(self.standing.is_answered(reply.key) for reply in replies.values()):
            return None
        try:
            now = {name: Recorded(r.key, 0, self._record(r.key)["reply"], dict, ok=True) for name, r in replies.items()}
            messages = messages_of(ask._replace(values={**ask.values, **now}), [*now.values()])
            return bool(self._record(key)["request"]["messages"] != messages)
        except UpstreamError:  # a reply without a text: nothing is sent
            return False
        except (KeyError, TypeError):
            raise JournalDamagedError(
                f"{self.journal}: the record of {key}, or of what it builds on, is none"
            ) from None

    def _record(self, key: str) -> dict[str, Any]:
        entry = self.standing.find(key)
        assert entry is not None
        with self.journal.open("rb") as file:
            return record_at(file, entry.offset, self.journal)


@dataclass
class Estimate:
    """The calls of one (step, model): how many, and what those `left` will take, with those that may be asked again.

    Money is USD, None where a price is unknown; `work_s` is the sum of the calls' own durations, seconds.
    """

    calls: int
    left: int
    input_tokens: float
    output_tokens: float
    usd: float | None
    worst_usd: float | None
    work_s: float
    measured: bool


def look_back(run_dir: Path, redo: Mapping[str, int]) -> RunRecords:
    """What the run's records say; nothing where there are none yet.

    What calls take is measured by every answer, also by those that do not count any more.

    Args:
        run_dir: the run folder.
        redo: by step, from which byte of calls.jsonl on its records count.

    Raises:
        JournalDamagedError: a complete line of calls.jsonl can't be read.
    """
    calls: Counter[Slot] = Counter()
    sums: dict[Slot, list[float]] = {}
    spent = 0.0
    journal = run_dir / CALLS
    if not journal.exists():
        return RunRecords({}, Lines(Redo()).standing(), spent, journal)
    with journal.open("rb", buffering=1 << 20) as file:
        standing = read_standing(file, journal, Redo(redo))
    try:
        for record in read_records(journal):
            spent += record["cost_usd"] or 0.0
            if record["status"] != "ok":
                continue
            slot = (record["step"], record["model"])
            calls[slot] += 1
            total = sums.setdefault(slot, [0.0, 0.0, 0.0])
            total[0] += record["usage"]["input_tokens"]
            total[1] += record["usage"]["output_tokens"]
            total[2] += record["timing"]["latency"]
    except (KeyError, TypeError):
        raise JournalDamagedError(f"{journal}: it holds a line that is no record of a call") from None
    seen = {slot: KindMeans(n, *(value / n for value in sums[slot])) for slot, n in calls.items()}
    return RunRecords(seen, standing, spent, journal)


def reply_lengths(job: Job, seen: dict[Slot, KindMeans]) -> dict[Slot, int]:
    """Bytes that a reply is taken to have, where later prompts quote it: as recorded, else half of max_tokens."""
    lengths = {}
    for (step, model), s in seen.items():
        lengths[step, model] = round(s.output_tokens * BYTES_PER_TOKEN)
    for name, model_ in job.models.items():
        lengths.setdefault(("", name), round(model_.sampling.max_tokens / 2 * BYTES_PER_TOKEN))
    return lengths


def estimate(job: Job, slot: Slot, plan: Plan, seen: KindMeans | None) -> Estimate:
    """What the calls of one (step, model) will take; `seen`: what they took so far, None before any was answered."""
    model, left = job.models[slot[1]], plan.left[slot] + plan.again[slot]
    per_input = seen.input_tokens if seen else plan.input_bytes[slot] / plan.total[slot] / BYTES_PER_TOKEN
    per_output = seen.output_tokens if seen else model.sampling.max_tokens / 2
    per_call_s = seen.seconds if seen else per_output / ASSUMED_TOKENS_PER_S
    return Estimate(
        calls=plan.total[slot],
        left=left,
        input_tokens=per_input * left,
        output_tokens=per_output * left,
        usd=_usd(job, slot[1], per_input * left, per_output * left),
        worst_usd=_worst_usd(
            job, slot[1], plan.input_bytes[slot] * left / plan.total[slot], model.sampling.max_tokens * left
        )
        if is_bounded(job, slot[1])
        else None,
        work_s=per_call_s * left,
        measured=seen is not None,
    )


def _usd(job: Job, name: str, input_tokens: float, output_tokens: float) -> float | None:
    """By the mean of what the accounts take, each as often as its weight says."""
    accounts = accounts_of(job, name)
    shares = [(charge_at(job, name, account), account.weight) for account in accounts] or [
        (job.models[name].price, 1.0)
    ]
    usage, total = {"input_tokens": input_tokens, "output_tokens": output_tokens}, 0.0
    for charge, weight in shares:
        if charge == "unknown":
            return None
        total += weight * cost(charge, usage) if isinstance(charge, Price) else 0.0
    return total / sum(weight for _, weight in shares)


def _worst_usd(job: Job, name: str, input_tokens: float, output_tokens: float) -> float | None:
    """By the dearest input and the dearest output of any account: more than any spread of the calls can come to."""
    charges = charges_of(job, name).values()
    if "unknown" in charges:
        return None
    prices = [charge for charge in charges if isinstance(charge, Price)]
    sides = ({"input_tokens": input_tokens}, {"output_tokens": output_tokens})
    return sum(max((cost(price, usage) for price in prices), default=0.0) for usage in sides)


def seconds(job: Job, provider: str, estimates: Mapping[Slot, Estimate]) -> float:
    """How long a provider needs for these calls when all its places are busy: the longest of what each limit allows."""
    limits, slots = job.providers[provider].shape
    work = sum(e.work_s for e in estimates.values())
    if limits is None:
        ids = {job.models[model].model for _, model in estimates}
        return work / max(1, sum(s.parallel for s in slots if not s.models or not ids.isdisjoint(s.models)))
    times = [work / limits.concurrency]
    if limits.requests_per_minute:
        times.append(sum(e.left for e in estimates.values()) / limits.requests_per_minute * 60)
    if limits.tokens_per_minute:
        tokens = sum(e.input_tokens + e.output_tokens for e in estimates.values())
        times.append(tokens / limits.tokens_per_minute * 60)
    return max(times)


def seconds_in_all(job: Job, estimates: Mapping[Slot, Estimate]) -> float:
    """How long the run takes at least, with providers side by side. A model only some slots serve may take longest."""
    groups = [{slot: e} for slot, e in estimates.items()]
    groups += [{s: e for s, e in estimates.items() if job.models[s[1]].provider == name} for name in job.providers]
    return max(seconds(job, job.models[next(iter(group))[1]].provider, group) for group in groups if group)
