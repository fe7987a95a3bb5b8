from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from eli5b_batch.progress import render
from eli5b_batch.progress.block import FLOOR
from eli5b_batch.progress.blocks import arm_label
from eli5b_batch.progress.frame import share

if TYPE_CHECKING:
    from collections.abc import Callable

    from eli5b_batch.progress.snapshot import ArmProgress, SlotProgress, Snapshot

    Make = Callable[..., Snapshot]

MODELS = [f"model-with-a-long-name-{i}" for i in range(40)]


def arm(model: str, hint: str, hint_for: str = "any", n: int = 2821, correct: int = 1187) -> ArmProgress:
    return {"model": model, "tags": {"hint": hint, "hint_for": hint_for}, "n": n, "correct": correct}


def slots(usual: SlotProgress, number: int) -> list[SlotProgress]:
    """Return `number` slots like `usual`, of which number 37 is idle."""
    return [{**usual, "slot": f"gpu{i}", "busy_share": 0.03 if i == 37 else 0.97} for i in range(number)]


@pytest.fixture
def large(snapshot: Make) -> Snapshot:
    """Everything at once: 40 models, 12 providers that all failed, 64 slots, 20 arms."""
    usual = snapshot()
    return snapshot(
        steps=[{**usual["steps"][1], "model": model} for model in MODELS],
        providers=[
            {
                **usual["providers"][0],
                "provider": f"provider{i}",
                "waiting_for": "a 429 of maverick: 34 s to go " * 9,
                "last_error": "x" * 500 if i % 2 else "words of the host " * 600,
            }
            for i in range(12)
        ],
        slots=slots(usual["slots"][0], 64),
        accuracy=[arm(model, f"variant-{i:02d}") for i in range(20) for model in MODELS],
        failures={f"class_{i}": i for i in range(30)},
        reason="word " * 100,
    )


def drawn(shown: Snapshot, width: int = 120, height: int | None = 39, note: str = "") -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width, color_system=None).print(render(shown, height=height, note=note))
    return file.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 120, 160, 250])
@pytest.mark.parametrize("height", [6, 23, 33, 34, 39, 49])
def test_the_dashboard_fits_the_screen(snapshot: Make, large: Snapshot, width: int, height: int) -> None:
    for shown in (snapshot(), large):
        lines = drawn(shown, width, height, note="process 123 is gone")
        assert len(lines) <= height
        assert max(cell_len(line) for line in lines) <= width
        assert "SIMULATED" in lines[0]
        assert "omni_full" in lines[0]


@pytest.mark.parametrize(("width", "height"), [(80, 23), (120, 39), (160, 49)])
def test_an_ordinary_run_is_shown_whole(snapshot: Make, width: int, height: int) -> None:
    text = "\n".join(drawn(snapshot(), width, height))
    assert "…" not in text
    assert "more" not in text
    for expected in (
        "running for 20m 00s",
        "1,128/2,821",
        "40 of 48 in flight",
        "1h 40m left",
        "$4.04, projected $10.10, budget $25.00",
        "graded 11,280, 3 waiting",
        "3: timeout 2, bad_reply 1",
        "7,334/14,105",
        "9.8/s",
        "23m 20s",
        "580/600",
        "300k/400k",
        "60/64",
        "4 (1 now)",
        "together, last failure 12s ago: HTTP 503: try again later",
        "llama3.2:1b",
        "97.0%",
        "812",
        "3/4",
        "1187/2821 42.1%",
        "tailored own",
    ):
        assert expected in text, expected


def test_only_simulated_runs_say_so(snapshot: Make) -> None:
    assert "SIMULATED" not in "\n".join(drawn(snapshot(simulated=False)))


def test_a_run_that_has_just_begun_is_shown(snapshot: Make) -> None:
    empty: dict[str, Any] = {"steps": [], "providers": [], "slots": [], "accuracy": [], "failures": {}}
    cost = {"spent_usd": 0.0, "projected_usd": None, "budget_usd": None}
    problems = {"total": 0, "done": 0, "active": 0, "window": 1}
    text = "\n".join(drawn(snapshot(**empty, cost=cost, problems=problems, eta_s=None)))
    assert "$0.00, no budget" in text
    assert "failed" not in text


def test_an_ended_run_says_how_it_ended(snapshot: Make) -> None:
    ended = snapshot(state="stopped", exit_code=4, reason="the next call could exceed the budget")
    text = "\n".join(drawn(ended))
    assert "stopped after 20m 00s, exit code 4" in text
    assert "the next call could exceed the budget" in text
    head = text.split("calls")[0]
    assert "in flight" not in head
    assert "left" not in head


