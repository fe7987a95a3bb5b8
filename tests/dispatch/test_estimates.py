from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eli5b_batch.dispatch.estimates import Speed

LONGEST_S = 600.0


def learnt(
    replies: int, *, output: int = 100, seconds: float = 2.0, input_chars: int = 400, tokens: int = 100
) -> Speed:
    speed = Speed(500.0)
    for _ in range(replies):
        speed.learn(input_chars, tokens, output, seconds)
    return speed


def test_before_any_reply_a_token_is_four_characters_and_the_output_is_as_given() -> None:
    assert Speed(500.0).tokens(400) == 600


def test_the_first_reply_replaces_the_assumptions() -> None:
    assert learnt(1, output=40, input_chars=400, tokens=200).tokens(1000) == pytest.approx(500 + 40)


def test_a_change_is_followed_after_some_dozens_of_replies() -> None:
    speed = learnt(1000, output=100)
    for _ in range(100):
        speed.learn(400, 100, 300, 2.0)
    assert speed.output == pytest.approx(300, rel=0.01)


def test_one_odd_reply_among_many_changes_little() -> None:
    speed = learnt(1000, output=100)
    speed.learn(400, 100, 1000, 60.0)
    assert (speed.output, speed.seconds) == pytest.approx((145, 4.9))


def test_a_server_that_does_not_count_input_leaves_the_estimate_of_it() -> None:
    assert learnt(100, tokens=0, output=40).tokens(400) == pytest.approx(100 + 40)


def test_a_reply_has_the_whole_time_until_twenty_replies_were_measured() -> None:
    assert [learnt(n).deadline_s(1000, LONGEST_S) for n in (0, 19, 20)] == [600, 600, pytest.approx(80)]


@pytest.mark.parametrize(
    ("max_tokens", "seconds", "deadline_s"),
    [(1000, 2.0, 80), (100, 2.0, 60), (2000, 2.0, 160), (1000, 4.0, 160), (1000, 60.0, 600)],
)
def test_a_deadline_is_four_times_the_longest_reply_at_the_measured_speed_within_bounds(
    max_tokens: int, seconds: float, deadline_s: float
) -> None:
    assert learnt(50, seconds=seconds).deadline_s(max_tokens, LONGEST_S) == pytest.approx(deadline_s)


def test_a_job_that_waits_less_than_a_minute_is_obeyed() -> None:
    assert learnt(50).deadline_s(1000, 5.0) == 5


@given(
    replies=st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.floats(0, 600)), max_size=60
    ),
    most=st.integers(1, 10**6),
    longest=st.floats(0.1, 3600),
)
def test_whatever_replies_say_no_call_waits_longer_than_the_job_allows(
    replies: list[tuple[int, int, int, float]], most: int, longest: float
) -> None:
    speed = Speed(most / 2)
    for reply in replies:
        speed.learn(*reply)
    assert min(60.0, longest) <= speed.deadline_s(most, longest) <= longest
    assert speed.tokens(1000) >= 0
