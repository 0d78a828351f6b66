"""What holds for every sampler a study may name."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_executor import FakeExecutor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from searching import outcome, search
from small_study import small_study
from threadpoolctl import threadpool_limits

from hpo.advisor import Advisor
from hpo.ledger.address import parse
from hpo.ledger.ledger import Ledger
from hpo.ledger.record import to_trial
from hpo.samplers import SAMPLERS
from hpo.search import Search
from hpo.space import Choice, Float, Int, Space
from hpo.study import Study
from hpo.trial import COMPLETE, FAILED, PRUNED

EVERY: dict[str, dict[str, Any]] = {
    "random": {},
    "narrowing": {"round": 4, "keep": 0.5, "alpha": 0.5},
    "narrowing, widening": {"name": "narrowing", "round": 4, "keep": 0.5, "alpha": 0.5, "widen": True},
    "grid": {"points": 3},
    "grid, repeated": {"name": "grid", "points": 2, "repeats": 2},
    "listed": {"repeats": 3},
    "tpe": {"n_startup_trials": 3},
    "tpe, in groups": {"name": "tpe", "n_startup_trials": 3, "group": True},
    "gp": {"n_startup_trials": 3},
    "cmaes": {},
    "cmaes, with margin": {"name": "cmaes", "with_margin": True},
    "qmc": {},
    "qmc, halton": {"name": "qmc", "sequence": "halton"},
    "imported": {"name": "optuna.samplers:RandomSampler"},
}
UNAWARE = [
    "random",
    "grid",
    "grid, repeated",
    "listed",
    "qmc",
    "qmc, halton",
]  # draws depend on (study seed, trial number) alone
TRIALS = {"gp": 8}  # a Gaussian process thinks for a while
EXACT = [name for name in EVERY if name != "imported"]

SPACE = {
    "lr": {"low": 1e-6, "high": 1e-2, "log": True},
    "layers": {"low": 1, "high": 4},
    "optimizer": {"choice": ["sgd", "adam"]},
    "momentum": {"low": 0.0, "high": 0.9, "when": {"optimizer": "sgd"}},
    "hidden": {"choice": [[50], [100, 100], []]},
}


def trials_of(sampler: str) -> int:
    return TRIALS.get(sampler, 14)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """A Gaussian process of a dozen points is only slowed down by many threads."""
    with threadpool_limits(1):
        yield


def study_of(
    sampler: str, space: Mapping[str, Any] = SPACE, *, seed: int = 3, batch: int | None = None, **changes: Any
) -> Study:
    if sampler == "gp":
        pytest.importorskip("torch")
    how = {"name": sampler, "seed": seed, **EVERY[sampler]} | ({"batch": batch} if batch else {})
    if sampler == "listed":
        drawn = Advisor(small_study(space=space, sampler={"seed": seed}))
        how["points"] = [drawn.ask()[1] for _ in range(5)]
    table = {"space": space, "sampler": how, "trial": {"retries": 99}, "budget": {"trials": trials_of(sampler)}}
    return small_study(**table | changes)


def score(params: Mapping[str, Any], seed: int) -> list[float]:
    """A model of the chapter's search: the learning rate matters, and there is some noise."""
    noise = np.random.default_rng(seed).normal(0, 0.03)
    final = -abs(math.log10(params["lr"]) + 3) + 0.1 * params.get("momentum", 0.5) + float(noise)
    return [final - 1 / step for step in range(1, 6)]


def play(advisor: Advisor, trials: int) -> list[Any]:
    """Asks and tells one by one, some trials failing and some pruned; returns the ledger's trials."""
    told = []
    for _ in range(trials):
        frozen, params = advisor.ask()
        if frozen.number % 7 == 5:
            told.append(advisor.tell(frozen.number, FAILED, None))
            continue
        values = [math.sin(frozen.number), len(json.dumps(params)) % 5 + frozen.number / 100]
        pruned = frozen.number % 5 == 3
        for step, value in enumerate(values[: 1 if pruned else 2], start=1):
            advisor.report(frozen.number, step, value)
        told.append(advisor.tell(frozen.number, PRUNED if pruned else COMPLETE, values[0 if pruned else -1]))
    return told


def test_the_contract_covers_every_sampler() -> None:
    assert {how.get("name", name) for name, how in EVERY.items()} >= set(SAMPLERS)


@pytest.mark.parametrize("sampler", EVERY)
def test_a_search_ends_with_exactly_its_budget(sampler: str, tmp_path: Path) -> None:
    study = study_of(sampler)

    trials = search(study, score, tmp_path / "a.journal", workers=3)

    assert [trial.number for trial in trials] == list(range(trials_of(sampler)))
    assert all(trial.state == COMPLETE for trial in trials)
    check_inside(study.space, trials, widened=sampler == "narrowing, widening")


@st.composite
def spaces(draw: st.DrawFn) -> dict[str, Any]:
    """Spaces of one to four parameters of every kind, each perhaps conditional on an earlier choice."""
    space: dict[str, Any] = {}
    conditions: list[dict[str, Any]] = [{}]
    for index in range(draw(st.integers(1, 4))):
        spec = draw(st.one_of(floats(), whole_numbers(), choices()))
        when = draw(st.sampled_from(conditions))
        name = f"p{index}"
        space[name] = spec | ({"when": when} if when else {})
        if "choice" in spec:
            wanted = draw(st.sampled_from(spec["choice"]))
            if not isinstance(wanted, list | dict):
                conditions.append({name: wanted})
    return space