def test_slots_that_do_not_fit_are_summed_and_the_idlest_is_named(snapshot: Make) -> None:
    lines = drawn(snapshot(slots=slots(snapshot()["slots"][0], 64)))
    [rest] = [line for line in lines if "more" in line]
    hidden = 64 - sum("llama3.2:1b" in line for line in lines)
    assert f"+{hidden} more" in rest
    assert f"{2 * hidden}" in rest
    assert "idlest gpu37 3.0%" in rest
    assert f"{3 * hidden}/{4 * hidden}" in rest
    assert f"{120 * hidden:,}" in rest


@pytest.mark.parametrize("width", [80, 100, 120])
def test_slots_say_what_their_time_goes_into_and_what_is_wrong(snapshot: Make, width: int) -> None:
    usual = snapshot()["slots"][0]
    both = ["llama3.2:1b", "llama3.2:3b"]
    lost: SlotProgress = {
        **usual,
        "slot": "gpu2",
        "down": True,
        "busy_share": 0.25,
        "busy_s": 300,
        "idle_s": 582,
        "down_s": 300,
    }
    shown: list[SlotProgress] = [
        {**usual, "slot": "gpu0", "resident": both},
        {**usual, "slot": "gpu1", "on_gpu": 0.63, "model": "hf.co/somebody/a-model-with-a-long-name-GGUF:Q8_0"},
        lost,
    ]
    lines = drawn(snapshot(slots=shown), width)
    head, *rows = (next(line for line in lines if f"│ {name}" in line) for name in ("slot", "gpu0", "gpu1", "gpu2"))
    for name in ("busy", "loading", "tok/s", "in flight", "queue", "loads"):
        assert name in head
    assert "llama3.2:1b +1" in rows[0]
    assert all(text in rows[0] for text in ("97.0%", "1.5%", "812", "3/4", "10"))
    assert "63% on GPU: hf" in rows[1]
    assert "down" in rows[2]
    wide = width >= 100
    assert ("calls" in head) == wide
    assert (rows[2].count("25.0%") == 2) == wide  # busy and, where there is room, down


def test_a_slot_that_is_down_is_red_and_one_partly_on_the_gpu_yellow(snapshot: Make) -> None:
    usual = snapshot()["slots"][0]
    file = io.StringIO()
    shown = snapshot(slots=[{**usual, "down": True}, {**usual, "slot": "gpu1", "on_gpu": 0.63}])
    Console(file=file, width=120, force_terminal=True, color_system="standard").print(render(shown))
    assert "\x1b[1;31mdown" in file.getvalue()
    assert "\x1b[33m63% on GPU: " in file.getvalue()


def test_calls_that_wait_for_all_slots_together_are_not_added_up_where_slots_do_not_fit(snapshot: Make) -> None:
    many = [{**slot, "queued": 7} for slot in slots(snapshot()["slots"][0], 64)]
    lines = drawn(snapshot(slots=many))
    [rest] = [line for line in lines if "more" in line]
    hidden = 64 - sum("llama3.2:1b" in line for line in lines)
    in_flight, loads, *_ = rest.split(f"/{4 * hidden}", 1)[1].split()
    assert (in_flight, loads) == (f"{2 * hidden}", f"{120 * hidden:,}")


def test_slots_that_are_down_are_counted_where_they_do_not_fit(snapshot: Make) -> None:
    many = slots(snapshot()["slots"][0], 64)
    many[63]["down"] = True
    [rest] = [line for line in drawn(snapshot(slots=many)) if "more" in line]
    assert "1 down" in rest


def test_steps_and_providers_that_do_not_fit_are_summed(large: Snapshot) -> None:
    lines = drawn(large, height=24)
    steps, providers = [line for line in lines if line.startswith("+")][:2]
    hidden = 40 - sum("9.8/s" in line for line in lines)
    assert f"+{hidden} more" in steps
    assert f"{hidden * 2821:,}/{hidden * 8463:,}" in steps
    hidden = 12 - sum("580/600" in line for line in lines)
    assert f"+{hidden} more" in providers
    assert f"{60 * hidden}/{64 * hidden}" in providers


def test_arms_and_models_that_do_not_fit_are_counted(large: Snapshot) -> None:
    text = "\n".join(drawn(large, width=80, height=49))
    assert "+38 more" in text  # two of the models' columns fit
    assert "variant-00" in text
    assert "variant-19" not in text


