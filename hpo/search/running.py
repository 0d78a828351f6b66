"""Trials under way: on an executor, or leased to somebody who has asked for one."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from hpo.trial import LEASE, Report, Reports, Trial

# Seconds within which a worker must confirm that it has started a trial; its time limit begins then at the latest.
START_TIMEOUT = 10.0


@dataclass
class Running:
    """What the loop knows of a trial under way.

    Attributes:
        trial: The trial, without the reports of this attempt.
        reports: What this attempt has reported.
        started: When the loop heard that it started, on the driver's monotonic clock; before that, the latest moment
            at which it should.
        stopping: Whether the pruner, or a person, has decided to end it.
        place: Where its own folder is, when it is on a node that does not share the driver's.
    """

    trial: Trial
    reports: list[Report] = field(default_factory=list)
    started: float = field(default_factory=lambda: time.monotonic() + START_TIMEOUT)
    stopping: bool = False
    place: str | None = None

    def moment(self) -> float:
        """Seconds since the epoch: its start and the monotonic time since: setting a clock changes no length."""
        if self.trial.started is None:
            return time.time()
        return self.trial.started + max(0.0, time.monotonic() - self.started)

    def now(self) -> Trial:
        return replace(self.trial, reports=Reports(self.reports))

    def last(self, metrics: Iterable[str]) -> dict[str, float | None]:
        """What it has last reported of each metric."""
        now = self.now()
        return {metric: now.last(metric) for metric in metrics}


def fresh(trial: Trial) -> Trial:
    """A trial that is to run again: its number, parameters, seed and attempt, and nothing that an attempt left."""
    notes = {key: value for key, value in trial.notes.items() if key != LEASE}
    return replace(trial, reports=(), started=None, ended=None, worker=None, error=None, notes=notes)
