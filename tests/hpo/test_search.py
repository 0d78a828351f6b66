"""The loop: exactly the budget, whatever happens on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted_executor import Died, Move, Script, ScriptedExecutor
from small_study import small_study

from hpo.errors import HpoError, InputError
from hpo.execution import FINISHED, LOST, RAISED, STOPPED, Ended, Executor, Job, Reported, Started, Task
from hpo.execution.inline import InlineExecutor
from hpo.ledger import books
from hpo.ledger.address import Address, parse
from hpo.ledger.ledger import Ledger
from hpo.resources import Resources
from hpo.search import Search, trial_seed
from hpo.study import Study
from hpo.trial import COMPLETE, FAILED, PRUNED, RUNNING, Report, Trial

JOB = Job("simple_objectives:curve", "score", (str(Path(__file__).parent),))


@pytest.fixture
def address(tmp_path: Path) -> Address:
    return parse(str(tmp_path / "hpo.journal"))


def search(
    address: Address, study: Study, executor: Executor, before: Callable[[Search], object] = lambda search: None
) -> Search:
    """Runs a study on an executor; a ledger that it opened is closed again, as if its driver were gone."""
    ledger = Ledger.open(address, study)
    try:
        run = Search(study, ledger)
        before(run)
        run.run(executor)
        return run
    finally:
        ledger.close()


def written(address: Address, name: str = "small") -> list[Trial]:
    return books.read(address, name).trials


def outcome(trials: list[Trial]) -> list[tuple[Any, ...]]:
    """What must not depend on anything but the study."""
    return [(t.number, t.params, t.seed, t.state, t.value, [(r.step, r.metrics) for r in t.reports]) for t in trials]


def curve(task: Task) -> list[Move]:
    """What simple_objectives.curve reports."""
    from simple_objectives import curve

    return list(curve(task.params, task.seed))


def say(*moves: Move) -> Script:
    return lambda task: moves


# The budget --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_a_search_runs_exactly_its_budget(address: Address, workers: int) -> None:
    executor = ScriptedExecutor(curve, workers)

    run = search(address, small_study(), executor)

    assert run.done
    assert [task.number for task in executor.tasks] == list(range(6))
    assert [trial.state for trial in run.trials] == [COMPLETE] * 6
    assert written(address) == run.trials


def test_an_objective_gets_fixed_and_searched_parameters_and_a_seed_of_its_own(address: Address) -> None:
    executor = ScriptedExecutor(curve)

    run = search(address, small_study(fixed={"epochs": 3}), executor)

    assert [dict(task.params) for task in executor.tasks] == [{"epochs": 3, **trial.params} for trial in run.trials]
    assert [task.seed for task in executor.tasks] == [trial_seed(0, number) for number in range(6)]
    assert len({task.seed for task in executor.tasks}) == 6
    assert all(0 <= task.seed < 2**32 for task in executor.tasks)


def test_a_search_inline_is_the_scripted_one(address: Address, tmp_path: Path) -> None:
    inline = search(address, small_study(), InlineExecutor(JOB))
    scripted = search(parse(str(tmp_path / "other.journal")), small_study(), ScriptedExecutor(curve, 3))

    assert outcome(inline.trials) == outcome(scripted.trials)


def test_a_larger_budget_goes_on_where_a_smaller_one_ended(address: Address, tmp_path: Path) -> None:
    for trials in (2, 5, 6):
        search(address, small_study(budget={"trials": trials}), ScriptedExecutor(curve, 2))
    at_once = search(parse(str(tmp_path / "other.journal")), small_study(), ScriptedExecutor(curve))

    assert outcome(written(address)) == outcome(at_once.trials)


def test_a_spent_budget_runs_nothing(address: Address) -> None:
    search(address, small_study(), ScriptedExecutor(curve))
    executor = ScriptedExecutor(curve)

    search(address, small_study(budget={"trials": 3}), executor)

    assert executor.tasks == []


# Drivers that die --------------------------------------------------------------------------------------------------


def test_a_driver_killed_at_any_event_loses_nothing_and_runs_nothing_twice(tmp_path: Path) -> None:
    study = small_study(budget={"trials": 4})
    undisturbed = search(parse(str(tmp_path / "undisturbed")), study, ScriptedExecutor(curve, 2))
    polls = 4 * (1 + 3 + 1)

    for die_at in range(polls):
        address = parse(str(tmp_path / f"dies-at-{die_at}"))
        with pytest.raises(Died):
            search(address, study, ScriptedExecutor(curve, 2, die_at=die_at))
        before = written(address)
        executor = ScriptedExecutor(curve, 2)
        run = search(address, study, executor)

        finished = {trial.number for trial in before if trial.finished}
        assert finished.isdisjoint(task.number for task in executor.tasks)
        assert [trial for trial in run.trials if trial.number in finished] == [t for t in before if t.finished]
        assert outcome(written(address)) == outcome(undisturbed.trials)
        assert len(executor.tasks) == 4 - len(finished)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_order_of_deaths_and_losses_ends_with_the_same_trials(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    address = parse(str(tmp_path_factory.mktemp("deaths") / "hpo.journal"))
    study = small_study(budget={"trials": 5}, trial={"retries": 2})
    lost: dict[int, int] = {}

    def script(task: Task) -> list[Move]:
        moves = curve(task)
        # At most two losses per trial, which is what the retries cover, over all lives of the driver.
        if lost.get(task.number, 0) < 2 and data.draw(st.booleans(), label=f"trial {task.number} is lost"):
            lost[task.number] = lost.get(task.number, 0) + 1
            return [*moves[: data.draw(st.integers(0, 3), label="after reports")], (LOST, "gone")]
        return moves

    for die_at in data.draw(st.lists(st.integers(0, 25), max_size=4), label="deaths"):
        executor = ScriptedExecutor(script, data.draw(st.integers(1, 4), label="workers"), die_at=die_at)
        try:
            search(address, study, executor)
        except Died:
            continue
    run = search(address, study, ScriptedExecutor(script, 3))

    assert run.done
    assert [(t.number, t.state) for t in written(address)] == [(number, COMPLETE) for number in range(5)]
    for trial in written(address):
        task = Task(trial.number, trial.attempt, trial.params, trial_seed(0, trial.number))
        assert [report.metrics for report in trial.reports] == curve(task)


def test_a_dead_drivers_running_trials_run_before_new_ones(address: Address) -> None:
    with pytest.raises(Died):
        search(address, small_study(), ScriptedExecutor(curve, 3, die_at=5))
    assert [trial.state for trial in written(address)] == [RUNNING] * 3
    executor = ScriptedExecutor(curve, 2)

    search(address, small_study(), executor)

    assert [task.number for task in executor.tasks] == list(range(6))


# Workers that die --------------------------------------------------------------------------------------------------


def test_a_lost_trial_is_run_again_with_the_same_parameters_and_seed(address: Address) -> None:
    def lose_twice(task: Task) -> list[Move]:
        if task.number == 1 and task.attempt < 3:
            return [{"score": 1000.0}, {"score": 2000.0}, (LOST, "killed")]
        return curve(task)

    executor = ScriptedExecutor(lose_twice, 2)
    run = search(address, small_study(), executor)

    again = [task for task in executor.tasks if task.number == 1]
    assert [task.attempt for task in again] == [1, 2, 3]
    assert again[0].params == again[1].params == again[2].params
    assert again[0].seed == again[1].seed == again[2].seed
    trial = run.trials[1]
    assert (trial.state, trial.attempt) == (COMPLETE, 3)
    assert [report.metrics for report in trial.reports] == curve(again[0])
    assert written(address) == run.trials


def test_a_trial_that_is_lost_too_often_is_failed_with_the_reason(address: Address) -> None:
    executor = ScriptedExecutor(
        lambda task: [{"score": 1.0}, (LOST, "out of memory")] if task.number == 2 else curve(task)
    )

    run = search(address, small_study(trial={"retries": 1}), executor)

    assert [task.attempt for task in executor.tasks if task.number == 2] == [1, 2]
    assert (run.trials[2].state, run.trials[2].error) == (FAILED, "lost in attempt 2, its last: out of memory")
    assert [trial.state for trial in run.trials].count(COMPLETE) == 5
    assert written(address) == run.trials


def test_an_objective_that_raises_is_not_run_again(address: Address) -> None:
    executor = ScriptedExecutor(
        lambda task: [{"score": 1.0}, (RAISED, "Traceback\nValueError: no")] if task.number < 2 else []
    )

    run = search(address, small_study(budget={"trials": 3}), executor)

    assert len(executor.tasks) == 3
    assert [trial.state for trial in run.trials[:2]] == [FAILED, FAILED]
    assert run.trials[0].error == "Traceback\nValueError: no"
    assert run.trials[0].reports  # what it reported is kept
    assert run.trials[0].value is None


def test_echoes_of_an_attempt_that_is_over_are_ignored(address: Address) -> None:
    def script(task: Task) -> list[Move]:
        if task.attempt == 1:
            return [{"score": 5.0}, (LOST, "gone")]
        number = task.number
        return [
            Reported(number, 1, (Report(9, 0.0, {"score": 99.0}),)),
            Ended(number, 1, FINISHED, 0.0),
            Started(number, 1, "host/ghost", 0.0),
            {"score": 7.0},
            Reported(number + 1000, 1, (Report(1, 0.0, {"score": 99.0}),)),
        ]

    run = search(address, small_study(budget={"trials": 2}), ScriptedExecutor(script))

    assert [(t.value, len(t.reports), t.worker, t.attempt) for t in run.trials] == [(7.0, 1, "host/0", 2)] * 2


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


# Whoever follows ---------------------------------------------------------------------------------------------------


class Told:
    def __init__(self, told: list[tuple[int, str]], look: Callable[[Trial], object] = lambda trial: None) -> None:
        self._told, self._look = told, look

    def update(self, trial: Trial) -> None:
        self._told.append((trial.number, trial.state))
        self._look(trial)


def test_watchers_hear_of_start_reports_and_end_and_the_ledger_knows_the_end_before(address: Address) -> None:
    told: list[tuple[int, str]] = []

    def look(trial: Trial) -> None:
        if trial.finished:
            assert written(address)[trial.number] == trial

    study = small_study(budget={"trials": 2})
    ledger = Ledger.open(address, study)
    Search(study, ledger).run(ScriptedExecutor(curve), [Told(told, look), Told([])])
    ledger.close()

    assert told == [(number, state) for number in (0, 1) for state in [RUNNING] * 4 + [COMPLETE]]


def test_an_end_that_the_ledger_does_not_take_is_no_end(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise HpoError("the ledger cannot be written: no space left")

    ledger = Ledger.open(address, small_study())
    run = Search(small_study(), ledger)
    monkeypatch.setattr(ledger, "finish", full)
    with pytest.raises(HpoError, match="no space left"):
        run.run(ScriptedExecutor(curve))
    ledger.close()

    assert [trial.state for trial in run.trials] == [RUNNING]
    assert outcome(search(address, small_study(), ScriptedExecutor(curve)).trials[:1])[0][3] == COMPLETE


# The random sampler on real workers --------------------------------------------------------------------------------


@pytest.mark.xdist_group("ray")
def test_random_search_is_the_same_to_the_last_bit_with_any_number_of_workers_and_after_a_resume(
    ray_here: None, tmp_path: Path
) -> None:
    from hpo.execution.ray import RayExecutor

    study = small_study(budget={"trials": 24})
    inline = search(parse(str(tmp_path / "inline")), study, InlineExecutor(JOB))

    for workers in (1, 2, 7):
        executor = RayExecutor(JOB, workers, Resources(cpus=1.5 / workers, gpus=0.0, memory=0.0))
        try:
            run = search(parse(str(tmp_path / f"{workers}")), study, executor)
        finally:
            executor.close()
        assert outcome(run.trials) == outcome(inline.trials)

    address = parse(str(tmp_path / "resumed"))
    for trials in (5, 11):
        search(address, small_study(budget={"trials": trials}), InlineExecutor(JOB))
    with pytest.raises(Died):
        search(address, study, ScriptedExecutor(curve, 4, die_at=30))
    executor = RayExecutor(JOB, 3, Resources(cpus=0.5, gpus=0.0, memory=0.0))
    try:
        resumed = search(address, study, executor)
    finally:
        executor.close()
    assert outcome(resumed.trials) == outcome(inline.trials)


def test_a_trials_seed_depends_on_the_studys_seed_and_its_number_alone() -> None:
    seeds = {trial_seed(study, number) for study in range(30) for number in range(100)}

    assert len(seeds) == 3000
    assert trial_seed(0, 0) == trial_seed(0, 0)