def test_counts_give_way_before_a_model_does(snapshot: Make) -> None:
    shown = snapshot(accuracy=[arm(f"student-{i}", "none", n=100_000, correct=42_100) for i in range(5)])
    assert "42100/100000 42.1%" in "\n".join(drawn(shown))
    narrow = "\n".join(drawn(shown, width=80))
    assert "42100/100000" not in narrow
    assert all(f"student-{i}" in narrow for i in range(5))


def test_without_a_height_nothing_is_left_out(snapshot: Make) -> None:
    text = "\n".join(drawn(snapshot(slots=slots(snapshot()["slots"][0], 64)), height=None))
    assert "gpu63" in text
    assert "more" not in text


def test_slots_of_several_providers_are_told_apart(snapshot: Make) -> None:
    usual = snapshot()["slots"][0]
    text = "\n".join(drawn(snapshot(slots=[usual, {**usual, "provider": "cluster"}])))
    assert "gpus/gpu0" in text
    assert "cluster/gpu0" in text


def test_texts_from_servers_are_shown_and_not_obeyed(snapshot: Make) -> None:
    bad = "\x1b[2J[red]boom[/red]\nnext \x9b1m :smile:"
    usual = snapshot()
    shown = snapshot(
        providers=[{**usual["providers"][0], "provider": bad, "waiting_for": bad, "last_error": bad}],
        slots=[{**usual["slots"][0], "model": bad}],
        steps=[{**usual["steps"][0], "step": bad, "model": bad}],
        accuracy=[arm(bad, bad)],
        failures={bad: 1},
        reason=bad,
    )
    text = "\n".join(drawn(shown, width=160, height=None, note=bad))
    assert text.count("[2J[red]boom[/red] next 1m :smile:") >= 4
    assert all(c.isprintable() or c == "\n" for c in text)


HOSTS_WORDS = (
    "together answered 429: Rate limit reached for maverick in organization org-7 on tokens per min (TPM):"
    " Limit 30000, Used 29900, Requested 410. Please try again in 620ms."
)


def test_a_standing_run_says_what_it_waits_for_and_what_the_host_said_in_80_columns(snapshot: Make) -> None:
    usual = snapshot()["providers"][0]
    stands = {**usual, "waiting_for": "a 429 of maverick: 34 s to go", "last_error": HOSTS_WORDS, "last_error_s": 90.0}
    lines = drawn(snapshot(providers=[stands]), width=80)
    at = next(number for number, line in enumerate(lines) if "waits for" in line)
    assert [line.strip("│ ") for line in lines[at : at + 3]] == [
        "together waits for a 429 of maverick: 34 s to go",
        "together, last failure 1m 30s ago: together answered 429: Rate limit reached",
        "for maverick in organization org-7 on tokens per min (TPM): Limit 30000, …",
    ]


def test_a_failure_while_nothing_works_says_for_how_long(snapshot: Make) -> None:
    down = {**snapshot()["providers"][0], "last_error": "HTTP 503", "last_error_s": None, "down_s": 130.0}
    assert "together, down for 2m 10s, probing; last failure: HTTP 503" in "\n".join(drawn(snapshot(providers=[down])))
    down["waiting_for"] = "a probe of a server that is down for 2 min 10 s"
    assert "probing" not in "\n".join(drawn(snapshot(providers=[down])))


def test_the_label_of_an_arm_is_its_tags_in_words() -> None:
    assert arm_label(arm("1b", "none")) == "none"
    assert arm_label(arm("1b", "tailored", "1b")) == "tailored own"
    assert arm_label(arm("1b", "tailored", "3b")) == "tailored 3b"
    assert arm_label({**arm("1b", ""), "tags": {"turn": 2, "role": "critic"}}) == "turn 2 critic"
    assert arm_label({**arm("1b", ""), "tags": {}}) == "all"


@given(st.lists(st.integers(1, 100), max_size=8), st.integers(-5, 120))
def test_room_is_dealt_out_top_first(wants: list[int], room: int) -> None:
    dealt = share(wants, room)
    assert sum(dealt) <= max(room, 0)
    for want, got in zip(wants, dealt, strict=False):
        assert min(want, FLOOR) <= got <= want
    if len(dealt) < len(wants):  # the first that was left out would not have fitted
        assert sum(min(want, FLOOR) for want in wants[: len(dealt) + 1]) > room
    else:
        assert sum(dealt) == max(min(room, sum(wants)), 0)
