"""How trials, and searches, end before their time, and what is made of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted_executor import Move, Script, ScriptedExecutor
from scripted_search import JOB, Told, curve, outcome, say, search, written
from small_study import small_study

from hpo.errors import HpoError, InputError
from hpo.execution import FINISHED, LOST, RAISED, STOPPED, Job, Task
from hpo.execution.inline import InlineExecutor
from hpo.ledger.address import Address, parse
from hpo.ledger.ledger import Ledger
from hpo.search import Search
from hpo.trial import COMPLETE, FAILED, PRUNED, RUNNING


@pytest.fixture
def address(tmp_path: Path) -> Address:
    return parse(str(tmp_path / "hpo.journal"))


# Pruning -----------------------------------------------------------------------------------------------------------


def prune_at(step: int) -> Callable[[Search], None]:
    """Every trial is to be ended at its ``step``-th report."""

    def patch(run: Search) -> None:
        advisor = run._advisor
        advisor.should_prune = lambda number: (  # type: ignore[method-assign]
            len(advisor._storage.get_trial(advisor._ids[number]).intermediate_values) == step
        )

    return patch


@pytest.mark.parametrize("deaf", [False, True], ids=["stops", "is past its last report"])
@pytest.mark.parametrize("end", [(FINISHED, None), (RAISED, "ValueError: no"), (LOST, "killed"), (STOPPED, None)])
def test_a_decision_to_prune_stands_however_the_attempt_ends(
    address: Address, end: tuple[str, str | None], deaf: bool
) -> None:
    executor = ScriptedExecutor(say({"score": 1.0}, {"score": 2.0}, {"score": 3.0}, end), deaf=deaf)

    run = search(address, small_study(budget={"trials": 2}), executor, prune_at(2))

    assert executor.stopped == [0, 1]
    assert len(executor.tasks) == 2
    assert [(t.state, t.value, len(t.reports)) for t in run.trials] == [(PRUNED, 2.0, 2)] * 2
    assert written(address) == run.trials


def test_what_comes_in_one_batch_after_the_decision_does_not_count(address: Address) -> None:
    executor = ScriptedExecutor(say([{"score": 1.0}, {"score": 2.0}, {"score": 3.0}], {"score": 4.0}))

    run = search(address, small_study(budget={"trials": 1}), executor, prune_at(1))

    assert executor.stopped == [0]
    assert (run.trials[0].value, len(run.trials[0].reports)) == (1.0, 1)


@pytest.mark.parametrize("last", [math.nan, math.inf, -math.inf])
def test_a_trial_pruned_at_no_number_has_no_value(address: Address, last: float) -> None:
    run = search(address, small_study(budget={"trials": 1}), ScriptedExecutor(say({"score": last})), prune_at(1))

    assert (run.trials[0].state, run.trials[0].value) == (PRUNED, None)
    assert repr(written(address)) == repr(run.trials)


def test_a_pruned_trial_that_was_lost_before_starts_afresh(address: Address) -> None:
    def script(task: Task) -> list[Move]:
        scores: list[Move] = [{"score": 1.0}, {"score": 2.0}, {"score": 3.0}]
        return [scores[0], (LOST, "gone")] if task.attempt == 1 else scores

    run = search(address, small_study(budget={"trials": 1}), ScriptedExecutor(script), prune_at(2))

    assert (run.trials[0].state, run.trials[0].value, run.trials[0].attempt) == (PRUNED, 2.0, 2)


def test_the_median_pruner_ends_what_is_worse_than_half(address: Address) -> None:
    executor = ScriptedExecutor(lambda task: [{"score": float(-task.number)}] * 3)

    run = search(address, small_study(pruner={"name": "median", "n_startup_trials": 2}, budget={"trials": 5}), executor)

    assert [trial.state for trial in run.trials] == [COMPLETE, COMPLETE, PRUNED, PRUNED, PRUNED]
    assert [trial.value for trial in run.trials] == [0.0, -1.0, -2.0, -3.0, -4.0]


# Timeouts ----------------------------------------------------------------------------------------------------------


def test_a_trial_that_takes_too_long_is_killed_run_again_and_failed(address: Address) -> None:
    def hang(task: Task) -> Iterator[Move]:
        if task.number:
            return iter(curve(task))
        return iter([{"score": 1.0}, *([None] * 100_000)])

    study = small_study(trial={"timeout": 0.02, "retries": 1}, budget={"trials": 2})
    executor = ScriptedExecutor(hang)
    run = search(address, study, executor)

    assert {number for number, _ in executor.killed} == {0}
    assert run.trials[0].state == FAILED
    assert run.trials[0].error == "lost in attempt 2, its last: ran longer than 0.02 s"
    assert run.trials[1].state == COMPLETE


def test_a_worker_whose_clock_is_wrong_is_not_killed_for_it(address: Address) -> None:
    # A scripted trial starts at second 100 of the epoch.
    executor = ScriptedExecutor(curve)

    search(address, small_study(trial={"timeout": 60}), executor)

    assert executor.killed == []


def test_inline_a_timeout_ends_a_trial_at_its_next_report(address: Address, tmp_path: Path) -> None:
    study = small_study(
        objective="simple_objectives:slow_curve",
        fixed={"marks": str(tmp_path), "pause": 0.05},
        trial={"timeout": 0.01, "retries": 0},
        budget={"trials": 1},
    )

    run = search(address, study, InlineExecutor(Job("simple_objectives:slow_curve", "score", JOB.path)))

    assert run.trials[0].error == "lost in attempt 1, its last: ran longer than 0.01 s"


# Trials that come to nothing ---------------------------------------------------------------------------------------


def test_ten_failures_at_the_start_end_the_study_with_the_traceback(address: Address) -> None:
    executor = ScriptedExecutor(say((RAISED, "Traceback\nValueError: hopeless")), 3)

    with pytest.raises(
        HpoError, match=r"the first 10 trials all failed, the last one with:\nTraceback\nValueError: hop"
    ):
        search(address, small_study(budget={"trials": 50}), executor)

    states = [trial.state for trial in written(address)]
    assert states.count(FAILED) == 10
    assert len(states) <= 12


def test_one_success_among_the_first_ten_is_enough_to_go_on(address: Address) -> None:
    executor = ScriptedExecutor(lambda task: curve(task) if task.number == 4 else [(RAISED, "no")], 3)

    run = search(address, small_study(budget={"trials": 20}), executor)

    assert [trial.state for trial in run.trials].count(FAILED) == 19


def test_an_objective_that_is_still_broken_stops_the_next_run_after_its_first_ten(address: Address) -> None:
    search(address, small_study(budget={"trials": 6}), ScriptedExecutor(say((RAISED, "no"))))

    with pytest.raises(HpoError, match="the first 10 trials all failed"):
        search(address, small_study(budget={"trials": 50}), ScriptedExecutor(say((RAISED, "no"))))

    assert len(written(address)) == 16


def test_a_metric_that_is_never_reported_is_said_at_the_first_report(address: Address) -> None:
    executor = ScriptedExecutor(say({"loss": 1.0, "accuracy": 0.5}))
    told: list[tuple[int, str]] = []

    ledger = Ledger.open(address, small_study())
    with pytest.raises(InputError, match=r"small\.toml: metric: the objective reports loss, accuracy, but not 'score'"):
        Search(small_study(), ledger).run(executor, [Told(told)])
    ledger.close()

    assert [(trial.state, trial.error) for trial in written(address)] == [(FAILED, "never reports 'score'")]
    assert told[-1] == (0, FAILED)


@pytest.mark.parametrize(
    ("moves", "state", "value", "error"),
    [
        ([{"score": 1.0}, {"loss": 1.0}], COMPLETE, 1.0, None),
        ([{"score": math.nan}, {"score": 2.0}], COMPLETE, 2.0, None),
        ([{"score": math.inf, "loss": math.nan}, {"score": 2.0}], COMPLETE, 2.0, None),
        ([{"score": 2.0}, {"score": math.nan}], FAILED, None, "reported score = nan at its last step"),
        ([{"score": 2.0}, {"score": -math.inf}], FAILED, None, "reported score = -inf at its last step"),
        ([], FAILED, None, "ended without reporting 'score'"),
        ([(STOPPED, None)], FAILED, None, "stopped from outside"),
    ],
)
def test_a_trials_value_is_its_last_reported_one(
    address: Address, moves: list[Move], state: str, value: float | None, error: str | None
) -> None:
    run = search(address, small_study(budget={"trials": 1}), ScriptedExecutor(say(*moves)))

    trial = run.trials[0]
    assert (trial.state, trial.value, trial.error) == (state, value, error)
    assert repr(written(address)) == repr(run.trials)


# Interrupts --------------------------------------------------------------------------------------------------------


def interrupting(run: Search, script: Script, at: int, **options: bool) -> Script:
    """The script, with an interrupt of the search in the middle of one trial."""

    def wrapped(task: Task) -> Iterator[Move]:
        for index, move in enumerate(script(task)):
            if (task.number, index) == (at, 1):
                run.interrupt(**options)
            yield move

    return wrapped


class Lazy(ScriptedExecutor):
    """Draws its scripts' moves only when they are played."""

    def submit(self, task: Task) -> None:
        script, self._script = self._script, lambda task: []
        super().submit(task)
        self._script = script
        started = next(self._attempts[-1].moves)
        self._attempts[-1].moves = lazily(started, script(task))


