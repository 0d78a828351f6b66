"""Random search, uniform in the value or in its logarithm (chapter, section 6.5.2).

Each draw depends on the study's seed, the trial's number and the parameter's name, and on nothing else: not on the
order in which trials finish, on the number of workers, or on what the rest of the space holds.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial


class RandomSampler(BaseSampler):
    """Independent uniform draws; ``10 ** U(a, b)`` for a logarithmic range of ``10**a`` to ``10**b``.

    Args:
        seed: The study's seed.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return draw(generator(self._seed, trial.number, param_name), param_distribution)


def generator(seed: int, number: int, name: str) -> np.random.Generator:
    """The stream of random numbers that belongs to one parameter of one trial."""
    return np.random.default_rng((seed, number, zlib.crc32(name.encode())))


def draw(rng: np.random.Generator, distribution: BaseDistribution) -> Any:
    """One value, uniform over ``distribution`` (over its logarithm where it is logarithmic)."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[rng.integers(len(distribution.choices))]
    if isinstance(distribution, IntDistribution):
        return _draw_int(rng, distribution)
    if isinstance(distribution, FloatDistribution):
        low, high = distribution.low, distribution.high
        if distribution.log:
            # exp(log(high)) may exceed high in the last bit
            return min(max(math.exp(rng.uniform(math.log(low), math.log(high))), low), high)
        if distribution.step is not None:
            count = round((high - low) / distribution.step)
            return min(low + distribution.step * int(rng.integers(count + 1)), high)
        return float(rng.uniform(low, high))
    raise TypeError(f"cannot draw from {distribution!r}")


def _draw_int(rng: np.random.Generator, distribution: IntDistribution) -> int:
    low, high, step = distribution.low, distribution.high, distribution.step
    if distribution.log:
        # Half a unit beyond both ends, so that every whole number has its share of the logarithmic range.
        value = math.exp(rng.uniform(math.log(low - 0.5), math.log(high + 0.5)))
        return min(max(round(value), low), high)
    return low + step * int(rng.integers((high - low) // step + 1))
