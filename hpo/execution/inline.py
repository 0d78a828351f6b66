"""Trials one after another in the driver's own process: for debugging an objective, and without Ray."""

from __future__ import annotations

from collections.abc import Generator

from hpo.execution import Ended, Event, Job, Task
from hpo.execution.worker import Worker


class InlineExecutor:
    """One worker in this process; each :meth:`poll` advances its trial by one report.

    Args:
        job: The study's objective.
    """

    def __init__(self, job: Job) -> None:
        self._worker = Worker(job)
        self._task: Task | None = None
        self._steps: Generator[Event, None, None] | None = None

    @property
    def free(self) -> int:
        return 0 if self._steps else 1

    def submit(self, task: Task) -> None:
        if self._steps is not None:
            raise RuntimeError("the only worker is busy")
        self._task, self._steps = task, self._worker.steps(task)

    def poll(self, timeout: float) -> list[Event]:
        if self._steps is None:
            return []
        event = next(self._steps)
        if isinstance(event, Ended):
            self._steps = None
        return [event]

    def stop(self, number: int) -> None:
        if self._task is not None and self._task.number == number:
            self._worker.stop(number, self._task.attempt)

    def kill(self, number: int, reason: str) -> None:
        # Nothing can end a trial that shares the driver's process; closing its generator is the nearest thing.
        self.stop(number)

    def close(self) -> None:
        if self._steps is not None:
            self._steps.close()
            self._steps = None
