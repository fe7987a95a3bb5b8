"""access.py: the settings that a provider has for all its accounts, and those that a member inherits."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from eli5b_batch.job.schema import Member, OpenAIProvider

ALL: dict[str, Any] = {
    "api_key_command": ["print-key"],
    "headers_env": {"X-Team": "TEAM"},
    "omit": ["seed"],
}


def accounts(*members: dict[str, Any], **provider: Any) -> list[Member]:  # noqa: ANN401 (values of a job)
    return OpenAIProvider.model_validate(
        {"api": "openai", "base_url": "http://h/v1", "members": list(members), **provider}
    ).accounts


def access(member: Member) -> tuple[object, object, object, object]:
    return member.api_key_env, member.api_key_command, member.headers_env, member.omit


def test_the_only_account_has_all_that_the_provider_says() -> None:
    (only,) = accounts(**ALL)
    assert access(only) == (None, ["print-key"], {"X-Team": "TEAM"}, ["seed"])


def test_a_member_at_the_providers_address_inherits_what_it_leaves_out() -> None:
    own = {"name": "own", "headers_env": {"X-Other": "OTHER"}, "omit": []}
    first, second = accounts({"name": "bare"}, own, **ALL)
    assert access(first) == (None, ["print-key"], {"X-Team": "TEAM"}, ["seed"])
    assert access(second) == (None, ["print-key"], {"X-Other": "OTHER"}, [])


@pytest.mark.parametrize("own", [{"api_key_env": "OWN"}, {"api_key_command": ["other"]}])
def test_a_member_with_a_key_of_its_own_has_only_that_one(own: dict[str, Any]) -> None:
    first, second = accounts(
        {"name": "a", **own}, {"name": "b", **own}, api_key_env="SHARED", headers_env={"X-Team": "TEAM"}
    )
    for member in (first, second):
        assert access(member)[:2] == (own.get("api_key_env"), own.get("api_key_command"))
        assert member.headers_env == {"X-Team": "TEAM"}


def test_a_member_at_another_address_inherits_omitted_fields_and_no_key_or_header() -> None:
    (member,) = accounts({"name": "a", "base_url": "http://other/v1"}, **ALL)
    assert access(member) == (None, None, None, ["seed"])


@pytest.mark.parametrize("place", ["provider", "member"])
def test_two_forms_of_a_key_at_once_are_refused(place: str) -> None:
    both = {"api_key_env": "A_KEY", "api_key_command": ["print-key"]}
    with pytest.raises(ValidationError, match="api_key_env or api_key_command, not both"):
        accounts(*[{"name": "a", **both}] if place == "member" else [], **both if place == "provider" else {})
