"""Statistics for a handful of trials or repeats: ranks, tests and intervals, from NumPy alone.

Every random draw comes from a fixed seed or from a generator that the caller passes: the same data, the same answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# An effect or a difference counts as shown if chance alone gives one as large less often than this.
ALPHA = 0.05
# Two values differ where they are this many standard errors of their difference apart: 5% by chance.
Z = 1.96
# Permutations of :func:`dependence`: its p is a multiple of 1 / (PERMUTATIONS + 1).
PERMUTATIONS = 999
# The fixed seed of the permutations: the same trials always give the same p.
_SEED = 20240
# :func:`sign_flip` tries all signs of up to EXACT pairs, and FLIPS random ones of more.
EXACT, FLIPS = 18, 100_000
# Bootstrap samples of :func:`mean_interval`.
RESAMPLES = 10_000


# Ranks and dependence ----------------------------------------------------------------------------------------------


def rank(values: Sequence[Any] | Floats) -> Floats:
    """Ranks from 0, smallest first; equal values share the mean of their ranks. Values need only be comparable."""
    if isinstance(values, np.ndarray):
        _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
        means: Floats = np.cumsum(counts) - (counts + 1) / 2
        return means[places]
    ordered = sorted(range(len(values)), key=lambda index: values[index])
    ranks = np.empty(len(values))
    start = 0
    for end in range(1, len(ordered) + 1):
        if end == len(ordered) or values[ordered[end]] != values[ordered[start]]:
            ranks[ordered[start:end]] = (start + end - 1) / 2
            start = end
    return ranks


def spearman(x: Floats, y: Floats) -> float:
    """Spearman's rank correlation of two samples of one length; 0 where one of them is constant."""
    a, b = (ranks - ranks.mean() if len(ranks) else ranks for ranks in (rank(x), rank(y)))
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale else 0.0


def interval(correlation: float, count: int, level: float = ALPHA) -> tuple[float, float] | None:
    """The confidence interval of a rank correlation of ``count`` pairs, 95 % by default; None for fewer than four.

    Fisher's transformation with the variance (1 + r^2 / 2) / (n - 3) of Bonett and Wright (2000, Psychometrika 65).
    """
    if count < 4:
        return None
    if abs(correlation) >= 1.0:
        return (correlation, correlation)
    half = NormalDist().inv_cdf(1 - level / 2) * _error(correlation, count)
    centre = math.atanh(correlation)
    return (math.tanh(centre - half), math.tanh(centre + half))


def correlation_p(correlation: float, count: int) -> float:
    """The two-sided p of a rank correlation: below ``level`` just where :func:`interval` leaves out 0."""
    if count < 4:
        return 1.0
    if abs(correlation) >= 1.0:
        return 0.0
    return math.erfc(abs(math.atanh(correlation)) / _error(correlation, count) / math.sqrt(2))


def _error(correlation: float, count: int) -> float:
    """The standard error of Fisher's transformation of a rank correlation."""
    return math.sqrt((1 + correlation**2 / 2) / (count - 3))


def dependence(features: Floats, outcome: Floats) -> float:
    """How often chance alone explains as much of ``outcome`` by ``features`` as was seen: a permutation test.

    Args:
        features: Shape (trials, features).
        outcome: Shape (trials,).

    Returns:
        The p of the share of variance that a linear model on the features explains; 1 where there is nothing to
        explain.
    """
    centred = outcome - outcome.mean() if len(outcome) else outcome
    basis = _basis(features)
    if len(outcome) < 4 or not centred.any() or basis.shape[1] >= len(outcome) - 1 or not basis.shape[1]:
        return 1.0
    shuffled = _shuffled(centred.tobytes())
    seen = float(((centred @ basis) ** 2).sum())
    chance = ((shuffled @ basis) ** 2).sum(axis=1)
    return float(1 + (chance >= seen * (1 - 1e-9)).sum()) / (PERMUTATIONS + 1)


@lru_cache(maxsize=1)  # the parameters of a study are tested one after another on the same outcomes
def _shuffled(outcome: bytes) -> Floats:
    """Permutations of an outcome, shape (permutations, trials)."""
    return np.random.default_rng(_SEED).permuted(np.tile(np.frombuffer(outcome), (PERMUTATIONS, 1)), axis=1)


def _basis(features: Floats) -> Floats:
    """An orthonormal basis of the features' deviations from their means, shape (trials, rank)."""
    if not len(features):
        return features
    left, sizes, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    basis: Floats = left[:, sizes > 1e-9 * max(1.0, float(sizes.max(initial=0.0)))]
    return basis


