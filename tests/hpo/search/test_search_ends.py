"""How trials, and searches, end before their time, and what is made of it."""

from __future__ import annotations

import errno
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted_search import JOB, Told, curve, outcome, say, search, written
from small_study import small_study

from hpo.errors import HpoError, InputError, SearchFailed
from hpo.execution import Ended, Event, Job, Outcome, Task
from hpo.execution.inline import InlineExecutor
from hpo.ledger.address import Address, parse
from hpo.ledger.ledger import Ledger
from hpo.ledger.record import Records
from hpo.search.advisor import Advisor
from hpo.search.folders import TrialFolders
from hpo.search.loop import Search
from hpo.testing.fakes import Move, Script, ScriptedExecutor
from hpo.trial import RETRY_OF, Direction, State, best_first, has_failed


@pytest.fixture
def address(tmp_path: Path) -> Address:
    return parse(str(tmp_path / "hpo.journal"))


# Pruning -----------------------------------------------------------------------------------------------------------


def prune_at(step: int) -> Callable[[Search], None]:
    """Every trial is to be ended at its ``step``-th report."""

    def patch(run: Search) -> None:
        advisor = run.advisor
        advisor.should_prune = lambda number: (  # type: ignore[method-assign]
            len(advisor._storage.get_trial(advisor._ids[number]).intermediate_values) == step
        )

    return patch


@pytest.mark.parametrize("deaf", [False, True], ids=["stops", "is past its last report"])
@pytest.mark.parametrize(
    "end",
    [(Outcome.FINISHED, None), (Outcome.RAISED, "ValueError: no"), (Outcome.LOST, "killed"), (Outcome.STOPPED, None)],
)
def test_a_decision_to_prune_stands_however_the_attempt_ends(
    address: Address, end: tuple[str, str | None], deaf: bool
) -> None:
    executor = ScriptedExecutor(say({"score": 1.0}, {"score": 2.0}, {"score": 3.0}, end), deaf=deaf)

    run = search(address, small_study(budget={"trials": 2}), executor, prune_at(2))

    assert executor.stopped == [0, 1]
    assert len(executor.tasks) == 2
    assert [(t.state, t.value, len(t.reports)) for t in run.trials] == [(State.PRUNED, 2.0, 2)] * 2
    assert written(address) == run.trials


def test_what_comes_in_one_batch_after_the_decision_does_not_count(address: Address) -> None:
    executor = ScriptedExecutor(say([{"score": 1.0}, {"score": 2.0}, {"score": 3.0}], {"score": 4.0}))

    run = search(address, small_study(budget={"trials": 1}), executor, prune_at(1))

    assert executor.stopped == [0]
    assert (run.trials[0].value, len(run.trials[0].reports)) == (1.0, 1)


@pytest.mark.parametrize("last", [math.nan, math.inf, -math.inf])
def test_a_trial_pruned_at_no_number_has_no_value(address: Address, last: float) -> None:
    run = search(address, small_study(budget={"trials": 1}), ScriptedExecutor(say({"score": last})), prune_at(1))

    assert (run.trials[0].state, run.trials[0].value) == (State.PRUNED, None)
    assert repr(written(address)) == repr(run.trials)


def test_a_pruned_trial_that_was_lost_before_starts_afresh(address: Address) -> None:
    def script(task: Task) -> list[Move]:
        scores: list[Move] = [{"score": 1.0}, {"score": 2.0}, {"score": 3.0}]
        return [scores[0], (Outcome.LOST, "gone")] if task.attempt == 1 else scores

    run = search(address, small_study(budget={"trials": 1}), ScriptedExecutor(script), prune_at(2))

    assert (run.trials[0].state, run.trials[0].value, run.trials[0].attempt) == (State.PRUNED, 2.0, 2)


def test_the_median_pruner_ends_what_is_worse_than_half(address: Address) -> None:
    executor = ScriptedExecutor(lambda task: [{"score": float(-task.number)}] * 3)

    run = search(address, small_study(pruner={"name": "median", "n_startup_trials": 2}, budget={"trials": 5}), executor)

    assert [trial.state for trial in run.trials] == [
        State.COMPLETE,
        State.COMPLETE,
        State.PRUNED,
        State.PRUNED,
        State.PRUNED,
    ]
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
    assert run.trials[0].state == State.FAILED
    assert run.trials[0].error == "lost in attempt 2, its last: ran longer than 0.02 s"
    assert run.trials[1].state == State.COMPLETE


