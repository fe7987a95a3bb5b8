"""field_checks.py: wrong extra fields, omitted fields and headers are each explained in one sentence."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from eli5b_batch.errors import JobError
from eli5b_batch.job.field_checks import is_bounded
from eli5b_batch.job.load import parse_job

if TYPE_CHECKING:
    from eli5b_batch.job.schema import Job

PRICE = {"input": 1.0, "output": 2.0, "as_of": "2026-03-01"}


def tree(
    provider: dict[str, Any] | None = None, sampling: dict[str, Any] | None = None, **sections: object
) -> dict[str, Any]:
    api = {"api": "openai", "base_url": "http://127.0.0.1:9/v1", **(provider or {})}
    return {
        "name": "test",
        "data": {"reader": "quickstart"},
        "providers": {
            "api": api,
            "gpus": {"api": "ollama", "slots": [{"url": "http://127.0.0.1:9"}]},
        },
        "models": {
            "m": {"provider": "api", "model": "org/m", "price": PRICE, "sampling": sampling or {}},
            "s": {"provider": "gpus", "model": "llama3.2:1b"},
        },
        **sections,
    }


def job(*args: Any, **sections: Any) -> Job:  # noqa: ANN401 (values of a job)
    return parse_job(tree(*args, **sections), "j.yaml")


def refusal(*args: Any, **sections: Any) -> str:  # noqa: ANN401 (values of a job)
    with pytest.raises(JobError) as caught:
        job(*args, **sections)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- extras --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        ("temperature", "give it as sampling.temperature"),
        ("top_p", "give it as sampling.top_p"),
        ("top_k", "give it as sampling.top_k"),
        ("max_tokens", "give it as sampling.max_tokens"),
        ("num_ctx", "give it as sampling.num_ctx"),
        ("stop", "give it as sampling.stop"),
        ("model", "give it as the model's own `model`"),
        ("messages", "the prompts are sent as messages; change them by `prompts`"),
        ("seed", "every call has a seed that follows from the job's `seed`; change that"),
        ("stream", "replies are always read whole, so it is false"),
        ("n", "one reply is read of each call; ask for more by params.samples"),
        ("best_of", "one reply is read of each call; ask for more by params.samples"),
    ],
)
def test_a_field_that_the_run_fills_in_is_no_extra(field: str, problem: str) -> None:
    sentence = refusal(sampling={"extra": {"min_p": 0.1, field: 1}})
    assert sentence == f"j.yaml: models.m.sampling.extra.{field}: this field is no extra: {problem}"


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        ("seed", "every call has a seed"),
        ("num_predict", "give it as sampling.max_tokens"),
        ("options", "write what it holds into extra itself"),
        ("truncate", "it is always false, so that no prompt is cut in silence"),
        ("shift", "it is always false, so that no prompt is cut in silence"),
    ],
)
def test_a_field_that_the_run_fills_in_for_ollama_is_no_extra_there(field: str, problem: str) -> None:
    student = {"provider": "gpus", "model": "llama3.2:1b", "sampling": {"extra": {field: 1}}}
    sentence = refusal(models={"s": student})
    assert sentence.startswith(f"j.yaml: models.s.sampling.extra.{field}: this field is no extra: {problem}")


def test_a_field_that_one_protocol_reserves_is_an_extra_of_the_other() -> None:
    assert job(sampling={"extra": {"truncate": True, "options": {}}}).models["m"].sampling.extra
    student = {"provider": "gpus", "model": "llama3.2:1b", "sampling": {"extra": {"n": 2, "think": "low"}}}
    assert job(models={"s": student}).models["s"].sampling.extra == {"n": 2, "think": "low"}


@pytest.mark.parametrize(
    ("value", "place", "problem"),
    [
        (dt.date(2026, 3, 1), "x", "must be what JSON can hold, and this is 2026-03-01; put it in quotes"),
        ({"a": [1, b"z"]}, "x.a[1]", "must be what JSON can hold, and this is b'z'; put it in quotes"),
        ({"a": {"b"}}, "x.a", "must be what JSON can hold, and this is {'b'}; put it in quotes"),
        ([float("nan")], "x[0]", "must be a finite number of at most 64 bits, and this is nan"),
        (float("-inf"), "x", "must be a finite number of at most 64 bits, and this is -inf"),
        (2**64, "x", "must be a finite number of at most 64 bits, and this is 18446744073709551616"),
        (-(2**63) - 1, "x", "must be a finite number of at most 64 bits, and this is -9223372036854775809"),
        ({1: 2}, "x", "a key must be a text: put it in quotes"),
    ],
)
def test_what_no_request_can_hold_is_refused_with_its_place(value: object, place: str, problem: str) -> None:
    assert refusal(sampling={"extra": {"x": value}}) == f"j.yaml: models.m.sampling.extra.{place}: {problem}"


def test_an_extra_that_holds_itself_or_multiplies_is_refused() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    many: list[Any] = ["x"] * 10
    for _ in range(11):
        many = [many] * 10
    for value in (cycle, many):
        sentence = refusal(sampling={"extra": {"x": value}})
        assert sentence.endswith("it is nested more than 64 deep, or holds more than 10,000 values")


def test_any_json_is_an_extra() -> None:
    extra: dict[str, Any] = {"a": None, "b": [True, 1, 1.5e300, 2**64 - 1, -(2**63), "é", {}], "c": {"d": {"e": []}}}
    assert job(sampling={"extra": extra}).models["m"].sampling.extra == extra


def test_an_empty_extra_is_the_same_as_no_extra() -> None:
    assert job(sampling={"extra": {}}) == job()


# --- fields left off -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("omit", "problem"),
    [
        (["seed", "messages"], "omit[1]: no request can do without messages"),
        (["model"], "omit[0]: no request can do without model"),
        (["sed"], "omit[0]: no field 'sed' is sent; did you mean 'seed'?"),
        (["min_pp"], "omit[0]: no field 'min_pp' is sent; did you mean 'min_p'?"),
        (
            ["num_ctx"],
            (
                "omit[0]: no field 'num_ctx' is sent; "
                "fields that are sent: seed, stream, temperature, top_p, top_k, max_tokens, stop, min_p"
            ),
        ),
        (["seed", "top_k", "seed"], "omit[2]: seed stands twice"),
    ],
)
@pytest.mark.parametrize("place", ["", "members[0]."])
def test_only_fields_that_are_sent_can_be_left_off(omit: list[str], problem: str, place: str) -> None:
    provider = {"members": [{"name": "a", "omit": omit}]} if place else {"omit": omit}
    sentence = refusal(provider, {"extra": {"min_p": 0.1}})
    assert sentence == f"j.yaml: providers.api.{place}{problem}"


def test_every_field_but_the_question_itself_can_be_left_off() -> None:
    fields = ["seed", "stream", "temperature", "top_p", "top_k", "max_tokens", "stop", "min_p"]
    assert job({"omit": fields}, {"extra": {"min_p": 0.1}}).providers["api"].omit == fields  # type: ignore[union-attr]


# --- what bounds a reply -------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["max_completion_tokens", "max_output_tokens", "max_new_tokens"])
@pytest.mark.parametrize("value", [0, -1, 65, 1.5, True, "64", None])
def test_another_name_of_max_tokens_is_never_above_it(field: str, value: object) -> None:
    sentence = refusal({"omit": ["max_tokens"]}, {"max_tokens": 64, "extra": {field: value}})
    assert sentence.startswith(
        f"j.yaml: models.m.sampling.extra.{field}: must be a whole number from 1 to sampling.max_tokens (64), "
    )
    bounded = job({"omit": ["max_tokens"]}, {"max_tokens": 64, "extra": {field: 64}})
    assert is_bounded(bounded, "m")


@pytest.mark.parametrize(
    "provider",
    [{"omit": ["max_tokens"]}, {"members": [{"name": "a"}, {"name": "b", "omit": ["max_tokens"]}]}],
)
def test_no_budget_can_be_kept_where_nothing_bounds_a_reply(provider: dict[str, Any]) -> None:
    assert refusal(provider, {"max_tokens": 64}, budget={"usd": 1.0}) == (
        "j.yaml: providers.api.omit: without max_tokens nothing bounds the replies of m, and no budget can be kept; "
        "add its other name to sampling.extra, such as {max_completion_tokens: 64}, or drop budget"
    )
    bounded = {"max_tokens": 64, "extra": {"max_completion_tokens": 64}}
    assert is_bounded(job(provider, bounded, budget={"usd": 1.0}), "m")
    assert not is_bounded(job(provider), "m")
    assert is_bounded(job(provider), "s")


# --- headers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header", ["Content-Type", "host", "CONTENT-LENGTH", "Transfer-Encoding", "Accept-Encoding", "x-eli5b-call"]
)
@pytest.mark.parametrize("place", ["", "members[0]."])
def test_a_header_that_the_run_sets_is_refused(header: str, place: str) -> None:
    headers = {"headers_env": {header: "VALUE"}}
    sentence = refusal({"members": [{"name": "a", **headers}]} if place else headers)
    assert (
        sentence == f"j.yaml: providers.api.{place}headers_env.{header}: the run sets this header itself; leave it out"
    )


def test_a_header_is_given_once_whatever_its_case() -> None:
    sentence = refusal({"headers_env": {"X-Team": "TEAM", "x-team": "TEAM"}})
    assert sentence == "j.yaml: providers.api.headers_env.x-team: X-Team is the same header; give it once"


@pytest.mark.parametrize("source", ["api_key_env", "api_key_command"])
def test_the_key_and_the_header_that_it_goes_into_are_not_both_given(source: str) -> None:
    key = {"api_key_env": "A_KEY"} if source == "api_key_env" else {"api_key_command": ["print-key"]}
    headers = {"headers_env": {"authorization": "AUTHORIZATION"}}
    assert refusal(key | headers) == (
        f"j.yaml: providers.api.headers_env.authorization: {source} gives this header; leave one of them out"
    )
    assert refusal(headers | {"members": [{"name": "a", **key}]}) == (
        f"j.yaml: providers.api.headers_env.authorization: {source} gives this header (member a); leave one of them out"
    )


def test_without_a_key_the_header_may_be_given() -> None:
    headers = {"headers_env": {"Authorization": "AUTHORIZATION"}}
    member = {"name": "a", "base_url": "http://other/v1", **headers}
    for provider in (headers, {"api_key_env": "A_KEY", "members": [member]}):
        (account,) = job(provider).providers["api"].accounts  # type: ignore[union-attr]
        assert account.headers_env == headers["headers_env"]
