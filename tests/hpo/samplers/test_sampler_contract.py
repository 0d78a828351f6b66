"""What holds for every sampler a study may name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from hpo.errors import InputError
from hpo.ledger.address import parse
from hpo.ledger.ledger import Ledger
from hpo.search.advisor import Advisor
from hpo.search.loop import Search
from hpo.study import Study
from hpo.study.algorithms import SAMPLERS
from hpo.testing import (
    NonLearningSamplerContract,
    ResumableSamplerContract,
    SamplerContract,
    SimulatedExecutor,
    outcome,
    search,
    small_study,
)
from hpo.testing.samplers import SPACE, score

LEARNING: dict[str, dict[str, Any]] = {
    "narrowing": {"name": "narrowing", "round": 4, "keep": 0.5, "alpha": 0.5},
    "tpe": {"name": "tpe", "n_startup_trials": 3},
    "tpe, in groups": {"name": "tpe", "n_startup_trials": 3, "group": True},
    "nsga2": {"name": "nsga2", "population_size": 4},
    "nsga3": {"name": "nsga3", "population_size": 4},
    "cmaes": {"name": "cmaes"},
    "cmaes, with margin": {"name": "cmaes", "with_margin": True},
}
WIDENING = LEARNING["narrowing"] | {"widen": True}
GP = {"name": "gp", "n_startup_trials": 3}
NON_LEARNING: dict[str, dict[str, Any]] = {
    "random": {"name": "random"},
    "grid": {"name": "grid", "points": 3},
    "grid, repeated": {"name": "grid", "points": 2, "repeats": 2},
    "qmc": {"name": "qmc"},
    "qmc, halton": {"name": "qmc", "sequence": "halton"},
}
LISTED = {"name": "listed", "repeats": 3}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """A Gaussian process of a dozen points is only slowed down by many threads."""
    with threadpool_limits(1):
        yield


class TestLearning(ResumableSamplerContract):
    @pytest.fixture(params=LEARNING)
    def sampler(self, request: pytest.FixtureRequest) -> dict[str, Any]:
        return LEARNING[request.param]


class TestWidening(ResumableSamplerContract):
    widens = True

    @pytest.fixture
    def sampler(self) -> dict[str, Any]:
        return WIDENING


class TestGaussianProcess(ResumableSamplerContract):
    trials = 8  # it thinks for a while

    @pytest.fixture(params=["gp"])
    def sampler(self) -> dict[str, Any]:
        return GP

    @pytest.mark.parametrize("pruner", ["none"])  # it learns from complete trials only, and takes its time
    def test_with_a_batch_neither_workers_nor_timing_matter(
        self, sampler: Mapping[str, Any], pruner: str, tmp_path: Path
    ) -> None:
        super().test_with_a_batch_neither_workers_nor_timing_matter(sampler, pruner, tmp_path)

    @pytest.mark.slow
    def test_constraints_change_nothing_of_that(self, sampler: Mapping[str, Any], tmp_path: Path) -> None:
        super().test_constraints_change_nothing_of_that(sampler, tmp_path)


class TestGaussianProcessesOfSeveralObjectives(TestGaussianProcess):
    several = True


class TestNonLearning(NonLearningSamplerContract):
    @pytest.fixture(params=NON_LEARNING)
    def sampler(self, request: pytest.FixtureRequest) -> dict[str, Any]:
        return NON_LEARNING[request.param]


class TestSeveralObjectives(ResumableSamplerContract):
    several = True

    @pytest.fixture(params=["tpe", "tpe, in groups", "nsga2", "nsga3"])
    def sampler(self, request: pytest.FixtureRequest) -> dict[str, Any]:
        return LEARNING[request.param]


class TestSeveralObjectivesUnheeded(NonLearningSamplerContract):
    several = True

    @pytest.fixture(params=["random", "grid", "qmc"])
    def sampler(self, request: pytest.FixtureRequest) -> dict[str, Any]:
        return NON_LEARNING[request.param]


class TestListed(NonLearningSamplerContract):
    @pytest.fixture
    def sampler(self) -> dict[str, Any]:
        return LISTED

    def study(
        self, sampler: Mapping[str, Any], space: Mapping[str, Any] = SPACE, *, seed: int = 3, **changes: Any
    ) -> Study:
        constraints = changes.get("constraints", {})
        drawn = Advisor(small_study(space=space, sampler={"seed": seed}, constraints=constraints))
        points = [drawn.ask().params for _ in range(5)]
        return super().study({**sampler, "points": points}, space, seed=seed, **changes)


class TestImported(SamplerContract):
    @pytest.fixture
    def sampler(self) -> dict[str, Any]:
        return {"name": "optuna.samplers:RandomSampler"}


def test_the_contract_covers_every_sampler_and_knows_which_of_them_learn() -> None:
    learning = {table["name"] for table in (*LEARNING.values(), WIDENING, GP)}
    non_learning = {table["name"] for table in (*NON_LEARNING.values(), LISTED)}
    assert learning == {name for name, row in SAMPLERS.items() if row.learns}
    assert non_learning == {name for name, row in SAMPLERS.items() if not row.learns}


def test_a_sampler_of_one_objective_refuses_several_and_names_those_that_work() -> None:
    several = {name for name, row in SAMPLERS.items() if row.several}
    tested = {LEARNING[name]["name"] for name in ("tpe", "nsga2", "nsga3")} | {"gp", "random", "grid", "qmc", "listed"}
    assert several == tested
    for name in SAMPLERS.keys() - several:
        with pytest.raises(InputError, match=r"one objective only.*random, grid") as refusal:
            small_study(objectives={"a": "minimize", "b": "maximize"}, sampler={"name": name})
        assert refusal.value.key == "sampler.name"


def test_timing_does_matter_to_a_learner_without_a_batch(tmp_path: Path) -> None:
    """The claim of the contract would be empty if nothing depended on timing."""
    study = TestLearning().study(LEARNING["tpe"])

    runs = [search(study, score, tmp_path / f"{timing}.journal", workers=5, timing=timing) for timing in range(2)]

    assert outcome(runs[0]) != outcome(runs[1])


def test_no_more_trials_run_at_once_than_the_batch_has(tmp_path: Path) -> None:
    study = TestLearning().study(LEARNING["tpe"], batch=2)

    ledger = Ledger.open(parse(str(tmp_path / "a.journal")), study)
    executor = SimulatedExecutor(score, 7, np.random.default_rng(0))

    Search(study, ledger).run(executor)

    assert executor.most == 2
    ledger.close()
