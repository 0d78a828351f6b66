"""When a search ends."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.budget import Budget, Meter, read_budget
from hpo.errors import InputError
from hpo.fields import Place
from hpo.trial import COMPLETE, FAILED, Trial


def budget(**limits: float) -> Budget:
    return Budget(
        **{"trials": None, "time": None, "worker_time": None, "target": None, "no_improvement": None} | limits
    )  # type: ignore[arg-type]


def trial(number: int, value: float | None, started: float, ended: float) -> Trial:
    state = FAILED if value is None else COMPLETE
    return Trial(number, {}, 0, state=state, value=value, started=started, ended=ended)


def test_failed_trials_count_as_finished() -> None:
    meter = Meter(budget(trials=2), "minimize", [trial(0, None, 0, 1)])
    assert meter.spent(1) is None
    meter.add(trial(1, 0.5, 1, 2))
    assert meter.spent(2) == "2 trials"


@pytest.mark.parametrize(("direction", "value", "reached"), [("minimize", 0.4, True), ("maximize", 0.4, False)])
def test_a_target_is_reached_from_the_right_side(direction: str, value: float, reached: bool) -> None:
    meter = Meter(budget(trials=9, target=0.5), direction, [trial(0, value, 0, 1)])
    assert (meter.spent(1) is not None) == reached


def test_no_improvement_counts_since_the_best_and_starts_again_at_a_better_one() -> None:
    meter = Meter(budget(trials=99, no_improvement=2), "maximize")
    for number, value in enumerate([0.5, 0.4, 0.6, 0.6]):
        meter.add(trial(number, value, number, number + 1))
        assert meter.spent(9) is None
    meter.add(trial(4, None, 4, 5))
    assert meter.spent(9) == "no improvement over 2 trials"


def test_no_improvement_waits_for_a_first_value() -> None:
    meter = Meter(budget(trials=99, no_improvement=1), "minimize", [trial(n, None, n, n + 1) for n in range(5)])
    assert meter.spent(9) is None


def test_time_counts_overlapping_trials_once_and_pauses_not_at_all() -> None:
    done = [trial(0, 1, 0, 10), trial(1, 1, 5, 12), trial(2, 1, 1000, 1003)]
    assert Meter(budget(time=15.5), "minimize", done).spent(2000) is None
    assert Meter(budget(time=15), "minimize", done).spent(2000) == "15 s"


def test_worker_time_adds_up_and_counts_what_runs_now() -> None:
    done = [trial(0, 1, 0, 10), trial(1, 1, 5, 12)]
    running = Trial(2, {}, 0, started=20.0)
    meter = Meter(budget(worker_time=20), "minimize", done)
    assert meter.spent(22.9, [running]) is None
    assert meter.spent(23.0, [running]) == "20 s of work"


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
    meter = Meter(budget(time=union + 1e-6, worker_time=worker_time + 1e-6), "minimize", trials)
    # Counted in the order of the ends, a trial that began before an earlier one counts only behind it: never too much.
    assert meter.spent(1e6) is None


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
        read_budget(Place("f", "budget"), raw)
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
