"""Optuna's TPESampler, with the work that grows with the number of trials done on arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from optuna.samplers._tpe.sampler import default_gamma, default_gamma_multiobjective
from optuna.study import Study
from optuna.trial import FrozenTrial

from hpo.samplers.tpe.history import History
from hpo.samplers.tpe.mixture import Rows, log_density
from hpo.statistics import Floats

# Below this many components Optuna's own estimator is as fast.
_FEW = 100
# In more dimensions than these, a component could count that is too far away to be computed in float64.
_MANY_PARAMETERS = 64


class TpeSampler(TPESampler):
    """Suggests what Optuna's TPESampler suggests for the same trials and the same seed.

    The candidates, and l of each, are Optuna's to the last bit. g is computed in another order, with a bound for the
    difference. Where two candidates lie closer than this bound, Optuna's own estimator decides between them.

    Args:
        history: The study's trials; shared by the samplers of all trials.
        **options: TPESampler's: ``seed``, ``n_startup_trials``, ``n_ei_candidates``, ``multivariate``, ``group`` and
            ``constant_liar``.
    """

    def __init__(self, history: History, **options: Any) -> None:
        super().__init__(**options)
        self._history = history

    def _knows(self, study: Study) -> bool:
        """Brings the history up to date; False for studies that are left to Optuna (its brackets)."""
        if type(study) is not Study:
            return False
        self._history.update(study, lambda trial: self._get_params(trial, study))
        self._several = study._is_multi_objective()
        return True

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        if not self._knows(study) or not self._is_multivariate(study):
            return super().infer_relative_search_space(study, trial)
        spaces: list[dict[str, BaseDistribution]] = [self._history.shared or {}]
        if self._group:
            self._search_space_group = self._history.groups()
            spaces = self._search_space_group.search_spaces
        return {
            name: distribution
            for space in spaces
            for name, distribution in sorted(space.items())
            if not distribution.single()
        }

    def _sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not self._knows(study):
            return super()._sample_relative(study, trial, search_space)
        if not search_space or self._history.finished < self._n_startup_trials:
            return {}
        return self._suggest(trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if not self._knows(study):
            return super().sample_independent(study, trial, param_name, param_distribution)
        if self._history.finished < self._n_startup_trials:
            return self._random_sampler.sample_independent(study, trial, param_name, param_distribution)
        return self._suggest(trial, {param_name: param_distribution})[param_name]

    def _suggest(self, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        history, names = self._history, list(search_space)
        gamma = default_gamma_multiobjective if self._several else default_gamma
        below, above = history.split(trial.number, gamma(history.finished), running=self._constant_liar)
        below, above = history.having(below, names), history.having(above, names)
        weights = np.ones(below.size) if self._several else None
        good = self._estimator(history.observations(below, names), search_space, weights)
        samples = good.sample(self._rng.rng, self._n_ei_candidates)
        place = self._best(samples, good.log_pdf(samples), above, search_space)
        return {name: search_space[name].to_external_repr(samples[name][place].item()) for name in names}

    def _best(
        self,
        samples: dict[str, Floats],
        good: Floats,
        above: Rows,
        search_space: dict[str, BaseDistribution],
    ) -> int:
        """The place of the candidate with the largest log l - log g.

        Args:
            samples: The candidates, shape (candidates,) per parameter.
            good: Their log l.
            above: The trials that g is made of.
            search_space: The parameters' distributions.
        """
        points = np.stack(list(samples.values()), axis=1)
        places = np.sort(np.unique(points, axis=0, return_index=True)[1])  # of equal candidates the first one
        trials = self._history.observations(above, search_space)
        score = np.full(places.size, np.nan)
        if above.size >= _FEW and len(search_space) <= _MANY_PARAMETERS:
            orders = self._history.orders(above, search_space)
            bad, error = log_density(points[places], list(trials.values()), orders, list(search_space.values()))
            score = good[places] - bad
            doubtful = ~(score < np.nanmax(score, initial=-np.inf) - 2 * error)
            if np.count_nonzero(doubtful) == 1 and not np.isnan(score).any():
                return int(places[np.argmax(score)])
            places = places[doubtful]
        few = {name: values[places] for name, values in samples.items()}
        exact = good[places] - self._estimator(trials, search_space).log_pdf(few)
        return int(places[np.argmax(exact)])

    def _estimator(
        self, trials: dict[str, Floats], search_space: dict[str, BaseDistribution], weights: Floats | None = None
    ) -> _ParzenEstimator:
        return _ParzenEstimator(trials, search_space, self._parzen_estimator_parameters, weights)
