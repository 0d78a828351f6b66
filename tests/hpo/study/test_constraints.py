"""The ``[constraints]`` table: what is refused, what is remarked on, and what it leaves of points and grids."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from small_study import small_study

from hpo.errors import InputError
from hpo.search.advisor import Advisor
from hpo.study.constraints import Bounds, judged, judged_again
from hpo.study.remarks import on
from hpo.trial import REDRAW, Direction, Report, State, Trial, best_first, nearest

SPACE: dict[str, Any] = {
    "layers": {"low": 1, "high": 8},
    "width": {"low": 16, "high": 1024, "log": True},
    "momentum": {"low": 0.0, "high": 0.9, "when": {"layers": 2}},
}


def constrained(*texts: str, **changes: Any) -> Any:
    return small_study(**{"space": SPACE, "constraints": {"parameters": list(texts)}, **changes})


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        ({"parameters": "layers < 3"}, "constraints.parameters: must be a list of comparisons"),
        ({"parameters": ["layer < 3"]}, "names 'layer', which is no parameter; did you mean 'layers'?"),
        ({"parameters": ["layers < 3", "width"]}, 'this is a number, got "width"'),
        ({"params": []}, "constraints.params: unknown key"),
        ({"parameters": ["layers < 1"]}, "at least one point must satisfy all of them"),
        (
            {"parameters": ["layers < 4", "layers > 5"]},
            'none of 10,000 random points does (loosen them, or widen the space), got ["layers < 4", "layers > 5"]',
        ),
    ],
)
def test_what_is_wrong_is_refused_at_reading(constraints: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=r"^small.toml: constraints") as refused:
        small_study(space=SPACE, constraints=constraints)

    assert message in str(refused.value)


def test_a_space_that_can_be_listed_is_searched_for_its_one_point() -> None:
    space = {name: {"low": 1, "high": 40} for name in "abc"}

    study = small_study(space=space, constraints={"parameters": ["a * b * c == 64000"]})

    assert Advisor(study).ask().params == {"a": 40, "b": 40, "c": 40}
    assert any("less than 0.01% of the space satisfies them" in remark for remark in on(study))
    with pytest.raises(InputError, match="at least one point"):
        small_study(space=space, constraints={"parameters": ["a * b * c > 64000"]})


def test_what_is_rare_is_remarked_on_with_its_share() -> None:
    rare = constrained("layers == 8", "width >= 980")  # log(1024.5 / 979.5) / log(1024.5 / 15.5) / 8 = 0.13 %
    common = constrained("layers < 8")

    (remark,) = [remark for remark in on(rare) if "constraints" in remark]
    share = float(remark.split("about ")[1].split("%")[0])
    assert share == pytest.approx(100 * math.log(1024.5 / 979.5) / math.log(1024.5 / 15.5) / 8, rel=0.5)
    assert not [remark for remark in on(common) if "constraints" in remark]


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"layers": 4, "width": 1000}, "must satisfy the constraint layers * width <= 2048"),
        ({"layers": 2, "width": 100, "momentum": 0.8}, "must satisfy the constraint momentum < width / 200"),
        ({"width": 17, "momentum": 0.1, "layers": 2}, "must satisfy the constraint momentum < width / 200"),
    ],
)
def test_an_enqueued_point_that_breaks_a_constraint_is_refused(point: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=r"small.toml: enqueue\[0\]: ") as refused:
        constrained("layers * width <= 2048", "momentum < width / 200", enqueue=[point])

    assert message in str(refused.value)


def test_an_enqueued_point_that_cannot_be_completed_is_refused() -> None:
    with pytest.raises(InputError, match=r"enqueue\[0\]: cannot be completed"):
        constrained("layers * width <= 100", enqueue=[{"layers": 8}])


@pytest.mark.parametrize("sampler", ["random", "tpe", "qmc", "grid"])
def test_an_enqueued_point_is_completed_so_that_it_holds(sampler: str) -> None:
    study = constrained(
        "layers * width <= 150",
        enqueue=[{"layers": 8}] * 6,
        sampler={"name": sampler, **({"points": {"momentum": 2}} if sampler == "grid" else {})},
    )
    advisor = Advisor(study)

    asked = [advisor.ask() for _ in range(6)]

    assert [trial.params["layers"] for trial in asked] == [8] * 6
    assert all(trial.params["width"] <= 18 for trial in asked)
    assert any(REDRAW in trial.notes for trial in asked)


def test_a_grid_counts_only_the_points_that_hold() -> None:
    space = {"a": {"low": 1, "high": 4}, "b": {"low": 1, "high": 4}, "c": {"choice": [0.1, 0.2]}}
    grid = {"name": "grid", "repeats": 2}

    study = small_study(space=space, constraints={"parameters": ["a < b"]}, sampler=grid, budget={"trials": 99})

    assert study.points == study.budget.most == 2 * 6 * 2
    advisor = Advisor(study)
    asked = [advisor.ask().params for _ in range(12)]
    assert sorted((p["a"], p["b"], p["c"]) for p in asked) == [
        (a, b, c) for a in range(1, 5) for b in range(a + 1, 5) for c in (0.1, 0.2)
    ]
    with pytest.raises(InputError, match="no point of this grid satisfies"):
        small_study(
            space={"x": {"low": 0.0, "high": 1.0}},
            constraints={"parameters": ["0.1 < x < 0.4"]},
            sampler={"name": "grid", "points": 3},
        )


def test_a_listed_point_that_breaks_a_constraint_is_refused() -> None:
    points = [{"layers": 1, "width": 16}, {"layers": 3, "width": 64}]

    with pytest.raises(InputError, match=r"points\[1\]: must satisfy the constraint layers \* width <= 100"):
        constrained("layers * width <= 100", sampler={"name": "listed", "points": points})


def test_the_corners_that_an_objective_checks_hold() -> None:
    assert constrained("layers < width").space.corners() == [{"layers": 1, "width": 16}, {"layers": 8, "width": 1024}]
    assert constrained("layers < 8").space.corners() == [{"layers": 1, "width": 16}]
    (point,) = constrained("layers == 4", "width > 100").space.corners()
    assert point["layers"] == 4
    assert point["width"] > 100


def test_constraints_belong_to_what_must_not_change() -> None:
    study, free = constrained("layers < 8"), small_study(space=SPACE)

    assert study.identity()["constraints"] == {"parameters": ["layers < 8"]}
    assert "constraints" not in free.resolved


# Bounds of metrics -------------------------------------------------------------------------------------------------

MEMORY = {"metrics": {"memory_mb": {"max": 512}, "gap": {"min": 0.0, "max": 0.1}}}


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ([], "constraints.metrics: must be a table"),
        ({"memory_mb": 512}, "constraints.metrics.memory_mb: must be a table"),
        ({"memory_mb": {}}, "constraints.metrics.memory_mb: must have min, max or both"),
        ({"memory_mb": {"most": 3}}, "constraints.metrics.memory_mb.most: unknown key"),
        ({"memory_mb": {"max": "3"}}, "constraints.metrics.memory_mb.max: must be a number"),
        ({"gap": {"min": 2, "max": 1}}, "constraints.metrics.gap: min must be at most max, got min = 2, max = 1"),
        ({"/": {"min": 2}}, "must be 1 to 100 letters"),
    ],
)
def test_bounds_that_are_wrong_are_refused(metrics: Any, message: str) -> None:
    with pytest.raises(InputError) as refused:
        small_study(constraints={"metrics": metrics})

    assert message in str(refused.value)


def test_bounds_are_judged_by_the_last_values() -> None:
    bounds = small_study(constraints=MEMORY).bounds

    assert judged(bounds, {"memory_mb": 512.0, "gap": 0.05}.get)["hpo:violations"] == {}
    notes = judged(bounds, {"memory_mb": 640.0, "gap": -0.5}.get)
    assert notes == {"constraints": [0.25, 5.0], "hpo:violations": {"memory_mb": 128.0, "gap": 0.5}}
    assert judged(bounds, {"memory_mb": 640.0}.get) == {}
    assert judged(bounds, {"memory_mb": 640.0, "gap": math.nan}.get) == {}
    assert [bound.in_words(name) for name, bound in bounds.items()] == ["memory_mb <= 512", "0 <= gap <= 0.1"]
    assert Bounds(1.0, None).in_words("gap") == "gap >= 1"


def test_a_complete_trial_from_elsewhere_that_cannot_be_judged_is_refused() -> None:
    bounds = small_study(constraints={"metrics": {"memory": {"max": 512}}}).bounds
    reported = (Report(1, 0.0, {"score": 1.0, "memory": 600.0}),)

    assert judged_again(bounds, Trial(0, {}, 0, State.COMPLETE, (1.0,), reports=reported))["hpo:violations"]
    assert judged_again({}, Trial(0, {}, 0, State.COMPLETE, (1.0,))) == {}
    assert judged_again(bounds, Trial(0, {}, 0, State.PRUNED)) == {}
    with pytest.raises(ValueError, match=r"constraints.metrics: must have reported memory, which have bounds"):
        judged_again(bounds, Trial(0, {}, 0, State.COMPLETE, (1.0,)))


def complete(number: int, value: float, *excesses: float) -> Trial:
    notes = {
        "constraints": list(excesses),
        "hpo:violations": {f"m{index}": excess for index, excess in enumerate(excesses) if excess > 0},
    }
    return Trial(number, {}, 0, State.COMPLETE, (value,), notes=notes)


def test_a_trial_that_violates_bounds_is_never_best() -> None:
    trials = [complete(0, 9.0, 0.1), complete(1, 1.0, -0.1), complete(2, 3.0, 0.0), complete(3, 8.0, -1.0, 0.2)]

    assert [trial.number for trial in best_first(trials, Direction.MAXIMIZE)] == [2, 1]
    assert [trial.standing for trial in trials] == ["infeasible", "complete", "complete", "infeasible"]
    assert nearest(trials) is None
    assert [trial.head().get("feasible") for trial in trials] == [False, True, True, False]
    assert trials[3].head()["violations"] == {"m1": 0.2}
    assert "feasible" not in Trial(0, {}, 0, State.COMPLETE, (1.0,)).head()


def test_without_a_feasible_trial_the_nearest_is_named() -> None:
    trials = [complete(0, 9.0, 0.3, -9.0), complete(1, 1.0, 0.1, 0.15), complete(2, 8.0, 0.5)]

    assert nearest(trials) == trials[1]
    assert nearest([]) is None


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "narrowing"])
def test_samplers_that_learn_avoid_what_violates_bounds(sampler: str) -> None:
    """The score rises with x, and so does the memory: half of the range is too much."""

    def share_beyond(bounds: dict[str, Any]) -> float:
        study = small_study(
            space={"x": {"low": 0.0, "high": 1.0}, "y": {"low": 0.0, "high": 1.0}},
            sampler={"name": sampler, "seed": 1},
            constraints={"metrics": bounds},
        )
        advisor, beyond = Advisor(study), []
        for _ in range(80):
            trial = advisor.ask()
            last = {"memory": trial.params["x"], "score": trial.params["x"] - abs(trial.params["y"] - 0.3)}
            for key, note in judged(study.bounds, last.get).items():
                advisor.note(trial.number, key, note)
            advisor.tell(replace(trial, state=State.COMPLETE, values=(last["score"],)))
            beyond.append(last["memory"] > 0.5)
        return sum(beyond[40:]) / 40

    assert share_beyond({"memory": {"max": 0.5}}) < 0.5 < share_beyond({})
