"""An executor of imagined workers on an imagined clock: any timing, no waiting."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from hpo.execution import FINISHED, LOST, RAISED, STOPPED, Ended, Event, Reported, Started, Task
from hpo.trial import Report

Objective = Callable[[Mapping[str, Any], int], Sequence[float]]


class FakeExecutor:
    """Every report of every trial takes a random time, drawn from ``rng``.

    Args:
        objective: Parameters and seed to the values that the trial reports, one after another.
        workers: How many trials run at once.
        rng: Where delays, and losses, come from.
        metric: The name of the reported metric.
        lose: The probability that an attempt's worker dies on the way.
        die_after: After so many events the driver dies: :meth:`poll` raises KeyboardInterrupt.
    """

    def __init__(
        self,
        objective: Objective,
        workers: int,
        rng: np.random.Generator,
        *,
        metric: str = "score",
        lose: float = 0.0,
        die_after: int | None = None,
    ) -> None:
        self._objective, self._workers, self._rng, self._metric = objective, workers, rng, metric
        self._lose, self._left = lose, die_after
        self._now = 0.0
        self._order = itertools.count()
        self._due: list[tuple[float, int, Event]] = []
        self._running: dict[int, Task] = {}
        self.reports = 0
        self.most = 0

    @property
    def free(self) -> int:
        return self._workers - len(self._running)

    def submit(self, task: Task) -> None:
        assert self.free
        self._running[task.number] = task
        self.most = max(self.most, len(self._running))
        key = (task.number, task.attempt)
        at = self._after(self._now, Started(*key, f"fake-{task.number % self._workers}", self._now))
        try:
            values = self._objective(task.params, task.seed)
        except ZeroDivisionError as error:
            self._after(at, Ended(*key, RAISED, at, f"Traceback ...\nZeroDivisionError: {error}"))
            return
        lost = self._rng.random() < self._lose
        for step, value in enumerate(values[: len(values) // 2] if lost else values, start=1):
            at = self._after(at, Reported(*key, (Report(step, at, {self._metric: float(value)}),)))
        self._after(at, Ended(*key, LOST if lost else FINISHED, at, "the worker died" if lost else None))

    def _after(self, at: float, event: Event) -> float:
        at += float(self._rng.exponential())
        heapq.heappush(self._due, (at, next(self._order), event))
        return at

    def poll(self, timeout: float) -> list[Event]:
        if self._left is not None:
            if not self._left:
                raise KeyboardInterrupt
            self._left -= 1
        if not self._due:
            return []
        self._now, _, event = heapq.heappop(self._due)
        if isinstance(event, Ended):
            del self._running[event.number]
        self.reports += isinstance(event, Reported)
        return [event]

    def stop(self, number: int) -> None:
        self._cut(number, STOPPED, None)

    def kill(self, number: int, reason: str) -> None:
        self._cut(number, LOST, reason)

    def _cut(self, number: int, how: str, error: str | None) -> None:
        if number in self._running:
            self._due = [due for due in self._due if due[2].number != number]
            heapq.heapify(self._due)
            self._after(self._now, Ended(number, self._running[number].attempt, how, self._now, error))

    def close(self) -> None:
        self._due.clear()
        self._running.clear()
