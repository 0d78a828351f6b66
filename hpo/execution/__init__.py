"""The seam between the search and whatever runs its trials.

An :class:`Executor` is given tasks and answers with events; it knows nothing of samplers, ledgers or MLflow. One
contract, :class:`hpo.testing.ExecutorContract`, holds for all of them.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from hpo.study.command import Command
from hpo.trial import Report

# What Python takes its filters of warnings from.
WARNINGS = "PYTHONWARNINGS"
# The file, in the folder that holds those of all trials, with the ledger's identity of their study.
MARKER = ".study"
# Ends the name of a folder, beside the one that it becomes, while its content arrives from a node.
ARRIVING = ".arriving"

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
        fixed: Parameters that are the same for every trial.
        path: Folders to import the objective from, beside the environment's own.
        umask: The mask for files that the objective makes; None for that of the process that runs it.
        pause: Seconds for which reports may wait before they are sent on together.
        env: Environment variables of the study's.
        code: The objective itself, pickled by the driver, where workers cannot import it.
        infeasible: The exceptions, and exit codes of commands, that mean that a trial's parameters do not work.
    """

    objective: str | Command
    metric: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    path: tuple[str, ...] = ()
    umask: int | None = None
    pause: float = 0.05
    env: Mapping[str, str] = field(default_factory=dict)
    code: bytes | None = None
    infeasible: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """One attempt at one trial.

    Attributes:
        number: The trial's number.
        attempt: 1, and one more for every time it is run again.
        params: The searched parameters.
        seed: The trial's seed.
        checkpoint: A folder of the trial's own, the same for every attempt.
        folder: Another one, empty when the attempt begins.
        uid: The ledger's identity of the study, where a node that does not share the folder may use another one; empty
            where it must be this one.
    """

    number: int
    attempt: int
    params: Mapping[str, Any]
    seed: int
    checkpoint: str | None = None
    folder: str | None = None
    uid: str = ""


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


@dataclass(frozen=True)
class Printed:
    """The attempt, or what it started, has written to standard output or standard error."""

    number: int
    attempt: int
    text: bytes


class Outcome(StrEnum):
    """How an attempt ended."""

    FINISHED = "finished"  # the generator was exhausted
    STOPPED = "stopped"  # it was closed by a stop
    RAISED = "raised"
    INFEASIBLE = "infeasible"  # it raised what the study calls infeasible
    LOST = "lost"  # its worker died, or was killed


@dataclass(frozen=True)
class Ended:
    """An attempt is over; nothing more comes of it.

    Attributes:
        number: The trial.
        attempt: Its attempt.
        how: Which way.
        time: Seconds since the epoch, on the clock by which it started; None when that is gone, or nobody has it.
        error: A traceback (raised, infeasible) or a reason (lost).
        place: Where the trial's own folder is, when it is on a node that does not share the driver's: see
            :class:`Nodes`.
    """

    number: int
    attempt: int
    how: Outcome
    time: float | None
    error: str | None = None
    place: str | None = None


Event = Started | Reported | Printed | Ended


def in_cluster_job() -> bool:
    """Whether this process is the driver of a Ray job: its working folder is a copy, and goes with the job."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


class Nodes(Protocol):
    """The nodes of a cluster, which hold the folders of trials that ran there. A folder's place is ``NODE/NAME``."""

    def fetch(self, uid: str, place: str, into: Path) -> None:
        """Copies a folder to this machine, where it appears as a whole or not at all; blocks until then.

        Args:
            uid: The ledger's identity of the study.
            place: Where the folder is.
            into: Its path here.

        Raises:
            FileNotFoundError: When the folder, or its node, is gone.
            OSError: When it cannot be copied now; it stays where it is.
        """

    def discard(self, uid: str, places: Collection[str]) -> None:
        """Removes folders; returns at once."""

    def sweep(self, uid: str, keep: Collection[str]) -> None:
        """Removes all folders of a study but those in ``keep``."""


@runtime_checkable
class Resizable(Protocol):
    """An executor whose number of workers can be changed; no trial is cut short for it."""

    def resize(self, workers: int | None) -> None:
        """From now on keeps this many workers; None for as many as fit."""

    def limit(self, most: int) -> None:
        """From now on never keeps more workers than this."""


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
