"""exposure.py: keys and prompts that would go to other machines over plain http are told."""

from __future__ import annotations

from typing import Any

import pytest

from eli5b_batch.forecast.exposure import sent_in_the_clear
from eli5b_batch.job.load import parse_job
from eli5b_batch.simulated.process import simulate

END = "over plain http, where everybody on the way can read them; use https, or a tunnel"


def told(*, providers: dict[str, Any], simulated: bool = False) -> list[str]:
    models = {f"m{i}": {"provider": name, "model": "m", "price": "free"} for i, name in enumerate(providers)}
    job = parse_job(
        {"name": "test", "data": {"reader": "quickstart"}, "providers": providers, "models": models}, "j.yaml"
    )
    return list(sent_in_the_clear(simulate(job) if simulated else job, list(providers)))


def api(url: str, **fields: object) -> dict[str, Any]:
    return {"api": "openai", "base_url": url, **fields}


@pytest.mark.parametrize(
    "access", [{"api_key_env": "A_KEY"}, {"api_key_command": ["print-key"]}, {"headers_env": {"X-Key": "A_KEY"}}]
)
def test_a_key_in_any_form_is_told_with_provider_and_address(access: dict[str, Any]) -> None:
    providers = {"api": api("http://gpu-1.lan:8000/v1", **access)}
    assert told(providers=providers) == [
        f"providers.api: the key and the prompts would go to http://gpu-1.lan:8000/v1 {END}"
    ]


def test_prompts_are_told_too_each_address_once_and_by_what_goes_there() -> None:
    members = [
        {"name": "a", "api_key_env": "A_KEY"},
        {"name": "b", "api_key_env": "A_KEY"},
        {"name": "c", "base_url": "http://10.0.0.7/v1"},
        {"name": "d", "base_url": "https://safe.example/v1", "api_key_env": "A_KEY"},
    ]
    assert told(providers={"api": api("http://10.0.0.6/v1", members=members)}) == [
        f"providers.api: the key and the prompts would go to http://10.0.0.6/v1 {END}",
        f"providers.api: the prompts would go to http://10.0.0.7/v1 {END}",
    ]


def test_slots_on_other_machines_are_told() -> None:
    slots = [{"gpu": n, "url": f"http://{host}:11434"} for n, host in enumerate(("gpu-1", "localhost", "[fd00::1]"))]
    assert told(providers={"gpus": {"api": "ollama", "slots": slots}}) == [
        f"providers.gpus: the prompts would go to http://gpu-1:11434, http://[fd00::1]:11434 {END}"
    ]


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1:8000", "127.9.8.7", "localhost:1", "me.localhost", "[::1]:8000", "0.0.0.0", "[::]"),
        "[::ffff:127.0.0.1]",
    ],
)
def test_what_stays_on_this_machine_is_not_told(host: str) -> None:
    assert told(providers={"api": api(f"http://{host}/v1", api_key_env="A_KEY")}) == []


@pytest.mark.parametrize("host", ["127.0.0.1.example.com", "localhost.example.com", "[::ffff:10.0.0.1]", "128.0.0.1"])
def test_what_only_looks_like_this_machine_is_told(host: str) -> None:
    assert len(told(providers={"api": api(f"http://{host}/v1")})) == 1


def test_nothing_is_told_of_https_of_managed_servers_and_of_a_simulated_twin() -> None:
    providers = {
        "api": api("https://host.example/v1", api_key_env="A_KEY"),
        "gpus": {"api": "ollama", "manage": True, "slots": "auto"},
    }
    assert told(providers=providers) == []
    assert told(providers={"api": api("http://host.example/v1", api_key_env="A_KEY")}, simulated=True) == []
