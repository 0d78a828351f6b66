"""Numbers at the ends of what a computer holds: a message, or the right result."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_study import small_study

from hpo.errors import InputError
from hpo.pruners.halving import MAX_CYCLE, brackets
from hpo.search.advisor import Advisor
from hpo.study import load
from hpo.trial import REPEAT, State, Trial

HUGE = "0x" + "F" * 5000  # of a number written out, TOML's reader takes 4,300 digits
NUMBERS = ["1e-30", "1e30", "-1.7e308", "1.7e308", "1e-300", "5e-324", "1e999", "nan", "0", "-0.0", "1", "0.1", HUGE]
STUDY = """
name = "s"
objective = "a:b"
metric = "loss"
direction = "minimize"
[space]
x = { low = 0.0, high = 1.0 }
n = { low = 1, high = 9 }
c = { choice = [1, 2] }
[sampler]
name = "grid"
points = 3
[budget]
trials = 9
"""
KEYS = [
    "space.x.low",
    "space.x.high",
    "space.x.step",
    "space.n.low",
    "space.n.step",
    "space.n.when.x",
    "sampler.points",
    "sampler.seed",
    "sampler.repeats",
    "budget.trials",
    "budget.time",
    "budget.target",
    "budget.no_improvement",
    "trial.timeout",
    "trial.retries",
    "workers.cpus",
    "workers.resources.a",
    "fixed.a",
    "fixed.a.b",
    "examples",
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "s.toml"
    path.write_text(STUDY)
    return path


def read(file: Path, overrides: list[str]) -> None:
    try:
        study = load(file, overrides)
    except InputError as error:
        message = str(error)
    else:
        message = ""
    assert len(message) < 500
    if message:
        return
    assert study.points
    for parameter in study.space.parameters:
        parameter.distribution()
        for value in (*parameter.ends, *(parameter.from_unit(u) for u in (0.0, 0.3, 1.0)), *parameter.spread(3)):
            assert parameter.contains(value), (parameter, value)
            assert 0 <= parameter.to_unit(value) <= 1


@pytest.mark.parametrize("number", NUMBERS)
def test_every_reader_takes_a_number_or_refuses_it(file: Path, number: str) -> None:
    for key in KEYS:
        read(file, [f"{key}={number}"])
    for value in (f"{{x={number}}}", f"{{n={number}}}", f"{{c={number}}}"):
        read(file, [f"enqueue=[{value}]"])
    read(file, [f"space.c.choice=[1,{number}]"])


def test_every_pair_of_ends_makes_a_range_or_a_message(file: Path) -> None:
    for (low, high), more in itertools.product(
        itertools.permutations(NUMBERS, 2), ("log=true", "log=false", "step=1e-30", "step=0.1", "step=1e30")
    ):
        read(file, [f"space.x={{low={low},high={high},{more}}}"])


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ({"low": 0.0, "high": 5e-324}, "low and high must be further apart"),
        ({"low": 1e10, "high": math.nextafter(1e10, 2e10), "log": True}, "low and high must be further apart"),
        ({"low": 1e16, "high": 1e16 + 8, "step": 0.5}, "step is too small for numbers of this size"),
        ({"choice": [1, 16**5000]}, "must hold finite numbers only"),
    ],
)
def test_what_float64_cannot_tell_apart_is_refused(x: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small_study(space={"x": x})


def test_a_value_off_a_fine_lattice_is_refused_and_one_on_it_is_kept() -> None:
    space = {"x": {"low": 0.0, "high": 1000.0, "step": 1e-9}}

    assert small_study(space=space, enqueue=[{"x": 123.456789012}]).enqueue[0] == {"x": 123.456789012}
    with pytest.raises(InputError, match="in steps of 1e-09, got"):
        small_study(space=space, enqueue=[{"x": 123.4567890125}])


def test_a_condition_on_a_value_that_is_not_as_written_is_refused_since_it_would_never_hold() -> None:
    space = {"d": {"low": 0.0, "high": 0.5, "step": 0.1}, "n": {"low": 1, "high": 2, "when": {"d": 0.1 + 0.2}}}

    with pytest.raises(InputError, match=r"space.n.when.d: must be 0.3 as written, got 0.30000000000000004"):
        small_study(space=space)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"sampler": {"name": "tpe", "n_ei_candidates": 2**50}}, "n_ei_candidates: must be at most 100000"),
        ({"sampler": {"name": "cmaes", "popsize": 2**50}}, "popsize: must be at most 100000"),
        ({"sampler": {"batch": 2**50}}, "batch: must be at most 100000"),
        ({"workers": {"cpus": 1e300}}, "workers.cpus: must be at most 1e"),
    ],
)
def test_what_no_memory_holds_is_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small_study(**table)


def test_hyperband_over_billions_of_steps_is_made_at_once_and_begins_as_the_whole_cycle() -> None:
    assert len(brackets(1, 2**53, 2)) == MAX_CYCLE
    assert brackets(1, 9, 3) == brackets(1, 9, 3)[:MAX_CYCLE]


def test_a_list_that_is_repeated_without_end_is_counted_at_once() -> None:
    sampler = {"name": "listed", "points": [{"n": 1}, {"n": 1}, {"n": 2}], "repeats": 2**50}
    study = small_study(space={"n": {"low": 1, "high": 3}}, sampler=sampler, budget={"trials": 2**53})
    trials = [Trial(i, {"n": n}, 1, notes={REPEAT: r}) for i, (n, r) in enumerate([(1, 0), (1, 0), (1, 0), (3, 1)])]

    assert study.budget_beside(trials).most == 4 + 3 * 2**50 - 2


SPACES: list[dict[str, Any]] = [
    {"x": {"low": -8e307, "high": 8e307}, "n": {"low": 1, "high": 2**53, "log": True}},
    {"x": {"low": 1e-300, "high": 1e300, "log": True}, "n": {"low": 0, "high": 2**53}},
    {"x": {"low": 5e-324, "high": 1.0, "log": True}, "y": {"low": 0.0, "high": 1e-20, "step": 1e-30}},
]


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # Optuna's, of numbers that it then sorts out
@pytest.mark.parametrize("sampler", ["random", "narrowing", "tpe", "cmaes", "qmc", "grid"])
@pytest.mark.parametrize("space", SPACES)
def test_samplers_stay_inside_ranges_of_any_size_and_bear_values_of_any_size(
    sampler: str, space: dict[str, Any]
) -> None:
    table: dict[str, dict[str, Any]] = {"grid": {"points": dict.fromkeys(space, 4)}, "narrowing": {"round": 8}}
    options = table.get(sampler, {})
    study = small_study(space=space, sampler={"name": sampler, **options}, budget={"trials": 16})
    advisor = Advisor(study)
    for value in [1.7e308, -1.7e308, 0.0, 1e-300] * 4:
        trial = advisor.ask()
        for name, drawn in trial.params.items():
            assert study.space[name].contains(drawn)
        advisor.report(trial.number, 1, [value])
        advisor.tell(replace(trial, state=State.COMPLETE, values=(value,)))
