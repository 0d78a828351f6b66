"""Rank statistics: how a parameter and a score go together, and how sure that is. NumPy only."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Into how many groups a parameter's values are cut to find an effect of any shape: a hump shows in five.
GROUPS = 5
# Shuffles of a permutation test, and a bound on shuffles times trials: 10,000 trials take half a second.
SHUFFLES, WORK = 4999, 20_000_000


def ranks(values: Floats) -> Floats:
    """Ranks from 1 to n, equal values sharing their mean rank; shape (n,)."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    mean: Floats = ends - (counts - 1) / 2.0
    return mean[inverse]


def spearman(x: Floats, y: Floats) -> float | None:
    """Spearman's rank correlation of two arrays of shape (n,); None where one of them is constant."""
    a, b = ranks(x), ranks(y)
    a, b = a - a.mean(), b - b.mean()
    norm = math.sqrt(float(a @ a) * float(b @ b))
    return min(1.0, max(-1.0, float(a @ b) / norm)) if norm > 0 else None


def spearman_interval(rho: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """A confidence interval of a rank correlation of ``n`` pairs.

    Fisher's transformation with the standard error sqrt((1 + rho**2 / 2) / (n - 3)) of Bonett and Wright, "Sample size
    requirements for estimating Pearson, Kendall and Spearman correlations", Psychometrika 65 (2000).

    Returns:
        Both ends, within [-1, 1]; the whole of it for fewer than four pairs.
    """
    if n < 4:
        return -1.0, 1.0
    if abs(rho) >= 1.0:
        return rho, rho
    centre = math.atanh(rho)
    half = NormalDist().inv_cdf((1 + confidence) / 2) * math.sqrt((1 + rho**2 / 2) / (n - 3))
    return math.tanh(centre - half), math.tanh(centre + half)


def groups(x: Floats) -> NDArray[np.int64]:
    """Cuts values into up to :data:`GROUPS` groups of about the same size, equal values together; shape (n,)."""
    cut = np.floor((ranks(x) - 0.5) / len(x) * GROUPS).astype(np.int64)
    return np.unique(cut, return_inverse=True)[1].astype(np.int64)


def effect_p_values(x: Floats | None, group: NDArray[np.int64], y: Floats, seed: int) -> tuple[float | None, float]:
    """Permutation tests of "the parameter has nothing to do with the score".

    Args:
        x: The parameter's values, shape (n,); None where they have no order.
        group: The group of each value, shape (n,), from 0.
        y: The scores, shape (n,).
        seed: Decides the shuffles.

    Returns:
        p of a monotone effect (two-sided, Spearman; None without order) and p of an effect of any shape (Kruskal and
        Wallis's H over the groups). With k of B shuffles at least as extreme, p = (k + 1) / (B + 1).
    """
    n = len(y)
    centred = ranks(y) - (n + 1) / 2
    members = np.eye(int(group.max()) + 1)[group]
    weights = members / np.sqrt(members.sum(axis=0))
    slope = None if x is None else ranks(x) - (n + 1) / 2

    def statistics(score: Floats) -> tuple[Floats, Floats]:
        trend = np.zeros(len(score)) if slope is None else np.abs(score @ slope)
        return trend, ((score @ weights) ** 2).sum(axis=1)

    seen = [float(s[0]) * (1 - 1e-9) for s in statistics(centred[None])]  # rounding must not break ties
    rng = np.random.default_rng(seed)
    shuffles = max(499, min(SHUFFLES, WORK // n))
    hits = np.zeros(2)
    for start in range(0, shuffles, 500):
        rows = min(500, shuffles - start)
        shuffled = rng.permuted(np.broadcast_to(centred, (rows, n)), axis=1)
        hits += [float((s >= limit).sum()) for s, limit in zip(statistics(shuffled), seen, strict=True)]
    trend, shape = (hits + 1) / (shuffles + 1)
    return (None if slope is None or not slope.any() else float(trend)), float(shape)


def holm(p_values: list[float]) -> list[float]:
    """p-values corrected for how many there are (Holm 1979), in the given order."""
    corrected = [1.0] * len(p_values)
    largest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = largest
    return corrected