def lazily(started: Move, moves: Any) -> Iterator[Move]:
    yield started
    yield from moves
    yield (FINISHED, None)


def test_an_interrupt_lets_running_trials_finish_and_starts_no_more(address: Address, tmp_path: Path) -> None:
    ledger = Ledger.open(address, small_study())
    run = Search(small_study(), ledger)
    executor = Lazy(interrupting(run, curve, at=1), 2)

    run.run(executor)
    ledger.close()

    assert run.interrupted
    assert not run.done
    assert [trial.state for trial in run.trials] == [COMPLETE] * len(executor.tasks)
    assert len(executor.tasks) < 6
    whole = search(parse(str(tmp_path / "whole")), small_study(), ScriptedExecutor(curve))
    assert outcome(search(address, small_study(), ScriptedExecutor(curve, 3)).trials) == outcome(whole.trials)


def test_an_interrupt_that_stops_leaves_running_trials_to_the_next_run(address: Address, tmp_path: Path) -> None:
    ledger = Ledger.open(address, small_study())
    run = Search(small_study(), ledger)
    run.run(Lazy(interrupting(run, curve, at=2, stop=True), 2))
    ledger.close()

    left = [trial.number for trial in written(address) if trial.state == RUNNING]
    assert left
    executor = ScriptedExecutor(curve)
    again = search(address, small_study(), executor)
    assert [task.number for task in executor.tasks][: len(left)] == left
    whole = search(parse(str(tmp_path / "whole")), small_study(), ScriptedExecutor(curve))
    assert outcome(again.trials) == outcome(whole.trials)