# Paired samples ----------------------------------------------------------------------------------------------------


def sign_flip(differences: Floats, rng: np.random.Generator) -> float:
    """The two-sided p-value of a paired permutation test: is the mean of these differences 0?

    Were there no difference, each could as well have had the other sign (Fisher, The Design of Experiments, 1935,
    section 21). Exact up to :data:`EXACT` pairs that differ, else from :data:`FLIPS` random signs.

    Args:
        differences: One per pair, shape (n,).
        rng: Draws the random signs.

    Returns:
        How often random signs give a mean as far from 0; never below 2 / 2**n.
    """
    own = differences[differences != 0.0]  # a tie is the same with either sign
    scale = float(np.abs(own).sum())
    if scale == 0.0:
        return 1.0
    reached = abs(float(own.sum())) - 1e-9 * scale  # sums in another order differ in their last digits
    if len(own) <= EXACT:
        sums = own[:1]  # by symmetry the first keeps its sign
        for difference in own[1:]:
            sums = np.concatenate([sums + difference, sums - difference])
        return float(np.mean(np.abs(sums) >= reached))
    count = 0
    for _ in range(FLIPS // 1000):
        signs = rng.choice((-1.0, 1.0), size=(1000, len(own)))
        count += int(np.sum(np.abs(signs @ own) >= reached))
    return (count + 1) / (FLIPS + 1)  # the observed signs are one draw, too (Davison and Hinkley, 1997, eq. 4.11)


def fewest_pairs(tests: int) -> int:
    """How many pairs :func:`sign_flip` needs before any result of ``tests`` tests can reach ``ALPHA`` after Holm."""
    return 1 + math.ceil(math.log2(tests / ALPHA))  # the smallest p is 2 / 2**n


def superiority(first: Floats, second: Floats) -> float:
    """The share of pairs in which the first value is the larger one; a tie counts half."""
    return float(np.mean((first > second) + (first == second) / 2))


# Several tests, means and shares -----------------------------------------------------------------------------------


def headroom(*samples: Floats) -> float:
    """What to divide samples by before they are added or subtracted: 1, and more for those whose sums are no float64.

    A power of two: no digit is lost.
    """
    largest = max(float(np.abs(sample).max(initial=0.0)) for sample in samples)
    return 2.0**64 if largest > 1e280 else 1.0


def quantiles(values: Floats, shares: Sequence[float] = (0.25, 0.5, 0.75)) -> Floats:
    """Quantiles over the first axis, by default the quartiles, of values of any size."""
    unit = headroom(values)
    found: Floats = np.quantile(values / unit, shares, axis=0) * unit
    return found


def median_low(values: Floats) -> float:
    """The median, and of an even number of values the lower of both in the middle: with infinities it is no NaN."""
    return float(np.quantile(values, 0.5, method="inverted_cdf"))


def outer_fences(values: Floats) -> tuple[Floats, Floats]:
    """Tukey's outer fences over the first axis: three times the quartiles' distance beyond them. NaN counts as absent.

    What lies beyond is far out (Tukey, Exploratory Data Analysis, 1977).
    """
    lower, upper = np.nanquantile(values, [0.25, 0.75], axis=0)
    reach = 3 * (upper - lower)
    return lower - reach, upper + reach


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for how many there are (Holm, Scandinavian Journal of Statistics 6, 1979); order kept."""
    corrected = [1.0] * len(p_values)
    largest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = largest
    return corrected


def mean_interval(values: Floats, rng: np.random.Generator) -> tuple[float, float] | None:
    """A 95 % bootstrap interval of the mean; None for less than two values.

    Percentiles of resampled means, spread by sqrt(n / (n - 1)): resamples vary less than samples by that factor.
    """
    count = len(values)
    if count < 2:
        return None
    means = values[rng.integers(count, size=(RESAMPLES, count))].mean(axis=1)
    middle = values.mean()
    low, high = np.quantile(middle + math.sqrt(count / (count - 1)) * (means - middle), [0.025, 0.975])
    return float(low), float(high)


def binomial_error(share: float, examples: int) -> float:
    """One standard error of a share measured on ``examples`` examples.

    sqrt(p (1 - p) / n) with p = (hits + 1) / (n + 2), Laplace's rule, so that a perfect score has an error as well.
    """
    p = (share * examples + 1) / (examples + 2)
    return math.sqrt(p * (1 - p) / examples)
