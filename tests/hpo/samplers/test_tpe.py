"""hpo's TPE suggests what Optuna's TPESampler suggests, to the last bit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpo.samplers import tpe
from hpo.samplers.tpe import sampler as sampler_module
from hpo.samplers.tpe.history import History
from hpo.samplers.tpe.mixture import log_density
from hpo.samplers.tpe.sampler import TpeSampler
from hpo.search.advisor import Advisor
from hpo.testing import small_study
from hpo.testing.samplers import SPACE, play

Distributions = dict[str, BaseDistribution]

SPACES: dict[str, Distributions] = {
    "continuous": {"x": FloatDistribution(-3, 5), "y": FloatDistribution(0, 1)},
    "logarithmic": {"lr": FloatDistribution(1e-6, 1e-2, log=True), "decay": FloatDistribution(1e-8, 1e-4, log=True)},
    "whole": {
        "n": IntDistribution(1, 8),
        "m": IntDistribution(1, 4096, log=True),
        "k": IntDistribution(0, 100, step=5),
    },
    "lattice": {"rate": FloatDistribution(0, 0.9, step=0.1), "large": IntDistribution(0, 10**6)},
    "choice": {"o": CategoricalDistribution(["a", "b", "c"]), "h": CategoricalDistribution([True, False])},
    "mixed": {
        "lr": FloatDistribution(1e-6, 1e-2, log=True),
        "n": IntDistribution(1, 8),
        "o": CategoricalDistribution(["a", "b", "c"]),
        "rate": FloatDistribution(0, 0.9, step=0.1),
        "x": FloatDistribution(-1, 1),
    },
}
OPTIONS: dict[str, dict[str, bool]] = {
    "one by one": {"multivariate": False, "constant_liar": True},
    "together": {"multivariate": True, "constant_liar": True},
    "no liar": {"multivariate": True, "constant_liar": False},
    "groups": {"multivariate": True, "group": True, "constant_liar": True},
}


def drawn(distribution: BaseDistribution, rng: np.random.Generator) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[rng.integers(len(distribution.choices))]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = (math.log(end) if distribution.log else end for end in (distribution.low, distribution.high))
    value = rng.uniform(low, high)
    value = math.exp(value) if distribution.log else value
    if distribution.step is not None:
        value = distribution.low + round((value - distribution.low) / distribution.step) * distribution.step
    value = min(max(value, distribution.low), distribution.high)
    return round(value) if isinstance(distribution, IntDistribution) else float(value)


def history(space: Distributions, count: int, pruned: float, rng: np.random.Generator) -> list[FrozenTrial]:
    """Finished trials: some failed, some pruned before or after they reported, some with infinite values or NaN.

    Some repeat the parameters of the trial before them.
    """
    trials: list[FrozenTrial] = []
    for _ in range(count):
        params = {name: drawn(distribution, rng) for name, distribution in space.items()}
        params = trials[-1].params if trials and rng.random() < 0.1 else params
        value, kind = float(np.round(rng.normal(), 1)), rng.random()  # rounded: equal values occur
        made: dict[str, Any] = {"value": math.inf if kind > 0.98 else value}
        if kind < pruned:
            reports = {step: value + step for step in range(rng.integers(0, 4))}
            if reports and rng.random() < 0.2:
                reports[max(reports)] = math.nan
            made = {"state": TrialState.PRUNED, "intermediate_values": reports}
        elif kind < pruned + 0.1:
            made = {"state": TrialState.FAIL}
        elif kind < pruned + 0.15:
            made["constraints"] = {"memory": rng.normal()}
        trials.append(create_trial(params=params, distributions=space, **made))
    return trials


def suggestions(sampler: BaseSampler, direction: str, past: list[FrozenTrial], space: Distributions) -> list[Any]:
    """What six asks give, while up to three other trials are running."""
    study = optuna.create_study(direction=direction, sampler=sampler)
    study.add_trials(past)
    asked, running = [], []
    for step in range(6):
        running.append(study.ask(space))
        asked.append(running[-1].params)
        if len(running) == 4:
            study.tell(running.pop(step % 3), math.sin(step))
    return asked


@pytest.mark.parametrize("count", [4, 60, pytest.param(400, marks=pytest.mark.slow)])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_suggestions_are_optunas(space: str, options: str, count: int) -> None:
    case = [*SPACES].index(space) * 100 + [*OPTIONS].index(options) * 10 + len(str(count))
    direction = ("minimize", "maximize")[case % 2]
    past = history(SPACES[space], count, (0.0, 0.2, 0.85)[case % 3], np.random.default_rng(case))

    ours, theirs = (
        suggestions(sampler, direction, past, SPACES[space])
        for sampler in (TpeSampler(History(), seed=case, **OPTIONS[options]), TPESampler(seed=case, **OPTIONS[options]))
    )

    assert ours == theirs


@pytest.mark.parametrize("count", [4, 60, pytest.param(300, marks=pytest.mark.slow)])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("objectives", [2, 3])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_with_several_objectives_too(objectives: int, options: str, count: int) -> None:
    """Optuna's own fails where a trial with several objectives was pruned, so that none is here."""
    rng, space = np.random.default_rng(count), SPACES["mixed"]
    past = [
        create_trial(
            params={name: drawn(distribution, rng) for name, distribution in space.items()},
            distributions=space,
            **({"state": TrialState.FAIL} if index % 9 == 4 else {"values": np.round(rng.normal(size=objectives), 1)}),
        )
        for index in range(count)
    ]
    found = []
    for sampler in (TpeSampler(History(), seed=1, **OPTIONS[options]), TPESampler(seed=1, **OPTIONS[options])):
        study = optuna.create_study(directions=["minimize", "maximize", "minimize"][:objectives], sampler=sampler)
        study.add_trials(past)
        asked = [study.ask(space) for _ in range(3)]
        study.tell(asked[1], [0.0] * objectives)
        found.append([trial.params for trial in (*asked, study.ask(space))])

    assert found[0] == found[1]


