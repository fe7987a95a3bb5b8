"""The job file's schema: what a user may write, and the resolved form that every other part reads.

Must not know: how a job is run. `job/load.py` reads files and explains mistakes. Docstrings of sections and field
descriptions are part of the JSON Schema (`eli5b-batch schema`) that editors use.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from eli5b_batch.job.access import Access, OllamaDialect
from eli5b_batch.job.prices import Charge
from eli5b_batch.job.values import (
    Count,
    File,
    Interval,
    ModelId,
    Name,
    Seconds,
    Section,
    Seed,
    Setting,
    SettingValue,
    Share,
    Thinking,
    Url,
)


class Data(Section):
    """The problems of the job: a data set, its filters and its sample."""

    reader: str = Field(description="Data set reader: omni_math, gsm8k, jsonl or quickstart.")
    path: File | None = Field(None, description="The data file, relative to the current directory.")
    where: dict[str, Any] = Field(
        default_factory=dict,
        description="Filters: a range [low, high] for numbers, a value or a list of values for texts.",
    )
    sample: Count | None = Field(None, description="Draw this many problems at random (seeded).")
    limit: Count | None = Field(None, description="Only the first n problems; also --limit.")
    seed: Seed = 0


class Limits(Section):
    """The limits of one API account."""

    requests_per_minute: PositiveFloat | None = None
    tokens_per_minute: PositiveFloat | None = None
    concurrency: Count = 16
    adaptive: bool = Field(
        default=True,
        description="Follow limits that replies tell; slow down on a 429 and find the limit again. false: as written.",
    )


CPU: Final = "cpu"
"""The `gpu` of a slot without a GPU."""


PREFETCH: Final = 1
"""Calls that are sent to a slot beyond its places, so that it need not wait for the next call."""


class Slot(Section):
    """One Ollama server, pinned to one GPU."""

    gpu: NonNegativeInt | Name = Field(0, description="Index, name or UUID of the GPU; cpu: none.")
    url: Url | None = Field(None, description="Address of the server; not used when simulated or managed.")
    parallel: Count = Field(1, description="Calls in flight: the server's OLLAMA_NUM_PARALLEL.")
    models: list[ModelId] = Field(default_factory=list, description="Model ids this slot serves; empty: all.")
    loaded: Count | None = Field(
        None, description="Models in memory at once: the server's OLLAMA_MAX_LOADED_MODELS; left out: Ollama decides."
    )

    def serves(self, model: str) -> bool:
        """True if the slot takes calls of this model id."""
        return not self.models or model in self.models

    @property
    def most_in_flight(self) -> int:
        """Most calls that are sent to the slot at once: its places and `PREFETCH`."""
        return self.parallel + PREFETCH

    @property
    def name(self) -> str:
        """The slot's name in records and on screen, such as `gpu0`; `cpu` for a slot without a GPU."""
        return CPU if self.gpu == CPU else f"gpu{self.gpu}"


class Simulation(Section):
    """The behaviour of a simulated provider. Rates are shares of requests; everything random is seeded."""

    latency_s: float = Field(0.02, ge=0, description="Seconds before the first token.")
    tokens_per_s: PositiveFloat | dict[str, PositiveFloat] = Field(
        20_000.0,
        description="Speed of one reply once it has begun; also model name -> speed, 20000 for a model left out.",
    )
    load_s: Seconds | dict[str, Seconds] = Field(
        0.0,
        description="Seconds an Ollama slot needs to load another model; also model name -> seconds, 0 if left out.",
    )
    memory_gb: PositiveFloat | None = Field(
        None,
        description="Memory of each slot's GPU, billions of bytes; models that do not fit are unloaded; left out: any.",
    )
    shared: bool = Field(
        default=True,
        description="Models at work on one GPU slow each other: with n models at work, a call takes n times as long.",
    )
    error_rate: Share = Field(0.0, description="Share of requests answered with a 500 or 503.")
    drop_rate: Share = Field(0.0, description="Share of connections dropped before the reply.")
    garbage_rate: Share = Field(0.0, description="Share of replies that are not JSON.")
    empty_rate: Share = Field(0.0, description="Share of replies without content.")
    lost_rate: Share = Field(0.0, description="Share of connections dropped when the work is done.")
    hang_rate: Share = Field(0.0, description="Share of replies that begin and never end.")
    late_rate: Share = Field(0.0, description="Share of replies that are late by late_s.")
    late_s: float = Field(1.0, ge=0, description="Delay of a late reply, seconds.")
    not_done_rate: Share = Field(0.0, description="Share of an Ollama slot's replies that break off with done: false.")
    quirks: dict[str, Share] = Field(
        default_factory=dict,
        description="Quirk -> share of calls that a host answers so; docs/job-file.md lists the quirks.",
    )
    freezes: dict[str, list[Interval]] = Field(
        default_factory=dict,
        description="Slot name -> [[begin, end], ...]: seconds from its start between which a slot answers nothing.",
    )
    refuses: dict[str, list[Interval]] = Field(
        default_factory=dict,
        description="Slot name -> [[begin, end], ...]: seconds between which it answers 503 or drops connections.",
    )
    mean_output_tokens: Count = 160
    skill: dict[str, dict[str, Share]] = Field(
        default_factory=dict,
        description="Chance of a right answer: model name -> condition -> 0..1; left out: by model size.",
    )
    seed: Seed = 0


