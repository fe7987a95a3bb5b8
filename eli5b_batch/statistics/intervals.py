"""The statistics of a report, each with its formula and where it comes from.

Must not know: files, data frames, models, conditions. In and out go numbers and numpy arrays.

The unit is the problem. Answers to one problem are not independent of each other, so every interval and
every test here takes problems as what was drawn at random, never answers. Accuracies are shares in 0..1.
Nothing here depends on the order in which problems are given.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from scipy.special import bdtr

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

RESAMPLES: Final = 10_000
"""Bootstrap resamples: the ends of a 95% interval then wander by about 1% of its width from seed to seed."""

FLIPS: Final = 99_999
"""Random sign flips of the permutation test: the smallest p it can state is 1 in 100,000."""

SEED: Final = 0
"""Seed of every resampling, so that a rebuilt report says the same."""

_Z: Final = 1.959963984540054
"""97.5% point of the normal distribution."""

_TAILS: Final = (2.5, 97.5)

_CELLS: Final = 500_000
"""Random numbers held at once: 4 MB, whatever the number of problems."""

_DECIMALS: Final = 12
"""Differences of shares are rounded to this, so that 2/3 - 1/3 and 1/3 - 0 are the same number."""


class Interval(NamedTuple):
    """A 95% interval."""

    low: float
    high: float


class Comparison(NamedTuple):
    """A mean over problems, how sure it is, and the p-value of it being 0.

    `differing` counts the problems whose value is not 0: only they carry information. `interval` is None below
    two problems: one problem says nothing about another.
    """

    problems: int
    differing: int
    value: float
    interval: Interval | None
    p: float
    test: str


class GapClosed(NamedTuple):
    """Share of a gap that was closed; `value` and `interval` are None where the gap may be none."""

    problems: int
    value: float | None
    interval: Interval | None


def wilson(share: float, n: float) -> Interval:
    """Wilson's score interval at 95% for a share seen in `n` draws.

    (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n); E. B. Wilson, J. Am. Stat. Assoc. 22 (1927),
    209-212. It stays inside 0..1 and keeps its width at 0 and 1, where the textbook interval has none.
    `scipy.stats.binomtest` has it for whole numbers; an effective sample size is none.

    Args:
        share: the share seen, 0..1.
        n: number of draws, above 0; need not be whole.
    """
    z2 = _Z * _Z / n
    centre = share + z2 / 2
    half = math.sqrt(z2 * (share * (1 - share) + z2 / 4))
    # The clamps only take away the last bit's rounding: the interval always holds the share itself.
    return Interval(min(max((centre - half) / (1 + z2), 0.0), share), max(min((centre + half) / (1 + z2), 1.0), share))


def effective_size(correct: Floats, answered: Floats) -> float:
    """How many independent answers the answers of one arm are worth.

    With problem j as the cluster, c_j of n_j answers right, N = sum n_j and p = sum c_j / N, the variance of
    p as a ratio of sums is sum (c_j - p n_j)^2 / N^2 (L. Kish, Survey Sampling, 1965, chapters 5 and 6).
    Setting it equal to p(1-p)/n gives n = p(1-p) N^2 / sum (c_j - p n_j)^2: N over the design effect.
    With one answer per problem it is the number of problems; with k copies of the same answer it still is;
    with k independent answers it is near N. It is never taken to be above N.

    At p = 0 and p = 1 every (c_j - p n_j) is 0 and the data say nothing about how alike the answers to one
    problem are. Then the number of problems is taken: the cautious end, answers wholly alike.

    Args:
        correct: right answers per problem.
        answered: answers per problem, above 0.
    """
    total = float(answered.sum())
    share = float(correct.sum()) / total
    if share in {0.0, 1.0}:
        return float(len(answered))
    spread = float(np.square(correct - share * answered).sum())
    # Every problem at the very same share: less spread than chance would give, so nothing speaks against N.
    return total if spread == 0 else min(total, share * (1 - share) * total * total / spread)


def share_interval(correct: Floats, answered: Floats) -> Interval:
    """95% interval of an arm's share of right answers: Wilson's, at the effective sample size.

    Among eight forms compared in simulations of clustered samples, Wilson's at the effective sample size is
    recommended (C. Franco et al., J. Surv. Stat. Methodol. 7 (2019), 334-364, PMC6690503); it holds near
    0 and 1 too, and small students on hard problems are near 0. The same study finds every such interval a
    little narrow when clusters are few. Answers taken as independent would make it up to sqrt(k) too narrow.
    """
    return wilson(float(correct.sum() / answered.sum()), effective_size(correct, answered))


def resampled_means(values: Floats, *, resamples: int = RESAMPLES, seed: int = SEED) -> Floats:
    """Column means of problems drawn with replacement, `resamples` times.

    Drawing m of m rows is the same as drawing how often each *distinct* row comes up from a multinomial
    distribution. Shares of k answers take few values, so this is some hundred times less work than drawing
    rows, and the order of the rows cannot matter.

    Args:
        values: shape (problems, columns); the columns of a row stay together.
        resamples: number of draws.
        seed: of the random generator.

    Returns:
        Shape (resamples, columns).
    """
    rows, counts = np.unique(np.round(values, _DECIMALS), axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    shares = counts / len(values)
    return np.concatenate(
        [rng.multinomial(len(values), shares, size=size) @ rows / len(values) for size in _chunks(resamples, len(rows))]
    )


def compare(differences: Floats, *, paired_single: bool = False) -> Comparison:
    """The mean of per-problem differences, its interval, and a test of it being 0.

    The interval is the 95% percentile bootstrap over problems (B. Efron and R. Tibshirani, An Introduction to
    the Bootstrap, 1993, chapter 13). Hints and samples are inside their problem, so their luck is in it.

    The test is McNemar's exact one where both arms have one answer per problem, else the sign-flip
    permutation test; both ask the same (would swapping the arms of each problem by coin do as much?), and at
    one answer per problem they agree. A p-value from the bootstrap was not taken: with few problems it
    promises more than it holds, while the sign flip is exact at any number.

    Args:
        differences: one per problem, shape (problems,), at least one.
        paired_single: whether they are differences of two single answers, so -1, 0 or 1.
    """
    problems, value = len(differences), float(differences.mean())
    won, lost = int((differences > 0).sum()), int((differences < 0).sum())
    interval = None
    if problems > 1:
        interval = _percentiles(resampled_means(differences[:, None])[:, 0])
    if paired_single:
        return Comparison(problems, won + lost, value, interval, mcnemar(won, lost), "exact McNemar")
    return Comparison(problems, won + lost, value, interval, sign_flip(differences), "sign-flip permutation")


def mcnemar(won: int, lost: int) -> float:
    """Two-sided p of McNemar's exact test.

    Of the `won + lost` problems on which the arms differ, how many went one way is binomial with 1/2
    (Q. McNemar, Psychometrika 12 (1947), 153-157, in its exact form): symmetric, so both tails are twice the smaller.
    `scipy.stats.binomtest` says the same, and takes most of a second to import.
    """
    return min(1.0, 2 * float(bdtr(min(won, lost), won + lost, 0.5)))


def sign_flip(differences: Floats, *, flips: int = FLIPS, seed: int = SEED) -> float:
    """Two-sided p of the sign-flip (paired permutation) test for a mean of 0.

    If the arms do not differ, each problem's difference is as likely to be there with the other sign. p is
    (1 + hits) / (1 + flips), which is never 0 (A. C. Davison and D. V. Hinkley, Bootstrap Methods and their
    Application, 1997, section 4.3). Of n differences of one size, the number that keep their sign is binomial
    (n, 1/2), so one number per distinct size is drawn instead of one per problem.
    """
    sizes, counts = np.unique(np.round(np.abs(differences[differences != 0]), _DECIMALS), return_counts=True)
    if not len(sizes):
        return 1.0
    # Sums that equal the observed one must count as hits, whatever their last bits say.
    reached = abs(float(differences.sum())) - 1e-9
    rng = np.random.default_rng(seed)
    hits = 0
    for size in _chunks(flips, len(sizes)):
        sums = (2 * rng.binomial(counts, 0.5, size=(size, len(sizes))) - counts) @ sizes
        hits += int((np.abs(sums) >= reached).sum())
    return (1 + hits) / (1 + flips)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for being a family, in the given order.

    The i-th smallest of m (from 0) becomes max(those before, (m - i) p), at most 1; S. Holm, Scand. J. Stat.
    6 (1979), 65-70. The chance of any false positive in the family stays at the level, however the tests
    hang together.
    """
    adjusted = [1.0] * len(p_values)
    floor = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = floor
    return adjusted


