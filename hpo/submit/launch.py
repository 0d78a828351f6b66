"""Sends a study to a cluster as a job, and follows it there; also what its driver checks when it starts."""

from __future__ import annotations

import os
import re
import shlex
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hpo.errors import ClusterError, ClusterUnusable, HpoError, InputError, Interrupted
from hpo.execution.guest import Guest
from hpo.ledger.address import Address
from hpo.study import Study
from hpo.study.command import Command
from hpo.text import redact

if TYPE_CHECKING:
    from hpo.submit.jobs import Jobs, StudyJob

# Seconds for which a job is watched until its search begins, and between two checks.
BEGIN, CHECK = 120.0, 0.5
# The exit code of a shell that does not find its command.
NOT_FOUND = 127

Notify = Callable[[str], None]
Write = Callable[[str], object]


def connect(address: str | None) -> Jobs:
    """The jobs of the cluster at an address; without one, at ``RAY_ADDRESS`` if that is a dashboard.

    Raises:
        ClusterUnusable: When no address is given, or no jobs API answers there.
    """
    if address is None and os.environ.get("RAY_ADDRESS", "").startswith(("http://", "https://")):
        address = os.environ["RAY_ADDRESS"]
    if address is None:
        raise ClusterUnusable(
            "--address: which cluster? Give the dashboard of its head: --address http://HEAD:8265", key="--address"
        )
    from hpo.submit.jobs import Jobs

    return Jobs(address)


# Sending -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sent:
    """A job that was sent.

    Attributes:
        jobs: The cluster.
        name: The job's name.
        files: How many files travelled.
        size: How large they are together, compressed, in bytes.
        left_out: What of the working folder did not travel, in one sentence; None for nothing.
    """

    jobs: Jobs
    name: str
    files: int
    size: int
    left_out: str | None


def send(
    study: Study,
    study_file: Path,
    address: str | None,
    *,
    overrides: Sequence[str] = (),
    options: Mapping[str, str | None],
    grace: float,
    verbose: bool = False,
) -> Sent:
    """Packs the working folder, sends it, and starts the study's driver on the cluster.

    Args:
        study: The study, checked.
        study_file: Its file.
        address: The cluster; see :func:`connect`.
        overrides: ``"key=value"`` texts for the driver.
        options: The driver's other options; None for those that are not given.
        grace: Seconds for which running trials may continue after ``hpo stop``.
        verbose: Write Ray's log and the workers' output to the job's log.

    Raises:
        InputError: When the working folder cannot be packed.
        ClusterUnusable: When the cluster does not take the job.
    """
    from hpo.submit import package

    with tempfile.TemporaryDirectory(prefix="hpo-submit-") as folder:
        archive = Path(folder) / "job.zip"
        inside, count, left_out = package.pack(Path.cwd(), study_file, archive)
        size = archive.stat().st_size
        jobs = connect(address)
        # Ray's own name for the time between asking a driver to end and killing it.
        environment = {"RAY_JOB_STOP_WAIT_TIME_S": str(max(1, round(grace)))}
        name = jobs.submit(study.name, _entrypoint(inside, overrides, options, verbose=verbose), archive, environment)
    return Sent(jobs, name, count, size, left_out)


def _entrypoint(study_file: str, overrides: Sequence[str], options: Mapping[str, str | None], *, verbose: bool) -> str:
    """The command for the head's shell; `exec` makes the shell the driver itself, so that signals reach it."""
    words = ["exec", "hpo", "run", study_file, *(["--verbose"] if verbose else [])]
    words += [word for override in overrides for word in ("--set", override)]
    words += [word for option, value in options.items() if value is not None for word in (option, value)]
    return shlex.join(words)


def check_public(option: str, url: str | None) -> str | None:
    """Refuses an address with a password: everybody who may see the cluster's jobs could read it."""
    if url is not None and (redact(url) != url or re.search(r"(?i)password=|token=", url)):
        raise InputError(
            f"{option}: must hold no password, because everybody on the cluster can read a job's options; "
            "set HPO_STORAGE and MLFLOW_TRACKING_URI where the cluster's head is started",
            key=option,
        )
    return url


def check_absolute(option: str, path: Path | None) -> str | None:
    """Refuses a relative path: a job's own folder is deleted with the job."""
    if path is not None and not path.is_absolute():
        raise InputError(
            f"{option}: must be an absolute path on a cluster, because a job's own folder is deleted with it, "
            f"got {path}",
            key=option,
            value=str(path),
        )
    return None if path is None else str(path)


# Following ---------------------------------------------------------------------------------------------------------


