"""What a backend is: it turns one chat request into one reply, or says in our terms why it can't.

Must not know: when and where calls are sent, retries, the journal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from eli5b_batch.backends.dialects import Manner


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One question to a model: exactly what the request hash covers, and the key it is known by."""

    key: str
    model: str
    messages: Sequence[Mapping[str, str]]
    sampling: Mapping[str, Any]
    seed: int


Finish = Literal["whole", "cut", "filtered", "broken"]
"""How a reply ended: by itself; at a limit of length; by a filter, or because the model declined; in the middle."""


class Advice(NamedTuple):
    """What a reply's headers say of limits; None where they don't.

    Rates are per second. `pause_s`: nothing is left of a limit, and it is so many seconds until there is.
    """

    requests_per_s: float | None = None
    tokens_per_s: float | None = None
    pause_s: float | None = None


@dataclass(slots=True)
class ChatReply:
    """One answer. `usage` holds tokens (`input_tokens`, `output_tokens`, by class where told).

    `text` is the model's words; `thinking` its thoughts, in whatever form they came; `raw` the content as it came,
    where it is not the text.
    `finish_reason` is the host's word, `finish` what it means. `refusal`: the words in which the model declined.
    `load_s` and `work_s` are seconds that the server spent on loading and on the call itself, 0 where it does not tell.
    """

    text: str
    finish_reason: str
    usage: dict[str, int]
    load_s: float = 0.0
    extra: dict[str, Any] = field(default_factory=dict)
    advice: Advice | None = None
    work_s: float = 0.0
    finish: Finish = "whole"
    refusal: str = ""
    thinking: str = ""
    raw: str = ""


def keepable(extra: dict[str, Any]) -> dict[str, Any]:
    """What a reply holds beside its text, if it can be written down: JSON can be read deeper than it can be written."""
    try:
        orjson.dumps(extra)
    except TypeError:
        return {"left_out": f"{', '.join(extra)}: nested too deeply to be kept"}
    return extra


class ModelFacts(NamedTuple):
    """What a server says about a model it serves; empty where it does not say.

    `thinks`: whether it can. `by_default`: what it does where a job says nothing of it, see `dialects.ByDefault`.
    """

    digest: str = ""
    quantization: str = ""
    parameter_size: str = ""
    server: str = ""
    on_gpu: float | None = None
    thinks: bool | None = None
    by_default: str = ""


class Backend(Protocol):
    """A client of one wire protocol; one per provider."""

    silent: dict[str, str]
    """Addresses that `reach` got no answer from and can do without, each with one sentence."""

    async def chat(self, request: ChatRequest, base_url: str, deadline_s: float = math.inf) -> ChatReply:
        """Send one request; no answer within `deadline_s` seconds is a failure of class `timeout`.

        Raises:
            ProviderRefusedError: no call can succeed until the user acts.
            CallError: this call failed; `RetryableError` when sending again may help.
        """
        ...

    async def reach(self, models: Sequence[str]) -> dict[str, ModelFacts]:
        """Check, without asking a model, that the servers answer and serve `models`.

        Raises:
            ProviderRefusedError: they don't; the message says what would be right.
        """
        ...

    def manner(self, model: str, sampling: Mapping[str, Any]) -> Manner:
        """How a model is asked to think, or not to; what `reach` learnt counts.

        Raises:
            ProviderRefusedError: it can't be done as `sampling` says.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...
