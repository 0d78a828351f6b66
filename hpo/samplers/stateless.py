"""Optuna's learning samplers as pure functions: same ledger, same seed, same trial number, same parameters.

An Optuna sampler draws from a generator that moves with every ask: a search that was interrupted and resumed gets other
draws than one that was not. Here every trial gets a sampler of its own, made anew with a seed that derives from the
study's seed and the trial's number. All else that it needs to know it reads from the trials.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from hpo.samplers.random import RandomSampler
from hpo.study.space import Space
from hpo.trial import REDRAW


class StatelessSampler(BaseSampler):
    """Makes a new sampler for every trial: for samplers that learn from the study's trials alone.

    Args:
        seed: The study's seed.
        space: The study's space. Values on a lattice are stored as written (0.3), not as computed (0.1 + 0.2).
        make: Makes a sampler from a seed.
        keeps_space: Whether one sampler says for all trials which parameters are drawn together: the answer needs no
            random numbers, and a sampler that is kept has to look at new trials only.
        without: Parameters that are always drawn one by one.
    """

    def __init__(
        self,
        seed: int,
        space: Space,
        make: Callable[[int], BaseSampler],
        *,
        keeps_space: bool = True,
        without: Container[str] = (),
    ) -> None:
        self._seed, self._space, self._make, self._without = seed, space, make, without
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
        drawn = self._now.sample_relative(study, trial, search_space)
        return {name: self._as_written(name, value) for name, value in drawn.items()}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        drawn = self._now.sample_independent(study, trial, param_name, param_distribution)
        return self._as_written(param_name, drawn)

    def _as_written(self, name: str, value: Any) -> Any:
        parameter = self._space[name]
        return parameter.encode(parameter.decode(value))

    def _seed_of(self, trial: FrozenTrial) -> int:
        # A spawn key, so that this is not the seed that the objective gets.
        key = (trial.number, *([redraw] if (redraw := trial.system_attrs.get(REDRAW)) else []))
        return int(np.random.SeedSequence(self._seed, spawn_key=key).generate_state(1)[0])


def cmaes(seed: int, space: Space, **options: Any) -> StatelessSampler:
    """CMA-ES (Hansen, 2016), Optuna's; choices and conditional parameters are drawn at random."""
    # The number of dimensions of an evolution strategy is fixed; a conditional parameter would change it.
    conditional = [parameter.name for parameter in space.parameters if parameter.when]
    return _of_optuna(CmaEsSampler, seed, space, options, without=conditional)


def gp(seed: int, space: Space, **options: Any) -> StatelessSampler:
    """Bayesian optimization by a Gaussian process, Optuna's."""
    return _of_optuna(GPSampler, seed, space, options)


def _of_optuna(
    kind: Callable[..., BaseSampler], seed: int, space: Space, options: Mapping[str, Any], without: Container[str] = ()
) -> StatelessSampler:
    """One of Optuna's samplers, which draws at random what it does not choose itself."""

    def make(own: int) -> BaseSampler:
        rest = RandomSampler(seed, space)
        return kind(seed=own, independent_sampler=rest, warn_independent_sampling=False, **options)

    return StatelessSampler(seed, space, make, without=without)
