"""Searches without workers: a small study, and executors that only act as if they ran its trials.

:class:`ScriptedExecutor` does what a script says, one move per poll. :class:`SimulatedExecutor` has a clock of its own:
any timing, and no waiting.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpo.execution import Ended, Event, Outcome, Printed, Reported, Started, Task
from hpo.ledger.address import parse as parse_address
from hpo.ledger.ledger import Ledger
from hpo.search.loop import Search
from hpo.study import Study, parse
from hpo.trial import Report, Trial

# Parameters and seed to the reports of a trial; a bare number is a report of the study's only metric.
Objective = Callable[[Mapping[str, Any], int], Sequence[float | Mapping[str, float]]]

SPACE = {
    "lr": {"low": 1e-6, "high": 1e-2, "log": True},
    "layers": {"low": 1, "high": 4},
    "activation": {"choice": ["relu", "tanh"]},
    "hidden": {"choice": [[50], [100, 100], []]},
}


def small_study(**changes: Any) -> Study:
    """A study with one parameter of every kind; its objective is only a name, which nothing here imports.

    Args:
        **changes: Each replaces a top-level key, or the named keys of a table (``space`` as a whole). ``objectives``
            stand in place of metric and direction.
    """
    raw: dict[str, Any] = {
        "name": "small",
        "objective": "simple_objectives:curve",
        "metric": "score",
        "direction": "maximize",
        "space": SPACE,
        "budget": {"trials": 6},
    }
    if "objectives" in changes:
        del raw["metric"], raw["direction"]
    for key, value in changes.items():
        merge = isinstance(value, Mapping) and key != "space"
        raw[key] = {**raw.get(key, {}), **value} if merge else value
    return parse(raw, file="small.toml")


def search(
    study: Study, objective: Objective, ledger: Path, *, workers: int = 1, timing: int = 0, **faults: Any
) -> list[Trial]:
    """Runs a study to its end on a :class:`SimulatedExecutor`; a driver that died is started again.

    Args:
        study: What to search.
        objective: Parameters and seed to the values that the trial reports.
        ledger: The journal file to write.
        workers: How many trials run at once.
        timing: The seed of all delays and losses.
        **faults: ``lose`` and ``die_after`` of :class:`SimulatedExecutor`.

    Returns:
        The trials, in order of their numbers.
    """
    for life in range(1000):
        opened = Ledger.open(parse_address(str(ledger)), study)
        try:
            run = Search(study, opened)
            run.run(SimulatedExecutor(objective, workers, np.random.default_rng((timing, life)), **faults))
            return run.trials
        except KeyboardInterrupt:
            continue
        finally:
            opened.close()
    raise AssertionError("the search does not end")


def outcome(trials: list[Trial]) -> list[tuple[Any, ...]]:
    """What must not depend on timing: of each trial number, parameters, seed, state and values."""
    return [(t.number, t.params, t.seed, t.state, t.values) for t in trials]


# A script ----------------------------------------------------------------------------------------------------------

# A mapping is a report, several in a list come at once; a pair is an end and its error; an event is passed on as it is;
# None is a poll in which nothing happens. A script that runs out is a generator that is exhausted.
Move = Mapping[str, float] | list[Mapping[str, float]] | tuple[Outcome, str | None] | Event | None
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
        self._attempts.append(_Attempt(task, iter([started, *self._script(task), (Outcome.FINISHED, None)])))

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
        if isinstance(move, Started | Reported | Printed | Ended):
            return [move]
        reports = []
        for metrics in move if isinstance(move, list) else [move]:
            attempt.step += 1
            reports.append(Report(attempt.step, 100.0 + attempt.step, metrics))
        return [Reported(*key, tuple(reports))]

    def stop(self, number: int) -> None:
        self.stopped.append(number)
        if not self._deaf:
            self._end(number, (Outcome.STOPPED, None))

    def kill(self, number: int, reason: str) -> None:
        self.killed.append((number, reason))
        self._end(number, (Outcome.LOST, reason))

    def _end(self, number: int, end: Move) -> None:
        for attempt in self._attempts:
            if attempt.task.number == number:
                attempt.moves = iter([end])

    def close(self) -> None:
        self._attempts.clear()


# A clock of its own ------------------------------------------------------------------------------------------------


class SimulatedExecutor:
    """Runs trials on imagined workers; every report takes a random time, drawn from ``rng``.

    Args:
        objective: Parameters and seed to the values that the trial reports, one after another.
        workers: How many trials run at once.
        rng: Where delays, and losses, come from.
        metric: The name of the reported metric.
        lose: The probability that an attempt's worker dies on the way.
        die_after: After so many events the driver dies: :meth:`poll` raises KeyboardInterrupt.

    Attributes:
        reports: How many reports were made.
        most: How many trials ran at once at most.
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
        at = self._after(self._now, Started(*key, f"simulated/{task.number % self._workers}", self._now))
        try:
            values = self._objective(task.params, task.seed)
        except ZeroDivisionError as error:
            self._after(at, Ended(*key, Outcome.RAISED, at, f"Traceback ...\nZeroDivisionError: {error}"))
            return
        lost = self._rng.random() < self._lose
        for step, value in enumerate(values[: len(values) // 2] if lost else values, start=1):
            metrics = value if isinstance(value, Mapping) else {self._metric: float(value)}
            at = self._after(at, Reported(*key, (Report(step, at, metrics),)))
        self._after(
            at, Ended(*key, Outcome.LOST if lost else Outcome.FINISHED, at, "the worker died" if lost else None)
        )

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
        self._cut(number, Outcome.STOPPED, None)

    def kill(self, number: int, reason: str) -> None:
        self._cut(number, Outcome.LOST, reason)

    def _cut(self, number: int, how: Outcome, error: str | None) -> None:
        if number in self._running:
            self._due = [due for due in self._due if due[2].number != number]
            heapq.heapify(self._due)
            self._after(self._now, Ended(number, self._running[number].attempt, how, self._now, error))

    def close(self) -> None:
        self._due.clear()
        self._running.clear()