def floats() -> st.SearchStrategy[dict[str, Any]]:
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


def whole_numbers() -> st.SearchStrategy[dict[str, Any]]:
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


def choices() -> st.SearchStrategy[dict[str, Any]]:
    value = st.one_of(
        st.booleans(), st.integers(0, 3), st.sampled_from(["a", "b", "1"]), st.lists(st.integers(1, 9), max_size=2)
    )
    return st.lists(value, min_size=1, max_size=4, unique_by=json.dumps).map(lambda values: {"choice": values})


def check_inside(space: Space, trials: list[Any], *, widened: bool = False) -> None:
    for trial in trials:
        expected = [p.name for p in space.parameters if space.active(p, trial.params)]
        assert list(trial.params) == expected
        for parameter in space.parameters:
            if parameter.name not in trial.params:
                continue
            value = trial.params[parameter.name]
            assert type(value) is {Float: float, Int: int}.get(type(parameter), type(value))
            if isinstance(parameter, Choice) or not widened:
                assert parameter.contains(value), (parameter, value)


@pytest.mark.parametrize("sampler", EVERY)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(space=spaces())
def test_values_lie_inside_any_space_and_conditions_hold(sampler: str, space: dict[str, Any]) -> None:
    study = study_of(sampler, space)
    ledger = play(Advisor(study), min(16, trials_of(sampler)))

    trials = [to_trial(frozen, study.space) for frozen in ledger]

    check_inside(study.space, trials, widened=sampler == "narrowing, widening")
    for frozen in ledger:
        for name, distribution in frozen.distributions.items():
            assert distribution._contains(distribution.to_internal_repr(frozen.params[name]))


@pytest.mark.parametrize("sampler", EXACT)
@pytest.mark.parametrize("stop", [1, 7, 16])
def test_a_resumed_search_goes_on_exactly_as_if_it_had_not_stopped(sampler: str, stop: int) -> None:
    trials = trials_of(sampler)
    whole = play(Advisor(study_of(sampler)), trials)

    resumed = Advisor(study_of(sampler), whole[:stop])

    # The pattern of play() goes by the trial's number, so the rest is comparable.
    assert [frozen.params for frozen in play(resumed, trials - stop)] == [frozen.params for frozen in whole[stop:]]


@pytest.mark.parametrize("sampler", EVERY)
def test_another_seed_gives_another_search(sampler: str) -> None:
    first, second = (play(Advisor(study_of(sampler, seed=seed)), 8) for seed in (1, 2))

    assert [frozen.params for frozen in first] != [frozen.params for frozen in second]


@pytest.mark.parametrize("sampler", UNAWARE)
def test_bits_do_not_depend_on_the_number_of_workers(sampler: str, tmp_path: Path) -> None:
    study = study_of(sampler)

    runs = [search(study, score, tmp_path / f"{n}.journal", workers=n, timing=n) for n in (1, 2, 7)]

    assert outcome(runs[0]) == outcome(runs[1]) == outcome(runs[2])


@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [
        (sampler, pruner)
        for sampler in EXACT
        for pruner in ({"name": "none"}, {"name": "asha", "min_resource": 1}, {"name": "median"})
        if sampler != "gp" or pruner["name"] == "none"  # it learns from complete trials only, and takes its time
    ],
)
def test_with_a_batch_neither_workers_nor_timing_matter(sampler: str, pruner: dict[str, Any], tmp_path: Path) -> None:
    study = study_of(sampler, batch=5, pruner=pruner)

    runs = [
        search(study, score, tmp_path / f"{n}.journal", workers=n, timing=timing, lose=0.1)
        for timing, n in enumerate((1, 3, 5))
    ]

    assert all(outcome(run) == outcome(runs[0]) for run in runs[1:])


@pytest.mark.parametrize("sampler", EXACT)
def test_with_a_batch_a_driver_that_dies_again_and_again_changes_nothing(sampler: str, tmp_path: Path) -> None:
    study = study_of(sampler, batch=4)
    whole = search(study, score, tmp_path / "whole.journal", workers=4)

    killed = search(study, score, tmp_path / "killed.journal", workers=3, timing=1, die_after=17)

    assert outcome(killed) == outcome(whole)


def test_timing_does_matter_to_a_learner_without_a_batch(tmp_path: Path) -> None:
    """The claim of the tests above would be empty if nothing depended on timing."""
    study = study_of("tpe")

    runs = [search(study, score, tmp_path / f"{timing}.journal", workers=5, timing=timing) for timing in range(2)]

    assert outcome(runs[0]) != outcome(runs[1])


def test_no_more_trials_run_at_once_than_the_batch_has(tmp_path: Path) -> None:
    study = study_of("tpe", batch=2)

    ledger = Ledger.open(parse(str(tmp_path / "a.journal")), study)
    executor = FakeExecutor(score, 7, np.random.default_rng(0))

    Search(study, ledger).run(executor)

    assert executor.most == 2
    ledger.close()
