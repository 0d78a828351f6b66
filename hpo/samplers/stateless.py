"""Optuna's learning samplers as pure functions: same ledger, same seed, same trial number, same parameters.

An Optuna sampler draws from a generator that moves with every ask, so that a search that was interrupted goes on with
other draws than one that was not. Here every trial is asked of a sampler of its own, made anew with a seed that derives
from the study's seed and the trial's number; all else it needs to know it reads from the trials.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial


class StatelessSampler(BaseSampler):
    """Asks a new sampler for every trial, and tells it nothing: for samplers that learn from the study alone.

    Args:
        seed: The study's seed.
        make: Makes a sampler from a seed.
        keeps_space: Whether one sampler may say which parameters are drawn together, for all: the answer needs no
            random numbers, and a sampler that is kept only has to look at what is new.
        without: Parameters that are always drawn one by one.
    """

    def __init__(
        self,
        seed: int,
        make: Callable[[int], BaseSampler],
        *,
        keeps_space: bool = True,
        without: Container[str] = (),
    ) -> None:
        self._seed, self._make, self._without = seed, make, without
        self._now = make(seed)
        self._kept = self._now if keeps_space else None

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._now = self._make(self._seed_of(trial))
        self._now.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        space = (self._kept or self._now).infer_relative_search_space(study, trial)
        return {name: distribution for name, distribution in space.items() if name not in self._without}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._now.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._now.sample_independent(study, trial, param_name, param_distribution)

    def _seed_of(self, trial: FrozenTrial) -> int:
        # A spawn key, so that this is not the seed that the objective gets.
        return int(np.random.SeedSequence(self._seed, spawn_key=(trial.number,)).generate_state(1)[0])
