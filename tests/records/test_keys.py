"""records/keys.py: keys, request hashes and seeds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eli5b_batch.records import RESERVED, derive_seed, make_key, parse_key, request_hash

NAMES = st.from_regex(r"[a-z][a-z_0-9]{0,12}", fullmatch=True).filter(lambda name: name not in RESERVED)
TAGS = st.dictionaries(NAMES, st.one_of(st.text(max_size=20), st.integers()), max_size=5)


@given(problem=st.text(max_size=20), step=st.text(max_size=20), model=st.text(max_size=20), tags=TAGS)
def test_a_key_gives_back_what_was_put_in(problem: str, step: str, model: str, tags: dict[str, str | int]) -> None:
    assert parse_key(make_key(problem, step, model, tags)) == (problem, step, model, tags)


@given(problem=st.text(max_size=20), tags=TAGS)
def test_a_key_is_ascii_on_one_line_and_needs_no_json_escape(problem: str, tags: dict[str, str | int]) -> None:
    key = make_key(problem, "answer", "1b", tags)
    assert key.isascii()
    assert key.isprintable()
    assert not {'"', "\\"} & set(key)


def test_the_order_of_tags_does_not_matter() -> None:
    assert make_key("p", "answer", "1b", {"hint": "none", "sample": 0}) == make_key(
        "p", "answer", "1b", {"sample": 0, "hint": "none"}
    )


def test_the_number_1_and_the_text_1_are_two_tags() -> None:
    assert make_key("p", "s", "m", {"k": 1}) != make_key("p", "s", "m", {"k": "1"})


@pytest.mark.parametrize("text", ["", "p|answer", "p|answer|hint:none", "p|answer|sample=x|model:a"])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_key(text)


def test_a_request_hash_covers_every_part_and_not_the_order_of_keys() -> None:
    request = {"model": "m", "messages": [{"role": "user", "content": "x"}], "sampling": {"top_p": 1.0}, "seed": 1}
    reordered = dict(reversed(request.items()))
    assert request_hash(request) == request_hash(reordered)
    for field, other in (("model", "n"), ("messages", []), ("sampling", {}), ("seed", 2)):
        assert request_hash({**request, field: other}) != request_hash(request)
    assert len(request_hash(request)) == 16


def test_a_seed_differs_by_run_problem_model_and_sample_and_by_nothing_else() -> None:
    seeds = {
        derive_seed(run, problem, model, sample)
        for run in (0, 1)
        for problem in ("a", "b")
        for model in ("1b", "3b")
        for sample in (0, 1)
    }
    assert len(seeds) == 16
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert derive_seed(0, "a", "1b", 0) == derive_seed(0, "a", "1b", 0)
