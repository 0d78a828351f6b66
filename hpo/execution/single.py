"""Trials one after another in one child process, without Ray."""

from __future__ import annotations

from collections.abc import Iterator

from hpo.execution import Ended, Event, Task
from hpo.execution.process import Child


class SingleExecutor:
    """One worker: a child process.

    Args:
        child: The process; it is ended with the executor.
    """

    def __init__(self, child: Child) -> None:
        self._child = child
        self._task: Task | None = None
        self._events: Iterator[list[Event]] = iter(())

    @property
    def free(self) -> int:
        return 0 if self._task else 1

    def submit(self, task: Task) -> None:
        if self._task is not None:
            raise RuntimeError("the only worker is busy")
        self._task, self._events = task, self._child.run(task, idle=True)

    def poll(self, timeout: float) -> list[Event]:
        if self._task is None:
            return []
        events = next(self._events)  # after the child's own pause
        if events and isinstance(events[-1], Ended):
            self._task = None
        return events

    def stop(self, number: int) -> None:
        if self._task is not None and self._task.number == number:
            self._child.stop(number, self._task.attempt)

    def kill(self, number: int, reason: str) -> None:
        if self._task is not None and self._task.number == number:
            self._child.kill(number, self._task.attempt, reason)

    def close(self) -> None:
        if self._task is None:
            self._child.leave()
        else:
            self._child.close()
            self._task = None
