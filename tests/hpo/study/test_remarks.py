"""Remarks on what a study may say but rarely means; and on nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from small_study import small_study

from hpo.study.remarks import before_run, on, usual_direction


@pytest.mark.parametrize("name", ["loss", "val_loss", "valLoss", "RMSE", "test/mse", "brier", "neg_accuracy"])
def test_a_metric_that_is_minimized_as_a_rule(name: str) -> None:
    assert usual_direction(name) == "minimize"


@pytest.mark.parametrize("name", ["accuracy", "val_acc", "AUC", "f1", "r2", "neg_mean_squared_error", "macro-F1"])
def test_a_metric_that_is_maximized_as_a_rule(name: str) -> None:
    assert usual_direction(name) == "maximize"


@pytest.mark.parametrize("name", ["y", "lossless", "brier_score", "accuracy_loss", "time", "account", "value"])
def test_a_name_that_says_nothing_or_both(name: str) -> None:
    assert usual_direction(name) is None


REAL = {"x": {"low": 0.0, "high": 1.0}}
CASES: dict[str, tuple[dict[str, Any], str]] = {
    "whole numbers": ({"space": {"x": {"low": 0, "high": 1}}, "budget": {"trials": 2}}, "space.x: 0 and 1 are whole"),
    "a loss": ({"metric": "val_loss", "direction": "maximize"}, "direction: maximize val_loss, but "),
    "a score": ({"metric": "auc", "direction": "minimize"}, "direction: minimize auc, but "),
    "start-up": ({"sampler": {"name": "tpe"}, "budget": {"trials": 10}}, "sampler: tpe draws its first 10 trials"),
    "a round": ({"sampler": {"name": "narrowing"}, "budget": {"trials": 20}}, "sampler: narrowing draws its first 20"),
    "few points": (
        {"space": {"x": {"choice": ["a", "b"]}, "y": {"choice": [1, 2]}}, "budget": {"trials": 5}},
        "space: it has 4 different points, and the budget is 5 trials",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_rarely_meant_has_one_remark(case: str) -> None:
    changes, said = CASES[case]
    (remark,) = on(small_study(**({"space": REAL} | changes)))
    assert remark.startswith(said)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"space": {"x": {"low": 0.0, "high": 1.0}}},
        {"space": {"x": {"low": 1, "high": 3}}, "budget": {"trials": 3}},
        {"sampler": {"name": "tpe"}, "budget": {"trials": 11}},
        {"sampler": {"name": "tpe", "n_startup_trials": 5}, "budget": {"trials": 10}},
        {"space": {"x": {"choice": ["a", "b"]}}, "sampler": {"name": "grid"}, "budget": {"trials": 9}},
        {"space": {"x": {"choice": ["a", "b"]}}, "budget": {"trials": 2}},
        {"metric": "val_loss", "direction": "minimize"},
    ],
)
def test_a_sound_study_has_none(changes: dict[str, Any]) -> None:
    assert on(small_study(**({"space": REAL} | changes))) == []


def test_what_a_run_leaves_untried_or_idle_is_remarked_on() -> None:
    sampler = {"name": "grid", "points": 2, "batch": 1}
    grid = small_study(space=REAL, sampler=sampler, budget={"trials": 9})
    assert before_run(grid, 4) == [
        "the grid has 2 points; the search ends after them",
        "batch = 1 keeps 3 of 4 workers idle",
    ]
