"""What every executor must do: inline in this process, and Ray with two workers.

``stop`` means "close the generator at its next report". A generator that has no next report because it is already
past its last one is exhausted, not closed, and the attempt ends as finished; what that makes of the trial is the
search's decision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from executing import JOB, end, reports, run, run_one, task

from hpo.execution import FINISHED, LOST, RAISED, STOPPED, Event, Executor, Reported, Started, Task
from hpo.execution.inline import InlineExecutor

pytestmark = pytest.mark.xdist_group("ray")


@pytest.fixture(params=["inline", "ray"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "ray":
        yield request.getfixturevalue("pool")
    else:
        inline = InlineExecutor(JOB)
        yield inline
        inline.close()


# What comes back ---------------------------------------------------------------------------------------------------


def test_reports_arrive_complete_and_in_order(executor: Executor) -> None:
    tasks = [task("count", seed=seed, steps=steps) for seed, steps in enumerate([1, 30, 300, 2, 1000])]

    events = run(executor, *tasks)

    for seed, one in enumerate(tasks):
        heard = reports(events[one.number])
        assert [report.step for report in heard] == list(range(1, one.params["steps"] + 1))
        assert [report.metrics for report in heard] == [
            {"score": step + seed / 1000, "twice": 2.0 * step} for step in range(one.params["steps"])
        ]
        times = [report.time for report in heard]
        assert times == sorted(times)
        assert end(events[one.number]).how == FINISHED
        assert end(events[one.number]).error is None


def test_a_generator_without_reports_is_finished(executor: Executor) -> None:
    events = run_one(executor, task("count", steps=0))

    assert reports(events) == []
    assert end(events).how == FINISHED


def test_a_plain_function_is_one_report(executor: Executor) -> None:
    (number,) = reports(run_one(executor, task("number", seed=3)))

    assert (number.step, number.metrics) == (1, {"score": 1.5})


def test_many_metrics_at_every_step_arrive(executor: Executor) -> None:
    heard = reports(run_one(executor, task("write_much")))

    assert len(heard) == 200
    assert all(len(report.metrics) == 501 for report in heard)


def test_a_worker_serves_trial_after_trial_with_one_resolved_objective(executor: Executor) -> None:
    trials = [reports(events)[0].metrics for events in run(executor, *(task("where") for _ in range(12))).values()]

    workers = {trial["pid"] for trial in trials}
    assert len(workers) <= 2  # the second may start while the first serves them all
    for pid in workers:
        calls = [trial["calls"] for trial in trials if trial["pid"] == pid]
        assert sorted(calls) == list(range(int(min(calls)), int(min(calls)) + len(calls)))


# Objectives that fail ----------------------------------------------------------------------------------------------


def test_an_objective_that_raises_ends_with_its_own_traceback(executor: Executor) -> None:
    events = run_one(executor, task("raise_"))

    assert len(reports(events)) == 1
    assert end(events).how == RAISED
    error = end(events).error or ""
    assert error.startswith("Traceback (most recent call last):")
    assert error.endswith("RuntimeError: the loss went through the roof: 学習率")
    assert "in raise_here" in error
    assert "execution/worker.py" not in error


def test_an_exception_that_can_neither_travel_nor_speak_is_told_all_the_same(executor: Executor) -> None:
    events = run_one(executor, task("stubborn"))

    assert end(events).how == RAISED
    assert "Stubborn" in (end(events).error or "")


def test_sys_exit_in_an_objective_is_a_failure_of_the_trial_alone(executor: Executor) -> None:
    events = run_one(executor, task("exit_"))

    assert end(events).how == RAISED
    assert "SystemExit: 3" in (end(events).error or "")


@pytest.mark.parametrize("which", range(10))
def test_garbage_is_said(executor: Executor, which: int) -> None:
    events = run_one(executor, task("garbage", seed=which))

    assert len(reports(events)) == 1
    assert end(events).how == RAISED
    last = (end(events).error or "").splitlines()[-1]
    assert last.startswith(("TypeError: a report must be a mapping of metric names to numbers", "OverflowError: "))


# Stopping ----------------------------------------------------------------------------------------------------------


def go(folder: Path, *steps: int) -> None:
    for step in steps:
        (folder / f"go.{step}").touch()


def settle(executor: Executor) -> None:
    """Waits until the stops that were asked for have arrived at the workers."""
    if isinstance(executor, InlineExecutor):
        return
    import ray

    for slot in executor._slots:  # type: ignore[attr-defined]
        ray.get(slot.actor.ready.options(concurrency_group="control").remote())


def test_a_stop_reaches_the_generator_at_its_next_report(executor: Executor, tmp_path: Path) -> None:
    def stop_at_the_second(event: Event) -> None:
        if isinstance(event, Reported) and event.reports[-1].step == 2:
            executor.stop(event.number)
            settle(executor)
            go(tmp_path, *range(3, 100))

    go(tmp_path, 1, 2)
    events = run_one(executor, task("step_by_step", folder=str(tmp_path)), hear=stop_at_the_second)

    assert end(events).how == STOPPED
    assert len(reports(events)) <= 3
    assert (tmp_path / "closed").exists()


def test_a_stop_before_the_first_report_waits_for_it(executor: Executor, tmp_path: Path) -> None:
    def stop_at_once(event: Event) -> None:
        if isinstance(event, Started):
            executor.stop(event.number)
            settle(executor)
            go(tmp_path, *range(1, 100))

    events = run_one(executor, task("step_by_step", folder=str(tmp_path)), hear=stop_at_once)

    assert end(events).how == STOPPED
    assert len(reports(events)) == 1
    assert (tmp_path / "closed").exists()


def test_a_generator_that_ended_before_the_stop_arrived_is_finished(executor: Executor, tmp_path: Path) -> None:
    def stop_after_the_last(event: Event) -> None:
        if isinstance(event, Reported):
            if isinstance(executor, InlineExecutor):
                return  # it is stopped between two reports only; there is no too late
            go(tmp_path, 2)
            executor.stop(event.number)

    go(tmp_path, 1)
    if isinstance(executor, InlineExecutor):
        go(tmp_path, 2)
    one = task("step_by_step", folder=str(tmp_path), last=2)
    events = run_one(executor, one, hear=stop_after_the_last)

    assert end(events).how == FINISHED
    assert (tmp_path / "closed").exists()
    executor.stop(one.number)  # later still: nothing happens
    assert end(run_one(executor, task("number"))).how == FINISHED


def stop_at_first_report(executor: Executor, folder: Path) -> Callable[[Event], None]:
    """Asks for a stop at the first report; the second one comes when the stop has arrived."""

    def hear(event: Event) -> None:
        if isinstance(event, Reported) and event.reports[0].step == 1:
            executor.stop(event.number)
            settle(executor)
            go(folder, *range(2, 100))

    go(folder, 1)
    return hear


def test_a_stop_for_one_attempt_does_not_end_the_next(executor: Executor, tmp_path: Path) -> None:
    first = task("step_by_step", folder=str(tmp_path))
    stopped = run_one(executor, first, hear=stop_at_first_report(executor, tmp_path))
    assert end(stopped).how == STOPPED

    again = Task(first.number, 2, {"act": "count", "steps": 50}, 0)
    events = run_one(executor, again)

    assert end(events).how == FINISHED
    assert len(reports(events)) == 50


def test_a_stop_of_an_unknown_trial_does_nothing(executor: Executor) -> None:
    executor.stop(10**6)
    executor.kill(10**6, "unknown")

    assert end(run_one(executor, task("number"))).how == FINISHED


def test_an_objective_that_fails_to_clean_up_is_told(executor: Executor, tmp_path: Path) -> None:
    one = task("step_by_step", folder=str(tmp_path), careless=True)

    events = run_one(executor, one, hear=stop_at_first_report(executor, tmp_path))

    assert end(events).how == RAISED
    assert "the scratch folder is gone" in (end(events).error or "")


def test_a_kill_ends_the_attempt_as_lost_for_the_reason_given(executor: Executor, tmp_path: Path) -> None:
    go(tmp_path, *range(1, 100))

    def kill(event: Event) -> None:
        if isinstance(event, Reported):
            executor.kill(event.number, "ran longer than 1 s")

    events = run_one(executor, task("step_by_step", folder=str(tmp_path)), hear=kill)

    assert (end(events).how, end(events).error) == (LOST, "ran longer than 1 s")
    assert end(run_one(executor, task("number"))).how == FINISHED


def test_close_ends_what_runs_and_closes_its_generator_inline(tmp_path: Path) -> None:
    go(tmp_path, *range(1, 100))
    inline = InlineExecutor(JOB)
    inline.submit(task("step_by_step", folder=str(tmp_path)))
    for _ in range(3):
        inline.poll(0.1)

    inline.close()

    assert (tmp_path / "closed").exists()
    assert inline.free == 1
