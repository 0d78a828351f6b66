r"""The density g(x) of TPE at a few points, for very many trials at once.

g is a mixture with a component per trial j, and one more, the prior, in the middle of the ranges and as wide as they:

.. math::
    g(x) = \sum_j w_j \prod_d k_{jd}(x_d)

A number's k is a normal distribution around the trial's value, cut off at the ends of the range (of a logarithmic
range, on the logarithmic axis; on a lattice, its mass within half a step). Its width is the larger distance to the two
neighbours, and at least a hundredth of the range. A choice's k gives the trial's own value a higher probability. The
weights are 1 for the latest 25 trials and fall linearly to 1 / n for the oldest (Bergstra et al., 2013).

These are the definitions of Optuna's ``_ParzenEstimator``. The order of the sums is another one:
``-((x - mu) / sigma)**2 / 2`` is a polynomial in x, so that one product of matrices gives it for all points, trials and
parameters; what depends on the trial alone, or has few different values, is computed once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers._tpe.sampler import default_weights
from scipy.special import ndtr
from threadpoolctl import ThreadpoolController

from hpo.statistics import Floats

# Components that are computed at once: a block of 24 candidates stays in the cache of a core.
_BLOCK = 4096
# The logarithm of what does not count beside 1. Where its result is below float64's range, np.exp is 15 times as slow.
_NOTHING = -700.0
# How many widths from an end a component loses nothing there that float64 can tell from 1.
_CUT = 8.5
# The rounding errors of a component's logarithm, on both sides: widths are a hundredth of the range or more, so that
# the terms stay below 10**4; the mass of a lattice's step is the difference of two numbers up to 1.
_ROUNDING, _ROUNDING_OF_MASS = 1e-9, 1e-13

Rows = NDArray[np.intp]
Table = tuple[Floats, Rows]


def log_density(
    points: Floats, trials: Sequence[Floats], orders: Sequence[Rows], space: Sequence[BaseDistribution]
) -> tuple[Floats, float]:
    """The logarithm of g at some points.

    Args:
        points: Shape (points, parameters), in Optuna's internal representation.
        trials: The parameters of the trials, in order of their numbers: shape (trials,) for each.
        orders: The places of the trials in order of each parameter, in any order where values are equal.
        space: The parameters' distributions.

    Returns:
        log g, shape (points,), NaN for points beyond the ends of a range; and how far Optuna's may lie from it.
    """
    weights = np.append(default_weights(trials[0].size), 1.0)
    shared = np.log(weights / weights.sum())  # shape (components,), as all that follows from the trials alone
    basis: list[Floats] = []  # functions of the points ...
    slopes: list[Floats] = []  # ... and their factors, one per component
    tables: list[Table] = []
    beyond, error = np.zeros(len(points), bool), _ROUNDING
    for x, values, order, distribution in zip(points.T, trials, orders, space, strict=True):
        if isinstance(distribution, CategoricalDistribution):
            tables.append(_choice(x, values, len(distribution.choices)))
            continue
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        low, high, half = distribution.low, distribution.high, (distribution.step or 0) / 2
        axis = np.log if distribution.log else np.asarray
        low, high, mu, left, right = map(axis, (low - half, high + half, values, x - half, x + half))
        if not (np.diff(mu[order]) > 0).all():
            order = np.argsort(mu)  # as in Optuna also where values are equal
        width = high - low
        mu, left, right = (mu - low) / width, (left - low) / width, (right - low) / width
        sigma = np.append(_widths(mu, order), 1.0)
        mu = np.append(mu, 0.5)
        if half:
            tables.append(_lattice(left, right, mu, sigma, np.append(order, order.size)))
            error += _ROUNDING_OF_MASS / max(float(np.min(right - left)), 1e-16)
        else:
            beyond |= (left < 0) | (right > 1)
            one = 1 / sigma
            centre = mu * one
            basis += [left**2, left]
            slopes += [-0.5 * one * one, centre * one]
            shared += np.log(one) - 0.5 * centre * centre - (0.5 * math.log(2 * math.pi) + math.log(width))
            cut = np.flatnonzero(np.minimum(centre, one - centre) < _CUT)
            shared[cut] -= _log_mass(-centre[cut], (one - centre)[cut])
    with _libraries().limit(limits=1):  # more threads take the workers' cores, and save nothing at this size
        found = _log_sum(np.array(basis).reshape(-1, len(points)).T, slopes, shared, tables)
    return np.where(beyond, np.nan, found), error


@cache
def _libraries() -> ThreadpoolController:
    """The libraries that multiply matrices: to find them takes as long as a product."""
    return ThreadpoolController()


def _widths(mu: Floats, order: Rows) -> Floats:
    """The widths of the components: mu and the result as shares of the range."""
    gaps = np.diff(mu[order])
    sigma = np.empty_like(mu)
    sigma[order] = np.maximum(np.append(gaps[0], gaps), np.append(gaps, gaps[-1]))
    return np.clip(sigma, 1 / min(100, mu.size + 2), 1)


def _choice(x: Floats, values: Floats, choices: int) -> Table:
    """A choice's log k: rows for the points, columns for the values that a trial can have, the last for the prior."""
    count = values.size + 1
    table = np.full((x.size, choices + 1), -math.log(count + choices))  # (1 / count) / (1 + choices / count)
    table[np.arange(x.size), x.astype(int)] = math.log((1 + 1 / count) / (1 + choices / count))
    table[:, -1] = -math.log(choices)
    return table, np.append(values.astype(int), choices)


def _lattice(left: Floats, right: Floats, mu: Floats, sigma: Floats, order: Rows) -> Table:
    """A lattice's log k: of components with the same value and width only one is computed."""
    new = np.append(True, (np.diff(mu[order]) != 0) | (np.diff(sigma[order]) != 0))
    column = np.empty_like(order)
    column[order] = np.cumsum(new) - 1
    mu, sigma = mu[order][new], sigma[order][new]
    table = _log_mass((left[:, None] - mu) / sigma, (right[:, None] - mu) / sigma)
    return table - _log_mass(-mu / sigma, (1 - mu) / sigma), column


def _log_mass(a: Floats, b: Floats) -> Floats:
    """The logarithm of a standard normal distribution's mass between a and b.

    37 widths away it is -inf: beside the prior, which is as wide as the range, such a component adds nothing.
    """
    right = a > 0  # the tail on the left is the exact one
    a, b = np.where(right, -b, a), np.where(right, -a, b)
    with np.errstate(divide="ignore"):
        result: Floats = np.log(ndtr(b) - ndtr(a))
    return result


def _log_sum(basis: Floats, slopes: list[Floats], shared: Floats, tables: list[Table]) -> Floats:
    """The logarithm of the sum over all components, block by block."""
    factors = np.array(slopes).reshape(-1, shared.size)
    largest, total = np.full(len(basis), -np.inf), np.zeros(len(basis))
    for start in range(0, shared.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        terms = basis @ factors[:, block]
        terms += shared[block]
        for table, column in tables:
            terms += table[:, column[block]]
        before, largest = largest, np.maximum(largest, terms.max(axis=1))
        terms -= largest[:, None]
        np.maximum(terms, _NOTHING, out=terms)
        total *= np.exp(before - largest)
        total += np.exp(terms, out=terms).sum(axis=1)
    result: Floats = largest + np.log(total)
    return result
