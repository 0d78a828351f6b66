"""Runs tasks on an executor and looks at what comes back."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpo.execution import FINISHED, LOST, Ended, Event, Executor, Job, Reported, Started, Task
from hpo.resources import Resources
from hpo.trial import Report

JOB = Job("worker_objectives:play", "score", (str(Path(__file__).parent),))
HALF = Resources(cpus=0.5, gpus=0.0, memory=0.0)
numbers = itertools.count()


def task(act: str, seed: int = 0, attempt: int = 1, **params: Any) -> Task:
    return Task(next(numbers), attempt, {"act": act, **params}, seed)


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
        assert isinstance(first, Started) or last.how == LOST
        assert {event.attempt for event in events[task.number]} == {task.attempt}
    return events


def reports(events: list[Event]) -> list[Report]:
    return [report for event in events if isinstance(event, Reported) for report in event.reports]


def end(events: list[Event]) -> Ended:
    assert isinstance(events[-1], Ended)
    return events[-1]


def run_one(executor: Executor, task: Task, **options: Any) -> list[Event]:
    return run(executor, task, **options)[task.number]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def still_well(pool: Executor) -> None:
    """Both places of the pool work."""
    assert all(end(events).how == FINISHED for events in run(pool, *(task("number") for _ in range(6))).values())
