"""A grid or a list that is changed between two runs: every point is tried once, whatever changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from small_study import small_study

from hpo.ledger import snapshots
from hpo.ledger.address import parse
from hpo.testing.fakes import search
from hpo.trial import Trial

SPACE = {"a": {"low": 1, "high": 3}, "b": {"low": 0.1, "high": 0.4, "step": 0.1}}
GRID = {"space": SPACE, "sampler": {"name": "grid"}}
LIST = [{"a": a, "b": b} for a, b in ((1, 0.1), (2, 0.1), (3, 0.4), (1, 0.2))]


def run(ledger: Path, trials: int = 99, **study: Any) -> list[Trial]:
    return search(small_study(budget={"trials": trials}, **study), lambda params, seed: [1.0], ledger)


def points(trials: list[Trial]) -> Counter[str]:
    return Counter(repr(sorted(trial.params.items())) for trial in trials)


def listed(points: list[Mapping[str, Any]], **options: Any) -> dict[str, Any]:
    return {"space": SPACE, "sampler": {"name": "listed", "points": points, **options}}


@pytest.mark.parametrize(
    "later",
    [
        {"sampler": {"name": "grid", "seed": 1}},
        {"space": dict(reversed(SPACE.items()))},
        {"space": dict(reversed(SPACE.items())), "sampler": {"name": "grid", "seed": 5}},
    ],
    ids=["another seed", "sorted keys", "both"],
)
def test_a_grid_in_another_order_continues_with_the_points_that_are_left(tmp_path: Path, later: dict[str, Any]) -> None:
    run(tmp_path / "l.journal", 5, **GRID)

    trials = run(tmp_path / "l.journal", **GRID | later)

    assert len(trials) == 12
    assert set(points(trials).values()) == {1}


def test_a_study_that_nothing_disturbs_keeps_its_order_over_two_runs(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole.journal", **GRID)
    run(tmp_path / "parts.journal", 5, **GRID)

    assert [t.params for t in run(tmp_path / "parts.journal", **GRID)] == [t.params for t in whole]


@pytest.mark.parametrize(
    ("later", "count"),
    [
        ([{"a": 3, "b": 0.1}, *LIST], 5),  # a new first point
        ([*LIST[2:], *LIST[:2]], 4),
        ([{"a": 3, "b": 0.1}, {"a": 3, "b": 0.2}, *LIST[2:]], 6),  # the two points that were tried are gone
        ([*LIST, LIST[0]], 5),  # listed twice: tried twice
    ],
)
def test_a_list_that_was_edited_continues_with_what_no_trial_has_taken(
    tmp_path: Path, later: list[Mapping[str, Any]], count: int
) -> None:
    run(tmp_path / "l.journal", 2, **listed(LIST))

    trials = run(tmp_path / "l.journal", **listed(later))

    assert len(trials) == count
    assert points(trials) | points([]) == Counter(repr(sorted(p.items())) for p in later) | points(trials[:2])
    assert snapshots.read(parse(f"{tmp_path}/l.journal"), "small").state == "complete"


def test_every_repeat_has_every_point_after_the_list_was_turned_around(tmp_path: Path) -> None:
    run(tmp_path / "l.journal", 6, **listed(LIST, repeats=3))

    trials = run(tmp_path / "l.journal", **listed(LIST[::-1], repeats=3))

    assert [set(points([t for t in trials if t.repeat == repeat]).values()) for repeat in range(3)] == [{1}] * 3
    assert len(trials) == 12


def test_a_grid_after_random_trials_has_all_its_points(tmp_path: Path) -> None:
    run(tmp_path / "l.journal", 20, space=SPACE)

    trials = run(tmp_path / "l.journal", **GRID)

    assert len(points(trials)) == 12
    assert len(run(tmp_path / "l.journal", 25, **GRID)) == len(trials)  # nothing is left to do


def test_enqueued_points_that_were_run_and_taken_out_of_the_file_cost_the_grid_none(tmp_path: Path) -> None:
    run(tmp_path / "l.journal", 4, **GRID, enqueue=[{"a": 1}, {"a": 2}])

    trials = run(tmp_path / "l.journal", **GRID)

    assert len(trials) == 14
    assert set(points(trials[2:]).values()) == {1}


def test_the_users_own_budget_still_ends_a_grid_early(tmp_path: Path) -> None:
    run(tmp_path / "l.journal", 3, space=SPACE)

    assert len(run(tmp_path / "l.journal", 8, **GRID)) == 8