def test_a_worker_that_never_says_that_it_started_is_killed_too(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(ScriptedExecutor):
        """A worker that is stopped before it has sent its first message."""

        def poll(self, timeout: float) -> list[Event]:
            return [event for event in super().poll(timeout) if event.number or isinstance(event, Ended)]

    monkeypatch.setattr("hpo.search.running.START_TIMEOUT", 0.0)
    executor = Stopped(lambda task: iter(curve(task)) if task.number else iter([None] * 100_000))
    run = search(address, small_study(trial={"timeout": 0.02, "retries": 0}, budget={"trials": 2}), executor)

    assert run.trials[0].error == "lost in attempt 1, its last: ran longer than 0.02 s"
    assert run.trials[1].state == State.COMPLETE


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

    run = search(address, study, InlineExecutor(Job(study.objective, "score", study.fixed, JOB.path)))

    assert run.trials[0].error == "lost in attempt 1, its last: ran longer than 0.01 s"


# Trials that come to nothing ---------------------------------------------------------------------------------------


def test_ten_failures_at_the_start_end_the_study_with_the_traceback(address: Address) -> None:
    executor = ScriptedExecutor(say((Outcome.RAISED, "Traceback\nValueError: hopeless")), 3)

    with pytest.raises(
        HpoError,
        match=r"the first 10 trials all failed; run the study again .* The last error:\nTraceback\nValueError: hop",
    ):
        search(address, small_study(budget={"trials": 50}), executor)

    states = [trial.state for trial in written(address)]
    assert states.count(State.FAILED) == 10
    assert len(states) <= 12


def test_with_any_number_of_failures_allowed_the_search_goes_to_its_end(address: Address) -> None:
    executor = ScriptedExecutor(lambda task: curve(task) if task.number == 4 else [(Outcome.RAISED, "no")], 3)

    run = search(address, small_study(budget={"trials": 20}, trial={"stop_after_failures": 0}), executor)

    assert [trial.state for trial in run.trials].count(State.FAILED) == 19


def test_an_outage_stops_the_search_and_the_next_run_tries_again_what_it_cost(address: Address) -> None:
    study = small_study(budget={"trials": 30})
    disk_full = ScriptedExecutor(lambda task: curve(task) if task.number < 7 else [(Outcome.RAISED, "disk full")])
    with pytest.raises(HpoError, match=r"10 trials in a row failed; run the study again .*\ndisk full"):
        search(address, study, disk_full)
    lost = [trial for trial in written(address) if trial.state is State.FAILED]
    assert [trial.number for trial in lost] == list(range(7, 17))

    run = search(address, study, ScriptedExecutor(curve))

    complete = [trial for trial in run.trials if trial.state is State.COMPLETE]
    assert len(complete) == 30
    again = complete[7:17]
    assert [(trial.params, trial.seed) for trial in again] == [(trial.params, trial.seed) for trial in lost]
    assert run.trials == written(address)
    executor = ScriptedExecutor(curve)
    search(address, study, executor)
    assert executor.tasks == []


def test_a_study_without_a_complete_trial_starts_over(address: Address) -> None:
    study = small_study(budget={"trials": 4})
    search(address, study, ScriptedExecutor(say((Outcome.RAISED, "a bug"))))

    run = search(address, study, ScriptedExecutor(curve))

    assert [trial.state for trial in run.trials] == [State.FAILED] * 4 + [State.COMPLETE] * 4


def test_a_failed_trial_among_others_is_run_again_only_when_that_is_asked_for(address: Address) -> None:
    study = small_study(budget={"trials": 4})
    search(address, study, ScriptedExecutor(lambda task: [(Outcome.RAISED, "no")] if task.number == 1 else curve(task)))
    unasked = ScriptedExecutor(curve)
    search(address, study, unasked)
    assert unasked.tasks == []

    ledger = Ledger.open(address, study)
    run = Search(study, ledger, retry_failed=True)
    run.run(ScriptedExecutor(curve))
    ledger.close()

    assert [trial.state for trial in run.trials].count(State.COMPLETE) == 4
    assert (run.trials[4].params, run.trials[4].seed) == (run.trials[1].params, run.trials[1].seed)


def test_an_objective_that_is_still_broken_stops_the_next_run_after_its_first_ten(address: Address) -> None:
    search(address, small_study(budget={"trials": 6}), ScriptedExecutor(say((Outcome.RAISED, "no"))))

    with pytest.raises(HpoError, match="the first 10 trials all failed"):
        search(address, small_study(budget={"trials": 50}), ScriptedExecutor(say((Outcome.RAISED, "no"))))

    assert len(written(address)) == 16


@pytest.mark.parametrize("kind", ["link", "read-only"])
def test_a_checkpoint_folder_that_cannot_be_removed_does_not_end_the_search(
    address: Address, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    remarks: list[str] = []
    kept.mkdir()
    (kept / "weights").touch()
    ledger = Ledger.open(address, small_study())
    folder = tmp_path / "checkpoints" / ledger.uid
    folder.mkdir(parents=True)
    for number in range(6):
        if kind == "link":
            (folder / str(number)).symlink_to(kept)
        else:
            (folder / str(number)).mkdir()
    if kind == "read-only":

        def refuse(path: Path) -> None:
            raise OSError(errno.EBUSY, "Device or resource busy")

        monkeypatch.setattr(shutil, "rmtree", refuse)
    places = TrialFolders(folder, tmp_path / "own", 1, {"score": Direction.MAXIMIZE}, remarks.append)
    run = Search(small_study(), ledger, places)
    run.run(ScriptedExecutor(curve))
    ledger.close()

    assert [trial.state for trial in run.trials] == [State.COMPLETE] * 6
    assert (kept / "weights").exists()
    if kind == "link":
        assert not any(folder.iterdir())
        assert remarks == []
    else:
        assert remarks[0] == f"could not delete the folder {folder / '0'}: Device or resource busy; delete it yourself"


def test_a_metric_that_is_never_reported_is_said_at_the_first_report(address: Address) -> None:
    executor = ScriptedExecutor(say({"loss": 1.0, "accuracy": 0.5}))
    told: list[tuple[int, str]] = []

    ledger = Ledger.open(address, small_study())
    with pytest.raises(InputError, match=r"small\.toml: metric: the objective reports loss, accuracy, but not 'score'"):
        Search(small_study(), ledger).run(executor, [Told(told)])
    ledger.close()

    assert [(trial.state, trial.error) for trial in written(address)] == [(State.FAILED, "never reports 'score'")]
    assert told[-1] == (0, State.FAILED)


@pytest.mark.parametrize(
    ("moves", "state", "value", "error"),
    [
        ([{"score": 1.0}, {"loss": 1.0}], State.COMPLETE, 1.0, None),
        ([{"score": math.nan}, {"score": 2.0}], State.COMPLETE, 2.0, None),
        ([{"score": math.inf, "loss": math.nan}, {"score": 2.0}], State.COMPLETE, 2.0, None),
        ([{"score": 2.0}, {"score": math.nan}], State.FAILED, None, "reported score = nan at its last step"),
        ([{"score": 2.0}, {"score": -math.inf}], State.FAILED, None, "reported score = -inf at its last step"),
        ([], State.FAILED, None, "ended without reporting 'score'"),
        ([(Outcome.STOPPED, None)], State.FAILED, None, "stopped from outside"),
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
    yield (Outcome.FINISHED, None)


def test_an_interrupt_lets_running_trials_finish_and_starts_no_more(address: Address, tmp_path: Path) -> None:
    ledger = Ledger.open(address, small_study())
    run = Search(small_study(), ledger)
    executor = Lazy(interrupting(run, curve, at=1), 2)

    run.run(executor)
    ledger.close()

    assert run.interrupted
    assert not run.done
    assert [trial.state for trial in run.trials] == [State.COMPLETE] * len(executor.tasks)
    assert len(executor.tasks) < 6
    whole = search(parse(str(tmp_path / "whole")), small_study(), ScriptedExecutor(curve))
    assert outcome(search(address, small_study(), ScriptedExecutor(curve, 3)).trials) == outcome(whole.trials)


def test_an_interrupt_that_stops_leaves_running_trials_to_the_next_run(address: Address, tmp_path: Path) -> None:
    ledger = Ledger.open(address, small_study())
    run = Search(small_study(), ledger)
    run.run(Lazy(interrupting(run, curve, at=2, stop=True), 2))
    ledger.close()

    left = [trial.number for trial in written(address) if trial.state == State.RUNNING]
    assert left
    executor = ScriptedExecutor(curve)
    again = search(address, small_study(), executor)
    assert [task.number for task in executor.tasks][: len(left)] == left
    whole = search(parse(str(tmp_path / "whole")), small_study(), ScriptedExecutor(curve))
    assert outcome(again.trials) == outcome(whole.trials)


# Infeasible parameters ---------------------------------------------------------------------------------------------


def test_infeasible_trials_count_for_the_budget_and_never_as_failures(address: Address) -> None:
    def script(task: Task) -> list[Move]:
        if task.number == 3:
            return [{"score": 0.5}]
        return [{"score": 1.0}, (Outcome.INFEASIBLE, "Diverged: at step 2")]

    executor = ScriptedExecutor(script)
    study = small_study(trial={"stop_after_failures": 2}, budget={"trials": 5})

    run = search(address, study, executor)
    again = search(address, study, ScriptedExecutor(script))

    assert [task.number for task in executor.tasks] == [0, 1, 2, 3, 4]  # none is run again
    assert [t.state for t in run.trials] == [*[State.INFEASIBLE] * 3, State.COMPLETE, State.INFEASIBLE]
    assert {(t.value, len(t.reports), t.error) for t in run.trials if t.number != 3} == {
        (None, 1, "Diverged: at step 2")
    }
    assert written(address) == run.trials == again.trials
    assert best_first(run.trials, Direction.MAXIMIZE) == [run.trials[3]]


def test_infeasible_trials_between_failures_do_not_keep_a_broken_search_going(address: Address) -> None:
    def script(task: Task) -> list[Move]:
        return [(Outcome.INFEASIBLE, "Diverged") if task.number % 2 else (Outcome.RAISED, "KeyError: 'lr'")]

    executor = ScriptedExecutor(script)
    with pytest.raises(SearchFailed, match="3 trials in a row failed; run the study again"):
        search(address, small_study(trial={"stop_after_failures": 3}, budget={"trials": 20}), executor)

    assert [task.number for task in executor.tasks] == [0, 1, 2, 3, 4]
    mended = ScriptedExecutor(say({"score": 0.5}))
    run = search(address, small_study(trial={"stop_after_failures": 3}, budget={"trials": 7}), mended, retried)
    assert [trial.notes.get(RETRY_OF) for trial in run.trials[5:8]] == [0, 2, 4]


def retried(run: Search) -> None:
    assert [trial.number for trial in run.retries] == [0, 2, 4]


def test_a_study_that_is_all_infeasible_has_failed(address: Address) -> None:
    run = search(address, small_study(), ScriptedExecutor(say((Outcome.INFEASIBLE, "MemoryError"))))

    assert len(run.trials) == 6
    assert has_failed(run.trials)


@pytest.mark.parametrize(
    ("sampler", "trials"), [("tpe", 120), ("cmaes", 120), pytest.param("gp", 24, marks=pytest.mark.slow)]
)
def test_a_sampler_that_learns_avoids_where_trials_are_infeasible(sampler: str, trials: int) -> None:
    """Better and better towards 0.7, and infeasible beyond; failures tell a sampler nothing."""

    def share_beyond(state: State) -> float:
        study = small_study(
            space={"x": {"low": 0.0, "high": 1.0}, "y": {"low": 0.0, "high": 1.0}}, sampler={"name": sampler, "seed": 5}
        )
        advisor = Advisor(study)
        beyond = []
        for _ in range(trials):
            trial = advisor.ask()
            x = trial.params["x"]
            beyond.append(x > 0.7)
            ended = {"state": state} if x > 0.7 else {"state": State.COMPLETE, "values": (x,)}
            advisor.tell(replace(trial, **ended))
        return sum(beyond[trials // 2 :]) / (trials - trials // 2)

    assert share_beyond(State.INFEASIBLE) < share_beyond(State.FAILED)


# Bounds of metrics -------------------------------------------------------------------------------------------------


def test_a_trial_beyond_its_bounds_is_complete_and_marked_and_not_the_best(address: Address) -> None:
    memory = {0: 700.0, 1: 500.0, 2: 640.0}

    def script(task: Task) -> list[Move]:
        return [{"score": 1.0 / (task.number + 1), "memory": 9999.0}, {"memory": memory[task.number]}]

    study = small_study(constraints={"metrics": {"memory": {"max": 512}}}, budget={"trials": 3})

    run = search(address, study, ScriptedExecutor(script))

    assert [t.state for t in run.trials] == [State.COMPLETE] * 3
    assert [dict(t.violations) for t in run.trials] == [{"memory": 188.0}, {}, {"memory": 128.0}]
    assert best_first(run.trials, Direction.MAXIMIZE) == [run.trials[1]]
    assert written(address) == run.trials
    stored = Records(study).to_optuna(run.trials[0])
    assert stored.constraints == {"0": 188 / 512}


@pytest.mark.parametrize(
    ("report", "error"),
    [({}, "ended without reporting 'memory'"), ({"memory": math.nan}, "reported memory = nan at its last step")],
)
def test_a_trial_that_does_not_say_whether_it_is_within_bounds_has_failed(
    address: Address, report: dict[str, float], error: str
) -> None:
    study = small_study(constraints={"metrics": {"memory": {"max": 512}}}, budget={"trials": 1})

    run = search(address, study, ScriptedExecutor(say({"score": 1.0} | report)))

    assert (run.trials[0].state, run.trials[0].error) == (State.FAILED, error)
