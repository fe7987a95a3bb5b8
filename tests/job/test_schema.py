"""schema.py: the schema of a job, and the properties of its sections."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped]
import orjson
import pytest
import yaml
from pydantic import ValidationError

from eli5b_batch.job.prices import Price
from eli5b_batch.job.schema import (
    PREFETCH,
    Data,
    Job,
    Limits,
    Member,
    Model,
    OllamaProvider,
    OpenAIProvider,
    Sampling,
    SimulatedProvider,
    Simulation,
    Slot,
)

if TYPE_CHECKING:
    from eli5b_batch.job.values import Section

JOBS = Path(__file__).parent.parent.parent / "jobs"
JOB_FILES = sorted(JOBS.glob("*.yaml"))
TREE: dict[str, Any] = {
    "name": "small",
    "data": {"reader": "quickstart"},
    "providers": {"api": {"api": "simulated", "limits": {}}, "gpus": {"api": "simulated", "slots": [{}]}},
    "models": {"big": {"provider": "api", "model": "big-70b"}, "1b": {"provider": "gpus", "model": "llama3.2:1b"}},
}


def test_a_job_needs_four_sections_and_the_rest_has_defaults() -> None:
    job = Job.model_validate(TREE)
    assert (job.protocol, job.grader, job.seed, job.window, job.budget, job.prompts) == (
        "eli5b",
        "math",
        0,
        "auto",
        None,
        None,
    )
    assert (job.params, job.data.where, job.data.limit) == ({}, {}, None)
    assert job.providers["api"].attempts == 6
    assert job.models["1b"].sampling == Sampling(max_tokens=1024)


def test_a_job_knows_its_models_by_provider_and_the_other_way_round() -> None:
    job = Job.model_validate(TREE)
    assert job.provider_of("1b") is job.providers["gpus"]
    assert list(job.models_of("api")) == ["big"]
    assert job.simulated


def test_a_value_never_changes() -> None:
    job = Job.model_validate(TREE)
    with pytest.raises(ValidationError):
        job.seed = 3  # type: ignore[misc]


def test_what_bounds_a_provider_is_limits_or_slots() -> None:
    limits, slot = Limits(concurrency=3), Slot(gpu=1, url="http://127.0.0.1:1")
    assert OpenAIProvider(api="openai", base_url="http://h/v1", limits=limits).shape == (limits, [])
    assert OllamaProvider(api="ollama", slots=[slot]).shape == (None, [slot])
    assert SimulatedProvider(api="simulated", limits=limits).shape == (limits, [])
    assert SimulatedProvider(api="simulated", slots=[slot]).shape == (None, [slot])
    for both_or_none in ({}, {"limits": limits, "slots": [slot]}):
        with pytest.raises(ValidationError, match="either limits"):
            SimulatedProvider.model_validate({"api": "simulated", **both_or_none})


def test_members_inherit_from_the_provider_what_they_leave_out() -> None:
    shared, own = Limits(concurrency=3, requests_per_minute=60), Limits(concurrency=5, requests_per_minute=30)
    members = [Member(name="a"), Member(name="b", base_url="http://b/v1", api_key_env="B_KEY", limits=own, weight=2)]
    provider = OpenAIProvider(api="openai", base_url="http://h/v1", api_key_env="A_KEY", limits=shared, members=members)
    assert [(m.name, m.base_url, m.api_key_env, m.limits, m.weight) for m in provider.accounts] == [
        ("a", "http://h/v1", "A_KEY", shared, 1.0),
        ("b", "http://b/v1", "B_KEY", own, 2.0),
    ]
    assert provider.shape == (Limits(concurrency=8, requests_per_minute=90), [])


def test_the_providers_key_is_not_for_a_member_at_another_address() -> None:
    members = [Member(name="here"), Member(name="elsewhere", base_url="http://other/v1")]
    provider = OpenAIProvider(api="openai", base_url="http://h/v1", api_key_env="A_KEY", members=members)
    assert [m.api_key_env for m in provider.accounts] == ["A_KEY", None]


def test_without_members_the_provider_is_its_only_account_and_has_no_name() -> None:
    provider = OpenAIProvider(api="openai", base_url="http://h/v1", limits=Limits(concurrency=3))
    (only,) = provider.accounts
    assert (only.name, only.base_url, only.api_key_env, only.limits) == ("", "http://h/v1", None, provider.limits)


def test_a_limit_that_one_member_does_not_have_they_do_not_have_together() -> None:
    members = [
        Member(name="a", limits=Limits(requests_per_minute=60, tokens_per_minute=1000)),
        Member(name="b", limits=Limits(requests_per_minute=60, adaptive=False)),
    ]
    limits, _ = OpenAIProvider(api="openai", base_url="http://h/v1", members=members).shape
    assert limits == Limits(requests_per_minute=120, tokens_per_minute=None, concurrency=32, adaptive=False)


@pytest.mark.parametrize(
    ("members", "match"),
    [([{"name": "a"}, {"name": "a"}], "same name"), ([{"name": ""}], "name"), ([{"name": "a", "weight": 0}], "weight")],
)
def test_members_have_names_of_their_own_and_weigh_something(members: list[dict[str, Any]], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        OpenAIProvider.model_validate({"api": "openai", "base_url": "http://h/v1", "members": members})


def test_as_many_calls_are_in_flight_as_all_providers_have_places() -> None:
    two = [{"name": "a", "limits": {"concurrency": 5}}, {"name": "b"}]
    api = {"api": "openai", "base_url": "http://h/v1", "limits": {"concurrency": 3}, "members": two}
    gpus = {"api": "simulated", "slots": [{"gpu": 0, "parallel": 4}, {"gpu": 1}]}
    assert Job.model_validate(TREE | {"providers": {"api": api, "gpus": gpus}}).places == 5 + 3 + 4 + 1 + 2 * PREFETCH


def test_a_slot_is_called_by_its_gpu() -> None:
    assert Slot(gpu=3).name == "gpu3"
    assert Slot(gpu="left").name == "gpuleft"


def test_sampling_without_extras_is_written_as_before_there_were_any() -> None:
    """The fingerprint of a run's finished problems depends on the written form of `sampling`."""
    before = {"temperature": None, "top_p": None, "top_k": None, "max_tokens": 9, "num_ctx": None, "stop": None}
    assert Sampling(max_tokens=9).model_dump() == before
    assert Sampling(max_tokens=9, extra={}).model_dump() == before
    extra = {"a": None, "b": {"c": None}}
    assert Sampling(max_tokens=9, extra=extra).model_dump(exclude_none=True) == {"max_tokens": 9, "extra": extra}


