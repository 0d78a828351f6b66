"""The samplers that learn nothing: what they draw, and in which order."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from small_study import small_study

from hpo.errors import InputError
from hpo.ledger import snapshots as books
from hpo.ledger.address import parse
from hpo.search.advisor import Advisor, trial_seed
from hpo.study.space import Choice, Float, Int
from hpo.testing import search
from hpo.trial import State

PLANE = {
    "lr": {"low": 1e-6, "high": 1e-2, "log": True},
    "weight_decay": {"low": 1e-8, "high": 1e-4, "log": True},
}


def draws(sampler: dict[str, Any], trials: int, space: dict[str, Any] = PLANE, **changes: Any) -> list[dict[str, Any]]:
    advisor = Advisor(small_study(space=space, sampler=sampler, budget={"trials": trials}, **changes))
    params = []
    for _ in range(trials):
        trial = advisor.ask()
        advisor.tell(replace(trial, state=State.COMPLETE, values=(0.0,)))
        params.append(dict(trial.params))
    return params


def test_log_scale_draws_are_uniform_in_the_logarithm() -> None:
    """Row H4: Kolmogorov-Smirnov at 1 % with 10,000 draws, and the mean of the exponents in the middle."""
    from hpo.samplers.random import uniform

    parameter = Float("x", 1e-3, 1e3, log=True)
    exponents = [math.log10(parameter.from_unit(uniform(0, number, "x"))) for number in range(10_000)]

    assert stats.kstest(exponents, stats.uniform(-3, 6).cdf).pvalue > 0.01
    assert np.mean(exponents) == pytest.approx(0, abs=3 * 6 / math.sqrt(12 * 10_000))


def test_a_draw_knows_nothing_of_the_other_parameters() -> None:
    both, alone = draws({"name": "random"}, 5), draws({"name": "random"}, 5, {"lr": PLANE["lr"]})

    assert [point["lr"] for point in both] == [point["lr"] for point in alone]


def test_random_search_sees_more_values_of_what_matters_than_a_grid() -> None:
    """Row H3: of n = r * r points a grid has r distinct learning rates, random search n."""
    grid, random = draws({"name": "grid", "points": 5}, 25), draws({"name": "random"}, 25)

    assert len({point["lr"] for point in grid}) == 5
    assert len({point["lr"] for point in random}) == 25


def test_a_grid_visits_every_point_once_and_reaches_both_ends() -> None:
    points = draws({"name": "grid", "points": {"lr": 5, "weight_decay": 2}}, 10)

    seen = sorted((point["lr"], point["weight_decay"]) for point in points)
    assert len(set(seen)) == 10
    assert sorted({lr for lr, _ in seen}) == pytest.approx([1e-6, 1e-5, 1e-4, 1e-3, 1e-2])
    assert {decay for _, decay in seen} == {1e-8, 1e-4}


def test_choices_and_stepped_ranges_enumerate_themselves() -> None:
    space = {
        "layers": {"low": 1, "high": 3},
        "rate": {"low": 0.0, "high": 0.3, "step": 0.1},
        "hidden": {"choice": [[50], []]},
    }

    points = draws({"name": "grid"}, 24, space)

    assert len({repr(point) for point in points}) == 24


def test_a_condition_multiplies_only_where_it_holds() -> None:
    space = {
        "optimizer": {"choice": ["sgd", "adam"]},
        "momentum": {"low": 0.0, "high": 0.9, "when": {"optimizer": "sgd"}},
    }
    study = small_study(space=space, sampler={"name": "grid", "points": 3}, budget={"trials": 100})

    assert study.budget.trials == 4
    points = draws({"name": "grid", "points": 3}, 4, space)
    assert sorted(points, key=repr) == [
        {"optimizer": "adam"},
        *({"optimizer": "sgd", "momentum": momentum} for momentum in (0.0, 0.45, 0.9)),
    ]


def test_a_grid_ends_the_search_when_it_is_exhausted_and_a_smaller_budget_cuts_it() -> None:
    sampler = {"name": "grid", "points": 4}

    assert small_study(space=PLANE, sampler=sampler, budget={"trials": 100}).budget.trials == 16
    assert small_study(space=PLANE, sampler=sampler, budget={"trials": 9}).budget.trials == 9


def test_enqueued_trials_take_no_point_of_the_grid() -> None:
    points = draws({"name": "grid", "points": 2}, 5, enqueue=[{"lr": 3e-4}])

    assert points[0]["lr"] == 3e-4
    assert len({(point["lr"], point["weight_decay"]) for point in points[1:]}) == 4


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        ({"name": "grid"}, "points must say how many values lr has"),
        ({"name": "grid", "points": {"rate": 3}}, "points can be given for a float or integer parameter only"),
        ({"name": "grid", "points": 1000}, "at most 100000 points, but this one would have 1000000"),
        ({"name": "grid", "points": 0}, "small.toml: sampler.points: must be"),
        ({"name": "grid", "points": 10**9}, "sampler.points: must be a whole number from 1 to 100000, or a table"),
        ({"name": "grid", "points": {"lr": 10**9}}, "sampler.points: must be at most 100000, got"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(sampler: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        small_study(space=PLANE, sampler=sampler)


MODELS = {
    "model": {"choice": ["forest", "boosting", "svm", "knn"]},
    **{f"{model}_{n}": {"low": 1, "high": 10, "when": {"model": model}} for model in ("forest", "svm") for n in "ab"},
    **{
        f"{model}_{n}": {"low": 0.0, "high": 1.0, "step": 0.1, "when": {"model": [model]}}
        for model in ("knn",)
        for n in "ab"
    },
}


def test_a_conditional_grid_has_only_the_combinations_that_exist() -> None:
    study = small_study(space=MODELS, sampler={"name": "grid"}, budget={"trials": 9999})

    assert study.points == study.budget.trials == 100 + 100 + 11 * 11 + 1
    points = draws({"name": "grid"}, study.budget.trials, MODELS)
    assert len({repr(sorted(point.items())) for point in points}) == study.points


def test_conditions_on_conditions_and_on_points_that_the_grid_leaves_out_are_counted_as_they_are_built() -> None:
    space = {
        "depth": {"low": 1, "high": 9},
        "kind": {"choice": ["a", "b", ["a"]], "when": {"depth": [1, 5, 6]}},
        "flag": {"choice": [True, 1]},
        "rate": {"low": 0.0, "high": 1.0, "when": {"kind": "b", "flag": True}},
        "never": {"low": 1, "high": 50, "when": {"depth": 2}},
    }

    for points, count in (
        ({"rate": 4}, 5 * 2 + 50 * 2 + 3 * (2 * 2 + 4 + 1)),
        ({"rate": 2, "depth": 3}, 2 + 2 * (2 * 2 + 2 + 1)),  # depth is 1, 5 or 9
    ):
        study = small_study(space=space, sampler={"name": "grid", "points": points}, budget={"trials": 9999})

        assert study.points == count
        assert len({repr(point) for point in draws({"name": "grid", "points": points}, count, space)}) == count


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            {"n": {"low": 10, "high": 2_000_000_000}},
            "at least 1999999991, all values of n; points = { n = 5 } takes five",
        ),
        ({"x": {"low": 0.0, "high": 1.0, "step": 1e-9}}, "at least 1000000001, all values of x; points = { x = 5 }"),
        ({f"p{i}": {"choice": [0, 1]} for i in range(400)}, f"but this one would have {2**400};"),
        (
            {f"p{i}": {"choice": [0, 1]} for i in range(400)}
            | {f"q{i}": {"choice": [0, 1], "when": {f"p{i}": 1}} for i in range(400)},
            "but this one would have at least 131072;",
        ),
    ],
)
def test_a_grid_is_counted_before_it_is_built(space: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"small.toml: sampler: a grid has at most 100000 points, .*{message}"):
        small_study(space=space, sampler={"name": "grid"})


CONDITIONS = [{"optimizer": "sgd", "lr": 0.5}, {"optimizer": "adam", "lr": 0.1}, {"optimizer": "adam", "lr": 0.5}]
CONDITION_SPACE = {"optimizer": {"choice": ["sgd", "adam"]}, "lr": {"low": 0.1, "high": 1.0}}


def test_a_list_is_run_in_its_order_then_again_and_then_the_search_ends() -> None:
    sampler = {"name": "listed", "points": CONDITIONS, "repeats": 2}

    assert draws(sampler, 6, CONDITION_SPACE) == CONDITIONS * 2
    assert small_study(space=CONDITION_SPACE, sampler=sampler, budget={"trials": 100}).budget.trials == 6


def test_trials_of_one_repeat_share_their_seed_and_note_the_repeat(tmp_path: Path) -> None:
    sampler = {"name": "grid", "points": 2, "repeats": 3}
    study = small_study(space=PLANE, sampler=sampler, budget={"trials": 13}, enqueue=[{"lr": 3e-4}])

    first, *rest = search(study, lambda params, seed: [seed], tmp_path / "a.journal", workers=3)

    assert first.repeat is None
    assert [trial.repeat for trial in rest] == [0] * 4 + [1] * 4 + [2] * 4
    assert [trial.seed for trial in rest] == [trial_seed(0, trial.repeat or 0) for trial in rest]
    assert len({trial.seed for trial in rest}) == 3
    (stored,) = {tuple(t.repeat for t in books.read(parse(f"{tmp_path}/a.journal"), "small").trials)}
    assert stored == tuple(trial.repeat for trial in [first, *rest])


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([], "sampler: points must list at least one point"),
        ([{"optimizer": "sgd"}], r"points\[0\]: must name every parameter, lr is missing"),
        ([*CONDITIONS, {"optimizer": "adm", "lr": 0.5}], r'points\[3\].optimizer: must be one of .*, got "adm"'),
        ([{"optimiser": "sgd"}], "optimiser: is no parameter of the space; did you mean 'optimizer'"),
        (3, "small.toml: sampler.points: must be a list of tables, got 3"),
    ],
)
def test_a_list_that_cannot_be_is_refused(points: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        small_study(space=CONDITION_SPACE, sampler={"name": "listed", "points": points})


@pytest.mark.parametrize("sequence", ["sobol", "halton"])
def test_quasi_random_points_fill_the_space_more_evenly_than_random_ones(sequence: str) -> None:
    def unevenness(sampler: dict[str, Any]) -> float:
        points = draws(sampler, 64)
        unit = [[(math.log10(p["lr"]) + 6) / 4, (math.log10(p["weight_decay"]) + 8) / 4] for p in points]
        return float(stats.qmc.discrepancy(np.clip(unit, 0, 1)))

    even = [unevenness({"name": "qmc", "sequence": sequence, "seed": seed}) for seed in range(5)]
    uneven = [unevenness({"name": "random", "seed": seed}) for seed in range(5)]

    assert max(even) < min(uneven)


def test_a_sequence_that_is_not_scrambled_is_the_same_for_every_seed() -> None:
    first, second = (draws({"name": "qmc", "scramble": False, "seed": seed}, 4) for seed in (1, 2))

    assert first == second


def test_within_keeps_to_the_lattice_and_is_never_empty() -> None:
    stepped = Float("x", 0.0, 1.0, step=0.25).within((0.2, 0.8))
    nothing_between = Int("x", 0, 10, step=5).within((6, 7))
    logarithmic = Int("x", 1, 100, log=True).within((9.5, 20.2))
    choice = Choice("x", ("a", "b", "c")).within(("c", "a"))

    assert stepped.ends == (0.25, 0.75)
    assert nothing_between.values() == [5]
    assert logarithmic.ends == (10, 20)
    assert choice.values() == ["c", "a"]
