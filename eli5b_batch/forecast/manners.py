"""How a job's models are spoken to, in sentences for `check`: the dialect, what is sent for thinking, what is not sent.

Must not know: how anything is sent; any dialect by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from eli5b_batch.backends.dialects import Manner
    from eli5b_batch.job.schema import Sampling

_OPTIONAL: Final = ("seed", "top_k")
"""Fields that some hosts have under another name, or not at all."""


def of_provider(name: str, manners: Mapping[str, Manner]) -> Iterator[str]:
    """Which dialect each account speaks, by its name ("" for the only one)."""
    for account, manner in manners.items():
        where = f"providers.{name}{f' (member {account})' if account else ''}"
        unverified = ", ".join(manner.dialect.unverified)
        doubt = f"; not verified of it: {unverified}" if unverified else ""
        yield f"{where}: spoken to as {manner.dialect.title} ({manner.chosen}){doubt}"


def of_model(name: str, model: str, sampling: Sampling, manners: Mapping[str, Manner]) -> Iterator[str]:
    """What is sent for `sampling.thinking`, or what the model does without it; and which settings are not sent."""
    accounts_by_sentence: dict[str, list[str]] = {}
    for account, manner in manners.items():
        sentences = [_thinking(sampling.thinking, manner)]
        names = manner.dialect.field_names(model)
        for field in _OPTIONAL:
            given = field == "seed" or getattr(sampling, field) is not None
            if given and field in names and names[field] is None:
                sentences.append(f"{field} is not sent, as {manner.dialect.title} has no such field")
        for sentence in sentences:
            accounts_by_sentence.setdefault(sentence, []).append(account)
    for sentence, accounts in accounts_by_sentence.items():
        where = f" (member {', '.join(accounts)})" if len(accounts) < len(manners) else ""
        yield f"models.{name}{where}: {sentence}"


def _thinking(asked: object, manner: Manner) -> str:
    if asked is None:
        default = (
            f"by default the model {manner.by_default}" if manner.by_default else "the model's default is not known"
        )
        return f"thinking is left out, and {default}"
    if not manner.thinking:
        return f"thinking {_fields(asked)} needs no field: by default the model {manner.by_default}"
    unsure = (
        "" if manner.by_default else "; whether this model obeys is not known: the report counts replies with thoughts"
    )
    return f"thinking {_fields(asked)} is sent as {_fields(manner.thinking)}{unsure}"


def _fields(value: Any) -> str:  # noqa: ANN401 (any JSON)
    if isinstance(value, str):
        return value
    return orjson.dumps(value).decode().replace('"', "").replace(":", ": ").replace(",", ", ") if value else ""