@pytest.mark.parametrize(
    ("model", "description", "about"),
    [
        ("llama3.2:1b", "", "llama3.2:1b, a language model of 1 billion parameters"),
        ("qwen2.5:0.5b", "", "qwen2.5:0.5b, a language model of 0.5 billion parameters"),
        ("meta-llama/Llama-3.2-3B-Instruct", "", "meta-llama/Llama-3.2-3B-Instruct, a language model of 3 billion"),
        ("gpt-nano", "", "gpt-nano"),
        ("llama3.2:1b", "a pupil", "a pupil"),
    ],
)
def test_a_prompt_calls_a_model_by_its_description_or_its_size(model: str, description: str, about: str) -> None:
    assert Model(provider="p", model=model, description=description).about.startswith(about)


@pytest.mark.parametrize(
    ("section", "values"),
    [
        (Data, {"reader": "jsonl", "seed": True}),
        (Data, {"reader": "jsonl", "limit": "3"}),
        (Data, {"reader": "jsonl", "limit": 2**31}),
        (Data, {"reader": "jsonl", "seed": 2**63}),
        (Data, {"reader": "jsonl", "path": "a\0b"}),
        (Data, {"reader": "jsonl", "path": "x" * 256}),
        (Limits, {"requests_per_minute": float("inf")}),
        (Limits, {"tokens_per_minute": float("nan")}),
        (Limits, {"concurrency": 0}),
        (Limits, {"adaptive": 1}),
        (Slot, {"gpu": -1}),
        (Slot, {"gpu": True}),
        (Slot, {"url": "127.0.0.1:11434"}),
        (Slot, {"url": "http://me:secret@host"}),
        (Slot, {"url": "http://host/?key=secret"}),
        (Slot, {"url": "http://"}),
        (Slot, {"models": [""]}),
        (Simulation, {"error_rate": 1.1}),
        (Simulation, {"skill": {"1b": {"none": 2}}}),
        (Price, {"input": -1, "output": 1, "as_of": dt.date(2026, 3, 1)}),
        (Price, {"input": 1, "output": 1, "as_of": "in March"}),
        (Price, {"input": 1, "output": 1, "as_of": 20260301}),
        (Sampling, {"top_p": 0}),
        (Sampling, {"temperature": "0.7"}),
        (Model, {"provider": "p", "model": "a b"}),
        (Model, {"provider": "p", "model": "m", "price": "cheap"}),
    ],
)
def test_values_outside_their_range_or_of_another_type_are_refused(
    section: type[Section], values: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError):
        section.model_validate(values)


@pytest.mark.parametrize(
    ("section", "values"),
    [
        (Slot, {"url": "http://[::1]:11434"}),
        (Slot, {"url": "https://gpu-1.example.org:8443/ollama/"}),
        (Price, {"input": 0, "output": 1, "as_of": "2026-03-01"}),
        (Data, {"reader": "jsonl", "path": "data/file.jsonl"}),
        (Sampling, {"temperature": 0, "top_p": 1, "stop": ["\n\n"]}),
    ],
)
def test_values_at_the_edge_are_taken(section: type[Section], values: dict[str, Any]) -> None:
    section.model_validate(values)


@pytest.mark.parametrize("path", JOB_FILES, ids=lambda path: path.stem)
def test_the_json_schema_takes_the_jobs_we_ship(path: Path) -> None:
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    plain = orjson.loads(orjson.dumps(tree))  # JSON has no dates
    jsonschema.Draft202012Validator(
        Job.model_json_schema(), format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    ).validate(plain)


def test_the_json_schema_refuses_what_the_job_file_may_not_hold() -> None:
    validator = jsonschema.Draft202012Validator(Job.model_json_schema())
    assert validator.is_valid(TREE)
    wrongs: list[dict[str, Any]] = [{"nmae": "x"}, {"seed": "3"}, {"providers": {}}, {"name": "a/b"}, {"window": 0}]
    for wrong in wrongs:
        assert not validator.is_valid(TREE | wrong)
