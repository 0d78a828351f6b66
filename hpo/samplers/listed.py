"""A sampler that goes through a list of points, once or several times: conditions to compare, and their repeats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial

from hpo.points import read_list
from hpo.samplers.random import IndependentSampler, RandomSampler
from hpo.space import Space
from hpo.trial import REPEAT

# Where Optuna keeps the parameters of an enqueued trial.
FIXED = "fixed_params"


class ListedSampler(IndependentSampler):
    """Trial k takes point k; enqueued trials take none, and what they leave open is drawn at random.

    Args:
        seed: The study's seed.
        points: Parameters as Optuna stores them, one mapping per trial; after the last one the list begins again.
        repeats: How often the list is gone through, where the passes are repeats of an experiment: every trial notes
            which one it belongs to, and the search gives all trials of a repeat one seed. None for a plain list.
    """

    def __init__(self, seed: int, points: Sequence[Mapping[str, Any]], repeats: int | None = None) -> None:
        self._points, self._repeats = points, repeats
        self._random = RandomSampler(seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        if self._repeats is not None and FIXED not in trial.system_attrs:
            repeat = self._place(study, trial) // len(self._points)
            study._storage.set_trial_system_attr(trial._trial_id, REPEAT, repeat)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if FIXED in trial.system_attrs:
            return self._random.sample_independent(study, trial, param_name, param_distribution)
        return self._points[self._place(study, trial) % len(self._points)][param_name]

    def _place(self, study: Study, trial: FrozenTrial) -> int:
        """How many trials before this one took a point."""
        before = study.get_trials(deepcopy=False)[: trial.number]
        return trial.number - sum(FIXED in other.system_attrs for other in before)


def make_sampler(seed: int, space: Space, options: Mapping[str, Any]) -> ListedSampler:
    """The listed points, in the order of the file."""
    return ListedSampler(
        seed, [space.encode(point) for point in read_list(options["points"], space)], options["repeats"]
    )
