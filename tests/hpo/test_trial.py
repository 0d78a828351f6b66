"""A trial's record, and what is said of many of them."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.trial import COMPLETE, FAILED, PRUNED, RUNNING, STATES, Report, Trial, best_first, counts


def trial(number: int, state: str = COMPLETE, value: float | None = None) -> Trial:
    return Trial(number, {}, 0, state=state, value=value)


def test_the_last_value_of_a_metric_is_the_last_one_reported() -> None:
    record = Trial(0, {}, 0)
    assert record.last("loss") is None
    record.reports = [
        Report(1, 0.0, {"loss": 3.0}),
        Report(2, 0.0, {"loss": 2.0, "acc": 1.0}),
        Report(3, 0.0, {"acc": 0.5}),
    ]
    assert record.last("loss") == 2.0
    assert record.last("acc") == 0.5
    assert record.last("other") is None


def test_a_trial_is_finished_in_every_state_but_running() -> None:
    assert [trial(0, state).finished for state in STATES] == [False, True, True, True]
    assert set(STATES) == {RUNNING, COMPLETE, PRUNED, FAILED}


def test_seconds_are_known_when_both_ends_are() -> None:
    assert Trial(0, {}, 0, started=10.0, ended=12.5).seconds == 2.5
    assert Trial(0, {}, 0, started=10.0).seconds is None
    assert Trial(0, {}, 0, ended=10.0).seconds is None
    assert Trial(0, {}, 0, started=0.0, ended=0.0).seconds == 0.0


def test_a_head_is_what_the_command_line_promises() -> None:
    record = Trial(3, {"lr": 0.1, "hidden": [1, 2]}, 7, COMPLETE, 0.5, started=1.0, ended=2.23456)
    assert json.loads(json.dumps(record.head())) == {
        "number": 3,
        "value": 0.5,
        "params": {"lr": 0.1, "hidden": [1, 2]},
        "state": "complete",
        "seconds": 1.235,
    }
    assert Trial(3, {}, 7).head() == {"number": 3, "value": None, "params": {}, "state": "running", "seconds": None}


@pytest.mark.parametrize(("direction", "order"), [("maximize", [2, 0, 3, 1]), ("minimize", [1, 0, 3, 2])])
def test_the_best_comes_first_and_the_earlier_of_two_equals(direction: str, order: list[int]) -> None:
    trials = [trial(0, value=2.0), trial(1, value=1.0), trial(2, value=3.0), trial(3, value=2.0)]
    assert [t.number for t in best_first(trials[::-1], direction)] == order


def test_only_complete_trials_with_a_finite_value_are_ranked() -> None:
    trials = [trial(0, value=0.0), trial(1, PRUNED, 9.0), trial(2, FAILED), trial(3, RUNNING), trial(4, value=math.nan)]
    assert [t.number for t in best_first([*trials, trial(5, value=math.inf)], "maximize")] == [0]
    assert best_first([], "maximize") == []


@given(st.lists(st.sampled_from(STATES)))
def test_counts_name_every_state_and_add_up(states: list[str]) -> None:
    total = counts([trial(number, state) for number, state in enumerate(states)])
    assert list(total) == ["complete", "pruned", "failed", "running"]
    assert sum(total.values()) == len(states)
    assert all(total[state] == states.count(state) for state in STATES)
