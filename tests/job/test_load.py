"""load.py: from a file to a checked job, with overrides, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from eli5b_batch.errors import JobError
from eli5b_batch.job.load import DEFAULT_NUM_CTX, dump_job, load_job, parse_job
from eli5b_batch.job.schema import Job, SimulatedProvider
from eli5b_batch.simulated.process import simulate

if TYPE_CHECKING:
    from collections.abc import Callable

JOB_FILES = sorted((Path(__file__).parent.parent.parent / "jobs").glob("*.yaml"))
QUICKSTART = next(path for path in JOB_FILES if path.stem == "quickstart")


@pytest.mark.parametrize("path", JOB_FILES, ids=lambda path: path.stem)
def test_every_job_we_ship_loads_and_comes_back_the_same_from_what_is_written_down(path: Path, tmp_path: Path) -> None:
    job = load_job(path)
    assert job.name == path.stem
    (tmp_path / "job.yaml").write_text(dump_job(job))
    assert load_job(tmp_path / "job.yaml") == job


@pytest.mark.parametrize("path", JOB_FILES, ids=lambda path: path.stem)
def test_the_simulated_twin_keeps_limits_and_slots_and_has_a_folder_of_its_own(path: Path, tmp_path: Path) -> None:
    job = load_job(path)
    twin = simulate(job)
    assert twin.name == f"{path.stem}.simulated"
    assert (twin.models, twin.params, twin.budget, twin.data) == (job.models, job.params, job.budget, job.data)
    for name, provider in job.providers.items():
        limits, slots = provider.shape
        assert isinstance(twin.providers[name], SimulatedProvider)
        assert twin.providers[name].shape == (limits, [s.model_copy(update={"url": None}) for s in slots])
    (tmp_path / "job.yaml").write_text(dump_job(twin))
    assert load_job(tmp_path / "job.yaml") == twin


def test_the_window_that_a_server_would_choose_is_written_down() -> None:
    job = load_job(QUICKSTART, overrides=["models.1b.sampling.num_ctx=null"])
    assert job.models["1b"].sampling.num_ctx == DEFAULT_NUM_CTX
    assert job.models["maverick"].sampling.num_ctx is None
    assert yaml.safe_load(dump_job(job))["models"]["1b"]["sampling"]["num_ctx"] == DEFAULT_NUM_CTX


@pytest.mark.parametrize("name", ["1e5", "null", "no", "on", "010", "1.5", "2026-03-01", "0x1f", "1:30"])
def test_names_that_yaml_reads_as_something_else_survive_in_quotes(job: Callable[..., Path], name: str) -> None:
    models = {name.replace(":", "-"): {"provider": "gpus", "model": f"{name}"}}
    path = job(models=models, params={"teacher": name.replace(":", "-"), "students": [name.replace(":", "-")]})
    loaded = load_job(path)
    assert list(loaded.models) == list(models)
    path.write_text(dump_job(loaded))
    assert load_job(path) == loaded


# --- overrides -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "place", "value"),
    [
        ("seed=7", ("seed",), 7),
        ("params.samples=4", ("params", "samples"), 4),
        ("params.hints=[none, placebo]", ("params", "hints"), ["none", "placebo"]),
        ("params.students[1]=1b", ("params", "students", 1), "1b"),
        ("params={teacher: 8b, students: [1b]}", ("params",), {"teacher": "8b", "students": ["1b"]}),
        ("providers.gpus.slots[1].parallel=8", ("providers", "gpus", "slots", 1, "parallel"), 8),
        ("providers.api.simulation.latency_s=2", ("providers", "api", "simulation", "latency_s"), 2.0),
        ("models.8b.description=a = b", ("models", "8b", "description"), "a = b"),
        ("data.where={domain: Algebra}", ("data", "where"), {"domain": "Algebra"}),
        ("budget.usd=3", ("budget", "usd"), 3.0),
        ("window=auto", ("window",), "auto"),
    ],
)
def test_an_override_changes_one_value_and_nothing_else(
    change: str, place: tuple[str | int, ...], value: object
) -> None:
    before, after = load_job(QUICKSTART), load_job(QUICKSTART, overrides=[change])
    node: Any = after.model_dump()
    for step in place:
        node = node[step]
    assert node == value
    assert all(getattr(before, s) == getattr(after, s) for s in Job.model_fields if s != place[0])


def test_overrides_are_applied_in_order_and_the_limit_last() -> None:
    job = load_job(QUICKSTART, overrides=["data.limit=9", "seed=1", "seed=2"], limit=3)
    assert (job.data.limit, job.seed) == (3, 2)


def test_an_override_finds_a_name_with_dots_in_it(job: Callable[..., Path]) -> None:
    path = job(
        models={"qwen-1.5b": {"provider": "gpus", "model": "qwen:1.5b"}, "qwen-1": {"provider": "api", "model": "q"}},
        params={"teacher": "qwen-1", "students": ["qwen-1.5b"]},
    )
    loaded = load_job(path, overrides=["models.qwen-1.5b.sampling.max_tokens=9", "models.qwen-1.sampling.max_tokens=8"])
    assert {name: model.sampling.max_tokens for name, model in loaded.models.items()} == {"qwen-1.5b": 9, "qwen-1": 8}


def test_an_override_of_one_place_leaves_the_others_that_yaml_shares_with_it(tmp_path: Path) -> None:
    text = QUICKSTART.read_text()
    shared = "{temperature: 0.7, max_tokens: 2048, num_ctx: 8192}"
    assert text.count(shared) == 3
    text = text.replace(shared, "&decoding " + shared, 1).replace(f"sampling: {shared}", "sampling: *decoding")
    (tmp_path / "job.yaml").write_text(text)
    job = load_job(tmp_path / "job.yaml", overrides=["models.3b.sampling.max_tokens=9"])
    assert [job.models[name].sampling.max_tokens for name in ("1b", "3b", "8b")] == [2048, 9, 2048]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("samples", "--set samples: write a path and a value, such as --set params.samples=4"),
        ("=4", "--set =4: write a path and a value"),
        ("params..samples=4", "--set params..samples=4: write a path and a value"),
        ("params.hints[x]=none", "--set params.hints[x]=none: write a path and a value"),
        ("seed.x=1", "--set seed.x=1: seed is 0, so nothing in it is called 'x'"),
        ("params.hints.x=1", "--set params.hints.x=1: params.hints is a list, so nothing in it is called 'x'"),
        ("params[0]=1", "--set params[0]=1: params is a mapping, and it has no element [0]"),
        ("params.hints[7]=none", "--set params.hints[7]=none: params.hints is a list, and it has no element [7]"),
        ("params.new[0]=none", "--set params.new[0]=none: params.new is an empty mapping, and it has no element [0]"),
        ("params.hints=[none", "--set params.hints=[none:1:6: not valid YAML: while parsing a flow sequence"),
        ("window=many", "job.yaml: window: must be a whole number or be 'auto', and this is 'many'"),
        ("nosuch.key=1", "job.yaml: nosuch: unknown key 'nosuch'"),
    ],
)
def test_an_override_that_cannot_be_applied_says_why(change: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(QUICKSTART.read_text() + "seed: 0\n")
    with pytest.raises(JobError) as caught:
        load_job(tmp_path / "job.yaml", overrides=[change])
    assert str(caught.value).replace(f"{tmp_path}/", "").startswith(sentence)


# --- YAML ----------------------------------------------------------------------------------------


def test_merge_keys_may_be_overridden_and_merged_again(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("""
name: merged
data: {reader: quickstart}
providers: {api: {api: simulated, limits: {}}}
models:
  third: {<<: &second {<<: &first {provider: api, model: m, description: first}, description: second}, model: n}
  second: *second
  first: *first
