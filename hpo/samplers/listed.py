"""A sampler that goes through a list of points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial

from hpo.samplers.random import IndependentSampler, RandomSampler

# Where Optuna keeps the parameters of an enqueued trial.
FIXED = "fixed_params"


class ListedSampler(IndependentSampler):
    """Trial k takes point k; enqueued trials take none, and what they leave open is drawn at random.

    Args:
        seed: The study's seed.
        points: Parameters as Optuna stores them, one mapping per trial; after the last one the list begins again.
    """

    def __init__(self, seed: int, points: Sequence[Mapping[str, Any]]) -> None:
        self._points = points
        self._random = RandomSampler(seed)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if FIXED in trial.system_attrs:
            return self._random.sample_independent(study, trial, param_name, param_distribution)
        before = study.get_trials(deepcopy=False)[: trial.number]
        index = trial.number - sum(FIXED in other.system_attrs for other in before)
        return self._points[index % len(self._points)][param_name]
