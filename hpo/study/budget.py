"""When a search ends: whichever limit of its budget is reached first, over all workers and runs of the study.

Everything is derived from the trials in the ledger, so that a restart changes nothing. A limit that is reached starts
no more trials; those that run may finish.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpo.so_far import BestSoFar, RunningTime
from hpo.study.fields import Field, Place, duration, integer, number, read_table, read_value
from hpo.text import length, suggest
from hpo.trial import Direction, Trial, by_end

BUDGET = {
    "trials": Field(integer(1), None),
    "time": Field(duration, None),
    "worker_time": Field(duration, None),
    "target": Field(lambda value: value, None),
    "no_improvement": Field(integer(1), None),
}


@dataclass(frozen=True)
class Budget:
    """The limits of a search; at least one of the first three is set.

    Attributes:
        trials: Finished trials (complete, pruned, infeasible or failed).
        time: Seconds during which trials ran, however many at once; pauses between two runs of a study do not count.
        worker_time: Seconds of all trials together.
        target: Values by objective; the search ends with a trial that is as good as these in all of them, or better.
        no_improvement: Finished trials since the best one; with several objectives, since the latest on the front.
    """

    trials: int | None = None
    time: float | None = None
    worker_time: float | None = None
    target: Mapping[str, float] | None = None
    no_improvement: int | None = None

    @property
    def most(self) -> int:
        """No more trials than this; a very large number where only other limits are set."""
        return sys.maxsize if self.trials is None else self.trials


def read_budget(place: Place, raw: Any, objectives: Sequence[str]) -> dict[str, Any]:
    """Reads a study's ``[budget]`` table.

    Args:
        place: Where it stands.
        raw: The table.
        objectives: The names of the study's objectives.

    Raises:
        InputError: When it sets no limit that is certain to be reached, or limits that contradict each other.
    """
    values = read_table(place, raw, BUDGET)
    if values["target"] is not None:
        values["target"] = _read_target(place / "target", values["target"], objectives)
    if all(values[key] is None for key in ("trials", "time", "worker_time")):
        raise place.error(
            "must set trials, time or worker_time: nothing else is certain to end the search", raw, got=""
        )
    if values["trials"] and values["no_improvement"] and values["no_improvement"] >= values["trials"]:
        raise (place / "no_improvement").error(
            "must be below trials, or it is never reached",
            values["no_improvement"],
            f"{values['no_improvement']} with trials = {values['trials']}",
        )
    return values


def _read_target(place: Place, raw: Any, objectives: Sequence[str]) -> float | dict[str, float]:
    """A number for a single objective; for several, numbers by name."""
    if len(objectives) == 1:
        target: float = read_value(place, raw, number())
        return target
    if not isinstance(raw, Mapping) or not raw:
        raise place.error(f"must be a table with values of objectives, as in {{ {objectives[0]} = 0.9 }}", raw)
    for name in raw:
        if name not in objectives:
            raise (place / name).error(f"is no objective{suggest(name, objectives)}", raw[name], got="")
    return {name: read_value(place / name, value, number()) for name, value in raw.items()}


def in_words(limit: float | Mapping[str, float]) -> str:
    """A limit of a resolved study, in words."""
    if isinstance(limit, Mapping):  # the target of several objectives
        return " and ".join(f"{name} {value:g}" for name, value in limit.items())
    return f"{limit:g}"


class BudgetMeter:
    """Measures what a search has used of its budget.

    Args:
        budget: The limits.
        objectives: What is better of each objective, by name.
        trials: What has finished already, in any order.
    """

    def __init__(self, budget: Budget, objectives: Mapping[str, Direction], trials: Iterable[Trial] = ()) -> None:
        self._budget = budget
        self._objectives = objectives
        self._best = BestSoFar(*objectives.values())
        self._time = RunningTime()
        self._worker_time = 0.0
        self.finished = 0
        for trial in by_end(trials):
            self.add(trial)

    def add(self, trial: Trial) -> None:
        """Counts a finished trial; one that was taken over counts only with ``count = true`` in ``[from]``."""
        if trial.origin and not trial.counted:
            return
        self.finished += trial.counted
        self._best.add(trial)
        if trial.started is not None and trial.ended is not None:
            self._worker_time += trial.ended - trial.started
            self._time.add(trial.started, trial.ended)

    @staticmethod
    def counted(trials: Iterable[Trial]) -> int:
        """How many trials count, in any state."""
        return sum(trial.counted for trial in trials)

    def spent(self, running: Sequence[tuple[float, float]] = ()) -> str | None:
        """Which limit is reached, in words; None while there is budget left.

        Args:
            running: For each trial that runs now, when it started (seconds since the epoch) and for how many seconds it
                has run; that time counts already.
        """
        budget = self._budget
        if self.finished >= budget.most:
            return f"{self.finished} trials"
        front, since = self._best.front, self._best.since
        if budget.target is not None and any(self._reaches(budget.target, values) for values in front):
            one = len(self._objectives) == 1
            words = [f"{value:g}" if one else f"{name} = {value:g}" for name, value in budget.target.items()]
            return f"the target of {', '.join(words)} is reached"
        if front and budget.no_improvement is not None and since >= budget.no_improvement:
            return f"no improvement over {since} trials"
        return self._spent_time(running)

    def _reaches(self, target: Mapping[str, float], values: Sequence[float]) -> bool:
        return not any(
            direction.better(target[name], value)
            for (name, direction), value in zip(self._objectives.items(), values, strict=True)
            if name in target
        )

    def _spent_time(self, running: Sequence[tuple[float, float]]) -> str | None:
        budget = self._budget
        if budget.time is None and budget.worker_time is None:
            return None
        if budget.worker_time is not None:
            used = self._worker_time + sum(seconds for _, seconds in running)
            if used >= budget.worker_time:
                return f"{length(round(used))} of work"
        if budget.time is not None:
            used = self._time.seconds
            if running:
                used = self._time.including((start, start + seconds) for start, seconds in running)
            if used >= budget.time:
                return length(round(used))
        return None
