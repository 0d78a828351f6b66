"""Random search, uniform in the value or in its logarithm (chapter, section 6.5.2).

Each draw depends on the study's seed, the trial's number and the parameter's name, and on nothing else: not on the
order in which trials finish, on the number of workers, or on what the rest of the space holds.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from hpo.samplers.quantile import quantile


class IndependentSampler(BaseSampler):
    """A sampler that draws one parameter at a time; Optuna's other question is answered with nothing."""

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}


class RandomSampler(IndependentSampler):
    """Independent uniform draws; ``10 ** U(a, b)`` for a logarithmic range of ``10**a`` to ``10**b``.

    Args:
        seed: The study's seed.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return quantile(param_distribution, uniform(self._seed, trial.number, param_name))


def uniform(seed: int, number: int, name: str) -> float:
    """The random number in [0, 1) that belongs to one parameter of one trial."""
    return float(np.random.default_rng((seed, number, zlib.crc32(name.encode()))).random())
