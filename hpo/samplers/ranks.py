"""Rank statistics, small and exact enough for a handful of trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Permutations of a permutation test: its p is a multiple of 1 / (PERMUTATIONS + 1).
PERMUTATIONS = 999
# The fixed seed of the permutations: the same trials always give the same p.
_SEED = 20240


def rank(values: Sequence[Any] | Floats) -> Floats:
    """Ranks from 0, smallest first; equal values share the mean of their ranks. Values need only be comparable."""
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


def interval(correlation: float, count: int) -> tuple[float, float] | None:
    """The 95 % confidence interval of a rank correlation of ``count`` pairs; None for fewer than four.

    Fisher's transformation with the variance (1 + r^2 / 2) / (n - 3) of Bonett and Wright (2000, Psychometrika 65).
    """
    if count < 4:
        return None
    if abs(correlation) >= 1.0:
        return (correlation, correlation)
    half = 1.96 * math.sqrt((1 + correlation**2 / 2) / (count - 3))
    centre = math.atanh(correlation)
    return (math.tanh(centre - half), math.tanh(centre + half))


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
    shuffled = np.random.default_rng(_SEED).permuted(np.tile(centred, (PERMUTATIONS, 1)), axis=1)
    seen = float(((centred @ basis) ** 2).sum())
    chance = ((shuffled @ basis) ** 2).sum(axis=1)
    return float(1 + (chance >= seen * (1 - 1e-9)).sum()) / (PERMUTATIONS + 1)


def _basis(features: Floats) -> Floats:
    """An orthonormal basis of the features' deviations from their means, shape (trials, rank)."""
    if not len(features):
        return features
    left, sizes, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    basis: Floats = left[:, sizes > 1e-9 * max(1.0, float(sizes.max(initial=0.0)))]
    return basis
