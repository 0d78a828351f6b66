"""A sampler that goes through a list of points, once or several times: a grid, or conditions to compare."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial

from hpo.samplers.random import IndependentSampler, RandomSampler
from hpo.study.points import content, grid, read_list
from hpo.study.space import Space
from hpo.trial import FIXED, REPEAT


class ListedSampler(IndependentSampler):
    """A trial takes the first point that no earlier trial has taken, so that trial k takes point k.

    Earlier trials are compared by content: after a change of the order, of the seed or of the list, every point is
    still tried once. Enqueued trials take no point, and what they leave open is drawn at random.

    Args:
        seed: The study's seed.
        space: The study's space.
        points: Parameters as the objective sees them, one mapping per trial; after the last one the list begins again.
        repeats: How often the list is gone through, where the passes are repeats of an experiment: every trial notes
            which one it belongs to, and the search gives all trials of a repeat one seed. None for a plain list.
    """

    def __init__(
        self, seed: int, space: Space, points: Sequence[Mapping[str, Any]], repeats: int | None = None
    ) -> None:
        self._space, self._points, self._repeats = space, points, repeats
        self._random = RandomSampler(seed, space)
        # A cache, it can be recomputed from the trials: how many of them were looked at, which points they took beyond
        # those before the next one, and the next one's place.
        self._seen, self._taken, self._next = 0, Counter[tuple[int, str]](), 0

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        earlier = study.get_trials(deepcopy=False)[: trial.number]
        for other in earlier[self._seen :]:
            if FIXED not in other.system_attrs:
                self._taken[self._key(other.system_attrs.get(REPEAT, 0), other.params)] += 1
        self._seen = len(earlier)
        if FIXED in trial.system_attrs:
            return
        while self._taken[key := self._key(self._pass, self._space.encode(self._point))]:
            self._taken[key] -= 1
            self._next += 1
        if self._repeats is not None:
            study._storage.set_trial_system_attr(trial._trial_id, REPEAT, self._pass)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if FIXED in trial.system_attrs:
            return self._random.sample_independent(study, trial, param_name, param_distribution)
        return self._space[param_name].encode(self._point[param_name])

    @property
    def _point(self) -> Mapping[str, Any]:
        return self._points[self._next % len(self._points)]

    @property
    def _pass(self) -> int:
        return self._next // len(self._points)

    def _key(self, repeat: int, stored: Mapping[str, Any]) -> tuple[int, str]:
        return (0 if self._repeats is None else repeat, content(stored))


def list_sampler(seed: int, space: Space, points: Sequence[Any], repeats: int | None) -> ListedSampler:
    """The listed points, in the order of the file."""
    return ListedSampler(seed, space, read_list(points, space), repeats)


def grid_sampler(seed: int, space: Space, points: int | Mapping[str, int], repeats: int | None) -> ListedSampler:
    """The grid in an order that depends on the seed alone: a budget that is too small leaves no corner out."""
    ordered = grid(points, space)
    order = np.random.default_rng(seed).permutation(len(ordered))
    return ListedSampler(seed, space, [ordered[index] for index in order], repeats)
