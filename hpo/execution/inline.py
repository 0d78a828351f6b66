"""Trials one after another in the driver's own process: for debugging an objective, and without Ray."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from hpo.execution import LOST, STOPPED, Ended, Event, Job, Task
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
        self._reason: str | None = None

    @property
    def free(self) -> int:
        return 0 if self._steps else 1

    def submit(self, task: Task) -> None:
        if self._steps is not None:
            raise RuntimeError("the only worker is busy")
        self._task, self._steps, self._reason = task, self._worker.steps(task), None

    def poll(self, timeout: float) -> list[Event]:
        if self._steps is None:
            return []
        event = next(self._steps)
        if isinstance(event, Ended):
            self._steps = None
            if event.how == STOPPED and self._reason is not None:
                event = replace(event, how=LOST, error=self._reason)
        return [event]

    def stop(self, number: int) -> None:
        if self._task is not None and self._task.number == number:
            self._worker.stop(number, self._task.attempt)

    def kill(self, number: int, reason: str) -> None:
        # Nothing can end a trial that shares the driver's process; closing its generator is the nearest thing.
        if self._task is not None and self._task.number == number:
            self._reason = self._reason or reason
            self.stop(number)

    def close(self) -> None:
        if self._steps is not None:
            self._steps.close()
            self._steps = None
