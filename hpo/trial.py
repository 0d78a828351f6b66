"""One trial as every part of hpo sees it: the loop, the ledger, the mirror, the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# The note of a trial that belongs to a repeat of an experiment: which one, from 0.
REPEAT = "hpo:repeat"

RUNNING, COMPLETE, PRUNED, FAILED = STATES = ("running", "complete", "pruned", "failed")


class Report(NamedTuple):
    """What an objective yielded once.

    Attributes:
        step: 1 for the first report of a trial.
        time: Seconds since the epoch, on the worker's clock.
        metrics: Metric names to numbers.
    """

    step: int
    time: float
    metrics: Mapping[str, float]


@dataclass
class Trial:
    """A trial's record, live while it runs and final afterwards.

    Attributes:
        number: The same in ledger, MLflow and terminal; from 0.
        params: The searched parameters, as the objective sees them.
        seed: The seed handed to the objective.
        state: One of :data:`STATES`.
        value: The metric's last reported value, once the trial is complete or pruned.
        started: Seconds since the epoch; None while it waits for a worker.
        ended: Seconds since the epoch; None while it runs.
        worker: Where it ran.
        attempt: 1, and one more for every time it was run again.
        reports: In order of their steps.
        error: Why it failed: a traceback or a reason.
        notes: What the sampler wrote down when it chose the parameters (Optuna's system attributes).
    """

    number: int
    params: dict[str, Any]
    seed: int
    state: str = RUNNING
    value: float | None = None
    started: float | None = None
    ended: float | None = None
    worker: str | None = None
    attempt: int = 1
    reports: list[Report] = field(default_factory=list)
    error: str | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        return self.state != RUNNING

    @property
    def repeat(self) -> int | None:
        """Which repeat of the experiment it belongs to, from 0; None where the study has no repeats."""
        return self.notes.get(REPEAT)

    @property
    def seconds(self) -> float | None:
        if self.started is None or self.ended is None:
            return None
        return self.ended - self.started

    def last(self, metric: str) -> float | None:
        """The last reported value of ``metric``."""
        return next((r.metrics[metric] for r in reversed(self.reports) if metric in r.metrics), None)

    def head(self) -> dict[str, Any]:
        """The trial as ``hpo show --json`` prints it."""
        return {
            "number": self.number,
            "value": self.value,
            "params": self.params,
            "state": self.state,
            "seconds": None if self.seconds is None else round(self.seconds, 3),
        }


def best_first(trials: list[Trial], direction: str) -> list[Trial]:
    """The complete trials, best value first, the earlier of two equals first."""
    sign = -1.0 if direction == "maximize" else 1.0
    scored = [t for t in trials if t.state == COMPLETE and t.value is not None and math.isfinite(t.value)]
    return sorted(scored, key=lambda t: (sign * (t.value or 0.0), t.number))


def counts(trials: list[Trial]) -> dict[str, int]:
    """How many trials are in each state, finished states first."""
    return {state: sum(t.state == state for t in trials) for state in (COMPLETE, PRUNED, FAILED, RUNNING)}
