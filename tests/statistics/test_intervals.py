from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from eli5b_batch.statistics import intervals as statistics

if TYPE_CHECKING:
    from eli5b_batch.statistics.intervals import Floats

# Right answers and answers of each problem.
clusters = st.lists(
    st.integers(1, 8).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1, max_size=30
)
differences = st.lists(st.sampled_from([-1, -0.75, -0.5, -1 / 3, 0, 0.25, 0.5, 1]), min_size=2, max_size=30)


def array(*values: float) -> Floats:
    return np.array(values, dtype=np.float64)


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_values_of_newcombe_1998(correct: int, n: int, low: float, high: float) -> None:
    assert statistics.wilson(correct / n, n) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_agrees_with_scipy_for_whole_numbers(drawn: tuple[int, int]) -> None:
    correct, n = drawn
    theirs = scipy.stats.binomtest(correct, n).proportion_ci(method="wilson")
    assert statistics.wilson(correct / n, n) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_one_answer_per_problem_is_worth_one_answer_each() -> None:
    assert statistics.effective_size(array(1, 0, 0, 1, 1), np.ones(5)) == pytest.approx(5)


def test_copies_of_one_answer_are_worth_one_answer() -> None:
    assert statistics.effective_size(array(4, 0, 0, 4, 4), np.full(5, 4.0)) == pytest.approx(5)


def test_effective_size_by_hand() -> None:
    # p = 4/8; sum (c - 2p)^2 = 1 + 0 + 0 + 1 = 2; 0.25 * 64 / 2 = 8.
    assert statistics.effective_size(array(2, 1, 1, 0), np.full(4, 2.0)) == pytest.approx(8)
    # p = 4/12; c - 3p = 2, 0, -1, -1: 6; (2/9) * 144 / 6 = 16/3.
    assert statistics.effective_size(array(3, 1, 0, 0), np.full(4, 3.0)) == pytest.approx(16 / 3)


def test_with_nothing_right_the_problems_count() -> None:
    assert statistics.effective_size(np.zeros(6), np.full(6, 4.0)) == 6
    assert statistics.effective_size(np.full(6, 4.0), np.full(6, 4.0)) == 6


@given(clusters)
def test_an_arms_interval_holds_its_accuracy_and_stays_in_range(problems: list[tuple[int, int]]) -> None:
    correct, answered = np.array(problems, dtype=np.float64).T
    low, high = statistics.share_interval(correct, answered)
    assert 0 <= low <= correct.sum() / answered.sum() <= high <= 1
    assert low < high


@given(clusters, st.randoms(use_true_random=False))
def test_the_order_of_problems_changes_no_interval(problems: list[tuple[int, int]], random: object) -> None:
    shuffled = list(problems)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = (np.array(rows, dtype=np.float64).T for rows in (problems, shuffled))
    assert statistics.share_interval(*first) == pytest.approx(statistics.share_interval(*second), abs=1e-12)


@settings(max_examples=25)
@given(differences)
def test_a_comparison_is_the_same_in_any_order_and_mirrored(values: list[float]) -> None:
    forth, back = statistics.compare(array(*values)), statistics.compare(array(*reversed(values)))
    assert forth.interval == back.interval
    assert forth.p == back.p
    assert forth.interval is not None
    assert forth.interval.low <= forth.value + 1e-9
    assert forth.value <= forth.interval.high + 1e-9
    assert 0 < forth.p <= 1


def test_one_problem_has_a_difference_and_no_interval() -> None:
    compared = statistics.compare(array(0.5))
    assert (compared.problems, compared.differing, compared.value, compared.interval) == (1, 1, 0.5, None)
    assert compared.p == 1.0


def test_the_interval_has_the_width_theory_gives() -> None:
    # 500 problems, 10% discordant, evenly split: 1.96 * sqrt(0.1 / 500) = 2.8 points to each side.
    values = np.concatenate([np.ones(25), -np.ones(25), np.zeros(450)])
    interval = statistics.compare(values, paired_single=True).interval
    assert interval is not None
    assert interval == pytest.approx((-0.028, 0.028), abs=0.0025)


def test_resampling_distinct_rows_is_resampling_rows() -> None:
    values = np.random.default_rng(1).integers(-4, 5, 300) / 4
    interval = statistics.compare(values).interval
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, method="percentile", batch=1000
    ).confidence_interval
    assert interval is not None
    assert interval == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_resampled_columns_stay_together_and_centred() -> None:
    values = np.stack([np.arange(40.0), -np.arange(40.0)], axis=1)
    means = statistics.resampled_means(values, resamples=2_000)
    assert means.shape == (2_000, 2)
    assert np.allclose(means.sum(axis=1), 0)
    assert means[:, 0].mean() == pytest.approx(19.5, abs=0.2)


