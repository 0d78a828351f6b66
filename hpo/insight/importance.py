"""Importance by PED-ANOVA, with an interval, and what chance alone would reach."""

from __future__ import annotations

import copy
import math
import warnings
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpo.statistics import quantiles

# Resamples times trials, at most (but eight resamples): so that 10,000 trials do not take minutes.
WORK = 20_000
# How many values of a choice are told apart: the most frequent ones.
MOST_CHOICES = 100


@dataclass(frozen=True)
class Importance:
    """A parameter's share of what decides whether a trial is among the best.

    Attributes:
        share: In [0, 1]; the shares of all parameters add up to 1.
        interval: The middle 90% of the shares of bootstrap samples; None where none were drawn.
        chance: The share that a parameter without effect stays below in 95 of 100 cases; None like ``interval``.
    """

    share: float
    interval: tuple[float, float] | None = None
    chance: float | None = None


def importances(
    params: Sequence[Mapping[str, Any]],
    merits: NDArray[np.float64],
    distributions: Mapping[str, BaseDistribution],
    *,
    seed: int,
    resamples: int = 40,
) -> dict[str, Importance]:
    """PED-ANOVA (Watanabe, Bansal, Hutter, IJCAI 2023) as Optuna computes it: what the best tenth, at least five, have.

    Args:
        params: Each trial's parameters as Optuna stores them; inactive ones are absent.
        merits: Each trial's score, higher is better; shape (n,). Only its order counts.
        distributions: The parameters' ranges.
        seed: Decides bootstrap samples and shuffles.
        resamples: How many of each; fewer are drawn of many trials, none with 0.

    Returns:
        One entry per parameter that at least one trial has; none where nothing sets the best trials apart.
    """
    names = [name for name in distributions if any(name in point for point in params)]
    params, distributions = _fewer_choices(params, {name: distributions[name] for name in names})
    trials = [
        create_trial(
            params=dict(point), distributions={name: distributions[name] for name in point}, value=float(merit)
        )
        for point, merit in zip(params, merits, strict=True)
    ]
    for number, trial in enumerate(trials):
        trial._trial_id = number  # PED-ANOVA tells trials apart by it
    study = _Sample(trials)
    raw = study.divergences(names)
    total = sum(raw.values())
    if not total > 0:
        return {}
    count = len(trials)
    rounds = min(resamples, max(8, WORK // count), max(8, 20 * resamples // len(names))) if resamples else 0
    rng = np.random.default_rng(seed)
    shares: dict[str, list[float]] = {name: [] for name in names}
    by_chance: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        study.trials_ = [trials[i] for i in rng.integers(count, size=count)]
        sample = study.divergences(names)
        study.trials_ = [
            _with_value(trial, merit) for trial, merit in zip(trials, rng.permutation(merits), strict=True)
        ]
        shuffled = study.divergences(names)
        whole = sum(sample.values())
        for name in names:
            shares[name].append(sample[name] / whole if whole > 0 else 0.0)
            by_chance[name].append(shuffled[name] / total)
    return {
        name: Importance(
            raw[name] / total,
            _middle(shares[name]) if rounds else None,
            min(1.0, float(quantiles(np.array(by_chance[name]), (0.95,))[0])) if rounds else None,
        )
        for name in names
    }


def _fewer_choices(
    params: Sequence[Mapping[str, Any]], distributions: dict[str, BaseDistribution]
) -> tuple[Sequence[Mapping[str, Any]], dict[str, BaseDistribution]]:
    """Makes the rarer values of a choice of thousands one value: PED-ANOVA takes the square of their number."""
    for name, distribution in distributions.items():
        if isinstance(distribution, CategoricalDistribution) and len(distribution.choices) > MOST_CHOICES:
            often = Counter(point[name] for point in params if name in point).most_common(MOST_CHOICES - 1)
            kept = {value: f"{place}" for place, (value, _) in enumerate(often)}
            params = [
                point | {name: kept.get(point[name], "")} if name in point else point for point in map(dict, params)
            ]
            distributions = distributions | {name: CategoricalDistribution(["", *kept.values()])}
    return params, distributions


def _middle(values: list[float]) -> tuple[float, float]:
    low, high = quantiles(np.array(values), (0.05, 0.95))
    return float(low), float(high)


def _with_value(trial: FrozenTrial, value: float) -> FrozenTrial:
    changed = copy.copy(trial)
    changed.values = [float(value)]
    return changed


class _Sample(optuna.Study):
    """A study that only answers which trials it has; putting thousands of samples into a storage takes too long."""

    def __init__(self, trials: list[FrozenTrial]) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # it announces every study that it makes
        storage = InMemoryStorage()
        study_id = storage.create_new_study([StudyDirection.MAXIMIZE])
        super().__init__(storage.get_study_name_from_id(study_id), storage)
        self.trials_ = trials

    def get_trials(self, deepcopy: bool = True, states: Container[TrialState] | None = None) -> list[FrozenTrial]:
        return self.trials_

    def divergences(self, names: Sequence[str]) -> dict[str, float]:
        """PED-ANOVA's divergence of each parameter, not yet normalised; 0 for one that no trial has."""
        present = {name for trial in self.trials_ for name in trial.params}
        evaluator = PedAnovaImportanceEvaluator(target_quantile=min(1.0, max(0.1, 5 / len(self.trials_))))
        with warnings.catch_warnings():  # few trials have a conditional parameter: the interval shows that
            warnings.simplefilter("ignore")
            found = evaluator.evaluate(self, params=[name for name in names if name in present])
        return {name: value if math.isfinite(value := found.get(name, 0.0)) else 0.0 for name in names}