def watch_begin(jobs: Jobs, name: str, study: str, write: Write, notify: Notify) -> None:
    """Waits until the search begins, or its driver refuses: a locked study, an unreachable ledger, missing data.

    Raises:
        HpoError: When the job has failed; see :func:`raise_for_end`.
    """
    notify(f"sent to {jobs.address}; follow it with: hpo logs {name} --follow")
    deadline = time.monotonic() + BEGIN
    try:
        while time.monotonic() < deadline:
            job = jobs.find(name)
            if job.over:
                log = jobs.log(name)
                raise_for_end(job, log)
                write(driver_output(log))
                return
            begun = re.search(rf"^{re.escape(study)}: \d+/.*", driver_output(jobs.log(name)), re.MULTILINE)
            if begun:
                notify(f"started: {begun[0]}")
                return
            time.sleep(CHECK)
    except KeyboardInterrupt:
        notify(f"\nthe job keeps running; stop it with: hpo stop {name}")
        return
    notify(f"the search has not started within {BEGIN:g} s; to see why: hpo logs {name}")


def follow(jobs: Jobs, name: str, write: Write, notify: Notify) -> None:
    """Copies a job's log until the job is over; Ctrl-C ends the copying only.

    Raises:
        HpoError: When the job has failed; see :func:`raise_for_end`.
    """
    try:
        job = jobs.follow(name, write)
    except KeyboardInterrupt:
        notify(f"\nthe job keeps running; follow it with: hpo logs {name} --follow; stop it with: hpo stop {name}")
        return
    raise_for_end(job)


def raise_for_end(job: StudyJob, log: str | None = None) -> None:
    """Ends as a job did.

    Args:
        job: A job that is over.
        log: Its log, where the user has not seen that yet.

    Raises:
        HpoError: When the study failed, of a class with the exit code that `hpo run` would have had.
    """
    from hpo.submit.jobs import STOPPED, SUCCEEDED

    if job.state == SUCCEEDED:
        return
    resume = "run the same `hpo submit` to resume the study"
    tail = f"\n{text}" if log is not None and (text := (driver_output(log) or job.message).strip()) else ""
    if job.state == STOPPED or job.exit_code == Interrupted.exit_code:
        raise Interrupted(f"job {job.name} was stopped; {resume}{tail}")
    if job.exit_code == NOT_FOUND:
        raise ClusterUnusable(
            f"job {job.name} found no `hpo` on the PATH of the cluster's head; install it there{tail}"
        )
    if job.exit_code is None or job.exit_code < 0:
        why = "" if log is not None else f": {' '.join(job.message.split())[:300]}"
        how = "ended without an exit code (killed, or its node was lost)"
        if job.exit_code is not None:
            how = f"was killed by signal {-job.exit_code}"
        raise ClusterError(f"job {job.name} {how}; {resume}{why}{tail}")
    error = InputError if job.exit_code == InputError.exit_code else HpoError
    raise error(f"job {job.name} ended with exit code {job.exit_code}; see its log: hpo logs {job.name}{tail}")


def driver_output(log: str) -> str:
    """The driver's output in a job's log, without what Ray writes about starting it."""
    _, entrypoint, rest = log.partition("Running entrypoint for job ")
    return rest.partition("\n")[2] if entrypoint else ""


# In the driver -----------------------------------------------------------------------------------------------------


def check_durable(study: Study, where: Address, tracking: str, checkpoints: Path | None, notify: Notify) -> None:
    """Refuses to keep anything in the working folder of a job: it is a copy on one node, deleted with the job.

    Raises:
        InputError: When the ledger or the runs would be lost.
    """
    lost, how = "would be lost with this job's folder; where the cluster's head is started, set", "or give a full path"
    if where.relative:
        raise InputError(
            f"storage: {where} {lost} HPO_STORAGE=postgresql://USER@HOST/DATABASE, {how}",
            key="storage",
            value=str(where),
        )
    if tracking.startswith("sqlite:///") and not Path(tracking.removeprefix("sqlite:///")).is_absolute():
        raise InputError(
            f"tracking: {tracking} {lost} MLFLOW_TRACKING_URI=http://HOST:5000, {how}, or none",
            key="tracking",
            value=tracking,
        )
    if checkpoints is None and _takes_checkpoint(study):
        notify("checkpoints stay on the node of their trial; --checkpoints DIR keeps them where all nodes see them")


def _takes_checkpoint(study: Study) -> bool:
    with closing(Guest(study)) as guest:
        try:
            return bool(guest.call(takes_checkpoint, study.objective))
        except HpoError:  # the check of the study, which comes next, reports it
            return False


def takes_checkpoint(reference: str | Command) -> bool:
    """Whether the objective of this name takes a checkpoint; imports it."""
    from hpo import objective

    return objective.takes(objective.resolve(reference), "checkpoint")