""")
    models = load_job(tmp_path / "job.yaml").models
    assert {name: (model.model, model.description) for name, model in models.items()} == {
        "third": ("n", "second"),
        "second": ("m", "second"),
        "first": ("m", "first"),
    }


def test_a_byte_order_mark_and_windows_line_ends_are_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_bytes(b"\xef\xbb\xbf" + QUICKSTART.read_bytes().replace(b"\n", b"\r\n"))
    assert load_job(tmp_path / "job.yaml") == load_job(QUICKSTART)


def test_aliases_that_multiply_cost_nothing(tmp_path: Path) -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    (tmp_path / "job.yaml").write_text("\n".join(rows) + "\n")
    with pytest.raises(JobError, match="name: this key is missing"):
        load_job(tmp_path / "job.yaml")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('name: "\\ud83d"', "half a character"),
        ("name: 2026-02-30", "job.yaml:1:7: not valid YAML: '2026-02-30' can't be read as timestamp"),
        ("seed: " + "9" * 5000, "can't be read as int"),
        ("seed: !!int x", "'x' can't be read as int"),
        ("seed: !!int ''", "'' can't be read as int"),
        ("seed: !!bool x", "'x' can't be read as bool"),
        ("seed: !!float x", "'x' can't be read as float"),
        ("seed: !!timestamp x", "'x' can't be read as timestamp"),
        ("seed: !!binary é", "failed to convert base64 data into ascii"),
        ("seed: [!!null x, !!map x]", "expected a mapping node, but found scalar"),
        ("? [a, b]\n: c", "a key must be a text"),
        ("? !!str [a]\n: c", "a key must be a text"),
        ("a: b\n---\nc: d", "expected a single document"),
        ("name: &a [*a]", "must be a text, and this is a list"),
        ("name: !!binary aGVsbG8=", "must be a text, and this is b'hello'"),
        ("name: !!set {a, b}", "must be a text, and this is "),
    ],
)
def test_odd_yaml_is_refused_in_a_sentence(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(text)
    with pytest.raises(JobError) as caught:
        load_job(tmp_path / "job.yaml")
    assert problem in str(caught.value)


# --- what has to agree ---------------------------------------------------------------------------


def test_two_names_of_one_model_with_one_window_are_fine(job: Callable[..., Path]) -> None:
    models = {
        "teacher": {"provider": "api", "model": "large-70b"},
        "1b": {"provider": "gpus", "model": "llama3.2:1b"},
        "cold": {"provider": "gpus", "model": "llama3.2:1b", "sampling": {"temperature": 0, "num_ctx": 8192}},
    }
    assert load_job(job(models=models)).models["cold"].sampling.temperature == 0


def test_two_providers_may_have_windows_and_gpus_of_their_own(job: Callable[..., Path]) -> None:
    gpus = {"api": "simulated", "slots": [{"gpu": 0}]}
    models = {
        "teacher": {"provider": "here", "model": "llama3.2:1b", "sampling": {"num_ctx": 4096}},
        "1b": {"provider": "there", "model": "llama3.2:1b"},
    }
    assert len(load_job(job(providers={"here": gpus, "there": gpus}, models=models)).models) == 2


def test_plain_data_is_checked_like_a_file() -> None:
    with pytest.raises(JobError, match=r"^memory: name: this key is missing"):
        parse_job({}, "memory")


# --- who grades ----------------------------------------------------------------------------------


def test_a_judge_is_one_of_the_models(job: Callable[..., Path]) -> None:
    judged = load_job(job(grader="judge", judge={"model": "teacher"}))
    assert judged.judge is not None
    assert (judged.judge.model, judged.judge.orders, judged.rules) == ("teacher", "both", "math")
    assert load_job(job(grader="number")).rules == "number"


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        ({"grader": "judge"}, "judge: this key is missing; grader: judge needs it, such as {model: teacher}"),
        (
            {"judge": {"model": "teacher"}},
            "judge: grader is math, so nobody judges; write grader: judge, or drop judge",
        ),
        ({"grader": "judge", "judge": {"model": "techer"}}, "judge.model: no model 'techer'; did you mean 'teacher'?"),
        ({"grader": "judge", "judge": {}}, "judge.model: this key is missing"),
        (
            {"grader": "judge", "judge": {"model": "teacher", "orders": "three"}},
            "judge.orders: must be 'both' or 'one'",
        ),
        (
            {"grader": "jugde"},
            "grader: must be 'math', 'number' or 'judge', and this is 'jugde'; did you mean 'judge'?",
        ),
    ],
)
def test_a_wrong_judge_is_reported_in_one_sentence(
    job: Callable[..., Path], sections: dict[str, object], problem: str
) -> None:
    with pytest.raises(JobError) as caught:
        load_job(job(**sections))
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
