"""members.py: each host's id and price of a model; mistakes are each explained in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from eli5b_batch.errors import JobError
from eli5b_batch.forecast.recorded import estimate
from eli5b_batch.job.load import dump_job, load_job, parse_job
from eli5b_batch.job.members import accounts_of, charges_of, differences, ids_at, is_free
from eli5b_batch.run.plan import Plan

if TYPE_CHECKING:
    from eli5b_batch.job.schema import Job

JOBS = Path(__file__).parent.parent.parent / "jobs"
OWN = {"input": 1.0, "output": 2.0, "as_of": "2026-07-01"}
DEAR = {"input": 3.0, "output": 1.0, "as_of": "2026-07-01"}


def tree(*mapped: dict[str, Any], **sections: object) -> dict[str, Any]:
    """Return a job with one member for each of `mapped`, named m0, m1, ..."""
    members = [
        {"name": f"m{i}", "base_url": f"http://127.0.0.1:{i + 1}/v1", "models": models}
        for i, models in enumerate(mapped)
    ]
    return {
        "name": "test",
        "data": {"reader": "quickstart"},
        "providers": {
            "hosts": {"api": "openai", "base_url": "http://127.0.0.1:9/v1", "members": members},
            "gpus": {"api": "ollama", "slots": [{"url": "http://127.0.0.1:9"}]},
        },
        "models": {
            "maverick": {"provider": "hosts", "model": "meta/Maverick", "price": OWN},
            "judge": {"provider": "hosts", "model": "meta/Judge", "price": OWN},
            "1b": {"provider": "gpus", "model": "llama3.2:1b"},
        },
        **sections,
    }


def job(*mapped: dict[str, Any], **sections: object) -> Job:
    return parse_job(tree(*mapped, **sections), "j.yaml")


def refusal(*mapped: dict[str, Any], **sections: object) -> str:
    with pytest.raises(JobError) as caught:
        job(*mapped, **sections)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_a_member_leaves_out_is_the_models_own() -> None:
    chosen = job({}, {"maverick": {"model": "maverick-fp8"}}, {"maverick": {"price": DEAR}})
    members = accounts_of(chosen, "maverick")
    assert [ids_at(chosen, "hosts", m) for m in members] == [{}, {"meta/Maverick": "maverick-fp8"}, {}]
    own = chosen.models["maverick"].price
    charges = charges_of(chosen, "maverick")
    assert (charges["m0"], charges["m1"]) == (own, own)
    assert charges["m2"] == own.model_copy(update={"input": 3.0, "output": 1.0})  # type: ignore[union-attr]
    assert charges_of(chosen, "judge") == dict.fromkeys(("m0", "m1", "m2"), own)


def test_without_members_and_on_slots_there_is_one_charge_that_holds_everywhere() -> None:
    chosen = job()
    assert charges_of(chosen, "maverick") == {"": chosen.models["maverick"].price}
    assert charges_of(chosen, "1b") == {"": None}


def test_a_model_is_free_if_it_is_free_at_every_member_and_an_unknown_price_is_not_free() -> None:
    free, paid, unknown = ({"maverick": {"price": price}} for price in ("free", OWN, "unknown"))
    assert is_free(job(free, free), "maverick")
    assert not is_free(job(free, paid), "maverick")
    assert not is_free(job(free, unknown), "maverick")
    assert not is_free(job(), "maverick")
    assert is_free(job(), "1b")


def test_a_job_is_loaded_from_its_dump_unchanged(tmp_path: Path) -> None:
    chosen = job({"maverick": {"model": "maverick-fp8", "price": DEAR}}, {"judge": {"price": "free"}})
    path = tmp_path / "job.yaml"
    path.write_text(dump_job(chosen))
    assert load_job(path) == chosen


def test_a_yaml_anchor_gives_two_models_the_same_id_at_a_host(tmp_path: Path) -> None:
    whole = tree({})
    del whole["providers"]["hosts"]["members"][0]["models"]
    text = yaml.safe_dump(whole, default_flow_style=True, width=10_000)
    path = tmp_path / "job.yaml"
    path.write_text(text.replace("name: m0}", "name: m0, models: {maverick: &here {model: x}, judge: *here}}"))
    assert load_job(path) == job({"maverick": {"model": "x"}, "judge": {"model": "x"}})


@pytest.mark.parametrize("name", ["gsm8k", "omni_cross", "omni_full", "omni_judged", "omni_managed"])
def test_a_shipped_job_asks_what_it_asked_when_one_host_served_it_alone(name: str) -> None:
    """The hash of a request has to stay the same for a run that began with an older version of the file."""
    chosen = load_job(JOBS / f"{name}.yaml")
    teacher = chosen.models["maverick"]
    assert teacher.model == "meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8"
    assert teacher.sampling.model_dump(exclude_none=True) == {"temperature": 0.7, "max_tokens": 1024}
    assert chosen.seed == 0
    ids = [ids_at(chosen, "hosts", member).get(teacher.model) for member in accounts_of(chosen, "maverick")]
    assert ids == [None, "meta-llama/llama-4-maverick-17b-128e-instruct-fp8", "meta-llama/llama-4-maverick"]


# --- mistakes ------------------------------------------------------------------------------------


def test_a_mistyped_model_is_told_with_the_one_that_was_meant() -> None:
    assert refusal({}, {"mavrick": {"model": "x"}}) == (
        "j.yaml: providers.hosts.members[1].models: no model 'mavrick'; did you mean 'maverick'?"
    )
    assert refusal({"zzz": {"model": "x"}}).endswith("no model 'zzz'; this provider's models: maverick, judge")


def test_a_model_of_another_provider_is_refused() -> None:
    assert refusal({"1b": {"model": "x"}}) == (
        "j.yaml: providers.hosts.members[0].models.1b: this model is served by gpus, not by hosts; leave it out"
    )


def test_a_provider_without_models_has_none_to_map() -> None:
    whole = tree({"x": {"model": "x"}})
    whole["models"] = {"1b": whole["models"]["1b"]}
    with pytest.raises(JobError, match=r"no model 'x'; this provider serves no model$"):
        parse_job(whole, "j.yaml")


def test_an_entry_that_says_nothing_is_refused() -> None:
    assert refusal({"maverick": {}}) == (
        "j.yaml: providers.hosts.members[0].models.maverick: it has neither model nor price: give one, "
        "or leave maverick out"
    )


def test_unknown_keys_and_wrong_kinds_are_told_with_their_place() -> None:
    assert refusal({"maverick": {"modle": "x"}}) == (
        "j.yaml: providers.hosts.members[0].models.maverick.modle: unknown key 'modle'; did you mean 'model'?"
    )
    assert refusal({"maverick": {"price": "cheap"}}).startswith(
        "j.yaml: providers.hosts.members[0].models.maverick.price: must be "
    )


def test_two_names_of_one_model_have_one_id_at_each_host() -> None:
    models = tree()["models"]
    models["judge"] = {**models["judge"], "model": "meta/Maverick"}
    sentence = refusal(
        {"maverick": {"model": "x"}, "judge": {"model": "x"}}, {"maverick": {"model": "y"}}, models=models
    )
    assert sentence == (
        "j.yaml: providers.hosts.members[1].models: judge and maverick are one model (meta/Maverick), and here "
        "judge is meta/Maverick and maverick is y; give both one id"
    )


def test_no_budget_is_kept_with_a_price_that_is_unknown_at_one_member() -> None:
    unknown = {"maverick": {"price": "unknown"}}
    assert job({}, unknown).models
    assert refusal({}, unknown, budget={"usd": 1.0}) == (
        "j.yaml: providers.hosts.members[1].models.maverick.price: no budget can be kept with an unknown price; "
        "give it, or drop budget"
    )


def test_a_price_that_only_the_model_does_not_know_is_no_obstacle_to_a_budget() -> None:
    models = tree()["models"]
    models["maverick"] = {**models["maverick"], "price": "unknown"}
    assert job({"maverick": {"price": OWN}}, budget={"usd": 1.0}, models=models).budget
    assert "no budget can be kept" in refusal({"maverick": {"price": OWN}}, {}, budget={"usd": 1.0}, models=models)


# --- differences between members, and estimates --------------------------------------------------


def test_check_says_id_and_price_where_a_member_has_others() -> None:
    cached = {"price": {**DEAR, "cached_input": 0.5}}
    chosen = job({}, {"maverick": {"model": "x", "price": DEAR}}, {"maverick": cached}, {"maverick": {"price": "free"}})
    assert list(differences(chosen, "maverick")) == [
        "models.maverick: member m1 serves it as x, for 3 in, 1 out (USD per million tokens, 2026-07-01)",
        "models.maverick: member m2 serves it for 3 in, 1 out, cached input 0.5 (USD per million tokens, 2026-07-01)",
        "models.maverick: member m3 serves it for nothing",
    ]
    assert list(differences(job({"maverick": {"price": "unknown"}}), "maverick")) == [
        "models.maverick: member m0 serves it for an unknown price"
    ]
    assert list(differences(chosen, "judge")) == list(differences(chosen, "1b")) == []


def estimated(chosen: Job) -> tuple[float | None, float | None]:
    """Return the expected and the highest cost, USD, of ten calls with 1000 input bytes and 1024 output tokens each."""
    slot = ("hint", "maverick")
    plan = Plan()
    plan.total[slot] = plan.left[slot] = 10
    plan.input_bytes[slot] = 10_000
    cost = estimate(chosen, slot, plan, None)
    return cost.usd, cost.worst_usd


def test_the_expected_cost_is_by_the_mean_and_the_highest_by_the_dearest_of_each_kind() -> None:
    both = tree({}, {"maverick": {"price": DEAR}})
    both["providers"]["hosts"]["members"][1]["weight"] = 3.0
    usd, worst = estimated(parse_job(both, "j.yaml"))
    tokens_in, tokens_out = 2_500, 5_120
    own, dear = 1.0 * tokens_in + 2.0 * tokens_out, 3.0 * tokens_in + 1.0 * tokens_out
    assert usd == pytest.approx((own + 3 * dear) / 4 / 1e6)
    assert worst == pytest.approx((3.0 * 10_000 + 2.0 * 10_240) / 1e6)


def test_a_model_that_is_free_at_one_member_costs_less_and_an_unknown_price_makes_the_cost_unknown() -> None:
    usd, worst = estimated(job({}))
    assert usd is not None
    half, same = estimated(job({}, {"maverick": {"price": "free"}}))
    assert half == pytest.approx(usd / 2)
    assert same == worst
    assert estimated(job({}, {"maverick": {"price": "unknown"}})) == (None, None)
