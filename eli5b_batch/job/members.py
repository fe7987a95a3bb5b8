"""What the accounts of a provider call its models and take for them: looked up, checked, and said.

Must not know: how calls are sent, files. Everything wrong here is a `JobError`.
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
    """The accounts that may serve the job's model `name`; none where it runs on slots or is simulated."""
    provider = job.provider_of(name)
    return provider.accounts if isinstance(provider, OpenAIProvider) else []


def id_at(job: Job, name: str, account: Member) -> str:
    """What an account calls the job's model `name`."""
    own = account.models.get(name)
    return (own and own.model) or job.models[name].model


def charge_at(job: Job, name: str, account: Member) -> Charge | None:
    """What an account takes for the job's model `name`; None is free."""
    own = account.models.get(name)
    return job.models[name].price if own is None or own.price is None else own.price


def charges_of(job: Job, name: str) -> dict[str, Charge | None]:
    """What the job's model `name` costs by account; "" is the only one, or every slot."""
    accounts = {account.name: charge_at(job, name, account) for account in accounts_of(job, name)}
    return accounts or {"": job.models[name].price}


def ids_at(job: Job, provider: str, account: Member) -> dict[str, str]:
    """What an account calls models of its provider that it calls otherwise: the model's own id -> its id there."""
    ids = {model.model: id_at(job, name, account) for name, model in job.models_of(provider).items()}
    return {own: there for own, there in ids.items() if own != there}


def is_free(job: Job, name: str) -> bool:
    """Whether the calls of the job's model `name` cost nothing, whoever serves them; what is unknown is not free."""
    return all(charge in (None, "free") for charge in charges_of(job, name).values())


def differences(job: Job, name: str) -> Iterator[str]:
    """For each member that serves the job's model `name` otherwise than the model says: how, a sentence each."""
    model = job.models[name]
    for account in accounts_of(job, name):
        there, charge = id_at(job, name, account), charge_at(job, name, account)
        told = [f"as {there}"] if there != model.model else []
        if charge != model.price:
            told.append(f"for {_said(charge)}")
        if told:
            yield f"models.{name}: member {account.name} serves it {', '.join(told)}"


def _said(charge: Charge | None) -> str:
    if isinstance(charge, Price):
        cached = "" if charge.cached_input is None else f", cached input {charge.cached_input:g}"
        return f"{charge.input:g} in, {charge.output:g} out{cached} (USD per million tokens, {charge.as_of})"
    return "an unknown price" if charge == "unknown" else "nothing"


def check_members(job: Job, where: str) -> None:
    """Check what members say of single models.

    Raises:
        JobError: with the place, what is wrong, and what would be right.
    """
    for provider, settings in job.providers.items():
        members = settings.members if isinstance(settings, OpenAIProvider) else []
        for i, member in enumerate(members):
            place = f"{where}: providers.{provider}.members[{i}].models"
            for name, own in member.models.items():
                _check_name(job, provider, name, place)
                if own.model is None and own.price is None:
                    raise JobError(f"{place}.{name}: it says nothing: give model or price, or leave {name} out")
                if job.budget and own.price == "unknown":
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
    known = nearest(name, served, "this provider's models") if served else "this provider serves no model"
    raise JobError(f"{place}: no model {name!r}; {known}")


def _check_ids(job: Job, provider: str, member: Member, place: str) -> None:
    """One id on record is one id at a host: what a record says was asked, anybody can ask again."""
    known: dict[str, tuple[str, str]] = {}
    for name, model in job.models_of(provider).items():
        there = id_at(job, name, member)
        other, its = known.setdefault(model.model, (name, there))
        if there != its:
            raise JobError(
                f"{place}: {name} and {other} are one model ({model.model}), and here {name} is {there} and {other} "
                f"is {its}; give both one id"
            )