def pass_at_k(answered: int, correct: int, k: int) -> float:
    """Chance that at least one of k answers is right, from `answered` of which `correct` are.

    1 - C(n-c, k) / C(n, k), unbiased; M. Chen et al., arXiv 2107.03374 (2021), section 2.1.

    Raises:
        ValueError: fewer than k answers.
    """
    if answered < k:
        raise ValueError(f"pass@{k} needs {k} answers, there are {answered}")
    return 1 - math.comb(answered - correct, k) / math.comb(answered, k)


def cohen_kappa(both: int, first: int, second: int, neither: int) -> float | None:
    """How far two graders agree beyond chance: 1 always, 0 as often as by chance, below 0 less often.

    (p_o - p_e) / (1 - p_e), with p_o the share of answers on which they agree and p_e what it would be if each gave its
    verdicts with the same frequency but by lot; J. Cohen, Educ. Psychol. Meas. 20 (1960), 37-46.

    Args:
        both: answers that both call correct.
        first: that only the first one does.
        second: that only the second one does.
        neither: that neither does.

    Returns:
        None where it is not defined: no answers, or both graders always say the same one thing.
    """
    n = both + first + second + neither
    by_chance = (both + first) * (both + second) + (neither + first) * (neither + second)
    return (n * (both + neither) - by_chance) / (n * n - by_chance) if by_chance < n * n else None


def gap_closed(helped: Floats, alone: Floats, ceiling: Floats) -> GapClosed:
    """(helped - alone) / (ceiling - alone): how much of the way to the ceiling the help goes.

    Its interval is the percentile bootstrap of the ratio over problems. Where the 95% interval of the
    denominator reaches down to 0 there may be no gap to close, and the ratio is not defined.

    Args:
        helped: per-problem accuracy with help, shape (problems,).
        alone: without, same problems.
        ceiling: of what the help comes from, same problems.
    """
    values = np.stack([helped - alone, ceiling - alone], axis=1)
    if len(values) > 1:
        gained, gap = resampled_means(values).T
        if _percentiles(gap).low > 0:
            # A resample without a gap has no ratio; outside the middle 95% that can be a few of them.
            ratios = np.divide(gained, gap, out=np.full_like(gap, np.nan), where=gap != 0)
            value = float(values[:, 0].mean() / values[:, 1].mean())
            return GapClosed(len(values), value, _percentiles(ratios[~np.isnan(ratios)]))
    return GapClosed(len(values), None, None)


def _percentiles(values: Floats) -> Interval:
    low, high = np.percentile(values, _TAILS)
    return Interval(float(low), float(high))


def _chunks(total: int, width: int) -> Iterator[int]:
    """Sizes that add up to `total`, each with at most `_CELLS` numbers in rows of `width`."""
    step = max(1, _CELLS // width)
    for start in range(0, total, step):
        yield min(step, total - start)