@pytest.mark.parametrize("group", [False, True])
def test_a_study_with_conditions_has_the_trials_that_optunas_sampler_gives(
    group: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = small_study(space=SPACE, sampler={"name": "tpe", "n_startup_trials": 3, "group": group})
    ours = play(Advisor(study), 120)

    monkeypatch.setattr(tpe, "TpeSampler", lambda history, **options: TPESampler(**options))

    assert [trial.params for trial in ours] == [trial.params for trial in play(Advisor(study), 120)]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_the_order_of_a_parameters_values_is_kept_while_trials_begin_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sorted into the last order, and what has changed since, are where sorting anew puts them."""
    sizes: list[int] = []

    def compare(points: Any, trials: Any, orders: Any, space: Any) -> Any:
        for values, order in zip(trials, orders, strict=True):
            np.testing.assert_array_equal(np.sort(order), np.arange(values.size))
            np.testing.assert_array_equal(values[order], np.sort(values))
        sizes.append(trials[0].size)
        return log_density(points, trials, orders, space)

    monkeypatch.setattr(sampler_module, "log_density", compare)
    space, rng = SPACES["mixed"], np.random.default_rng(0)
    study = optuna.create_study(sampler=TpeSampler(History(), seed=0, **OPTIONS["groups"]))
    study.add_trials(history(space, 200, 0.2, rng))
    running = []
    for step in range(40):
        running.append(study.ask(space if step % 3 else {"x": space["x"]}))
        if rng.random() < 0.7:
            study.tell(running.pop(rng.integers(len(running))), rng.normal())

    assert len(sizes) >= 40
    assert max(sizes) > min(sizes) + 20


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("count", [100, 5000])
def test_the_density_lies_within_the_error_that_it_tells(space: str, count: int) -> None:
    rng, distributions = np.random.default_rng(count), SPACES[space]
    trials, points = (
        np.array([[d.to_internal_repr(drawn(d, rng)) for _ in range(n)] for d in distributions.values()])
        for n in (count, 24)
    )
    settings = TPESampler()._parzen_estimator_parameters
    estimator = _ParzenEstimator(dict(zip(distributions, trials, strict=True)), distributions, settings)

    found, error = log_density(points.T, trials, np.argsort(trials), list(distributions.values()))

    assert error < 1e-5
    np.testing.assert_allclose(found, estimator.log_pdf(dict(zip(distributions, points, strict=True))), atol=error / 2)


@pytest.mark.parametrize("directions", [["minimize"], ["minimize", "maximize"]])
def test_optuna_decides_only_where_it_has_to(directions: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the other tests would compare Optuna with itself."""
    asked: list[int] = []

    def spy(points: Any, trials: Any, *more: Any) -> Any:
        asked.append(trials[0].size)
        return log_density(points, trials, *more)

    monkeypatch.setattr(sampler_module, "log_density", spy)
    study = optuna.create_study(directions=directions, sampler=TpeSampler(History(), seed=0))
    rng, space = np.random.default_rng(0), SPACES["mixed"]
    for _ in range(200):
        params = {name: drawn(distribution, rng) for name, distribution in space.items()}
        study.add_trial(create_trial(params=params, distributions=space, values=[rng.normal() for _ in directions]))

    study.ask(space)

    assert asked == [180] * (1 if len(directions) == 1 else len(space))  # of several, one by one by default
