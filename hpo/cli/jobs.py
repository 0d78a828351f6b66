"""``hpo jobs``, ``logs`` and ``stop``: what a cluster is asked about the studies it runs."""

from __future__ import annotations

import os
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from hpo.cli.options import AsJson, Cluster, Follow
from hpo.cli.text import print_json, print_table, seconds
from hpo.errors import HpoError, InputError, Interrupted

if TYPE_CHECKING:
    from hpo.execution.jobs import Jobs, StudyJob

JobName = Annotated[
    str, typer.Argument(metavar="JOB", help="The job's name, or its study's for the latest.", show_default=False)
]
# The exit code of a shell that does not find its command.
NOT_FOUND = 127


def jobs(address: Cluster = None, as_json: AsJson = False) -> None:
    """List a cluster's jobs, the oldest first."""
    found = connect(address).list()
    if as_json:
        print_json([_row(job) for job in found])
    elif not found:
        sys.stdout.write("no jobs; `hpo submit STUDY.toml` makes one\n")
    else:
        rows = [[job.name, job.study, job.state, _clock(job.started), seconds(_took(job))] for job in found]
        print_table(["job", "study", "state", "started", "time"], rows, words=True)


def logs(name: JobName, address: Cluster = None, follow_log: Follow = False) -> None:
    """Print what a job has said."""
    cluster = connect(address)
    job = cluster.find(name)
    if follow_log:
        follow(cluster, job.name, sys.stdout)
    else:
        sys.stdout.write(cluster.log(job.name))


def stop(name: JobName, address: Cluster = None) -> None:
    """End a job as Ctrl-C does: no new trials, running ones may finish; the study can be gone on with."""
    cluster = connect(address)
    job = cluster.find(name)
    if cluster.stop(job.name):
        sys.stdout.write(f"{job.name}: no new trials; `hpo logs {job.name} --follow` shows it end\n")
    else:
        sys.stdout.write(f"{job.name} is over: {cluster.find(job.name).state}\n")


def connect(address: str | None) -> Jobs:
    """The cluster that a person means."""
    if address is None and os.environ.get("RAY_ADDRESS", "").startswith(("http://", "https://")):
        address = os.environ["RAY_ADDRESS"]
    if address is None:
        raise InputError("--address: which cluster? Give its head's dashboard, http://HEAD:8265")
    from hpo.execution.jobs import Jobs

    return Jobs(address)


def follow(cluster: Jobs, name: str, out: TextIO) -> None:
    """Copies a job's log until it is over; ends as the job does."""

    def write(text: str) -> None:
        out.write(text)
        out.flush()

    try:
        job = cluster.follow(name, write)
    except KeyboardInterrupt:
        sys.stderr.write(f"\nhpo: the job goes on; `hpo logs {name} --follow` follows it, `hpo stop {name}` ends it\n")
        return
    settle(job)


def settle(job: StudyJob, log: str | None = None) -> None:
    """Ends as a job did.

    Args:
        job: A job that is over.
        log: What it said, where nobody has seen that yet.

    Raises:
        HpoError: When the study failed, with the exit code that `hpo run` would have had.
    """
    from hpo.execution.jobs import STOPPED, SUCCEEDED

    if job.state == SUCCEEDED:
        return
    words = f"\n{text}" if log is not None and (text := (said(log) or job.message).strip()) else ""
    if job.state == STOPPED or job.exit_code == Interrupted.exit_code:
        error: HpoError = HpoError(f"job {job.name} was stopped; the same `hpo submit` goes on with its study{words}")
        error.exit_code = Interrupted.exit_code
    elif job.exit_code == NOT_FOUND:
        error = InputError(f"job {job.name} found no `hpo` on the PATH of the cluster's head; install it there{words}")
    elif job.exit_code is None or job.exit_code < 0:
        why = "" if log is not None else f": {' '.join(job.message.split())[:300]}"
        error = HpoError(f"job {job.name} was cut off; the same `hpo submit` goes on with its study{why}{words}")
    else:
        error = HpoError(f"job {job.name} ended with exit code {job.exit_code}{words}")
        error.exit_code = job.exit_code
    raise error


def said(log: str) -> str:
    """What the driver said, without Ray's remarks on how it was started."""
    _, entrypoint, rest = log.partition("Running entrypoint for job ")
    return rest.partition("\n")[2] if entrypoint else ""


def _took(job: StudyJob) -> float | None:
    return (job.ended or time.time()) - job.started if job.started else None


def _clock(moment: float | None) -> str:
    return datetime.fromtimestamp(moment).strftime("%Y-%m-%d %H:%M:%S") if moment else "-"


def _row(job: StudyJob) -> dict[str, str | float | int | None]:
    return {
        "job": job.name,
        "study": job.study,
        "state": job.state,
        "started": job.started,
        "ended": job.ended,
        "exit_code": job.exit_code,
    }
