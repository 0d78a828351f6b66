"""What holds for samplers."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpo.ledger.record import Records
from hpo.search.advisor import Advisor
from hpo.study import Study
from hpo.study.space import Space
from hpo.testing.fakes import outcome, search, small_study
from hpo.trial import Report, State, Trial

SPACE: dict[str, dict[str, Any]] = {
    "lr": {"low": 1e-6, "high": 1e-2, "log": True},
    "layers": {"low": 1, "high": 4},
    "optimizer": {"choice": ["sgd", "adam"]},
    "momentum": {"low": 0.0, "high": 0.9, "when": {"optimizer": "sgd"}},
    "hidden": {"choice": [[50], [100, 100], []]},
}

# Hold for about half of SPACE, and for a part of its listed points and of its grids.
CONSTRAINTS = {"parameters": ["layers + log10(lr) <= -1.5", "optimizer == 'adam' or momentum <= 0.3 * layers"]}


def score(params: Mapping[str, Any], seed: int) -> list[float]:
    """Five reports of a trial: the logarithm of ``lr`` matters, and there is some noise."""
    noise = np.random.default_rng(seed).normal(0, 0.03)
    final = -abs(math.log10(params["lr"]) + 3) + 0.1 * params.get("momentum", 0.5) + float(noise)
    return [final - 1 / step for step in range(1, 6)]


def scores(params: Mapping[str, Any], seed: int) -> list[dict[str, float]]:
    """The reports of :func:`score` with a second metric beside each, which pulls the other way."""
    size = 10 * params["layers"] + params.get("momentum", 0.5) - math.log10(params["lr"])
    return [{"score": value, "size": size + value / step} for step, value in enumerate(score(params, seed), start=1)]


def play(advisor: Advisor, trials: int, *, several: bool = False) -> list[Trial]:
    """Asks and tells one by one, where some trials fail, are infeasible or are pruned.

    Args:
        advisor: Of a study with the objective ``score``.
        trials: How many.
        several: Whether it has a second objective, ``size``.

    Returns:
        The finished trials.
    """
    names = ("score", "size") if several else ("score",)
    finished = []
    for _ in range(trials):
        trial = advisor.ask()
        if trial.number % 7 == 5:
            finished.append(advisor.tell(replace(trial, state=State.FAILED)))
            continue
        if trial.number % 7 == 2:
            advisor.report(trial.number, 1, [0.5] * len(names))
            reports: tuple[Report, ...] = (Report(1, 0.0, dict.fromkeys(names, 0.5)),)
            finished.append(advisor.tell(replace(trial, state=State.INFEASIBLE, reports=reports)))
            continue
        pruned = trial.number % 5 == 3
        values = [math.sin(trial.number), len(json.dumps(trial.params)) % 5 + trial.number / 100][: 1 if pruned else 2]
        both = [{"score": value, "size": value + math.cos(trial.number)} for value in values]
        reports = tuple(Report(step, 0.0, metrics) for step, metrics in enumerate(both, start=1))
        for report in reports:
            advisor.report(trial.number, report.step, [report.metrics[name] for name in names])
        state, last = State.PRUNED if pruned else State.COMPLETE, tuple(both[-1][name] for name in names)
        finished.append(advisor.tell(replace(trial, state=state, values=last, reports=reports)))
    return finished


def check_inside(space: Space, trials: list[Trial], *, widened: bool = False) -> None:
    """Checks that trials have the active parameters, in order, each with a value of its type inside its range."""
    for trial in trials:
        assert list(trial.params) == [p.name for p in space.parameters if space.active(p, trial.params)]
        for parameter in space.parameters:
            if parameter.name not in trial.params:
                continue
            value = trial.params[parameter.name]
            if parameter.ordered:
                assert type(value) is (int if parameter.whole else float)
            if not (parameter.ordered and widened):
                assert parameter.contains(value), (parameter, value)


@st.composite
def spaces(draw: st.DrawFn) -> dict[str, Any]:
    """Spaces of one to four parameters of every kind, each perhaps conditional on an earlier choice."""
    space: dict[str, Any] = {}
    conditions: list[dict[str, Any]] = [{}]
    for index in range(draw(st.integers(1, 4))):
        spec = draw(st.one_of(_floats(), _whole_numbers(), _choices()))
        when = draw(st.sampled_from(conditions))
        name = f"p{index}"
        space[name] = spec | ({"when": when} if when else {})
        if "choice" in spec:
            wanted = draw(st.sampled_from(spec["choice"]))
            if not isinstance(wanted, list | dict):
                conditions.append({name: wanted})
    return space


def _floats() -> st.SearchStrategy[dict[str, Any]]:
    log = st.builds(
        lambda low, decades: {"low": low, "high": low * 10**decades, "log": True},
        st.floats(1e-8, 1e2),
        st.floats(0.1, 6),
    )
    plain = st.builds(
        lambda low, width: {"low": low, "high": low + width, "log": False}, st.floats(-1e3, 1e3), st.floats(1e-2, 1e3)
    )
    stepped = st.builds(
        lambda low, step, count: {"low": low, "high": round(low + step * count, 2), "step": step},
        st.integers(-5, 5).map(float),
        st.sampled_from([0.1, 0.25, 0.5]),
        st.integers(1, 8),
    )
    return st.one_of(log, plain, stepped)


def _whole_numbers() -> st.SearchStrategy[dict[str, Any]]:
    plain = st.builds(
        lambda low, step, count: {"low": low, "high": low + step * count, "step": step},
        st.integers(-9, 9),
        st.integers(1, 3),
        st.integers(1, 6),
    )
    log = st.builds(
        lambda low, width: {"low": low, "high": low + width, "log": True}, st.integers(1, 9), st.integers(1, 12)
    )
    return st.one_of(plain, log)


def _choices() -> st.SearchStrategy[dict[str, Any]]:
    value = st.one_of(
        st.booleans(), st.integers(0, 3), st.sampled_from(["a", "b", "1"]), st.lists(st.integers(1, 9), max_size=2)
    )
    return st.lists(value, min_size=1, max_size=4, unique_by=json.dumps).map(lambda values: {"choice": values})


class SamplerContract:
    """Any sampler: a search ends with its budget, all values lie inside the space, and the seed matters.

    A fixture ``sampler`` gives the ``[sampler]`` table without ``seed``: ``{"name": "package.module:Class", ...}``.

    Attributes:
        trials: How many trials a search has.
        widens: Whether the sampler may leave the study's ranges.
        several: Whether the study has two objectives.
    """

    trials: ClassVar[int] = 14
    widens: ClassVar[bool] = False
    several: ClassVar[bool] = False

    def study(
        self,
        sampler: Mapping[str, Any],
        space: Mapping[str, Any] = SPACE,
        *,
        seed: int = 3,
        batch: int | None = None,
        **changes: Any,
    ) -> Study:
        """The study to search; override it for a sampler whose options depend on the space."""
        table = {"seed": seed, **sampler} | ({"batch": batch} if batch else {})
        standard = {"sampler": table, "trial": {"retries": 99}, "budget": {"trials": self.trials}}
        if self.several:
            standard["objectives"] = {"score": "maximize", "size": "minimize"}
        return small_study(space=space, **standard | changes)

    def objective(self, params: Mapping[str, Any], seed: int) -> Sequence[float | Mapping[str, float]]:
        """The reports of a trial."""
        return scores(params, seed) if self.several else score(params, seed)

    def play(self, advisor: Advisor, trials: int) -> list[Trial]:
        """Asks and tells one by one, as :func:`play` does."""
        return play(advisor, trials, several=self.several)

    def test_a_search_ends_with_exactly_its_budget(self, sampler: Mapping[str, Any], tmp_path: Path) -> None:
        study = self.study(sampler)

        trials = search(study, self.objective, tmp_path / "a.journal", workers=3)

        assert [trial.number for trial in trials] == list(range(self.trials))
        assert all(trial.state == State.COMPLETE for trial in trials)
        check_inside(study.space, trials, widened=self.widens)

    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(space=spaces())
    def test_values_lie_inside_any_space_and_conditions_hold(
        self, sampler: Mapping[str, Any], space: dict[str, Any]
    ) -> None:
        study = self.study(sampler, space)

        trials = self.play(Advisor(study), min(16, self.trials))

        check_inside(study.space, trials, widened=self.widens)
        for stored in map(Records(study).to_optuna, trials):
            for name, distribution in stored.distributions.items():
                assert distribution._contains(distribution.to_internal_repr(stored.params[name]))

    def test_values_on_a_lattice_are_the_numbers_as_written(self, sampler: Mapping[str, Any]) -> None:
        space = {
            "lr": SPACE["lr"],
            "rate": {"low": 0.0, "high": 0.9, "step": 0.1},
            "shift": {"low": -0.3, "high": 0.6, "step": 0.3},
        }
        written = {"rate": [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], "shift": [-0.3, 0.0, 0.3, 0.6]}

        for trial in self.play(Advisor(self.study(sampler, space)), self.trials):
            for name, values in written.items():
                value = trial.params[name]
                assert value == round(value, 1)
                assert self.widens or value in values

    def test_no_trial_breaks_a_constraint(self, sampler: Mapping[str, Any]) -> None:
        free = self.study(sampler)
        study = self.study(sampler, constraints=CONSTRAINTS, enqueue=[{"layers": 4}])

        trials = self.play(Advisor(study), self.trials)

        check_inside(study.space, trials, widened=self.widens)
        assert trials[0].params["layers"] == 4
        assert not [trial.params for trial in trials if study.space.broken(trial.params)]
        # Without constraints some would.
        assert any(study.space.broken(trial.params) for trial in self.play(Advisor(free), self.trials))

    def test_another_seed_gives_another_search(self, sampler: Mapping[str, Any]) -> None:
        first, second = (self.play(Advisor(self.study(sampler, seed=seed)), 8) for seed in (1, 2))

        assert [trial.params for trial in first] != [trial.params for trial in second]


class ResumableSamplerContract(SamplerContract):
    """A sampler whose choices follow from seed, trial number and trials alone: an interruption changes nothing."""

    @pytest.mark.parametrize("stop", [1, 7, 16])
    def test_a_resumed_search_continues_exactly_as_if_it_had_not_stopped(
        self, sampler: Mapping[str, Any], stop: int
    ) -> None:
        whole = self.play(Advisor(self.study(sampler)), self.trials)

        resumed = Advisor(self.study(sampler), whole[:stop])

        # What play() does depends on the trial's number, so that the rest can be compared.
        assert [t.params for t in self.play(resumed, self.trials - stop)] == [t.params for t in whole[stop:]]

    @pytest.mark.parametrize("pruner", ["none", "asha", "median"])
    def test_with_a_batch_neither_workers_nor_timing_matter(
        self, sampler: Mapping[str, Any], pruner: str, tmp_path: Path
    ) -> None:
        options = {"min_resource": 1} if pruner == "asha" else {}
        study = self.study(sampler, batch=5, pruner={"name": pruner, **options})

        runs = [
            search(study, self.objective, tmp_path / f"{n}.journal", workers=n, timing=timing, lose=0.1)
            for timing, n in enumerate((1, 3, 5))
        ]

        assert all(outcome(run) == outcome(runs[0]) for run in runs[1:])

    def test_with_a_batch_a_driver_that_dies_again_and_again_changes_nothing(
        self, sampler: Mapping[str, Any], tmp_path: Path
    ) -> None:
        study = self.study(sampler, batch=4)
        whole = search(study, self.objective, tmp_path / "whole.journal", workers=4)

        killed = search(study, self.objective, tmp_path / "killed.journal", workers=3, timing=1, die_after=17)

        assert outcome(killed) == outcome(whole)

    def test_constraints_change_nothing_of_that(self, sampler: Mapping[str, Any], tmp_path: Path) -> None:
        study = self.study(sampler, constraints=CONSTRAINTS)
        whole = self.play(Advisor(study), self.trials)

        resumed = self.play(Advisor(study, whole[:7]), self.trials - 7)

        assert [t.params for t in resumed] == [t.params for t in whole[7:]]
        study = self.study(sampler, constraints=CONSTRAINTS, batch=4)
        runs = [
            search(study, self.objective, tmp_path / f"{n}.journal", workers=n, timing=n, die_after=die)
            for n, die in ((1, None), (4, 17))
        ]
        assert outcome(runs[0]) == outcome(runs[1])


class NonLearningSamplerContract(ResumableSamplerContract):
    """A sampler whose choices follow from seed and trial number alone."""

    def test_the_number_of_workers_does_not_matter(self, sampler: Mapping[str, Any], tmp_path: Path) -> None:
        study = self.study(sampler)

        runs = [search(study, self.objective, tmp_path / f"{n}.journal", workers=n, timing=n) for n in (1, 2, 7)]

        assert outcome(runs[0]) == outcome(runs[1]) == outcome(runs[2])