def _together(parts: list[Limits]) -> Limits:
    """Return the sums of the limits; a limit that one of the parts does not have, the sum does not have either."""
    requests = [part.requests_per_minute for part in parts]
    tokens = [part.tokens_per_minute for part in parts]
    return Limits(
        requests_per_minute=None if None in requests else sum(filter(None, requests)),
        tokens_per_minute=None if None in tokens else sum(filter(None, tokens)),
        concurrency=sum(part.concurrency for part in parts),
        adaptive=all(part.adaptive for part in parts),
    )


class _Provider(Section):
    """Keys that every provider has. The property `shape` of each provider is what bounds it: limits, or slots."""

    timeout_s: PositiveFloat = Field(600, description="Longest wait for one reply, seconds.")
    attempts: Count = Field(6, description="Times a call is sent before it counts as failed.")
    trace: bool = Field(
        default=False,
        description="Send each call's key in the header x-eli5b-call, for servers of your own that keep books.",
    )


class MemberModel(Section):
    """A host's own id and price of a model; a key that is left out is taken from the model."""

    model: ModelId | None = Field(None, description="This host's id of the model.")
    price: Charge | None = Field(None, description="This host's price of the model.")


class Member(Access):
    """One of several accounts or hosts for a provider's models; a key left out is taken from the provider."""

    name: Name
    base_url: Url | None = None
    limits: Limits | None = None
    weight: PositiveFloat = Field(1.0, description="Its share of the calls among members that have room.")
    models: dict[Name, MemberModel] = Field(
        default_factory=dict, description="The job's name of a model -> this host's id and price of it."
    )


class OpenAIProvider(Access, _Provider):
    """Any server that speaks the OpenAI chat completions protocol."""

    api: Literal["openai"]
    base_url: Url
    limits: Limits = Limits()
    members: list[Member] = Field(
        default_factory=list, description="Several accounts or hosts for the same models, used by the room they have."
    )

    @property
    def accounts(self) -> list[Member]:
        """Every account, each key that a member leaves out filled in; without members, one account named "".

        The provider's key and headers go to the provider's own address only: a member with another address names its
        own, or has none.
        """
        if not self.members:
            return [self._filled(Member(name="only")).model_copy(update={"name": ""})]
        return [self._filled(member) for member in self.members]

    def _filled(self, member: Member) -> Member:
        filled = {"base_url": member.base_url or self.base_url, "limits": member.limits or self.limits}
        return member.model_copy(update=filled | self.inherited_by(member, elsewhere=member.base_url is not None))

    @property
    def shape(self) -> tuple[Limits | None, list[Slot]]:
        """The limits of all accounts together, and no slots."""
        return _together([member.limits or self.limits for member in self.accounts]), []

    @model_validator(mode="after")
    def _once_each(self) -> OpenAIProvider:
        names = [member.name for member in self.members]
        if len(set(names)) < len(names):
            raise ValueError("two members have the same name")
        return self


class OllamaProvider(_Provider):
    """One or more Ollama servers, which somebody has started, or which the run starts itself (`manage`)."""

    api: Literal["ollama"]
    dialect: OllamaDialect | None = Field(
        None, description="Dialect of its servers, where their version does not tell it; see docs/dialects.md."
    )
    manage: bool = Field(default=False, description="Start the servers, watch over them, and stop them at the end.")
    slots: Annotated[list[Slot], Field(min_length=1)] | Literal["auto"] = Field(
        description="One per server; auto: one per GPU found, where the run starts the servers (`manage`)."
    )
    parallel: Count | None = Field(
        None, description="Calls in flight at each slot that `slots: auto` makes; left out: 4."
    )
    executable: str = Field(
        "ollama", min_length=1, description="Program of managed servers: a name in PATH, or a path."
    )
    models_dir: File | None = Field(
        None, description="Where managed servers keep their models (OLLAMA_MODELS); left out: as the environment says."
    )
    env: dict[Setting, SettingValue] = Field(
        default_factory=dict, description="Further environment variables of managed servers."
    )

    @property
    def shape(self) -> tuple[Limits | None, list[Slot]]:
        """No limits, and the slots; `auto` is one slot on the CPU until a run lists its GPUs (`servers/gpus.py`)."""
        return None, [Slot(gpu=CPU, parallel=self.parallel or 4)] if isinstance(self.slots, str) else self.slots


