"""When a search ends."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.errors import InputError
from hpo.study.budget import Budget, BudgetMeter, read_budget
from hpo.study.fields import Place
from hpo.trial import RETRY_OF, Direction, State, Trial


def budget(**limits: Any) -> Budget:
    return Budget(
        **{"trials": None, "time": None, "worker_time": None, "target": None, "no_improvement": None} | limits
    )


def trial(number: int, value: float | None, started: float, ended: float) -> Trial:
    state = State.FAILED if value is None else State.COMPLETE
    return Trial(number, {}, 0, state=state, values=() if value is None else (value,), started=started, ended=ended)


def test_failed_trials_count_as_finished() -> None:
    meter = BudgetMeter(budget(trials=2), {"loss": Direction.MINIMIZE}, [trial(0, None, 0, 1)])
    assert meter.spent() is None
    meter.add(trial(1, 0.5, 1, 2))
    assert meter.spent() == "2 trials"


@pytest.mark.parametrize(
    ("direction", "value", "reached"), [(Direction.MINIMIZE, 0.4, True), (Direction.MAXIMIZE, 0.4, False)]
)
def test_a_target_is_reached_from_the_right_side(direction: Direction, value: float, reached: bool) -> None:
    meter = BudgetMeter(budget(trials=9, target={"loss": 0.5}), {"loss": direction}, [trial(0, value, 0, 1)])
    assert (meter.spent() is not None) == reached


def test_no_improvement_counts_since_the_best_and_starts_again_at_a_better_one() -> None:
    meter = BudgetMeter(budget(trials=99, no_improvement=2), {"loss": Direction.MAXIMIZE})
    for number, value in enumerate([0.5, 0.4, 0.6, 0.6]):
        meter.add(trial(number, value, number, number + 1))
        assert meter.spent() is None
    meter.add(trial(4, None, 4, 5))
    assert meter.spent() == "no improvement over 2 trials"


def test_no_improvement_waits_for_a_first_value() -> None:
    meter = BudgetMeter(
        budget(trials=99, no_improvement=1), {"loss": Direction.MINIMIZE}, [trial(n, None, n, n + 1) for n in range(5)]
    )
    assert meter.spent() is None


def test_time_counts_overlapping_trials_once_and_pauses_not_at_all() -> None:
    done = [trial(0, 1, 0, 10), trial(1, 1, 5, 12), trial(2, 1, 1000, 1003)]
    assert BudgetMeter(budget(time=15.5), {"loss": Direction.MINIMIZE}, done).spent() is None
    assert BudgetMeter(budget(time=15), {"loss": Direction.MINIMIZE}, done).spent() == "15 s"


def test_worker_time_adds_up_and_counts_what_runs_now() -> None:
    done = [trial(0, 1, 0, 10), trial(1, 1, 5, 12)]
    meter = BudgetMeter(budget(worker_time=20), {"loss": Direction.MINIMIZE}, done)
    assert meter.spent([(20.0, 2.9)]) is None
    assert meter.spent([(20.0, 3.0)]) == "20 s of work"


def test_long_times_are_told_in_minutes_and_hours() -> None:
    done = [trial(0, 1, 0, 5400)]
    assert BudgetMeter(budget(time=5000), {"loss": Direction.MINIMIZE}, done).spent() == "1 h 30 min"
    assert BudgetMeter(budget(worker_time=90), {"loss": Direction.MINIMIZE}, done).spent() == "1 h 30 min of work"


def test_what_runs_now_counts_by_how_long_it_has_run_and_not_by_the_clock() -> None:
    """The system's clock may have been set since it started."""
    meter = BudgetMeter(budget(time=15), {"loss": Direction.MINIMIZE}, [trial(0, 1, 0, 10)])
    assert meter.spent([(1000.0, 2.0), (999.0, 4.9)]) is None
    assert meter.spent([(1000.0, 2.0), (999.0, 5.0)]) == "15 s"


def test_a_clock_that_was_set_back_spends_no_budget() -> None:
    """A worker that started after it was set counts its seconds from then on."""
    meter = BudgetMeter(budget(time=25), {"loss": Direction.MINIMIZE}, [trial(0, 1, 90_000, 90_010)])
    assert meter.spent([(3600.0, 9.0), (90_010.0, 5.0)]) is None
    meter.add(trial(1, 1, 3600, 3610))
    assert meter.spent([(3610.0, 4.9)]) is None
    assert meter.spent([(3610.0, 5.0)]) == "25 s"


def test_a_trial_that_runs_a_failed_one_again_counts_in_its_place() -> None:
    failed = Trial(0, {}, 0, State.FAILED, started=0.0, ended=1.0)
    again = Trial(1, {}, 0, State.COMPLETE, (1.0,), started=1.0, ended=2.0, notes={RETRY_OF: 0})
    assert BudgetMeter(budget(trials=2), {"loss": Direction.MINIMIZE}, [failed, again]).spent() is None
    assert BudgetMeter.counted([failed, again]) == 1


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 10)), max_size=30))
def test_time_is_the_length_of_the_union_of_the_trials(spans: list[tuple[float, float]]) -> None:
    trials = [trial(n, 1.0, start, start + length) for n, (start, length) in enumerate(spans)]
    edges = sorted({t for start, length in spans for t in (start, start + length)})
    union = sum(
        b - a
        for a, b in itertools.pairwise(edges)
        if any(start <= a and b <= start + length for start, length in spans)
    )
    worker_time = sum(length for _, length in spans)
    meter = BudgetMeter(budget(time=union + 1e-6, worker_time=worker_time + 1e-6), {"loss": Direction.MINIMIZE}, trials)
    # Counted in the order of the ends, a trial that began before an earlier one counts only behind it: never too much.
    assert meter.spent() is None


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({}, "f: budget: must set trials, time or worker_time: nothing else is certain to end the search"),
        ({"target": 1.0}, "f: budget: must set trials, time or worker_time: nothing else is certain to end the search"),
        ({"trials": 0}, "f: budget.trials: must be at least 1, got 0"),
        ({"time": "soon"}, 'f: budget.time: must be a duration such as "90s", "30m" or "1h30m", got "soon"'),
        (
            {"trials": 5, "no_improvement": 5},
            "f: budget.no_improvement: must be below trials, or it is never reached, got 5 with trials = 5",
        ),
    ],
)
def test_a_budget_that_cannot_be_meant_is_refused(raw: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_budget(Place("f", "budget"), raw, ["loss"])
    assert str(caught.value) == message


def test_a_reached_target_ends_the_search_and_the_study_is_complete(tmp_path: Path) -> None:
    import subprocess
    import sys

    (tmp_path / "target_objective.py").write_text("def objective(params, seed):\n    return params['x']\n")
    (tmp_path / "s.toml").write_text(
        'name = "s"\nobjective = "target_objective:objective"\nmetric = "loss"\ndirection = "minimize"\n'
        "[space]\nx = { low = 0.0, high = 1.0 }\n[budget]\ntrials = 1000\ntarget = 0.5\n"
    )
    hpo = [sys.executable, "-m", "hpo"]
    run = [*hpo, "run", "s.toml", "--workers", "0", "--tracking", "none"]
    subprocess.run(run, cwd=tmp_path, check=True, capture_output=True)
    listed = subprocess.run([*hpo, "list"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert "complete" in listed
    assert " 1000/1000 " not in listed
