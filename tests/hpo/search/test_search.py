"""The loop: exactly the budget, whatever happens on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
from depth import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted_search import JOB, Told, curve, outcome, search, written
from small_study import small_study

from hpo.errors import HpoError
from hpo.execution import Ended, Outcome, Reported, Started, Task
from hpo.execution.inline import InlineExecutor
from hpo.ledger.address import Address, parse
from hpo.ledger.ledger import Ledger
from hpo.search.advisor import trial_seed
from hpo.search.loop import Search
from hpo.study.workers import Resources
from hpo.testing.fakes import Died, Move, ScriptedExecutor
from hpo.trial import Report, State, Trial


@pytest.fixture
def address(tmp_path: Path) -> Address:
    return parse(str(tmp_path / "hpo.journal"))


# The budget --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_a_search_runs_exactly_its_budget(address: Address, workers: int) -> None:
    executor = ScriptedExecutor(curve, workers)

    run = search(address, small_study(), executor)

    assert run.done
    assert [task.number for task in executor.tasks] == list(range(6))
    assert [trial.state for trial in run.trials] == [State.COMPLETE] * 6
    assert written(address) == run.trials


def test_a_task_carries_the_searched_parameters_and_a_seed_of_its_own(address: Address) -> None:
    executor = ScriptedExecutor(curve)

    run = search(address, small_study(fixed={"epochs": 3}), executor)

    assert [task.params for task in executor.tasks] == [trial.params for trial in run.trials]
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


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
            return [*moves[: data.draw(st.integers(0, 3), label="after reports")], (Outcome.LOST, "gone")]
        return moves

    for die_at in data.draw(st.lists(st.integers(0, 25), max_size=4), label="deaths"):
        executor = ScriptedExecutor(script, data.draw(st.integers(1, 4), label="workers"), die_at=die_at)
        try:
            search(address, study, executor)
        except Died:
            continue
    run = search(address, study, ScriptedExecutor(script, 3))

    assert run.done
    assert [(t.number, t.state) for t in written(address)] == [(number, State.COMPLETE) for number in range(5)]
    for trial in written(address):
        task = Task(trial.number, trial.attempt, trial.params, trial_seed(0, trial.number))
        assert [report.metrics for report in trial.reports] == curve(task)


def test_a_dead_drivers_running_trials_run_before_new_ones(address: Address) -> None:
    with pytest.raises(Died):
        search(address, small_study(), ScriptedExecutor(curve, 3, die_at=5))
    assert [trial.state for trial in written(address)] == [State.RUNNING] * 3
    executor = ScriptedExecutor(curve, 2)

    search(address, small_study(), executor)

    assert [task.number for task in executor.tasks] == list(range(6))


# Workers that die --------------------------------------------------------------------------------------------------


def test_a_lost_trial_is_run_again_with_the_same_parameters_and_seed(address: Address) -> None:
    def lose_twice(task: Task) -> list[Move]:
        if task.number == 1 and task.attempt < 3:
            return [{"score": 1000.0}, {"score": 2000.0}, (Outcome.LOST, "killed")]
        return curve(task)

    executor = ScriptedExecutor(lose_twice, 2)
    run = search(address, small_study(), executor)

    again = [task for task in executor.tasks if task.number == 1]
    assert [task.attempt for task in again] == [1, 2, 3]
    assert again[0].params == again[1].params == again[2].params
    assert again[0].seed == again[1].seed == again[2].seed
    trial = run.trials[1]
    assert (trial.state, trial.attempt) == (State.COMPLETE, 3)
    assert [report.metrics for report in trial.reports] == curve(again[0])
    assert written(address) == run.trials


def test_a_trial_that_is_lost_too_often_is_failed_with_the_reason(address: Address) -> None:
    executor = ScriptedExecutor(
        lambda task: [{"score": 1.0}, (Outcome.LOST, "out of memory")] if task.number == 2 else curve(task)
    )

    run = search(address, small_study(trial={"retries": 1}), executor)

    assert [task.attempt for task in executor.tasks if task.number == 2] == [1, 2]
    assert (run.trials[2].state, run.trials[2].error) == (State.FAILED, "lost in attempt 2, its last: out of memory")
    assert [trial.state for trial in run.trials].count(State.COMPLETE) == 5
    assert written(address) == run.trials


def test_an_objective_that_raises_is_not_run_again(address: Address) -> None:
    executor = ScriptedExecutor(
        lambda task: [{"score": 1.0}, (Outcome.RAISED, "Traceback\nValueError: no")] if task.number < 2 else []
    )

    run = search(address, small_study(budget={"trials": 3}), executor)

    assert len(executor.tasks) == 3
    assert [trial.state for trial in run.trials[:2]] == [State.FAILED, State.FAILED]
    assert run.trials[0].error == "Traceback\nValueError: no"
    assert run.trials[0].reports  # what it reported is kept
    assert run.trials[0].value is None


def test_echoes_of_an_attempt_that_is_over_are_ignored(address: Address) -> None:
    def script(task: Task) -> list[Move]:
        if task.attempt == 1:
            return [{"score": 5.0}, (Outcome.LOST, "gone")]
        number = task.number
        return [
            Reported(number, 1, (Report(9, 0.0, {"score": 99.0}),)),
            Ended(number, 1, Outcome.FINISHED, 0.0),
            Started(number, 1, "host/ghost", 0.0),
            {"score": 7.0},
            Reported(number + 1000, 1, (Report(1, 0.0, {"score": 99.0}),)),
        ]

    run = search(address, small_study(budget={"trials": 2}), ScriptedExecutor(script))

    assert [(t.value, len(t.reports), t.worker, t.attempt) for t in run.trials] == [(7.0, 1, "host/0", 2)] * 2


# Whoever follows ---------------------------------------------------------------------------------------------------


def test_watchers_hear_of_start_reports_and_end_and_the_ledger_knows_the_end_before(address: Address) -> None:
    told: list[tuple[int, str]] = []

    def look(trial: Trial) -> None:
        if trial.finished:
            assert written(address)[trial.number] == trial

    study = small_study(budget={"trials": 2})
    ledger = Ledger.open(address, study)
    Search(study, ledger).run(ScriptedExecutor(curve), [Told(told, look), Told([])])
    ledger.close()

    assert told == [(number, state) for number in (0, 1) for state in [State.RUNNING] * 4 + [State.COMPLETE]]


def test_an_end_that_the_ledger_does_not_take_is_no_end(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise HpoError("the ledger cannot be written: no space left")

    ledger = Ledger.open(address, small_study())
    run = Search(small_study(), ledger)
    monkeypatch.setattr(ledger, "finish", full)
    with pytest.raises(HpoError, match="no space left"):
        run.run(ScriptedExecutor(curve))
    ledger.close()

    assert [trial.state for trial in run.trials] == [State.RUNNING]
    assert outcome(search(address, small_study(), ScriptedExecutor(curve)).trials[:1])[0][3] == State.COMPLETE


# The random sampler on real workers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "workers", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(7, marks=pytest.mark.slow)]
)
def test_random_search_is_the_same_to_the_last_bit_with_any_number_of_workers_and_after_a_resume(
    ray_here: None, tmp_path: Path, workers: int
) -> None:
    from hpo.execution.ray.pool import RayExecutor

    study = small_study(budget={"trials": 24})
    inline = search(parse(str(tmp_path / "inline")), study, InlineExecutor(JOB))

    executor = RayExecutor(JOB, workers, Resources(cpus=1.5 / workers, gpus=0.0, memory=0.0))
    try:
        run = search(parse(str(tmp_path / "many")), study, executor)
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