class SimulatedProvider(_Provider):
    """Loopback servers in place of an API (`limits`) or of GPU slots (`slots`)."""

    api: Literal["simulated"]
    limits: Limits | None = None
    slots: list[Slot] | None = Field(None, min_length=1)
    simulation: Simulation = Simulation()

    @property
    def shape(self) -> tuple[Limits | None, list[Slot]]:
        """The limits of the simulated API, or the simulated slots."""
        return self.limits, self.slots or []

    @model_validator(mode="after")
    def _one_kind(self) -> SimulatedProvider:
        if (self.limits is None) == (self.slots is None):
            raise ValueError("give either limits (an API is simulated) or slots (GPUs are simulated)")
        return self


Provider = Annotated[OpenAIProvider | OllamaProvider | SimulatedProvider, Field(discriminator="api")]


class Sampling(Section):
    """Decoding settings, the same in every arm. A setting that is left out is not sent."""

    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: Count | None = None
    max_tokens: Count = 1024
    num_ctx: Count | None = Field(None, description="Context window of an Ollama model, tokens.")
    stop: list[str] | None = None
    thinking: Thinking | None = Field(
        None,
        description="off, on, low, medium, high, max or {tokens: n}: how much a model thinks before its first word; "
        "left out: as the server does by itself.",
    )
    extra: Annotated[dict[str, Any] | None, AfterValidator(lambda extra: extra or None)] = Field(
        None, description="Further fields of a request, sent as they are, such as {min_p: 0.05}; part of the question."
    )

    @model_serializer(mode="wrap")
    def _plain(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave `thinking` and `extra` out where they are not used.

        A request has the same hash then as before the schema had these keys.
        """
        plain: dict[str, Any] = dump(self)
        later_keys = {"thinking": plain.pop("thinking", None), "extra": plain.pop("extra", None)}
        return plain | {name: value for name, value in later_keys.items() if value}

    @model_validator(mode="after")
    def _room_for_words(self) -> Self:
        if isinstance(self.thinking, dict) and self.thinking["tokens"] >= self.max_tokens:
            raise ValueError("thinking.tokens must be below max_tokens, which bounds thoughts and text together")
        return self


class Model(Section):
    """A named model of the job."""

    provider: str
    model: ModelId = Field(description="The provider's id of the model.")
    description: str = Field("", description="Words for the model in prompts; left out: from the id.")
    price: Charge | None = Field(
        None,
        description="Needed for `openai` providers; free: a server of your own; unknown: money is not counted.",
    )
    sampling: Sampling = Sampling()

    @property
    def about(self) -> str:
        """The words with which a prompt describes the model to a teacher, such as its size."""
        if self.description:
            return self.description
        size = re.search(r"(\d+(?:\.\d+)?)[bB]\b", self.model)
        return f"{self.model}, a language model of {size[1]} billion parameters" if size else self.model


class Judge(Section):
    """The model that grades where `grader` is `judge`."""

    model: str = Field(description="The judging model, one of `models`; give it temperature 0.")
    orders: Literal["both", "one"] = Field(
        "both",
        description="both: each answer is judged twice, before and after the reference; one: after the reference only.",
    )


class BudgetSettings(Section):
    """The most that the run may cost, USD."""

    usd: float = Field(gt=0)


class Job(Section):
    """A job: data, protocol, providers, models, grading and budget."""

    name: Name = Field(description="Name of the run folder under outputs/.")
    protocol: str = "eli5b"
    data: Data
    providers: dict[Name, Provider] = Field(min_length=1)
    models: dict[Name, Model] = Field(min_length=1)
    params: dict[str, Any] = Field(default_factory=dict, description="The protocol's own parameters.")
    prompts: File | dict[str, File] | None = Field(
        None, description="Own prompt texts: a folder, or prompt name -> file; all other prompts are the built-in ones."
    )
    grader: Literal["math", "number", "judge"] = Field(
        "math", description="math: formulas; number: the final number, as GSM8K asks; judge: a model, see `judge`."
    )
    judge: Judge | None = Field(None, description="The judge, where grader is judge.")
    budget: BudgetSettings | None = None
    seed: Seed = 0
    window: Count | Literal["auto"] = Field("auto", description="Problems in flight.")

    @property
    def rules(self) -> str:
        """The grader by rules: the job's own, or the one whose verdicts are recorded beside the judge's."""
        return "math" if self.grader == "judge" else self.grader

    @property
    def simulated(self) -> bool:
        """True if any provider of this job is simulated."""
        return any(isinstance(p, SimulatedProvider) for p in self.providers.values())

    def provider_of(self, model: str) -> OpenAIProvider | OllamaProvider | SimulatedProvider:
        """Return the provider of the job's model `model`."""
        return self.providers[self.models[model].provider]

    @property
    def places(self) -> int:
        """The most calls that can be in flight at once."""
        shapes = [provider.shape for provider in self.providers.values()]
        return sum(
            limits.concurrency if limits else sum(slot.most_in_flight for slot in slots) for limits, slots in shapes
        )

    def models_of(self, provider: str) -> dict[str, Model]:
        """Return the models that `provider` serves, by the job's names."""
        return {name: model for name, model in self.models.items() if model.provider == provider}
