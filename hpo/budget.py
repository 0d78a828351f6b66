"""When a search ends: whichever limit of its budget is reached first, over all workers and runs of the study.

Everything is derived from the trials in the ledger, so that a restart changes nothing. A limit that is reached starts
no more trials; those that run may finish.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hpo.fields import Field, Place, duration, integer, number, read_table
from hpo.trial import COMPLETE, Trial

BUDGET = {
    "trials": Field(integer(1), None),
    "time": Field(duration, None),
    "worker_time": Field(duration, None),
    "target": Field(number(), None),
    "no_improvement": Field(integer(1), None),
}


@dataclass(frozen=True)
class Budget:
    """The limits of a search; at least one of the first three is set.

    Attributes:
        trials: Finished trials (complete, pruned or failed).
        time: Seconds during which trials ran, however many at once; pauses between two runs of a study do not count.
        worker_time: Seconds of all trials together.
        target: A value as good as this, or better.
        no_improvement: Finished trials since the best one.
    """

    trials: int | None = None
    time: float | None = None
    worker_time: float | None = None
    target: float | None = None
    no_improvement: int | None = None

    @property
    def most(self) -> int:
        """No more trials than this; a very large number where only other limits are set."""
        return sys.maxsize if self.trials is None else self.trials


def read_budget(place: Place, raw: Any) -> dict[str, Any]:
    """Reads a study's ``[budget]`` table.

    Raises:
        InputError: When it sets no limit that is certain to be reached, or limits that contradict each other.
    """
    values = read_table(place, raw, BUDGET)
    if all(values[key] is None for key in ("trials", "time", "worker_time")):
        raise place.error("must set trials, time or worker_time: nothing else is certain to end the search")
    if values["trials"] and values["no_improvement"] and values["no_improvement"] >= values["trials"]:
        raise (place / "no_improvement").error(
            f"must be below trials, or it is never reached, got {values['no_improvement']} with trials = "
            f"{values['trials']}"
        )
    return values


class Meter:
    """Measures what a search has used of its budget.

    Args:
        budget: The limits.
        direction: ``"minimize"`` or ``"maximize"``.
        trials: What has finished already, in any order.
    """

    def __init__(self, budget: Budget, direction: str, trials: Iterable[Trial] = ()) -> None:
        self._budget = budget
        self._sign = -1.0 if direction == "maximize" else 1.0
        self._best = math.inf
        self._since_best = 0
        self._worker_time = 0.0
        self._time = 0.0
        self._busy_until = -math.inf
        self.finished = 0
        done = [trial for trial in trials if trial.finished]
        for trial in sorted(done, key=lambda trial: (trial.ended or 0.0, trial.number)):
            self.add(trial)

    def add(self, trial: Trial) -> None:
        """Counts a trial that has finished."""
        self.finished += 1
        self._since_best += 1
        if trial.state == COMPLETE and trial.value is not None and self._sign * trial.value < self._best:
            self._best, self._since_best = self._sign * trial.value, 0
        if trial.started is not None and trial.ended is not None:
            self._worker_time += trial.ended - trial.started
            self._time += max(0.0, trial.ended - max(trial.started, self._busy_until))
            self._busy_until = max(self._busy_until, trial.ended)

    def spent(self, now: float, running: Iterable[Trial] = ()) -> str | None:
        """Which limit is reached, in words; None while there is budget left.

        Args:
            now: Seconds since the epoch.
            running: The trials that run now; the time they have taken counts already.
        """
        budget = self._budget
        if self.finished >= budget.most:
            return f"{self.finished} trials"
        if budget.target is not None and self._best <= self._sign * budget.target:
            return f"the target of {budget.target:g} is reached"
        if budget.no_improvement is not None and self._best < math.inf and self._since_best >= budget.no_improvement:
            return f"no improvement over {self._since_best} trials"
        if budget.time is None and budget.worker_time is None:
            return None
        begun = [trial.started for trial in running if trial.started is not None]
        if budget.worker_time is not None:
            used = self._worker_time + sum(now - start for start in begun)
            if used >= budget.worker_time:
                return f"{used:.0f} s of work"
        if budget.time is not None:
            used = self._time + (max(0.0, now - max(min(begun), self._busy_until)) if begun else 0.0)
            if used >= budget.time:
                return f"{used:.0f} s"
        return None
