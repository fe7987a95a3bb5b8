"""`check --probe`: asks one tiny call of each paid model, as each account that serves it, and says what came of it.

Must not know: run folders. No probe is written down or counted in a budget. The calls are made by the clients of a run,
 with the sampling of the job but for the length of the reply, so that a field that a host refuses shows.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from eli5b_batch.backends.base import ChatRequest
from eli5b_batch.dispatch.budget import cost
from eli5b_batch.errors import BadReplyError, CallError, ProviderRefusedError, RetryableError
from eli5b_batch.job.members import charge_at
from eli5b_batch.job.prices import Price
from eli5b_batch.job.reserved_names import OTHER_BOUNDS
from eli5b_batch.job.schema import OpenAIProvider
from eli5b_batch.records import derive_seed, make_key
from eli5b_batch.text import dollars

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from eli5b_batch.backends.base import Backend
    from eli5b_batch.job.prices import Charge
    from eli5b_batch.job.schema import Job, Member, Model

MOST_TOKENS: Final = 16
"""Of a reply; some hosts refuse to write fewer."""
_QUESTION: Final = "What is 1 + 1? Answer with the number."
_STEP: Final = "probe"
_LONGEST_S: Final = 120.0


class Probes:
    """What came of all probes: `refusals` would stop a run."""

    def __init__(self) -> None:
        self.refusals: list[ProviderRefusedError] = []
        self._lines: list[str] = []
        self._usd = 0.0
        self._unknown = False

    async def ask(self, job: Job, provider: str, names: Iterable[str], backends: Mapping[str, Backend]) -> None:
        """Probe these models, as each account that they are not free at.

        Args:
            job: the job.
            provider: whose models they are.
            names: the models, by their names in the job.
            backends: its clients, by account.
        """
        settings = job.providers[provider]
        if not isinstance(settings, OpenAIProvider):
            return
        asked = list(names)
        found = await asyncio.gather(*(self._ask_one(job, asked, a, backends[a.name]) for a in settings.accounts))
        for lines in found:
            self._lines += lines

    def sentences(self) -> Iterator[str]:
        """What to print, a line each."""
        if not self._lines and not self.refusals:
            yield "probe: no paid model was asked: no call of one is left, or its provider would stop the run."
            return
        yield from (f"probe: {line}" for line in self._lines)
        more = " and what is unknown" if self._unknown else ""
        yield f"probe: all together cost {dollars(self._usd, 6)}{more}, which no budget counts and no run folder holds."

    async def _ask_one(self, job: Job, names: Iterable[str], account: Member, backend: Backend) -> list[str]:
        """Probe models one after the other, as one account."""
        lines = []
        for name in names:
            model, charge = job.models[name], charge_at(job, name, account)
            if charge in (None, "free"):
                continue
            where = f"models.{name}{f' (member {account.name})' if account.name else ''}"
            longest_s = min(job.provider_of(name).timeout_s, _LONGEST_S)
            try:
                reply = await backend.chat(_question(job, name, model), account.base_url or "", longest_s)
                lines.append(f"{where}: answered; {self._cost(charge, reply.usage)}")
            except BadReplyError as error:
                usage = error.partial.get("usage", {})
                lines.append(f"{where}: answered, but {error}; {self._cost(charge, usage)}")
            except RetryableError as error:
                lines.append(f"{where}: no answer for now, and a run would try again: {error}")
            except (CallError, ProviderRefusedError) as error:
                self.refusals.append(ProviderRefusedError(f"{where}: its probe was refused: {error}"))
        return lines

    def _cost(self, charge: Charge | None, usage: Mapping[str, int]) -> str:
        """What a probe took, in words; it is added to the sum."""
        tokens = f"{usage.get('input_tokens', 0)} tokens in, {usage.get('output_tokens', 0)} out"
        if not isinstance(charge, Price) or not any(usage.values()):
            self._unknown = True
            return f"{tokens}, cost unknown"
        usd = cost(charge, usage)
        self._usd += usd
        return f"{tokens}, {dollars(usd, 6)}"


def _question(job: Job, name: str, model: Model) -> ChatRequest:
    """The model's own sampling, but for the length of the reply, by whatever name it is told."""
    sampling: dict[str, Any] = model.sampling.model_dump(exclude_none=True)
    thoughts = model.sampling.thinking["tokens"] if isinstance(model.sampling.thinking, dict) else 0
    most = min(thoughts + MOST_TOKENS, model.sampling.max_tokens)
    sampling["max_tokens"] = most
    if model.sampling.extra:
        bounds = OTHER_BOUNDS & model.sampling.extra.keys()
        sampling["extra"] = model.sampling.extra | dict.fromkeys(bounds, most)
    message = {"role": "user", "content": _QUESTION}
    return ChatRequest(
        make_key(_STEP, _STEP, name, {}), model.model, [message], sampling, derive_seed(job.seed, _STEP, name, 0)
    )
