"""The interface of a backend: it turns one chat request into one reply, or raises one of the package's errors.

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
    """One question to a model: the fields that the request hash covers, and `key`, which names the call."""

    key: str
    model: str
    messages: Sequence[Mapping[str, str]]
    sampling: Mapping[str, Any]
    seed: int


Finish = Literal["whole", "cut", "filtered", "broken"]
"""How a reply ended: `whole` by itself; `cut` at a limit of length; `filtered` by a filter, or because the model
declined; `broken` in the middle."""


class Advice(NamedTuple):
    """The limits that a reply's headers tell; a field is None where they don't tell it.

    Rates are per second. `pause_s`: seconds until a limit that is used up is reset.
    """

    requests_per_s: float | None = None
    tokens_per_s: float | None = None
    pause_s: float | None = None


@dataclass(slots=True)
class ChatReply:
    """One answer of a model.

    Attributes:
        text: the model's words, without its thoughts.
        finish_reason: the host's word for the end of the reply; "" where it has none.
        usage: numbers of tokens: `input_tokens`, `output_tokens`, and further classes where the server tells them.
        load_s: seconds that the server spent on loading the model; 0 where it does not tell.
        extra: further fields of the reply that are recorded, such as calls of tools.
        advice: the limits that the headers tell; None where they tell none.
        work_s: seconds that the server spent on the call itself; 0 where it does not tell.
        finish: the meaning of `finish_reason`.
        refusal: the words in which the model declined.
        thinking: the model's thoughts, in whatever form they came.
        raw: the content as it came, where it differs from `text`.
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


def recordable(extra: dict[str, Any]) -> dict[str, Any]:
    """Return `extra`, or a note in its place if it is nested too deeply: JSON can be read deeper than written."""
    try:
        orjson.dumps(extra)
    except TypeError:
        return {"left_out": f"{', '.join(extra)}: nested too deeply to be kept"}
    return extra


class ModelFacts(NamedTuple):
    """What a server tells about a model that it serves; a field is empty or None where it does not tell.

    Attributes:
        digest: the hash of the model's files.
        quantization: the format of its weights, such as `Q4_K_M`.
        parameter_size: its number of parameters, such as `8.0B`.
        server: the server's name and version.
        on_gpu: share of the model in GPU memory, 0 to 1; None also where the model is not loaded.
        thinks: whether the model can think.
        by_default: whether it thinks where a job says nothing of thinking, see `dialects.ByDefault`.
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
    """Addresses that did not answer `reach` and whose work others can do: address -> one sentence."""

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
            ProviderRefusedError: a server does not answer or does not serve a model; the message says what to do.
        """
        ...

    def manner(self, model: str, sampling: Mapping[str, Any]) -> Manner:
        """Return how a model is asked to think, or not to; what `reach` has learnt from the servers counts.

        Raises:
            ProviderRefusedError: the model can't think as `sampling` says.
        """
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...
