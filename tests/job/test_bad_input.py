"""Bad input at the command line: one clear sentence, the documented exit code, no traceback, no file left behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Cli = Callable[..., tuple[int, str, str]]
    Job = Callable[..., Path]
    Serve = Callable[..., str]

KEY = "sk-0123456789abcdef"
PRICE = {"input": 1.0, "output": 2.0, "as_of": "2026-03-01"}


@pytest.fixture
def refused(cli: Cli, tmp_path: Path) -> Callable[..., str]:
    """A function that runs a command with bad input, checks what is the same for all, and returns the message."""

    def run(code: int, *args: object) -> str:
        before = sorted(tmp_path.rglob("*"))
        exit_code, out, err = cli(*args)
        assert exit_code == code, err
        assert out == ""
        assert err.startswith("eli5b-batch: ")
        assert "Traceback" not in err
        assert KEY not in err
        assert sorted(tmp_path.rglob("*")) == before
        return err.removeprefix("eli5b-batch: ").removesuffix("\n")

    return run


def real(base_url: str, slot_url: str) -> dict[str, object]:
    """Return providers that are not simulated, for the fixture `job`."""
    return {
        "api": {"api": "openai", "base_url": base_url, "api_key_env": "TEST_KEY", "attempts": 1},
        "gpus": {"api": "ollama", "slots": [{"gpu": 0, "url": slot_url, "parallel": 2}], "attempts": 1},
    }


MODELS: dict[str, dict[str, object]] = {
    "teacher": {"provider": "api", "model": "large-70b", "price": PRICE},
    "1b": {"provider": "gpus", "model": "llama3.2:1b"},
}


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- the job file --------------------------------------------------------------------------------


def test_a_missing_file_is_named_with_the_nearest_one_there_is(refused: Callable[..., str], job: Job) -> None:
    job()
    assert refused(2, "jbo.yaml") == "jbo.yaml: no such job file; did you mean job.yaml?"
    assert refused(2, "check", "nowhere/else.yaml") == "nowhere/else.yaml: no such job file"


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("name: a\ndata: [1, 2\n", "2:7", "expected ',' or ']'"),
        ("name: a\n\tdata: x\n", "2:1", r"found character '\t'"),
        ("name: a\ndata: b: c\n", "2:8", "mapping values are not allowed here"),
        ("name: a\nname: b\n", "2:1", "the key 'name' stands twice"),
        ("name: a\n8: x\n", "2:1", "a key must be a text: put it in quotes"),
        ("name: a\nseed: !!python/name:os.system\n", "2:7", "tag:yaml.org,2002:python/name:os.system"),
        ("name: a\nseed: *gone\n", "2:7", "found undefined alias 'gone'"),
    ],
)
def test_a_yaml_error_shows_its_line(
    refused: Callable[..., str], tmp_path: Path, text: str, place: str, problem: str
) -> None:
    (tmp_path / "job.yaml").write_text(text)
    sentence, shown = refused(2, "job.yaml").split("\n")
    assert sentence.startswith(f"job.yaml:{place}: not valid YAML: ")
    assert problem in sentence
    assert shown.strip() == text.split("\n")[1].strip()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "a job file is a mapping (`name: ...`), and this one is empty"),
        (b"- a\n- b\n", "a job file is a mapping (`name: ...`), and this one is a list"),
        (b"just words\n", "a job file is a mapping (`name: ...`), and this one is 'just words'"),
        (b"\x89PNG\xff\xfe\x00", "the job file can't be read: it is not UTF-8 text"),
    ],
)
def test_a_file_that_is_no_job_is_refused(
    refused: Callable[..., str], tmp_path: Path, content: bytes, problem: str
) -> None:
    (tmp_path / "job.yaml").write_bytes(content)
    assert refused(2, "job.yaml") == f"job.yaml: {problem}"


def test_a_control_character_and_bottomless_nesting_are_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_bytes(b"name: a\nseed: \x00\n")
    assert refused(2, "job.yaml") == "job.yaml:2: not valid YAML: the character U+0000 is not allowed"
    (tmp_path / "job.yaml").write_text("[" * 1500)
    assert refused(2, "job.yaml") == "job.yaml: not valid YAML: it is nested too deeply"


def test_a_folder_is_no_job_file(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    assert refused(2, "jobs") == "jobs: the job file can't be read: Is a directory"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("limmit=3", "limmit: unknown key 'limmit'; known keys: budget, data, grader, judge, models, name, params"),
        ("modles={}", "modles: unknown key 'modles'; did you mean 'models'?"),
        ("data.pth=x", "data.pth: unknown key 'pth'; did you mean 'path'?"),
        ("models.1b.sampling.temprature=1", "models.1b.sampling.temprature: unknown key 'temprature'; did you mean"),
        ("providers.gpus.slots[0].paralel=2", "providers.gpus.slots[0].paralel: unknown key 'paralel'; did you mean"),
        ("providers.api.limits.concurency=2", "providers.api.limits.concurency: unknown key 'concurency'; did you"),
        ("params.sampels=4", "params.sampels: unknown key 'sampels'; did you mean 'samples'?"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(
    refused: Callable[..., str], job: Job, change: str, sentence: str
) -> None:
    assert refused(2, job(), "--set", change).startswith(f"{job()}: {sentence}")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("data=3", "data: must be a mapping (`key: value`), and this is 3"),
        ("name=3", "name: must be a text, and this is 3; put it in quotes"),
        ("name=[a]", "name: must be a text, and this is a list"),
        ("seed=yes", "seed: must be a whole number, and this is true"),
        ("seed=1.5", "seed: must be a whole number, and this is 1.5"),
        ("window=0", "window: must be above 0 or be 'auto', and this is 0"),
        ("params.samples=many", "params.samples: must be a whole number, and this is 'many'"),
        ("params.hints=generic", "params.hints: must be a list, and this is 'generic'"),
        ("params.hints=[]", "params.hints: must not be empty, and this is an empty list"),
        ("models.1b.price.input=-1", "models.1b.price.input: must be at least 0, and this is -1"),
        (
            "providers.api.simulation.load_s=fast",
            "providers.api.simulation.load_s: must be a number or be a mapping (`key: value`), and this is 'fast'",
        ),
        (
            "providers.api.simulation.load_s={1b: -1}",
            "providers.api.simulation.load_s.1b: must be at least 0, and this is -1",
        ),
        (
            "providers.api.simulation.tokens_per_s={1b: much}",
            "providers.api.simulation.tokens_per_s.1b: must be a number, and this is 'much'",
        ),
        (
            "providers.api.simulation.freezes={a: [[5, 2]]}",
            (
                "providers.api.simulation.freezes.a[0]: must be [begin, end] in seconds from the start, "
                "such as [10, 40], and this is [5, 2]"
            ),
        ),
    ],
)
def test_a_wrong_type_is_reported_with_its_path(
    refused: Callable[..., str], job: Job, change: str, sentence: str
) -> None:
    path = job(models={**MODELS, "1b": {**MODELS["1b"], "price": PRICE}})
    assert refused(2, path, "--set", change) == f"{path}: {sentence}"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("models.1b.provider=gpsu", "models.1b.provider: no provider 'gpsu'; did you mean 'gpus'?"),
        ("models.1b.provider=zzz", "models.1b.provider: no provider 'zzz'; defined: api, gpus"),
        ("params.teacher=taecher", "params.teacher: no model 'taecher'; did you mean 'teacher'?"),
        ("params.students=[1b, zz]", "params.students[1]: no model 'zz'; defined: teacher, 1b"),
        ("protocol=eli5", "protocol: no protocol is called 'eli5'; did you mean 'eli5b'?"),
        ("data.reader=jsonlines", "data.reader: no reader 'jsonlines'; did you mean jsonl? known readers: omni_math"),
    ],
)
def test_a_name_that_is_not_defined_is_reported_with_the_nearest(
    refused: Callable[..., str], job: Job, change: str, sentence: str
) -> None:
    assert refused(2, job(), "--set", change).startswith(f"{job()}: {sentence}")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (["name=a/b"], "name: must hold only letters (a to z, A to Z), digits and _ . - and begin with a letter"),
        (["name=../up"], "name: must hold only letters"),
        (["models.1b.model=a b"], "models.1b.model: must be the provider's id of a model, without spaces"),
        (
            ["models.1b.sampling.thinking=perhaps"],
            "models.1b.sampling.thinking: must be off, on, low, medium, high, max",
        ),
        (["models.1b.sampling.thinking=3"], "models.1b.sampling.thinking: must be off, on, low, medium, high, max"),
        (["models.1b.sampling.thinking={tokens: 0}"], "models.1b.sampling.thinking: must be off, on, low, medium, hi"),
        (["models.1b.sampling.thinking={tokens: true}"], "models.1b.sampling.thinking: must be off, on, low, medium"),
        (["models.1b.sampling.thinking={token: 9}"], "models.1b.sampling.thinking: must be off, on, low, medium, high"),
        (["models.1b.sampling.thinking={tokens: 99999}"], "models.1b.sampling: thinking.tokens must be below max_tok"),
        (["providers.gpus.slots=[{gpu: 0}, {gpu: 0}]"], "providers.gpus.slots[1].gpu: slots[0] is gpu0 too"),
        (["providers.gpus.slots[0].models=[other:7b]"], "models.1b.model: no slot of gpus serves 'llama3.2:1b'"),
        (["providers.api.slots=[{gpu: 0}]"], "providers.api: give either limits (an API is simulated) or slots"),
        (["providers.api.api=openia"], "providers.api: its `api` must be one of 'openai', 'ollama', 'simulated'"),
        (["providers.api={}"], "providers.api: the key `api` is missing; it must be openai, ollama or simulated"),
        (["providers.api.simulation.skill={8b: {none: 1}}"], "providers.api.simulation.skill: no model '8b'; did you"),
        (["providers.api.simulation.load_s={8b: 1}"], "providers.api.simulation.load_s: no model '8b'; did you mean"),
        (["providers.api.simulation.freezes={a: [[0, 1]]}"], "providers.api.simulation.freezes: no slot 'a'; this pro"),
        (
            ["providers.api.simulation.quirks={bob: 1}"],
            "providers.api.simulation.quirks: no quirk 'bob'; did you mean 'b",
        ),
        (
            ["providers.api.simulation.quirks={x: 1}"],
            "providers.api.simulation.quirks: no quirk 'x'; docs/job-file.md l",
        ),
        (
            ["providers.api.simulation.quirks={bom: 2}"],
            "providers.api.simulation.quirks.bom: must be at most 1, and th",
        ),
        (
            ["providers.api.simulation.quirks=[bom]"],
            "providers.api.simulation.quirks: must be a mapping (`key: value`)",
        ),
        (
            ["providers.api.simulation.quirks={bom: 0.7, latin1: 0.4}"],
            "providers.api.simulation.quirks: a call meets one of them, so their shares may add up to 1, not to 1.1",
        ),
        (
            ["providers.api.simulation.quirks={repeat_limit_500: 1}"],
            "providers.api.simulation.quirks.repeat_limit_500: an API can't have this quirk; leave it out",
        ),
        (
            ["providers.gpus.simulation.quirks={poisoned_429: 1}"],
            "providers.gpus.simulation.quirks.poisoned_429: slots can't have this quirk; leave it out",
        ),
        (["budget.usd=5", "models.1b.price=unknown"], "models.1b.price: no budget can be kept with an unknown price"),
        (["params.hints=[generic, generic]"], "params.hints: generic stands twice"),
    ],
)
def test_values_that_contradict_each_other_are_reported_with_their_path(
    refused: Callable[..., str], job: Job, changes: list[str], sentence: str
) -> None:
    options = [option for change in changes for option in ("--set", change)]
    assert refused(2, job(), *options).startswith(f"{job()}: {sentence}")


def test_a_placebo_needs_a_second_problem(refused: Callable[..., str], job: Job, tmp_path: Path) -> None:
    path = job()
    (tmp_path / "data.jsonl").write_text('{"problem": "What is 1 + 1?", "answer": "2"}\n')
    sentence = refused(2, path, "--set", "params.hints=[placebo]")
    assert sentence.startswith(f"{path}: params.hints: placebo needs a second problem with another answer than 00000-")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"providers.gpus.slots": [{"gpu": 0}]}, "providers.gpus.slots[0].url: this key is missing: the address of"),
        (
            {"providers.gpus.slots": [{"gpu": 0, "url": "http://a:1"}, {"gpu": 1, "url": "http://a:1/"}]},
            "providers.gpus.slots[1].url: slots[0] has this address too; one server is one slot",
        ),
        (
            {"models.small": {"provider": "gpus", "model": "llama3.2:1b", "sampling": {"num_ctx": 4096}}},
            "models.small.sampling.num_ctx: llama3.2:1b has 4096 here and 8192 in models.1b",
        ),
        ({"providers.gpus.slots": [{"gpu": 0, "url": "127.0.0.1:1"}]}, "providers.gpus.slots[0].url: must be an addr"),
        ({"providers.api.base_url": "http://..."}, "providers.api.base_url: must be an address such as http://"),
    ],
)
def test_a_key_that_real_providers_need_is_reported_with_its_path(
    refused: Callable[..., str], job: Job, changes: dict[str, object], sentence: str
) -> None:
    path = job(providers=real("http://127.0.0.1:9/v1", "http://127.0.0.1:9"), models=MODELS)
    options = [option for k, v in changes.items() for option in ("--set", f"{k}={orjson.dumps(v).decode()}")]
    assert refused(2, path, *options).startswith(f"{path}: {sentence}")


def test_a_paid_model_needs_a_price(refused: Callable[..., str], job: Job) -> None:
    models = MODELS | {"teacher": {"provider": "api", "model": "large-70b"}}
    path = job(providers=real("http://127.0.0.1:9/v1", "http://127.0.0.1:9"), models=models)
    assert refused(2, path) == (
        f"{path}: models.teacher.price: a paid model needs a price, such as "
        "{input: 0.27, output: 0.85, as_of: 2026-03-01} (USD per million tokens), `price: unknown`, "
        "or `price: free` on a server of your own"
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("providers.api.omit=seed", "providers.api.omit: must be a list, and this is 'seed'"),
        ("providers.api.omit=[1]", "providers.api.omit[0]: must be a text, and this is 1; put it in quotes"),
        ("providers.api.omit=[sead]", "providers.api.omit[0]: no field 'sead' is sent; did you mean 'seed'?"),
        ("providers.api.omit=[model]", "providers.api.omit[0]: no request can do without model"),
        ("providers.gpus.omit=[seed]", "providers.gpus.omit: unknown key 'omit'; known keys: "),
        ("providers.api.omitt=[seed]", "providers.api.omitt: unknown key 'omitt'; did you mean 'omit'?"),
        (
            "providers.api.members=[{name: a, omit: [sead]}]",
            "providers.api.members[0].omit[0]: no field 'sead' is sent; did you mean 'seed'?",
        ),
        (
            "models.teacher.sampling.extra=3",
            "models.teacher.sampling.extra: must be a mapping (`key: value`), and this is 3",
        ),
        (
            "models.teacher.sampling.extra={top_p: 1}",
            "models.teacher.sampling.extra.top_p: this field is no extra: give it as sampling.top_p",
        ),
        (
            "models.1b.sampling.extra={num_predict: 1}",
            "models.1b.sampling.extra.num_predict: this field is no extra: give it as sampling.max_tokens",
        ),
        (
            "models.teacher.sampling.extra={until: 2026-03-01}",
            "models.teacher.sampling.extra.until: must be what JSON can hold, and this is 2026-03-01; put it in quotes",
        ),
        (
            "models.teacher.sampling.extra={min_p: .nan}",
            "models.teacher.sampling.extra.min_p: must be a finite number of at most 64 bits, and this is nan",
        ),
        ("models.teacher.sampling.extra=&a {a: *a}", "models.teacher.sampling.extra: it is nested more than 64 deep"),
        (
            "providers.api.headers_env=[X]",
            "providers.api.headers_env: must be a mapping (`key: value`)",
        ),
        (
            "providers.api.headers_env={X-Key: 3}",
            "providers.api.headers_env.X-Key: must be a text",
        ),
        (
            "providers.api.headers_env={Host: TEST_KEY}",
            "providers.api.headers_env.Host: the run sets this header itself; leave it out",
        ),
        (
            "providers.api.headers_env={Authorization: TEST_KEY}",
            "providers.api.headers_env.Authorization: api_key_env gives this header; leave one of them out",
        ),
        (
            "providers.api.api_key_command=[gcloud]",
            "providers.api: give api_key_env or api_key_command, not both: an account has one key",
        ),
        (
            "providers.api.members=[{name: a, api_key_env: A, api_key_command: [b]}]",
            "providers.api.members[0]: give api_key_env or api_key_command, not both: an account has one key",
        ),
        (
            "models.teacher.price=fre",
            "models.teacher.price: must be a mapping (`key: value`) or be 'free' or 'unknown', and this is 'fre'",
        ),
    ],
)
def test_a_wrong_setting_of_requests_is_reported_in_one_sentence(
    refused: Callable[..., str], job: Job, change: str, sentence: str
) -> None:
    path = job(providers=real("http://127.0.0.1:9/v1", "http://127.0.0.1:9"), models=MODELS)
    message = refused(2, path, "--set", change)
    assert message.startswith(f"{path}: {sentence}")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (
            f"get-key {KEY}",
            (
                "providers.api.api_key_command: must be a list, a program and its arguments, "
                "such as [gcloud, auth, print-access-token]; no shell reads it"
            ),
        ),
        ("[]", "providers.api.api_key_command: must be a list, a program and its arguments, such as "),
        (f"{{echo: {KEY}}}", "providers.api.api_key_command: must be a list, a program and its arguments, such as "),
        (
            f"[echo, {KEY}, 7]",
            "providers.api.api_key_command: each part must be a text, and number 3 is none; put it in quotes",
        ),
        ('["a\\0"]', "providers.api.api_key_command: part 1 holds a character that no argument can"),
        (
            f'[" ", {KEY}]',
            "providers.api.api_key_command: its first part, the name of the program, must not be empty",
        ),
        ("[no-such-program]", "providers.api.api_key_command: there is no program 'no-such-program' to run; correct"),
        ("[./job.yaml]", "providers.api.api_key_command: there is no program './job.yaml' to run; correct its name"),
    ],
)
def test_a_command_that_can_not_be_run_is_one_sentence_that_repeats_no_argument(
    refused: Callable[..., str], job: Job, command: str, sentence: str
) -> None:
    path = job(providers=real("http://127.0.0.1:9/v1", "http://127.0.0.1:9"), models=MODELS)
    options = ["--set", "providers.api.api_key_env=null", "--set", f"providers.api.api_key_command={command}"]
    message = refused(2, path, *options)
    assert message.startswith(f"{path}: {sentence}")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("headers", "sentence"),
    [
        (f"{{Authorization: Bearer {KEY}}}", "providers.api.headers_env.Authorization: must be the name of an env"),
        (
            f'{{"Authorization: Bearer {KEY}": TEST_KEY}}',
            "providers.api.headers_env: this name must be the name of a header, such as X-Api-Key, without spaces",
        ),
        (f"[{KEY}]", "providers.api.headers_env: must be a mapping (`key: value`)"),
        (f"{KEY}", "providers.api.headers_env: must be a mapping (`key: value`)"),
    ],
)
def test_a_key_pasted_into_a_header_is_never_repeated(
    refused: Callable[..., str], job: Job, headers: str, sentence: str
) -> None:
    path = job(providers=real("http://127.0.0.1:9/v1", "http://127.0.0.1:9"), models=MODELS)
    assert refused(2, path, "--set", f"providers.api.headers_env={headers}").startswith(f"{path}: {sentence}")


@pytest.mark.parametrize("value", [None, "", "  ", "a\nb"])
def test_a_header_without_a_value_is_asked_for_by_the_name_of_its_variable(
    refused: Callable[..., str], job: Job, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)
    monkeypatch.delenv("TEAM_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("TEAM_KEY", value)
    path = job(providers=real("http://127.0.0.1:9/v1", "http://127.0.0.1:9"), models=MODELS)
    message = refused(2, path, "--set", "providers.api.headers_env={X-Team: TEAM_KEY}")
    assert message.startswith(f"{path}: providers.api.headers_env.X-Team: ")
    assert "TEAM_KEY" in message
    assert "\n" not in message


def test_a_program_that_prints_no_key_stops_the_run_before_anything_is_made(
    refused: Callable[..., str], job: Job, serve_openai: Serve, serve_ollama: Serve
) -> None:
    providers = real(serve_openai(["large-70b"]), serve_ollama(["llama3.2:1b"]))
    path = job(providers=providers, models=MODELS)
    options = ["--set", "providers.api.api_key_env=null", "--set"]
    for script, sentence in (
        (f"echo {KEY}; echo 'not {KEY}' >&2; exit 2", "sh failed (not ***; exit code 2)"),
        ("true", "sh printed nothing; it must print the key"),
        (f"echo {KEY}; echo {KEY}", "sh must print the key alone, on one line, and printed more than that"),
    ):
        command = orjson.dumps(["sh", "-c", script]).decode()
        message = refused(5, path, *options, f"providers.api.api_key_command={command}")
        assert message == f"providers.api.api_key_command: {sentence}"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Solve:\n{{ problem.text }\n", "prompts: own/answer.txt:2: not a valid template: unexpected '}'"),
        ("{% if hint %}\n{{ hint.text }}\n", "prompts: own/answer.txt:2: not a valid template: Unexpected end of"),
        ("--- system\nBe brief.\n--- user\n\n{{ problem | nosuch }}\n", "prompts: own/answer.txt:5: not a valid "),
        ("{{ porblem.text }}", "prompts.answer: 'porblem' is undefined; the values given to it are: hint, problem"),
        ("{{ problem.txt }}", "prompts.answer: 'eli5b_batch.data.problem.Problem object' has no attribute 'txt'; the"),
        ("{{ problem.text / 2 }}", "prompts.answer: unsupported operand type(s) for /: 'str' and 'int'; the values"),
        ("--- usr\nhello\n", "prompts: own/answer.txt:1: no role 'usr'; did you mean 'user'?"),
        (" \n", "prompts: own/answer.txt is empty"),
    ],
)
def test_an_own_prompt_that_cannot_be_used_is_named_before_anything_is_made(
    refused: Callable[..., str], job: Job, tmp_path: Path, text: str, sentence: str
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "answer.txt").write_text(text)
    path = job(prompts="own")
    assert refused(2, path).startswith(f"{path}: {sentence}")


@pytest.mark.parametrize(
    ("prompts", "sentence"),
    [
        ("gone", "prompts: gone is no folder; give a folder with files such as answer.txt"),
        ("empty", "prompts: empty holds no prompt; give a folder with files such as answer.txt"),
        ({"answr": "x.txt"}, "prompts: x.txt: no prompt is called 'answr'; did you mean 'answer'?"),
        ({"answer": "x.txt"}, "prompts.answer: x.txt can't be read: No such file or directory"),
        ({"answer": "empty"}, "prompts.answer: empty can't be read: Is a directory"),
        ({"answer": "data\0"}, "prompts.answer: no file can have this name"),
        ({"answer": 3}, "prompts.answer: must be a path, and this is 3"),
        (3, "prompts: must be a path or be a mapping (`key: value`), and this is 3"),
    ],
)
def test_own_prompts_that_are_not_there_are_named(
    refused: Callable[..., str], job: Job, tmp_path: Path, prompts: object, sentence: str
) -> None:
    (tmp_path / "empty").mkdir()
    path = job(prompts=prompts)
    assert refused(2, path).startswith(f"{path}: {sentence}")


# --- what the job refers to ----------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_key_is_asked_for_by_the_name_of_its_variable(
    refused: Callable[..., str], job: Job, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("TEST_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("TEST_KEY", value)
    path = job(providers=real("http://127.0.0.1:9/v1", "http://127.0.0.1:9"), models=MODELS)
    assert refused(2, path) == (
        f"{path}: providers.api.api_key_env: the environment has no TEST_KEY; set it (export TEST_KEY=...), "
        "or try the job without keys: --simulate"
    )


@pytest.mark.parametrize("place", ["api_key_env", "base_url"])
def test_a_key_pasted_into_the_job_file_is_never_repeated(refused: Callable[..., str], job: Job, place: str) -> None:
    text = KEY if place == "api_key_env" else f"https://user:{KEY}@example.com/v1"
    path = job(providers=real("http://127.0.0.1:9/v1", "http://127.0.0.1:9"), models=MODELS)
    assert refused(2, path, "--set", f"providers.api.{place}={text}").startswith(f"{path}: providers.api.{place}: must")


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_data_set_is_refused(refused: Callable[..., str], job: Job, tmp_path: Path, content: str) -> None:
    path = job()
    (tmp_path / "data.jsonl").write_text(content)
    assert refused(2, path) == f"{path}: data.jsonl: the data set is empty; one JSON object per line is expected"


def test_a_data_set_that_is_not_there_is_named_with_what_fetches_it(refused: Callable[..., str], job: Job) -> None:
    path = job(data={"reader": "omni_math", "path": "gone.jsonl"})
    sentence = refused(2, path)
    assert sentence.startswith(f"{path}: data.path: there is no file gone.jsonl; ")
    assert "scripts/fetch_data.py omni_math_rule" in sentence


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ('{"problem": "What is 1 + 2?"}', 'field "answer" is missing'),
        ('{"problem": "What is 1 + 2?", "answer": " "}', 'field "answer" is empty'),
        ('{"problem": "What is 1 + 2?", "answer": 3}', 'field "answer" must be a text in quotes, found 3'),
    ],
)
def test_a_problem_without_an_answer_is_named_by_its_line(
    refused: Callable[..., str], job: Job, tmp_path: Path, row: str, problem: str
) -> None:
    path = job()
    with (tmp_path / "data.jsonl").open("a") as data:
        data.write(row + "\n")
    assert refused(2, path) == f"{path}: data.jsonl:3: {problem}"


# --- the run folder ------------------------------------------------------------------------------


def test_the_run_folder_of_another_job_is_refused(cli: Cli, refused: Callable[..., str], job: Job) -> None:
    path = job()
    assert cli(path, "--display", "none")[0] == 0
    sentence = refused(2, path, "--set", "name=large", "--output", "outputs/small")
    assert sentence.startswith("outputs/small is the run folder of another job (job name small there, large here")
    assert sentence.endswith("give this job another name, or another folder with --output")


def test_a_manifest_of_another_shape_is_refused_until_it_is_deleted_and_no_call_is_repeated(
    cli: Cli, refused: Callable[..., str], job: Job, tmp_path: Path
) -> None:
    path, manifest = job(), tmp_path / "outputs" / "small" / "manifest.json"
    calls = manifest.with_name("calls.jsonl")
    assert cli(path, "--display", "none")[0] == 0
    before = orjson.loads(manifest.read_bytes())
    assert cli(path, "--display", "none", "--redo", "answer", "--stop-after", "0.001s")[0] == 130
    recorded = calls.read_bytes()
    manifest.write_text('{"name": "small", "plan": null}')
    for command in ((path,), (path, "--redo", "answer"), ("report", "outputs/small")):
        sentence = refused(2, *command)
        assert sentence.startswith("outputs/small/manifest.json: is damaged: protocol: Field required; delete it")
    manifest.unlink()
    assert cli(path, "--display", "none")[0] == 0
    assert calls.read_bytes() == recorded
    dates = {"created_at", "starts"}
    after = orjson.loads(manifest.read_bytes())
    assert {k: v for k, v in after.items() if k not in dates} == {k: v for k, v in before.items() if k not in dates}
    assert cli("report", "outputs/small")[0] == 0


def test_a_run_folder_below_a_file_is_refused(refused: Callable[..., str], job: Job, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("no folder")
    assert refused(2, job(), "--output", "note.txt/run").startswith("note.txt/run")


def test_a_run_folder_that_is_a_file_is_refused(refused: Callable[..., str], job: Job, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("no folder")
    assert refused(2, job(), "--output", "note.txt").startswith("note.txt")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a file system that takes no folders")
def test_a_run_folder_where_nobody_may_write_is_refused(refused: Callable[..., str], job: Job) -> None:
    sentence = refused(2, job(), "--output", "/proc/self/run")
    assert sentence.startswith("/proc/self/run: the run folder can't be written to: ")
    assert sentence.endswith("; choose another with --output")


@pytest.mark.skipif(os.geteuid() == 0, reason="no permission stops root; the tests above stand in for it")
def test_a_run_folder_without_permission_is_refused(refused: Callable[..., str], job: Job, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "Permission denied" in refused(2, job(), "--output", "locked/run")


# --- the providers -------------------------------------------------------------------------------


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", KEY)


@pytest.mark.usefixtures("key")
def test_an_api_that_refuses_the_connection_is_named(
    refused: Callable[..., str], job: Job, serve_ollama: Serve
) -> None:
    port = closed_port()
    gpus = serve_ollama(["llama3.2:1b"])
    sentence = refused(5, job(providers=real(f"http://127.0.0.1:{port}/v1", gpus), models=MODELS))
    assert sentence.startswith(f"providers.api: http://127.0.0.1:{port}/v1/models: can't connect: ")
    assert sentence.endswith("; is base_url right?")


@pytest.mark.usefixtures("key")
def test_an_ollama_server_that_refuses_the_connection_is_named(
    refused: Callable[..., str], job: Job, serve_openai: Serve
) -> None:
    port = closed_port()
    api = serve_openai(["large-70b"])
    sentence = refused(5, job(providers=real(api, f"http://127.0.0.1:{port}"), models=MODELS))
    assert sentence == (
        f"providers.gpus: no Ollama server answers at http://127.0.0.1:{port}; "
        "start one with `ollama serve`, or correct the slot's url"
    )


@pytest.mark.usefixtures("key")
def test_a_model_that_the_api_does_not_serve_is_named_with_the_closest(
    refused: Callable[..., str], job: Job, serve_openai: Serve, serve_ollama: Serve
) -> None:
    api = serve_openai(["org/larger-72b", "org/tiny-1b"])
    gpus = serve_ollama(["llama3.2:1b"])
    sentence = refused(5, job(providers=real(api, gpus), models=MODELS))
    assert sentence == (
        "providers.api: the host no longer serves, or never served, the model 'large-70b'; "
        "the closest names among the 2 models it serves: org/larger-72b"
    )


@pytest.mark.usefixtures("key")
def test_a_model_that_is_not_pulled_is_named_with_the_command_that_pulls_it(
    refused: Callable[..., str], job: Job, serve_openai: Serve, serve_ollama: Serve
) -> None:
    api = serve_openai(["large-70b"])
    gpus = serve_ollama(["llama3.2:3b"])
    sentence = refused(5, job(providers=real(api, gpus), models=MODELS))
    assert sentence == (
        f"providers.gpus: the server at {gpus} has no model 'llama3.2:1b' (it has: llama3.2:3b); "
        "run: eli5b-batch check --pull, or: ollama pull llama3.2:1b"
    )


@pytest.fixture
def both(serve_openai: Serve, serve_ollama: Serve) -> Callable[[bytes, bytes], dict[str, object]]:
    """A function that starts an API and a slot, each with one body for every question, and returns their providers."""

    def start(of_the_api: bytes, of_the_gpus: bytes) -> dict[str, object]:
        return real(serve_openai(["large-70b"], of_the_api), serve_ollama(["llama3.2:1b"], of_the_gpus))

    return start


OPENAI_EMPTY = (
    b'{"choices": [{"message": {"role": "assistant", "content": ""}, "finish_reason": "stop"}],'
    b' "usage": {"prompt_tokens": 9, "completion_tokens": 0}}'
)
OLLAMA_EMPTY = (
    b'{"message": {"role": "assistant", "content": ""}, "done": true, "done_reason": "stop", "prompt_eval_count": 9}'
)


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize(
    ("replies", "kind"),
    [
        ((b"<html>busy</html>", b"<html>busy</html>"), "server_error"),
        ((b"[1, 2]", b'"yes"'), "bad_reply"),
        ((OPENAI_EMPTY, OLLAMA_EMPTY), "empty_reply"),
    ],
    ids=["not JSON", "no chat", "no content"],
)
def test_replies_that_cannot_be_used_are_failed_records_and_the_run_finishes(
    cli: Cli, job: Job, both: Callable[[bytes, bytes], dict[str, object]], replies: tuple[bytes, bytes], kind: str
) -> None:
    path = job(providers=both(*replies), models=MODELS)
    code, out, err = cli(path, "--display", "none")
    assert code == 3, err
    assert err == ""
    assert f"6 of 6 calls failed (4 {kind}, 2 upstream); they count as wrong." in out
    run = path.parent / "outputs" / "small"
    records = [orjson.loads(line) for line in (run / "calls.jsonl").read_bytes().splitlines()]
    assert [r["status"] for r in records] == ["error"] * 6
    assert sorted(r["error"]["class"] for r in records) == [kind] * 4 + ["upstream"] * 2
    grades = [orjson.loads(line) for line in (run / "grades.jsonl").read_bytes().splitlines()]
    assert [(g["verdict"], g["correct"], g["answer"]) for g in grades] == [("failed", False, None)] * 4
    rows = [orjson.loads(line) for line in (run / "results.jsonl").read_bytes().splitlines()]
    assert sorted((r["hint"], r["verdict"], r["error"]) for r in rows) == sorted(
        [("none", "failed", kind), ("generic", "failed", "upstream")] * 2
    )
    assert not [p for p in run.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]


# --- in a process of its own ---------------------------------------------------------------------


def test_a_process_leaves_with_the_code_and_one_line(tmp_path: Path, job: Job) -> None:
    path = job(data={"reader": "jsonl", "path": "data.jsonl", "pth": "x"})
    done = subprocess.run(  # noqa: S603 (our own command line)
        [sys.executable, "-m", "eli5b_batch", str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"eli5b-batch: {path}: data.pth: unknown key 'pth'; did you mean 'path'?\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.jsonl", "job.yaml"]
