"""An executor that does what a script says: one move of one attempt per poll, nothing that depends on time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hpo.execution import FINISHED, LOST, STOPPED, Ended, Event, Reported, Started, Task
from hpo.trial import Report

# A mapping is a report, several in a list come at once; a pair is an end and its error; an event is passed on as it is;
# None is a poll in which nothing happens. A script that runs out is a generator that is exhausted.
Move = Mapping[str, float] | list[Mapping[str, float]] | tuple[str, str | None] | Event | None
Script = Callable[[Task], Iterable[Move]]


class Died(BaseException):
    """The driver is killed here."""


@dataclass
class _Attempt:
    task: Task
    moves: Iterator[Move]
    step: int = 0


class ScriptedExecutor:
    """Plays a script per attempt on imagined workers.

    Args:
        script: A task's moves.
        workers: How many tasks run at once.
        die_at: The poll at which the driver dies.
        deaf: Whether stops are ignored, as by a generator that is past its last report.

    Attributes:
        tasks: All tasks that were submitted, in order.
        stopped: The trials for which a stop was asked.
        killed: The trials, and the reasons, for which a kill was asked.
    """

    def __init__(self, script: Script, workers: int = 1, *, die_at: int | None = None, deaf: bool = False) -> None:
        self._script, self._workers, self._die_at, self._deaf = script, workers, die_at, deaf
        self._attempts: deque[_Attempt] = deque()
        self._polls = 0
        self.tasks: list[Task] = []
        self.stopped: list[int] = []
        self.killed: list[tuple[int, str]] = []

    @property
    def free(self) -> int:
        return self._workers - len(self._attempts)

    def submit(self, task: Task) -> None:
        assert self.free > 0
        self.tasks.append(task)
        started = Started(task.number, task.attempt, f"host/{task.number % self._workers}", 100.0)
        self._attempts.append(_Attempt(task, iter([started, *self._script(task), (FINISHED, None)])))

    def poll(self, timeout: float) -> list[Event]:
        if self._polls == self._die_at:
            raise Died
        self._polls += 1
        if not self._attempts:
            return []
        attempt = self._attempts.popleft()
        events = self._play(attempt, next(attempt.moves))
        if not any(isinstance(event, Ended) and event.attempt == attempt.task.attempt for event in events):
            self._attempts.append(attempt)
        return events

    def _play(self, attempt: _Attempt, move: Move) -> list[Event]:
        key = (attempt.task.number, attempt.task.attempt)
        if move is None:
            return []
        if isinstance(move, tuple):
            return [Ended(*key, move[0], 200.0, move[1])]
        if isinstance(move, Started | Reported | Ended):
            return [move]
        reports = []
        for metrics in move if isinstance(move, list) else [move]:
            attempt.step += 1
            reports.append(Report(attempt.step, 100.0 + attempt.step, metrics))
        return [Reported(*key, tuple(reports))]

    def stop(self, number: int) -> None:
        self.stopped.append(number)
        if not self._deaf:
            self._end(number, (STOPPED, None))

    def kill(self, number: int, reason: str) -> None:
        self.killed.append((number, reason))
        self._end(number, (LOST, reason))

    def _end(self, number: int, end: Any) -> None:
        for attempt in self._attempts:
            if attempt.task.number == number:
                attempt.moves = iter([end])

    def close(self) -> None:
        self._attempts.clear()