def test_chunks_do_not_change_how_many_resamples_there_are() -> None:
    values = np.random.default_rng(0).random((700, 1))
    assert statistics.resampled_means(values, resamples=1_500).shape == (1_500, 1)


def test_mcnemar_gives_known_values() -> None:
    assert statistics.mcnemar(59, 121) == pytest.approx(4.434e-06, rel=1e-3)
    # Both tails of ten tosses of a coin: twice (1 + 10) of 1024.
    assert statistics.mcnemar(9, 1) == pytest.approx(22 / 1024)
    assert statistics.mcnemar(0, 0) == 1.0
    assert statistics.mcnemar(3, 3) == 1.0


@pytest.mark.parametrize(("won", "lost"), [(9, 1), (12, 5), (30, 22), (4, 0)])
def test_sign_flips_of_single_answers_agree_with_mcnemar(won: int, lost: int) -> None:
    values = np.concatenate([np.ones(won), -np.ones(lost), np.zeros(40)])
    assert statistics.sign_flip(values) == pytest.approx(statistics.mcnemar(won, lost), abs=0.006)


def test_sign_flips_by_hand() -> None:
    # Of the 8 sign patterns of (1, 1/2, 1/4) only two reach 7/4.
    assert statistics.sign_flip(array(1, 0.5, 0.25)) == pytest.approx(2 / 8, abs=0.006)
    # Ties with the observed sum of 1.5 count.
    sums = [abs(a + b + c) for a in (1, -1) for b in (1, -1) for c in (0.5, -0.5)]
    expected = sum(total >= 1.5 for total in sums) / 8
    assert statistics.sign_flip(array(1, 1, -0.5)) == pytest.approx(expected, abs=0.006)


def test_sign_flips_agree_with_scipy() -> None:
    values = np.random.default_rng(3).integers(-3, 5, 14) / 4
    theirs = scipy.stats.permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert statistics.sign_flip(values) == pytest.approx(theirs, abs=0.006)


def test_no_difference_anywhere_is_p_one() -> None:
    assert statistics.sign_flip(np.zeros(5)) == 1.0


def test_holm_by_hand() -> None:
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert statistics.holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=6))
def test_holm_never_lowers_a_p_value_nor_passes_bonferroni(p_values: list[float]) -> None:
    for p, adjusted in zip(p_values, statistics.holm(p_values), strict=True):
        assert p <= adjusted <= 1
    if p_values:
        assert min(statistics.holm(p_values)) == pytest.approx(min(1, len(p_values) * min(p_values)))


def test_pass_at_k_by_hand() -> None:
    assert statistics.pass_at_k(4, 1, 2) == pytest.approx(1 / 2)
    assert statistics.pass_at_k(5, 2, 3) == pytest.approx(1 - 1 / 10)
    assert statistics.pass_at_k(4, 3, 2) == 1.0
    assert statistics.pass_at_k(4, 0, 4) == 0.0
    with pytest.raises(ValueError, match="pass@3 needs 3 answers"):
        statistics.pass_at_k(2, 1, 3)


@given(st.integers(1, 10).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_pass_at_one_is_the_mean(drawn: tuple[int, int]) -> None:
    n, correct = drawn
    assert statistics.pass_at_k(n, correct, 1) == pytest.approx(correct / n)


def test_gap_closed_by_hand() -> None:
    alone = np.zeros(100)
    ceiling = np.repeat([1.0, 0.0], 50)
    helped = np.concatenate([np.ones(20), np.zeros(80)])
    closed = statistics.gap_closed(helped, alone, ceiling)
    assert closed.value == pytest.approx(0.2 / 0.5)
    assert closed.interval is not None
    assert closed.interval.low < 0.4 < closed.interval.high


def test_a_gap_that_may_be_none_is_not_divided_by() -> None:
    nothing = np.zeros(50)
    assert statistics.gap_closed(np.ones(50), nothing, nothing).value is None
    noisy = np.concatenate([np.ones(3), -np.ones(2), np.zeros(45)])
    assert statistics.gap_closed(np.ones(50), nothing, noisy).interval is None
    worse = -np.ones(50)
    assert statistics.gap_closed(np.ones(50), nothing, worse).value is None
    assert statistics.gap_closed(np.ones(1), np.zeros(1), np.ones(1)).value is None


def test_every_statistic_is_a_plain_number() -> None:
    compared = statistics.compare(array(0.5, -0.25, 1.0))
    assert type(compared.value) is float
    assert type(compared.p) is float
    assert math.isfinite(compared.p)
