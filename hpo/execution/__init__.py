"""The seam between the search and whatever runs its trials.

An :class:`Executor` is given tasks and answers with events; it knows nothing of samplers, ledgers or MLflow. One
contract suite (``tests/hpo/execution``) holds for all of them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from hpo.trial import Report

# What opens the ledger and the tracking server: the driver's alone, never an objective's.
CREDENTIALS = (
    "HPO_STORAGE",
    "PGPASSWORD",
    "PGPASSFILE",
    "PGSERVICEFILE",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
)


@dataclass(frozen=True)
class Job:
    """What every worker of a study needs to know; small, and free of secrets.

    Attributes:
        objective: As the study names it.
        metric: The name of a bare number's metric.
        path: Folders to import the objective from, beside the environment's own.
    """

    objective: str | tuple[str, ...]
    metric: str
    path: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """One attempt at one trial.

    Attributes:
        number: The trial's number.
        attempt: 1, and one more for every time it is run again.
        params: Fixed and searched parameters together.
        seed: The trial's seed.
        checkpoint: A folder of the trial's own, the same for every attempt.
    """

    number: int
    attempt: int
    params: Mapping[str, Any]
    seed: int
    checkpoint: str | None = None


@dataclass(frozen=True)
class Started:
    """A worker took the task up.

    Attributes:
        number: The trial.
        attempt: Its attempt.
        worker: The worker's name: host and process.
        time: Seconds since the epoch, on the worker's clock.
    """

    number: int
    attempt: int
    worker: str
    time: float


@dataclass(frozen=True)
class Reported:
    """The objective yielded; several reports may come at once."""

    number: int
    attempt: int
    reports: tuple[Report, ...]


# How an attempt ended: its generator was exhausted, was closed by a stop, raised, or its worker was lost.
FINISHED, STOPPED, RAISED, LOST = "finished", "stopped", "raised", "lost"


@dataclass(frozen=True)
class Ended:
    """An attempt is over; nothing more comes of it.

    Attributes:
        number: The trial.
        attempt: Its attempt.
        how: ``"finished"``, ``"stopped"``, ``"raised"`` or ``"lost"``.
        time: Seconds since the epoch.
        error: A traceback (raised) or a reason (lost).
    """

    number: int
    attempt: int
    how: str
    time: float
    error: str | None = None


Event = Started | Reported | Ended


def in_cluster_job() -> bool:
    """Whether this process is the driver of a Ray job: its working folder is a copy, and goes with the job."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


class Executor(Protocol):
    """Runs tasks; every submitted task ends in exactly one :class:`Ended`."""

    @property
    def free(self) -> int:
        """How many more tasks can start at once."""

    def submit(self, task: Task) -> None:
        """Starts a task on a free worker."""

    def poll(self, timeout: float) -> list[Event]:
        """What has happened since the last call; waits up to ``timeout`` seconds for the first event."""

    def stop(self, number: int) -> None:
        """Closes the generator of a running trial at its next report."""

    def kill(self, number: int, reason: str) -> None:
        """Ends a running trial's worker; the attempt ends as lost, with this reason."""

    def close(self) -> None:
        """Ends everything that still runs and gives the workers back."""
