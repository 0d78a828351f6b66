"""C2-DTLZ2 (Jain and Deb, IEEE Transactions on Evolutionary Computation 18, 2014): a front of which a part is feasible.

DTLZ2 has the positive part of the unit sphere as its front. Feasible are the points within ``RADIUS`` of its corners or
of its middle; the constraint is 0 or less there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from small_study import small_study

from hpo.best import front_of
from hpo.fronts import costs_of, hypervolume
from hpo.search.advisor import Advisor
from hpo.study import Study
from hpo.study.constraints import judged, none_feasible
from hpo.trial import State, Trial

OBJECTIVES, VARIABLES, RADIUS = 3, 6, 0.4
REFERENCE = [1.2] * OBJECTIVES


def dtlz2(x: Sequence[float]) -> list[float]:
    distance = 1 + sum((value - 0.5) ** 2 for value in x[OBJECTIVES - 1 :])
    angles = [value * math.pi / 2 for value in x[: OBJECTIVES - 1]]
    found = []
    for index in range(OBJECTIVES):
        value = distance * math.prod(map(math.cos, angles[: OBJECTIVES - 1 - index]))
        found.append(value * math.sin(angles[OBJECTIVES - 1 - index]) if index else value)
    return found


def excess(f: Sequence[float]) -> float:
    """The constraint of C2-DTLZ2."""
    total = sum(value**2 for value in f)
    corner = min((value - 1) ** 2 + total - value**2 for value in f)
    middle = sum((value - 1 / math.sqrt(len(f))) ** 2 for value in f)
    return min(corner, middle) - RADIUS**2


def constrained(sampler: str, seed: int, **options: Any) -> Study:
    return small_study(
        objectives={f"f{index}": "minimize" for index in range(OBJECTIVES)},
        space={f"x{index}": {"low": 0.0, "high": 1.0} for index in range(VARIABLES)},
        sampler={"name": sampler, "seed": seed, **options},
        constraints={"metrics": {"excess": {"max": 0.0}}},
    )


def searched(study: Study, count: int) -> list[Trial]:
    advisor, trials = Advisor(study), []
    for _ in range(count):
        trial = advisor.ask()
        values = dtlz2(list(trial.params.values()))
        for key, note in judged(study.bounds, {"excess": excess(values)}.get).items():
            advisor.note(trial.number, key, note)
        trials.append(advisor.tell(replace(trial, state=State.COMPLETE, values=tuple(values))))
    return trials


def volume(study: Study, trials: Sequence[Trial]) -> float:
    return hypervolume(costs_of(front_of(trials, study.objectives), study.objectives), REFERENCE)


def test_the_problem_is_the_one_of_the_paper() -> None:
    assert dtlz2([0.0, 0.0, *[0.5] * 4]) == pytest.approx([1.0, 0.0, 0.0])
    assert dtlz2([1.0, 0.3, *[0.5] * 4]) == pytest.approx([0.0, 0.0, 1.0], abs=1e-12)
    assert sum(value**2 for value in dtlz2([0.3, 0.8, *[0.5] * 4])) == pytest.approx(1.0)
    assert excess([1.0, 0.0, 0.0]) == pytest.approx(-(RADIUS**2))
    assert excess([1 / math.sqrt(3)] * 3) == pytest.approx(-(RADIUS**2))
    assert excess(dtlz2([0.0, 0.5, *[0.5] * 4])) > 0  # half-way between two corners


@pytest.mark.parametrize(
    ("sampler", "options"),
    [
        ("nsga2", {"population_size": 20}),
        ("nsga3", {"population_size": 20}),
        pytest.param("tpe", {}, marks=pytest.mark.slow),
    ],
)
def test_the_front_is_feasible_and_better_than_that_of_random_search(sampler: str, options: dict[str, Any]) -> None:
    gains, violating = [], []
    for seed in range(3):
        study, blind = constrained(sampler, seed, **options), constrained("random", seed)
        trials, others = searched(study, 200), searched(blind, 200)
        gains.append(volume(study, trials) - volume(blind, others))
        violating.append(sum(bool(t.violations) for t in others[100:]) - sum(bool(t.violations) for t in trials[100:]))
        front = front_of(trials, study.objectives)
        assert front
        assert all(excess(trial.values) <= 0 for trial in front)

    assert sorted(gains)[1] > 0
    assert sorted(violating)[1] > 0


def test_without_a_feasible_trial_there_is_no_front_and_the_nearest_is_named() -> None:
    study = constrained("random", 0)
    trials = [trial for trial in searched(study, 30) if trial.violations]

    assert front_of(trials, study.objectives) == []
    words = none_feasible(study.bounds, trials)
    least = min(trials, key=lambda trial: excess(trial.values))
    assert words is not None
    assert words.startswith(f"no trial satisfies excess <= 0; the nearest is trial {least.number}: excess is ")
