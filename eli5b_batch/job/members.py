"""The accounts of a provider: each one's ids and prices of the provider's models, looked up and checked.

Must not know: how calls are sent, files. Every mistake raises a `JobError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eli5b_batch.errors import JobError
from eli5b_batch.job.explain import nearest
from eli5b_batch.job.prices import Price
from eli5b_batch.job.schema import OpenAIProvider

if TYPE_CHECKING:
    from collections.abc import Iterator

    from eli5b_batch.job.prices import Charge
    from eli5b_batch.job.schema import Job, Member


def accounts_of(job: Job, name: str) -> list[Member]:
    """Return the accounts that may serve the job's model `name`; none where it runs on slots or is simulated."""
    provider = job.provider_of(name)
    return provider.accounts if isinstance(provider, OpenAIProvider) else []


def id_at(job: Job, name: str, account: Member) -> str:
    """Return an account's id of the job's model `name`."""
    settings = account.models.get(name)
    return (settings and settings.model) or job.models[name].model


def charge_at(job: Job, name: str, account: Member) -> Charge | None:
    """Return an account's charge for the job's model `name`; None is free."""
    settings = account.models.get(name)
    return job.models[name].price if settings is None or settings.price is None else settings.price


def charges_of(job: Job, name: str) -> dict[str, Charge | None]:
    """Return the charges for the job's model `name`, by account; "" is an only account, or all slots."""
    accounts = {account.name: charge_at(job, name, account) for account in accounts_of(job, name)}
    return accounts or {"": job.models[name].price}


def ids_at(job: Job, provider: str, account: Member) -> dict[str, str]:
    """Return the models of a provider that an account has under another id: the model's own id -> the account's."""
    ids = {model.model: id_at(job, name, account) for name, model in job.models_of(provider).items()}
    return {own_id: account_id for own_id, account_id in ids.items() if own_id != account_id}


def is_free(job: Job, name: str) -> bool:
    """True if calls of the job's model `name` cost nothing at every account; an unknown price is not free."""
    return all(charge in (None, "free") for charge in charges_of(job, name).values())


def differences(job: Job, name: str) -> Iterator[str]:
    """Yield a sentence for each member whose id or price of the job's model `name` differs from the model's."""
    model = job.models[name]
    for account in accounts_of(job, name):
        account_id, charge = id_at(job, name, account), charge_at(job, name, account)
        parts = [f"as {account_id}"] if account_id != model.model else []
        if charge != model.price:
            parts.append(f"for {_in_words(charge)}")
        if parts:
            yield f"models.{name}: member {account.name} serves it {', '.join(parts)}"


def _in_words(charge: Charge | None) -> str:
    if isinstance(charge, Price):
        cached = "" if charge.cached_input is None else f", cached input {charge.cached_input:g}"
        return f"{charge.input:g} in, {charge.output:g} out{cached} (USD per million tokens, {charge.as_of})"
    return "an unknown price" if charge == "unknown" else "nothing"


def check_members(job: Job, where: str) -> None:
    """Check the settings of members for single models.

    Raises:
        JobError: a setting is wrong; the message says where, what, and what would be right.
    """
    for provider, section in job.providers.items():
        members = section.members if isinstance(section, OpenAIProvider) else []
        for i, member in enumerate(members):
            place = f"{where}: providers.{provider}.members[{i}].models"
            for name, settings in member.models.items():
                _check_name(job, provider, name, place)
                if settings.model is None and settings.price is None:
                    raise JobError(f"{place}.{name}: it has neither model nor price: give one, or leave {name} out")
                if job.budget and settings.price == "unknown":
                    raise JobError(
                        f"{place}.{name}.price: no budget can be kept with an unknown price; give it, or drop budget"
                    )
            _check_ids(job, provider, member, place)


def _check_name(job: Job, provider: str, name: str, place: str) -> None:
    served = list(job.models_of(provider))
    if name in served:
        return
    if name in job.models:
        raise JobError(
            f"{place}.{name}: this model is served by {job.models[name].provider}, not by {provider}; leave it out"
        )
    hint = nearest(name, served, "this provider's models") if served else "this provider serves no model"
    raise JobError(f"{place}: no model {name!r}; {hint}")


def _check_ids(job: Job, provider: str, member: Member, place: str) -> None:
    """Check that models of the job with the same id have the same id at a member.

    A record holds the model's own id: only so does it say which model of the host was asked.
    """
    earlier: dict[str, tuple[str, str]] = {}
    for name, model in job.models_of(provider).items():
        member_id = id_at(job, name, member)
        other, other_id = earlier.setdefault(model.model, (name, member_id))
        if member_id != other_id:
            raise JobError(
                f"{place}: {name} and {other} are one model ({model.model}), and here {name} is {member_id} and "
                f"{other} is {other_id}; give both one id"
            )
