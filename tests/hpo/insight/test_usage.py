from dataclasses import replace

import pytest

from hpo.insight.usage import usage
from hpo.trial import Report, State, Trial

T0 = 1_700_000_000.0


def trial(number: int, start: float, end: float | None, worker: str = "a") -> Trial:
    state = State.COMPLETE if end is not None else State.RUNNING
    return Trial(number, {}, 0, state, (), T0 + start, None if end is None else T0 + end, worker)


def test_idle_time_is_what_workers_were_there_for_and_did_not_use() -> None:
    found = usage([trial(0, 0, 4), trial(1, 5, 10), trial(2, 0, 6, "b")])
    assert found is not None
    assert (found.seconds, found.busy, found.idle) == (10, 15, 5)
    assert found.share == pytest.approx(0.75)
    assert list(found.workers) == ["a", "b"]


def test_a_pause_between_two_runs_is_no_idle_time_and_new_workers_were_not_there_before() -> None:
    found = usage([trial(0, 0, 10), trial(1, 0, 8, "b"), trial(2, 5000, 5010, "c")])
    assert found is not None
    assert [(start - T0, end - T0) for start, end in found.runs] == [(0, 10), (5000, 5010)]
    assert (found.seconds, found.busy, found.idle) == (20, 28, 2)


def test_a_running_trial_counts_until_its_last_report() -> None:
    running = replace(trial(0, 0, None), reports=(Report(1, T0 + 3, {"x": 1.0}),))
    assert usage([running]).busy == 3


def test_overlapping_trials_of_a_worker_count_once() -> None:
    assert usage([trial(0, 0, 4), trial(1, 2, 6)]).busy == 6


def test_nothing_started_nothing_used() -> None:
    assert usage([]) is None
    assert usage([Trial(0, {}, 0)]) is None
