"""Optuna's own tests of samplers, run on ours.

Our samplers know the study's whole space from the start; Optuna's tests come with one distribution after another.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
    SingleOnlySamplerTestCase,
)
from optuna.trial import FrozenTrial, TrialState

from hpo import samplers
from hpo.study.space import Choice, Float, Int, Parameter, Space
from hpo.testing import small_study

Make = Callable[[], BaseSampler]


class SpaceUnknown(BaseSampler):
    """One of hpo's samplers, made again whenever a distribution comes that it does not know yet.

    It forgets nothing by that: all that it knows follows from the trials.
    """

    def __init__(self, name: str, **options: Any) -> None:
        self._name, self._options = name, small_study(sampler={"name": name, **options}).sampler.options
        self._parameters: dict[str, Parameter] = {}
        self._sampler = self._made()

    def _made(self) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return samplers.build(self._name, 0, Space(tuple(self._parameters.values())), self._options)

    def _knowing(self, study: Study, trial: FrozenTrial, distributions: Mapping[str, BaseDistribution]) -> BaseSampler:
        known = self._parameters | {name: parameter(name, one) for name, one in distributions.items()}
        if known != self._parameters:
            self._parameters = known
            self._sampler = self._made()
            self._sampler.before_trial(study, trial)
        return self._sampler

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._knowing(study, trial, search_space).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        sampler = self._knowing(study, trial, {param_name: param_distribution})
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        self._sampler.after_trial(study, trial, state, values)


def parameter(name: str, distribution: BaseDistribution) -> Parameter:
    """Our parameter for Optuna's distribution."""
    if isinstance(distribution, CategoricalDistribution):
        return Choice(name, distribution.choices)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, log, step = distribution.low, distribution.high, distribution.log, distribution.step
    if isinstance(distribution, IntDistribution):
        return Int(name, int(low), int(high), log, int(step or 1))
    return Float(name, low, high, log, step)


def of(**tables: Callable[[], BaseSampler]) -> Any:
    """A fixture ``sampler`` with one of these."""

    @pytest.fixture(params=tables)
    def sampler(self: object, request: pytest.FixtureRequest) -> Make:
        return tables[request.param]

    return sampler


# Not `listed`: its points are those of the study file, whatever Optuna's tests ask for.
class TestOneByOne(BasicSamplerTestCase):
    sampler = of(
        random=lambda: SpaceUnknown("random"),
        qmc=lambda: SpaceUnknown("qmc"),
        narrowing=lambda: SpaceUnknown("narrowing", round=4, keep=0.5),
        grid=lambda: SpaceUnknown("grid", points=3),
        tpe=lambda: SpaceUnknown("tpe", n_startup_trials=3),
        cmaes=lambda: SpaceUnknown("cmaes"),
        gp=lambda: SpaceUnknown("gp", n_startup_trials=3),
    )


# Not random, qmc, narrowing and grid: they draw one parameter at a time.
class TestTogether(RelativeSamplerTestCase):
    sampler = of(
        tpe=lambda: SpaceUnknown("tpe", n_startup_trials=0),
        cmaes=lambda: SpaceUnknown("cmaes", n_startup_trials=0),
        gp=lambda: SpaceUnknown("gp", n_startup_trials=1),
    )

    @pytest.mark.parametrize("n_jobs", [1])  # not 2: one driver asks for one trial at a time, in one thread
    def test_trial_relative_params(self, n_jobs: int, sampler: Make) -> None:
        super().test_trial_relative_params(n_jobs, sampler)


# Not tpe and gp, which know several objectives; nor random, qmc and grid, to which objectives do not matter; nor
# narrowing: it asks for the one direction when a round begins, and not when a parameter is drawn.
class TestOneObjective(SingleOnlySamplerTestCase):
    sampler = of(cmaes=lambda: SpaceUnknown("cmaes"))


# Not listed, as above; nor narrowing and cmaes, which know one objective.
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")  # hpo's advisor silences it, too
class TestSeveralObjectives(MultiObjectiveSamplerTestCase):
    sampler = of(
        random=lambda: SpaceUnknown("random"),
        qmc=lambda: SpaceUnknown("qmc"),
        grid=lambda: SpaceUnknown("grid", points=3),
        tpe=lambda: SpaceUnknown("tpe", n_startup_trials=3),
        gp=lambda: SpaceUnknown("gp", n_startup_trials=3),
        nsga2=lambda: SpaceUnknown("nsga2"),
        nsga3=lambda: SpaceUnknown("nsga3"),
    )
