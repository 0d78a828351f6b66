"""Where the unit interval meets a distribution: every sampler of hpo's own draws through :func:`quantile`."""

from __future__ import annotations

import math
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from hpo.space import lattice_point


def quantile(distribution: BaseDistribution, u: float) -> Any:
    """The value at ``u`` of the uniform law over ``distribution`` (over its logarithm where it is logarithmic).

    Args:
        distribution: A float, integer or categorical distribution of Optuna's.
        u: In [0, 1).

    Returns:
        A value inside the distribution; of a categorical one, the choice as Optuna stores it.
    """
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[int(u * len(distribution.choices))]
    if isinstance(distribution, IntDistribution):
        return _whole(distribution, u)
    if isinstance(distribution, FloatDistribution):
        return _real(distribution, u)
    raise TypeError(f"cannot draw from {distribution!r}")


def _real(distribution: FloatDistribution, u: float) -> float:
    low, high = distribution.low, distribution.high
    if distribution.log:
        # exp(log(high)) may exceed high in the last bit
        return min(max(math.exp(math.log(low) + (math.log(high) - math.log(low)) * u), low), high)
    if distribution.step is not None:
        count = round((high - low) / distribution.step) + 1
        return min(low + distribution.step * int(u * count), high)
    return min(low + (high - low) * u, high)


def _whole(distribution: IntDistribution, u: float) -> int:
    low, high, step = distribution.low, distribution.high, distribution.step
    if distribution.log:
        # Half a unit beyond both ends, so that every whole number has its share of the logarithmic range.
        a, b = math.log(low - 0.5), math.log(high + 0.5)
        return min(max(round(math.exp(a + (b - a) * u)), low), high)
    return low + step * int(u * ((high - low) // step + 1))


def within(distribution: BaseDistribution, low: float, high: float) -> BaseDistribution:
    """The part of a numerical ``distribution`` between ``low`` and ``high``; never empty, on the same lattice."""
    if isinstance(distribution, FloatDistribution) and distribution.step is None:
        low, high = max(low, distribution.low), min(high, distribution.high)
        return FloatDistribution(low, max(low, high), log=distribution.log)
    if not isinstance(distribution, FloatDistribution | IntDistribution):
        raise TypeError(f"{distribution!r} has no bounds to narrow")
    start, step = distribution.low, distribution.step or 1
    count = round((distribution.high - start) / step)
    # A bound on the lattice must not be lost to its own rounding.
    first = min(max(math.ceil((low - start) / step - 1e-9), 0), count)
    last = min(max(math.floor((high - start) / step + 1e-9), 0), count)
    if first > last:  # the range falls between two points: take the nearest
        first = last = min(max(round(((low + high) / 2 - start) / step), 0), count)
    if isinstance(distribution, IntDistribution):
        return IntDistribution(
            distribution.low + first * distribution.step,
            distribution.low + last * distribution.step,
            log=distribution.log,
            step=distribution.step,
        )
    bottom, top = (lattice_point(start, step, point) for point in (first, last))
    return FloatDistribution(bottom, top, step=distribution.step)
