"""check.py: what a job will ask, take and cost, and what would stop it."""

from __future__ import annotations

import datetime as dt
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from aiohttp import web
from rich.console import Console

from eli5b_batch.backends.base import ModelFacts
from eli5b_batch.errors import RunFolderError
from eli5b_batch.forecast.check import check_job
from eli5b_batch.job.load import load_job
from eli5b_batch.run.manifest import write_manifest
from eli5b_batch.run.plan import Experiment, Plan, count_calls, load_experiment

if TYPE_CHECKING:
    from collections.abc import Callable

    Job = Callable[..., Path]
    Serve = Callable[..., str]

PRICE = {"input": 1.0, "output": 2.0, "as_of": "2026-03-01"}


@pytest.fixture
def real(job: Job, serve_openai: Serve, serve_ollama: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Writes a job whose servers are there; takes other sections, and names for its teacher and its student."""
    monkeypatch.chdir(tmp_path)

    def write(*, teacher: str = "teacher", student: str = "1b", **sections: object) -> Path:
        tree: dict[str, object] = {
            "providers": {
                "api": {
                    "api": "openai",
                    "base_url": serve_openai(["large-70b"]),
                    "limits": {"requests_per_minute": 60, "tokens_per_minute": 60000, "concurrency": 4},
                },
                "gpus": {"api": "ollama", "slots": [{"gpu": 0, "url": serve_ollama(["llama3.2:1b"]), "parallel": 2}]},
            },
            "models": {
                teacher: {"provider": "api", "model": "large-70b", "price": PRICE, "sampling": {"max_tokens": 1000}},
                student: {"provider": "gpus", "model": "llama3.2:1b", "sampling": {"max_tokens": 240}},
            },
            "params": {"teacher": teacher, "students": [student], "hints": ["none", "generic"], "teacher_alone": True},
        }
        return job(**(tree | sections))

    return write


def experiment(path: Path, *overrides: str) -> Experiment:
    return load_experiment(load_job(path, overrides=overrides), "job.yaml")


async def checked(path: Path, *overrides: str, run_dir: Path | None = None, width: int = 80) -> tuple[int, list[str]]:
    """Exit code and printed lines, without what stands right of them."""
    console = Console(file=io.StringIO(), width=width)
    code = await check_job(experiment(path, *overrides), run_dir or path.parent / "outputs" / "run", console)
    assert isinstance(console.file, io.StringIO)
    return code, [line.rstrip() for line in console.file.getvalue().split("\n")]


def table(lines: list[str]) -> list[list[str]]:
    """The rows of the table, header first, by words."""
    start = next(i for i, line in enumerate(lines) if line.startswith(" step"))
    end = lines.index("", start)
    return [line.split() for line in (lines[start], *lines[start + 2 : end])]


def records(folder: Path, *calls: tuple[str, str, int, float]) -> Path:
    """A run folder with answered calls: key, step, output tokens, seconds."""
    folder.mkdir(parents=True)
    with (folder / "calls.jsonl").open("wb") as file:
        for key, step, tokens, seconds in calls:
            record = {
                "key": key,
                "status": "ok",
                "request_hash": "0" * 16,
                "cost_usd": 0.0,
                "step": step,
                "model": "1b",
                "usage": {"input_tokens": 10, "output_tokens": tokens},
                "timing": {"latency": seconds},
            }
            file.write(orjson.dumps(record) + b"\n")
    return folder


# --- the table -----------------------------------------------------------------------------------


async def test_the_calls_of_the_table_are_the_plans(real: Job) -> None:
    path = real()
    code, lines = await checked(path)
    plan = await count_calls(experiment(path))
    header, *rows = table(lines)
    assert code == 0
    assert header == ["step", "model", "calls", "tokens", "in", "out", "cost", "at", "most", "time"]
    assert {(row[0], row[1]): int(row[2]) for row in rows} == dict(plan.total)
    assert sum(plan.total.values()) == 8
    assert any(line.startswith("8 calls, 8 of them still to make: about ") for line in lines)
    assert lines[-2] == "nothing would stop the run."


async def test_estimates_say_from_what_they_are(real: Job) -> None:
    _, lines = await checked(real())
    rows = {(row[0], row[1]): row for row in table(lines)[1:]}
    # two hints of half 1000 tokens: 8.3 s each at 60 tokens/s, 4 side by side; 60 requests a minute are no bound
    assert [rows["hint", "teacher"][n] for n in (4, 6, 7)] == ["1.0k", "$0.01", "4.2s"]
    # four answers of 120 tokens: 2 s each, 2 side by side
    assert rows["answer", "1b"][4:] == ["480", "free", "free", "4.0s"]
    assert any("estimated from assumptions: replies of half max_tokens, 4 bytes a token" in line for line in lines)


@pytest.mark.parametrize("width", [80, 120])
async def test_no_name_is_cut_and_no_line_of_the_table_is_too_long(real: Job, tmp_path: Path, width: int) -> None:
    long = "llama-4-maverick-17b-128e-instruct-fp8"
    run_dir = records(tmp_path / "run", ("some|answer|model:1b", "answer", 20, 0.1))
    path = real(teacher=long, student="llama3.2-1b-instruct-q8_0")
    _, lines = await checked(path, run_dir=run_dir, width=width)
    header, *_ = table(lines)
    start = next(i for i, line in enumerate(lines) if line.startswith(" step"))
    rows = lines[start : lines.index("", start)]
    assert max(map(len, rows)) <= width
    assert "…" not in "".join(rows)
    assert header[:2] == ["step", "model"]
    left, right = rows[0].index("model"), rows[0].index(" calls")
    assert "".join(row[left:right].strip() for row in rows[2:]).startswith(long)


async def test_a_run_that_was_begun_is_measured_by_what_it_has(real: Job, tmp_path: Path) -> None:
    path = real()
    keys: list[str] = []

    def note(key: str) -> bool:
        keys.append(key)
        return False

    await count_calls(experiment(path), on_record=note)
    answers = [key for key in keys if "|answer|" in key and "model:1b" in key and "hint:none" in key]
    run_dir = records(tmp_path / "run", *((key, "answer", 50, 3.0) for key in answers))
    _, lines = await checked(path, run_dir=run_dir)
    header, *rows = table(lines)
    assert header[2:4] == ["calls", "left"]
    (row,) = [row for row in rows if row[:2] == ["answer", "1b"]]
    assert row[2:] == ["4", "2", "20.0", "100", "free", "free", "3.0s"]  # two calls of 3 s, side by side
    assert any("8 calls, 6 of them still to make" in line for line in lines)
    assert any(line.endswith("estimated from recorded calls of this run.") for line in lines)


async def test_a_finished_run_needs_no_provider(real: Job, tmp_path: Path) -> None:
    path = real()
    keys: list[str] = []

    def note(key: str) -> bool:
        keys.append(key)
        return False

    await count_calls(experiment(path), on_record=note)
    run_dir = records(tmp_path / "run", *((key, "answer", 50, 3.0) for key in keys))
    closed = ["providers.api.base_url=http://127.0.0.1:9/v1", "providers.api.api_key_env=NO_SUCH_KEY"]
    code, lines = await checked(path, *closed, run_dir=run_dir)
    assert code == 0
    assert any("8 calls, 0 of them still to make: about 0.0s" in line for line in lines)


async def test_unknown_prices_are_called_unknown(real: Job) -> None:
    _, lines = await checked(real(), "models.teacher.price=unknown")
    assert all("unknown" in row for row in table(lines)[1:] if "teacher" in row)
    assert any("; cost: unknown." in line for line in lines)


async def test_a_free_model_of_an_api_costs_nothing_and_a_budget_asks_for_no_price(real: Job) -> None:
    code, lines = await checked(real(), "models.teacher.price=free", "budget.usd=1")
    assert code == 0
    assert [row[5:7] for row in table(lines)[1:] if "teacher" in row] == [["free", "free"]] * 2
    assert any("; cost: free." in line for line in lines)


async def test_what_a_call_costs_at_most_is_unknown_where_nothing_bounds_its_reply(real: Job) -> None:
    _, lines = await checked(real(), "providers.api.omit=[max_tokens]")
    rows = [row for row in table(lines)[1:] if "teacher" in row]
    assert [row[6] for row in rows] == ["unknown"] * 2
    assert not any("unknown" in row[5] for row in rows)


# --- what is worth knowing, and what would stop the run ------------------------------------------


async def test_models_are_told_with_what_their_servers_say_of_them(real: Job) -> None:
    _, lines = await checked(real())
    assert "models.teacher: served" in lines
    assert "models.1b: served: ollama 0.13.0, 1.2B, Q8_0, llama3.2:1b" in lines


async def test_a_model_that_is_not_wholly_on_the_gpu_is_worth_a_note(real: Job, serve_ollama: Serve) -> None:
    half = serve_ollama(["llama3.2:1b"], on_gpu=0.5)
    code, lines = await checked(real(), f"providers.gpus.slots[0].url={half}")
    assert code == 0
    assert any(line.startswith("note: models.1b: only 50% of llama3.2:1b is in GPU memory") for line in lines)


async def test_a_setting_that_is_not_sent_is_worth_a_note(real: Job) -> None:
    _, lines = await checked(real(), "models.teacher.sampling.num_ctx=4096")
    assert "note: models.teacher.sampling.num_ctx is for Ollama only and is not sent" in lines


STOPS = "would stop the run: models.1b.sampling.thinking: providers.gpus (dialect ollama_0_12_11):"


def spoken(lines: list[str]) -> list[str]:
    """What is said of dialects and thinking."""
    return [line for line in lines if "spoken to" in line or "thinking" in line or "is not sent" in line]


async def test_check_says_which_dialect_it_took_and_what_models_do_by_themselves(
    real: Job, serve_ollama: Serve
) -> None:
    able = serve_ollama(["llama3.2:1b"], able=["completion", "thinking"])
    _, lines = await checked(real(), f"providers.gpus.slots[0].url={able}")
    doubts = "not verified of it: thought_tokens, limits"
    assert spoken(lines) == [
        "providers.api: spoken to as any other host (nothing is known of it)",
        "models.teacher: thinking is left out, and the model's default is not known",
        f"providers.gpus: spoken to as Ollama from 0.12.11 (by its version, 0.13.0); {doubts}",
        "models.1b: thinking is left out, and by default the model thinks",
    ]


@pytest.mark.parametrize(
    ("able", "thinking", "said"),
    [
        (["completion", "thinking"], "on", "models.1b: thinking on is sent as {think: true}"),
        (["completion", "thinking"], "off", "models.1b: thinking off is sent as {think: false}"),
        (["completion"], "off", "models.1b: thinking off needs no field: by default the model does not think"),
        (
            ["completion"],
            "on",
            f"{STOPS} llama3.2:1b does not think, so thinking on can't be had of it",
        ),
        (
            ["completion", "thinking"],
            "medium",
            f"{STOPS} llama3.2:1b can't be asked for thinking medium, only for off, on; by default it thinks",
        ),
    ],
)
async def test_what_a_model_can_do_is_what_its_server_says(
    able: list[str], thinking: str, said: str, real: Job, serve_ollama: Serve
) -> None:
    url = serve_ollama(["llama3.2:1b"], able=able)
    code, lines = await checked(real(), f"providers.gpus.slots[0].url={url}", f"models.1b.sampling.thinking={thinking}")
    assert said in lines
    assert code == (5 if said.startswith("would stop") else 0)


async def test_the_oldest_of_several_servers_decides(real: Job, serve_ollama: Serve) -> None:
    new = serve_ollama(["llama3.2:1b"], able=["thinking"], version="0.33.0")
    old = serve_ollama(["llama3.2:1b"], able=["thinking"], version="0.9.3")
    for first, second in ((old, new), (new, old)):
        slots = f"[{{gpu: 0, url: '{first}'}}, {{gpu: 1, url: '{second}'}}]"
        code, lines = await checked(real(), f"providers.gpus.slots={slots}", "models.1b.sampling.thinking=high")
        assert code == 5
        assert any(
            "(dialect ollama_before_0_12_6): llama3.2:1b can't be asked for thinking high" in line for line in lines
        )


async def test_a_model_that_can_not_think_so_is_not_probed_and_its_member_is_named(
    real: Job, serve_openai: Serve, tmp_path: Path
) -> None:
    there = serve_openai(["large-70b"])
    members = f"[{{name: here, dialect: mistral}}, {{name: there, base_url: '{there}', dialect: vllm}}]"
    path = real()
    console = Console(file=io.StringIO(), width=80)
    job = experiment(path, f"providers.api.members={members}", "models.teacher.sampling.thinking=low")
    code = await check_job(job, tmp_path / "run", console, probe=True)
    assert isinstance(console.file, io.StringIO)
    assert code == 5
    assert "would stop the run: models.teacher.sampling.thinking: member here: providers.api" in console.file.getvalue()


async def test_members_may_speak_differently(real: Job, serve_openai: Serve) -> None:
    there = serve_openai(["large-70b"])
    members = f"[{{name: here, dialect: mistral}}, {{name: there, base_url: '{there}', dialect: vllm}}]"
    _, lines = await checked(
        real(),
        f"providers.api.members={members}",
        "models.teacher.sampling.thinking=off",
        "models.teacher.model=large-70b",
    )
    doubts = "not verified of it: top_k, thought_tokens, finish"
    sent = "{chat_template_kwargs: {enable_thinking: false}}"
    unsure = "whether this model obeys is not known: the report counts replies with thoughts"
    assert [line for line in spoken(lines) if "api" in line or "teacher" in line] == [
        f"providers.api (member here): spoken to as Mistral (as the job says); {doubts}",
        "providers.api (member there): spoken to as vLLM (as the job says); not verified of it: limits",
        "models.teacher (member here): thinking off needs no field: by default the model does not think",
        f"models.teacher (member there): thinking off is sent as {sent}; {unsure}",
    ]


async def test_a_dialect_is_known_by_the_list_of_models(real: Job, serve: Callable[..., str]) -> None:
    async def listed(_: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "large-70b", "owned_by": "vllm"}]})

    app = web.Application()
    app.router.add_get("/v1/models", listed)
    _, lines = await checked(real(), f"providers.api.base_url={serve(app)}/v1")
    assert "providers.api: spoken to as vLLM (by its list of models); not verified of it: limits" in lines


async def test_a_window_that_does_not_hold_prompt_thoughts_and_words_is_worth_a_note(real: Job) -> None:
    _, lines = await checked(real(), "models.1b.sampling.num_ctx=300")
    assert any(
        line.startswith(
            "note: models.1b.sampling.num_ctx: a window of 300 tokens does not hold a prompt of step answer"
        )
        for line in lines
    )
    _, lines = await checked(real(), "models.1b.sampling.num_ctx=8192")
    assert not any("does not hold a prompt" in line for line in lines)


async def test_what_would_go_to_another_machine_over_plain_http_is_a_warning(real: Job) -> None:
    elsewhere = ["providers.api.base_url=http://192.0.2.1/v1", "providers.api.api_key_env=NO_SUCH_KEY"]
    _, lines = await checked(real(), *elsewhere)
    assert (
        "warning: providers.api: the key and the prompts would go to http://192.0.2.1/v1 over plain http, where "
        "everybody on the way can read them; use https, or a tunnel"
    ) in lines
    _, lines = await checked(real())
    assert not any(line.startswith("warning: ") for line in lines)


async def test_a_host_whose_key_a_program_prints_is_not_asked_and_that_is_worth_a_note(
    real: Job, tmp_path: Path
) -> None:
    trace = tmp_path / "ran"
    code, lines = await checked(real(), f"providers.api.api_key_command=[touch, {trace}]")
    assert (code, trace.exists()) == (0, False)
    assert (
        "note: providers.api: where api_key_command prints the key, nobody was asked; a run and check --probe call it"
    ) in lines
    assert "models.teacher: served" not in lines
    code, lines = await checked(real(), "providers.api.api_key_command=[no-such-program]")
    assert code == 2
    assert any("there is no program 'no-such-program' to run" in line for line in lines)


async def test_members_with_a_key_are_asked_though_a_program_prints_the_key_of_others(
    real: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", "sk-1")
    trace = tmp_path / "ran"
    members = f"[{{name: printed, api_key_command: [touch, {trace}]}}, {{name: plain, api_key_env: TEST_KEY}}]"
    code, lines = await checked(real(), f"providers.api.members={members}")
    assert (code, trace.exists()) == (0, False)
    assert "models.teacher: served" in lines
    assert any(line.startswith("note: providers.api: where api_key_command prints") for line in lines)


async def test_members_that_call_a_model_otherwise_or_take_another_price_are_told(
    real: Job, serve_openai: Serve
) -> None:
    models = "{teacher: {model: large-fp8, price: {input: 2, output: 4.5, as_of: 2026-07-01}}}"
    there = serve_openai(["large-fp8"])
    members = f"[{{name: here}}, {{name: there, base_url: '{there}', models: {models}}}]"
    code, lines = await checked(real(), f"providers.api.members={members}")
    assert (code, lines[-2]) == (0, "nothing would stop the run.")
    assert [line for line in lines if ": member " in line] == [
        "models.teacher: member there serves it as large-fp8, for 2 in, 4.5 out (USD per million tokens, 2026-07-01)"
    ]


async def test_a_cost_above_the_budget_is_worth_a_note(real: Job) -> None:
    _, lines = await checked(real(), "budget.usd=0.001")
    assert any(line.startswith("note: the estimated cost of ") and "above budget.usd 0.001" in line for line in lines)


async def test_money_spent_already_counts_against_the_budget(real: Job, tmp_path: Path) -> None:
    run_dir = records(tmp_path / "run", ("some|answer|model:1b", "answer", 20, 0.1))
    text = (run_dir / "calls.jsonl").read_text().replace('"cost_usd":0.0', '"cost_usd":4.5')
    (run_dir / "calls.jsonl").write_text(text)
    _, lines = await checked(real(), "budget.usd=4.5", run_dir=run_dir)
    assert any("and $4.50 spent already is above budget.usd 4.5" in line for line in lines)


async def test_what_a_run_would_note_is_noted(real: Job) -> None:
    _, lines = await checked(real(), "data.sample=9")
    assert "note: data.sample asks for 9 problems; there are 2, all are used" in lines


@pytest.mark.parametrize("line", ['{"step": "hint"}', "[]", "half a li"])
async def test_records_that_are_none_are_refused(real: Job, tmp_path: Path, line: str) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "calls.jsonl").write_text(line + "\n")
    with pytest.raises(RunFolderError, match=r"calls\.jsonl:"):
        await checked(real(), run_dir=run_dir)


async def test_a_model_that_is_not_the_one_on_record_would_stop_the_run(real: Job, tmp_path: Path) -> None:
    path, folder = real(), tmp_path / "run"
    folder.mkdir()
    before = {"1b": ModelFacts("llama3.2:1b 0123456789", "Q4_K_M")}
    write_manifest(folder, experiment(path), Plan(), before, dt.datetime.now(dt.UTC))
    code, lines = await checked(path, run_dir=folder)
    assert code == 2
    assert lines[-2] == (
        "would stop the run: models.1b: llama3.2:1b is not the model this run began with (quantisation Q8_0 now, "
        "Q4_K_M on record); put the old one back, or give the job a new name"
    )


async def test_everything_that_would_stop_the_run_is_said_and_the_code_is_the_runs(real: Job, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    other = load_experiment(load_job(real(), overrides=["name=another"]), "job.yaml")
    write_manifest(folder, other, Plan(), {}, dt.datetime.now(dt.UTC))
    changes = ["providers.api.api_key_env=NO_SUCH_KEY", "providers.gpus.slots[0].url=http://127.0.0.1:9"]
    code, lines = await checked(real(), *changes, run_dir=folder)
    stops = [line.removeprefix("would stop the run: ") for line in lines if line.startswith("would stop the run: ")]
    assert code == 2
    assert [stop.split(":")[0].split(" is ")[0] for stop in stops] == [
        str(folder),
        "providers.api.api_key_env",
        "providers.gpus",
    ]
    assert "nothing would stop the run." not in lines
    code, _ = await checked(real(), changes[1])
    assert code == 5


async def test_a_damaged_manifest_would_stop_the_run(real: Job, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text("{}")
    code, lines = await checked(real(), run_dir=tmp_path / "run")
    assert code == 2
    (stop,) = [line for line in lines if line.startswith("would stop the run: ")]
    assert "manifest.json: is damaged: name: Field required; delete it" in stop


async def test_a_place_where_nothing_can_be_written_would_stop_the_run(real: Job, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    places = [place for place in (tmp_path / "locked", Path("/proc/self")) if not os.access(place, os.W_OK)]
    if not places:
        pytest.skip("this user may write everywhere")
    code, lines = await checked(real(), run_dir=places[0] / "run")
    assert code == 2
    stop = f"would stop the run: {places[0]}/run: {places[0]} can't be written to; choose another with --output"
    assert stop in lines


async def test_nothing_is_made(real: Job, tmp_path: Path) -> None:
    path = real()
    before = sorted(tmp_path.rglob("*"))
    await checked(path)
    assert sorted(tmp_path.rglob("*")) == before


# --- time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [
        ({"concurrency": 1}, "17s"),  # two hints of 500 tokens at 60 tokens/s, one after the other
        ({"concurrency": 8}, "2.1s"),
        ({"requests_per_minute": 2}, "1m 00s"),
        ({"tokens_per_minute": 600}, "2m 08s"),  # 1000 tokens out, some 160 in
    ],
)
async def test_the_tightest_limit_gives_the_time(real: Job, limits: dict[str, Any], seconds: str) -> None:
    _, lines = await checked(real(), f"providers.api.limits={orjson.dumps(limits).decode()}")
    (row,) = [row for row in table(lines)[1:] if row[:2] == ["hint", "teacher"]]
    assert " ".join(row[7:]) == seconds


async def test_the_whole_takes_as_long_as_its_slowest_part(real: Job, serve_ollama: Serve) -> None:
    models = {
        "teacher": {"provider": "gpus", "model": "large", "sampling": {"max_tokens": 1200}},
        "1b": {"provider": "gpus", "model": "small", "sampling": {"max_tokens": 1200}},
    }
    slots = [
        {"gpu": 0, "url": serve_ollama(["small:latest"]), "models": ["small"]},
        {"gpu": 1, "url": serve_ollama(["small:latest", "large:latest"])},
    ]
    path = real(providers={"gpus": {"api": "ollama", "slots": slots}}, models=models)
    _, lines = await checked(path)
    times = {(row[0], row[1]): " ".join(row[7:]) for row in table(lines)[1:]}
    # replies of 600 tokens take 10 s; large: 2 hints and 2 answers on one slot; small: 4 answers on two
    assert times == {("hint", "teacher"): "20s", ("answer", "teacher"): "20s", ("answer", "1b"): "20s"}
    assert any("about 40s, " in line for line in lines)  # 80 s of work on two slots
