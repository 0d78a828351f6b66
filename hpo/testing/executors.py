"""What holds for executors.

``stop`` means "close the generator at its next report". A generator that has no next report because it is already
past its last one is exhausted, not closed, and the attempt ends as finished; what that makes of the trial is the
search's decision.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from hpo.execution import Ended, Event, Executor, Job, Outcome, Reported, Started, Task
from hpo.trial import Report

# What the executor under test must run.
JOB = Job("hpo.testing.executors:play", "score")

_numbers = itertools.count()
_calls = 0


# What the trials do, in the executor's workers ------------------------------------------------------------------------


def play(params: Mapping[str, Any], seed: int) -> Any:
    """The objective: does what ``params["act"]`` names, one of the functions below."""
    global _calls
    _calls += 1
    return globals()[params["act"]](params, seed)


def count(params: Mapping[str, Any], seed: int) -> Iterator[dict[str, float]]:
    for step in range(params["steps"]):
        yield {"score": step + seed / 1000, "twice": 2.0 * step}


def number(params: Mapping[str, Any], seed: int) -> float:
    return seed / 2


def where(params: Mapping[str, Any], seed: int) -> dict[str, float]:
    return {"score": 1.0, "pid": os.getpid(), "calls": _calls}


def raise_(params: Mapping[str, Any], seed: int) -> Iterator[float]:
    yield 1.0
    raise_here(params)


def raise_here(params: Mapping[str, Any]) -> None:
    raise RuntimeError("the loss went through the roof: 学習率")


def step_by_step(params: Mapping[str, Any], seed: int) -> Iterator[dict[str, float]]:
    """Reports for ever, each time after ``go.1``, ``go.2``... has appeared; leaves ``closed`` behind."""
    folder = Path(params["folder"])
    try:
        for step in itertools.count(1):
            _wait_for(folder / f"go.{step}")
            if params.get("last") == step:
                return
            yield {"score": float(step)}
    finally:
        (folder / "closed").touch()
        if params.get("careless"):
            raise OSError("the scratch folder is gone")


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.01)


# What the tests do with an executor ---------------------------------------------------------------------------------


def task(act: str, seed: int = 0, attempt: int = 1, **params: Any) -> Task:
    return Task(next(_numbers), attempt, {"act": act, **params}, seed)


def run(
    executor: Executor, *tasks: Task, hear: Callable[[Event], object] = lambda event: None
) -> dict[int, list[Event]]:
    """Runs tasks to their ends; checks that each starts once, ends once, and that nothing comes after its end."""
    waiting, events = list(tasks), {task.number: list[Event]() for task in tasks}
    running: set[int] = set()
    deadline = time.monotonic() + 120
    while waiting or running:
        assert time.monotonic() < deadline, f"never ended: {running}, after {events}"
        while waiting and executor.free:
            running.add(waiting[0].number)
            executor.submit(waiting.pop(0))
        for event in executor.poll(0.1):
            assert event.number in running, event
            events[event.number].append(event)
            if isinstance(event, Ended):
                running.remove(event.number)
            hear(event)
    for task in tasks:
        first, last = events[task.number][0], events[task.number][-1]
        assert isinstance(last, Ended)
        assert isinstance(first, Started) or last.how == Outcome.LOST
        assert {event.attempt for event in events[task.number]} == {task.attempt}
    return events


def reports(events: list[Event]) -> list[Report]:
    return [report for event in events if isinstance(event, Reported) for report in event.reports]


def end(events: list[Event]) -> Ended:
    assert isinstance(events[-1], Ended)
    return events[-1]


def run_one(executor: Executor, task: Task, **options: Any) -> list[Event]:
    return run(executor, task, **options)[task.number]


def go(folder: Path, *steps: int) -> None:
    """Lets the trial that runs ``step_by_step`` make these reports."""
    for step in steps:
        (folder / f"go.{step}").touch()


class ExecutorContract:
    """Any executor: every task that was submitted ends once, with all its reports, and how it ended.

    A fixture ``executor`` gives an executor that runs :data:`JOB`.

    Attributes:
        workers: How many workers it has at most.
        inside_poll: Whether trials run inside ``poll``, so that a stop is never too late.
    """

    workers: ClassVar[int] = 2
    inside_poll: ClassVar[bool] = False

    def settle(self, executor: Executor) -> None:
        """Waits until the stops that were asked for have arrived at the workers."""
        if not self.inside_poll:
            time.sleep(1)

    def stop_at_first_report(self, executor: Executor, folder: Path) -> Callable[[Event], None]:
        """Asks for a stop at the first report; the second one comes when the stop has arrived."""

        def hear(event: Event) -> None:
            if isinstance(event, Reported) and event.reports[0].step == 1:
                executor.stop(event.number)
                self.settle(executor)
                go(folder, *range(2, 100))

        go(folder, 1)
        return hear

    # What comes back

    def test_reports_arrive_complete_and_in_order(self, executor: Executor) -> None:
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
            assert end(events[one.number]).how == Outcome.FINISHED
            assert end(events[one.number]).error is None

    def test_a_generator_without_reports_is_finished(self, executor: Executor) -> None:
        events = run_one(executor, task("count", steps=0))

        assert reports(events) == []
        assert end(events).how == Outcome.FINISHED

    def test_a_worker_serves_trial_after_trial_with_one_resolved_objective(self, executor: Executor) -> None:
        trials = [reports(events)[0].metrics for events in run(executor, *(task("where") for _ in range(12))).values()]

        workers = {trial["pid"] for trial in trials}
        assert len(workers) <= self.workers  # another may start while the first serves them all
        for pid in workers:
            calls = [trial["calls"] for trial in trials if trial["pid"] == pid]
            assert sorted(calls) == list(range(int(min(calls)), int(min(calls)) + len(calls)))

    # Objectives that fail

    def test_an_objective_that_raises_ends_with_its_own_traceback(self, executor: Executor) -> None:
        events = run_one(executor, task("raise_"))

        assert len(reports(events)) == 1
        assert end(events).how == Outcome.RAISED
        error = end(events).error or ""
        assert error.startswith("Traceback (most recent call last):")
        assert error.endswith("RuntimeError: the loss went through the roof: 学習率")
        assert "in raise_here" in error
        assert "execution/worker.py" not in error

    # Stopping

    def test_a_stop_reaches_the_generator_at_its_next_report(self, executor: Executor, tmp_path: Path) -> None:
        def stop_at_the_second(event: Event) -> None:
            if isinstance(event, Reported) and event.reports[-1].step == 2:
                executor.stop(event.number)
                self.settle(executor)
                go(tmp_path, *range(3, 100))

        go(tmp_path, 1, 2)
        events = run_one(executor, task("step_by_step", folder=str(tmp_path)), hear=stop_at_the_second)

        assert end(events).how == Outcome.STOPPED
        assert len(reports(events)) <= 3
        assert (tmp_path / "closed").exists()

    def test_a_stop_before_the_first_report_waits_for_it(self, executor: Executor, tmp_path: Path) -> None:
        def stop_at_once(event: Event) -> None:
            if isinstance(event, Started):
                executor.stop(event.number)
                self.settle(executor)
                go(tmp_path, *range(1, 100))

        events = run_one(executor, task("step_by_step", folder=str(tmp_path)), hear=stop_at_once)

        assert end(events).how == Outcome.STOPPED
        assert len(reports(events)) == 1
        assert (tmp_path / "closed").exists()

    def test_a_generator_that_ended_before_the_stop_arrived_is_finished(
        self, executor: Executor, tmp_path: Path
    ) -> None:
        def stop_after_the_last(event: Event) -> None:
            if isinstance(event, Reported):
                if self.inside_poll:
                    return  # it can be stopped between two reports only, never too late
                go(tmp_path, 2)
                executor.stop(event.number)

        go(tmp_path, 1)
        if self.inside_poll:
            go(tmp_path, 2)
        one = task("step_by_step", folder=str(tmp_path), last=2)
        events = run_one(executor, one, hear=stop_after_the_last)

        assert end(events).how == Outcome.FINISHED
        assert (tmp_path / "closed").exists()
        executor.stop(one.number)  # later still: nothing happens
        assert end(run_one(executor, task("number"))).how == Outcome.FINISHED

    def test_a_stop_for_one_attempt_does_not_end_the_next(self, executor: Executor, tmp_path: Path) -> None:
        first = task("step_by_step", folder=str(tmp_path))
        stopped = run_one(executor, first, hear=self.stop_at_first_report(executor, tmp_path))
        assert end(stopped).how == Outcome.STOPPED

        again = Task(first.number, 2, {"act": "count", "steps": 50}, 0)
        events = run_one(executor, again)

        assert end(events).how == Outcome.FINISHED
        assert len(reports(events)) == 50

    def test_a_stop_of_an_unknown_trial_does_nothing(self, executor: Executor) -> None:
        executor.stop(10**6)
        executor.kill(10**6, "unknown")

        assert end(run_one(executor, task("number"))).how == Outcome.FINISHED

    def test_a_kill_ends_the_attempt_as_lost_for_the_reason_given(self, executor: Executor, tmp_path: Path) -> None:
        go(tmp_path, *range(1, 100))

        def kill(event: Event) -> None:
            if isinstance(event, Reported):
                executor.kill(event.number, "ran longer than 1 s")

        events = run_one(executor, task("step_by_step", folder=str(tmp_path)), hear=kill)

        assert (end(events).how, end(events).error) == (Outcome.LOST, "ran longer than 1 s")
        assert end(run_one(executor, task("number"))).how == Outcome.FINISHED
