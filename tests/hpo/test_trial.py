"""A trial's record, and what is said of many of them."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.trial import Direction, Report, Reports, State, Trial, best_first, by_end, counts


def trial(number: int, state: State = State.COMPLETE, value: float | None = None) -> Trial:
    return Trial(number, {}, 0, state=state, values=() if value is None else (value,))


def test_the_last_value_of_a_metric_is_the_last_one_reported() -> None:
    assert Trial(0, {}, 0).last("loss") is None
    reports = (
        Report(1, 0.0, {"loss": 3.0}),
        Report(2, 0.0, {"loss": 2.0, "acc": 1.0}),
        Report(3, 0.0, {"acc": 0.5}),
    )
    record = Trial(0, {}, 0, reports=reports)
    assert record.last("loss") == 2.0
    assert record.last("acc") == 0.5
    assert record.last("other") is None


def test_the_reports_of_a_running_trial_do_not_grow_behind_its_back() -> None:
    heard = [Report(1, 0.0, {"loss": 3.0})]
    before = Trial(0, {}, 0, reports=Reports(heard))
    heard.append(Report(2, 1.0, {"loss": 2.0}))
    after = Trial(0, {}, 0, reports=Reports(heard))

    assert (len(before.reports), before.last("loss")) == (1, 3.0)
    assert (len(after.reports), after.last("loss")) == (2, 2.0)
    assert before.reports == (heard[0],)
    assert after.reports[1:] == (heard[1],)
    assert after.reports[-1] == heard[1]
    assert before != after
    with pytest.raises(IndexError):
        before.reports[len(after.reports) - 1]


def test_nothing_changes_a_trial() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        trial(0).value = 1.0  # type: ignore[misc]


def test_a_trial_is_finished_in_every_state_but_running() -> None:
    assert [trial(0, state).finished for state in State] == [False, True, True, True, True, True]
    assert set(State) == {State.RUNNING, State.COMPLETE, State.PRUNED, State.INFEASIBLE, State.FAILED, State.DISCARDED}


def test_seconds_are_known_when_both_ends_are() -> None:
    assert Trial(0, {}, 0, started=10.0, ended=12.5).seconds == 2.5
    assert Trial(0, {}, 0, started=10.0).seconds is None
    assert Trial(0, {}, 0, ended=10.0).seconds is None
    assert Trial(0, {}, 0, started=0.0, ended=0.0).seconds == 0.0


def test_a_head_is_what_the_command_line_promises() -> None:
    record = Trial(3, {"lr": 0.1, "hidden": [1, 2]}, 7, State.COMPLETE, (0.5,), started=1.0, ended=2.23456)
    assert json.loads(json.dumps(record.head())) == {
        "number": 3,
        "value": 0.5,
        "params": {"lr": 0.1, "hidden": [1, 2]},
        "state": "complete",
        "seconds": 1.235,
    }
    assert Trial(3, {}, 7).head() == {"number": 3, "value": None, "params": {}, "state": "running", "seconds": None}


@pytest.mark.parametrize(
    ("direction", "order"), [(Direction.MAXIMIZE, [2, 0, 3, 1]), (Direction.MINIMIZE, [1, 0, 3, 2])]
)
def test_the_best_comes_first_and_the_earlier_of_two_equals(direction: str, order: list[int]) -> None:
    trials = [trial(0, value=2.0), trial(1, value=1.0), trial(2, value=3.0), trial(3, value=2.0)]
    assert [t.number for t in best_first(trials[::-1], direction)] == order


def test_only_complete_trials_with_a_finite_value_are_ranked() -> None:
    trials = [
        trial(0, value=0.0),
        trial(1, State.PRUNED, 9.0),
        trial(2, State.FAILED),
        trial(3, State.RUNNING),
        trial(4, value=math.nan),
    ]
    assert [t.number for t in best_first([*trials, trial(5, value=math.inf)], Direction.MAXIMIZE)] == [0]
    assert best_first([], Direction.MAXIMIZE) == []


@given(st.lists(st.sampled_from(State)))
def test_counts_name_every_state_and_add_up(states: list[str]) -> None:
    total = counts([trial(number, state) for number, state in enumerate(states)])
    rare = [state for state in ("infeasible", "discarded") if state in states]
    assert list(total) == ["complete", "pruned", "failed", "running", *rare]
    assert sum(total.values()) == len(states)
    assert all(total.get(state, 0) == states.count(state) for state in State)


def test_trials_by_their_end_are_the_finished_ones() -> None:
    ends = {0: 5.0, 1: 3.0, 3: 3.0}
    made = [dataclasses.replace(trial(number), ended=end) for number, end in ends.items()]
    assert [t.number for t in by_end([*made, trial(2, State.RUNNING)])] == [1, 3, 0]
