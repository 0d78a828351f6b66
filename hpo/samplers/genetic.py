"""NSGA-II (Deb et al., 2002) and NSGA-III (Deb and Jain, 2014), Optuna's: generations of trials that cross and mutate.

Which generation a trial belongs to is among its notes. The parents of a generation follow from the trials of those
before it. With a batch or one worker these have finished when it begins, so that a resumed search has the same parents.
"""

from __future__ import annotations

from typing import Any

from optuna.samplers import NSGAIIISampler, NSGAIISampler
from optuna.samplers._ga import BaseGASampler
from optuna.samplers._lazy_random_state import LazyRandomState
from optuna.samplers._nsgaiii._elite_population_selection_strategy import NSGAIIIElitePopulationSelectionStrategy
from optuna.study import Study
from optuna.trial import FrozenTrial

from hpo.samplers.stateless import StatelessSampler
from hpo.study.space import Space


class GeneticSampler(StatelessSampler):
    """A stateless sampler whose every trial belongs to a generation.

    To Optuna, a trial with fixed parameters (enqueued, or run again) belongs to none, and no child learns from it.
    """

    _now: BaseGASampler

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        super().before_trial(study, trial)
        generation = self._now.get_trial_generation(study, trial)
        known, prefix = study._storage.get_study_system_attrs(study._study_id), self._now._get_parent_cache_key_prefix()
        # One after another, since Optuna's recursion would be as deep as there are generations; and its own one too,
        # since Optuna gives the parents another order to the trial that asks for them first.
        for number in range(1, generation + 1):
            if f"{prefix}{number}" not in known:
                self._now.get_parent_population(study, number)


def nsga2(seed: int, space: Space, **options: Any) -> StatelessSampler:
    """NSGA-II: the less crowded of a front survive."""
    return GeneticSampler(seed, space, lambda own: NSGAIISampler(seed=own, **options))


def nsga3(seed: int, space: Space, *, dividing_parameter: int, **options: Any) -> StatelessSampler:
    """NSGA-III: those near to evenly spread directions survive; for three objectives and more."""

    def survivors(study: Study, population: list[FrozenTrial]) -> list[FrozenTrial]:
        # A generator of its own, so that it does not matter which trial asks for the parents of its generation first.
        select = NSGAIIIElitePopulationSelectionStrategy(
            population_size=options["population_size"],
            dividing_parameter=dividing_parameter,
            rng=LazyRandomState(seed),
        )
        return select(study, population)

    return GeneticSampler(
        seed, space, lambda own: NSGAIIISampler(seed=own, elite_population_selection_strategy=survivors, **options)
    )
