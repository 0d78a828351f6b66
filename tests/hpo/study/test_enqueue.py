"""Points that are tried before the sampler has its say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_study import small_study

from hpo.errors import InputError
from hpo.moving.take_over import BEST, warm_start
from hpo.search.advisor import Advisor
from hpo.study import parse
from hpo.testing import search
from hpo.trial import State, Trial

SPACE = {
    "optimizer": {"choice": ["sgd", "adam"]},
    "momentum": {"low": 0.0, "high": 0.9, "when": {"optimizer": "sgd"}},
    "hidden": {"choice": [[50], [100, 100]]},
    "layers": {"low": 1, "high": 9, "step": 2},
}
POINTS = [
    {"optimizer": "sgd", "momentum": 0.5, "hidden": [100, 100], "layers": 3},
    {"hidden": [50]},
    {"hidden": [50]},
]


def test_points_come_first_in_their_order_and_the_rest_is_drawn() -> None:
    advisor = Advisor(small_study(space=SPACE, enqueue=POINTS))

    asked = [advisor.ask().params for _ in range(5)]

    assert asked[0] == POINTS[0]
    assert asked[1]["hidden"] == asked[2]["hidden"] == [50]
    assert {"optimizer", "layers"} <= set(asked[1])


@pytest.mark.parametrize("sampler", ["random", "narrowing", "tpe", "cmaes", "qmc"])
def test_whatever_is_killed_every_point_is_tried_once(sampler: str, tmp_path: Path) -> None:
    study = small_study(space=SPACE, enqueue=POINTS, sampler={"name": sampler}, budget={"trials": 8})

    def score(params: Any, seed: int) -> list[float]:
        return [float(params["layers"])]

    trials = search(study, score, tmp_path / "a.journal", workers=2, die_after=3)

    assert [t.params for t in trials].count(POINTS[0]) >= 1
    assert [t.number for t in trials if "fixed_params" in t.notes] == [0, 1, 2]


def test_a_whole_number_for_a_float_is_a_float() -> None:
    study = small_study(space={"x": {"low": 0.0, "high": 2.0}}, enqueue=[{"x": 1}])

    assert isinstance(study.enqueue[0]["x"], float)


def test_the_queue_is_recorded_and_read_back() -> None:
    study = small_study(space=SPACE, enqueue=POINTS)

    assert parse(study.resolved, file="ledger").enqueue == study.enqueue == tuple(POINTS)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"layers": 11}, r"enqueue\[1\].layers: must be a whole number in \[1, 9\] in steps of 2, got 11"),
        ({"layers": 2}, r"enqueue\[1\].layers: must be a whole number in \[1, 9\] in steps of 2, got 2"),
        ({"hidden": [7]}, r"enqueue\[1\].hidden: must be one of \[\[50\], \[100, 100\]\], got \[7\]"),
        ({"layer": 1}, r"enqueue\[1\].layer: is no parameter of the space; did you mean 'layers'"),
        ({"momentum": 0.1}, r"enqueue\[1\].momentum: must come with \{\"optimizer\": \"sgd\"\}"),
        ({"optimizer": "adam", "momentum": 0.1}, r"enqueue\[1\].momentum: must come with"),
        ({}, r"enqueue\[1\]: must be a table of parameters"),
    ],
)
def test_a_point_outside_the_space_is_refused_with_its_place_rule_and_value(
    point: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match="small.toml: " + message):
        small_study(space=SPACE, enqueue=[{"layers": 1}, point])


def test_an_enqueue_that_is_no_list_is_refused() -> None:
    with pytest.raises(InputError, match="enqueue: must be a list of tables"):
        small_study(enqueue={"lr": 1})


# Another study's best trials ---------------------------------------------------------------------------------------


def finished(values: list[float], **params: Any) -> list[Trial]:
    return [Trial(n, {"x": n / 10, **params}, 0, State.COMPLETE, (value,)) for n, value in enumerate(values)]


def test_the_best_trials_of_another_study_are_tried_first() -> None:
    space = {"x": {"low": 0.0, "high": 1.0}}
    study = small_study(space=space, enqueue=[{"x": 0.9}])
    other = small_study(name="other", direction="minimize", space=space | {"y": {"low": 0, "high": 1}})

    warmed = warm_start(study, other, finished([7.0, 1.0, 5.0, 3.0, 6.0, 2.0, 4.0], y=1))

    assert [point["x"] for point in warmed.enqueue] == [0.1, 0.5, 0.3, 0.6, 0.2, 0.9]
    assert len(warmed.enqueue) == BEST + 1
    assert (warmed.file, warmed.identity()) == (study.file, study.identity())


def test_a_best_trial_outside_the_space_is_refused() -> None:
    study = small_study(space={"x": {"low": 0.5, "high": 1.0}})
    other = small_study(name="other", space={"x": {"low": 0.0, "high": 1.0}})

    with pytest.raises(InputError, match=r"--enqueue-from other: enqueue\[0\].x: must be a number in \[0.5, 1\]"):
        warm_start(study, other, finished([1.0]))


@pytest.mark.parametrize(("trials", "reason"), [([], "it has no complete trial"), (finished([1.0]), "in common")])
def test_a_study_with_nothing_to_give_is_refused(trials: list[Trial], reason: str) -> None:
    study, other = small_study(), small_study(name="other", space={"x": {"low": 0.0, "high": 1.0}})

    with pytest.raises(InputError, match=f"nothing to take from other: .*{reason}"):
        warm_start(study, other, trials)


def test_an_enqueued_true_is_no_1_of_another_study() -> None:
    """In Python they are equal."""
    study = small_study(space={"x": {"choice": [1, True]}}, enqueue=[{"x": True}])
    warm = warm_start(study, small_study(space={"x": {"choice": [1, True]}}), [_ended({"x": 1})])

    assert [point["x"] is True for point in warm.enqueue] == [False, True]


def _ended(params: dict[str, Any]) -> Trial:
    return Trial(0, params, 0, State.COMPLETE, values=(1.0,))
