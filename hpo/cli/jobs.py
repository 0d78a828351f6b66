"""``hpo submit``, ``jobs``, ``logs`` and ``stop``: studies as jobs of a Ray cluster."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo import service
from hpo.cli import options
from hpo.cli.table import print_table
from hpo.cli.text import print_json, write
from hpo.interrupts import OnInterrupt
from hpo.ledger.address import parse
from hpo.progress import to_stderr
from hpo.study import load
from hpo.submit import launch
from hpo.text import clock, duration, printable

if TYPE_CHECKING:
    from hpo.submit.jobs import StudyJob

_COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")
JobName = Annotated[
    str,
    typer.Argument(metavar="JOB", help="The job's name, or a study's name for its latest job.", show_default=False),
]


def _seen_by_the_head(metavar: str, what: str, variable: str) -> Any:
    return typer.Option(metavar=metavar, help=what, show_default=f"{variable} on the head")


Storage = Annotated[
    str | None, _seen_by_the_head("URL", "The ledger, as the head sees it, without a password.", "HPO_STORAGE")
]
Tracking = Annotated[
    str | None,
    _seen_by_the_head(
        "URI",
        'The MLflow tracking store, as the head sees it, without a password; or "none".',
        "MLFLOW_TRACKING_URI",
    ),
]


def submit(
    study_file: options.StudyFile,
    address: options.Cluster = None,
    trials: options.Trials = None,
    overrides: options.Overrides = None,
    follow_log: options.Follow = False,
    workers: options.Workers = "auto",
    on_interrupt: options.WhenInterrupted = OnInterrupt.finish,
    grace: Annotated[
        str, typer.Option(metavar="TIME", help="How long running trials may continue after `hpo stop`.")
    ] = "10m",
    checkpoints: options.Checkpoints = None,
    enqueue_from: options.EnqueueFrom = None,
    storage: Storage = None,
    tracking: Tracking = None,
    verbose: options.Verbose = False,
    as_json: options.AsJson = False,
) -> None:
    """Run a study as a job of a Ray cluster: your code is sent there, and this machine may be switched off."""
    overrides = options.with_trials(overrides, trials)
    study = load(study_file, overrides)
    options.read_workers(workers)
    service.check_code(study)
    chosen = {
        "--workers": workers,
        "--on-interrupt": on_interrupt.value,
        "--checkpoints": launch.check_absolute("--checkpoints", checkpoints),
        "--enqueue-from": enqueue_from,
        "--storage": launch.check_public("--storage", storage),
        "--tracking": launch.check_public("--tracking", tracking),
    }
    if storage is not None and parse(storage).relative:
        launch.check_absolute("--storage", Path(storage.removeprefix("sqlite:///")))
    sent = launch.send(
        study,
        study_file,
        address,
        overrides=overrides,
        options=chosen,
        grace=options.read_duration("--grace", grace),
        verbose=verbose,
    )
    if sent.left_out is not None:
        to_stderr(sent.left_out)
    if as_json:
        head = {"job": sent.name, "study": study.name, "address": sent.jobs.address}
        print_json(head | {"files": sent.files, "bytes": sent.size})
    else:
        write(f"{sent.name}\n")
    show = _write_to_stderr if as_json else _write_log
    if follow_log:
        launch.follow(sent.jobs, sent.name, show, to_stderr)
    else:
        launch.watch_begin(sent.jobs, sent.name, study.name, show, to_stderr)


def jobs(address: options.Cluster = None, as_json: options.AsJson = False) -> None:
    """List a cluster's jobs, the oldest first."""
    found = launch.connect(address).list()
    if as_json:
        print_json([_row(job) for job in found])
    elif not found:
        write("no jobs; start one with: hpo submit STUDY.toml\n")
    else:
        rows = [[job.name, job.study, job.state, clock(job.started), duration(_running_time(job))] for job in found]
        print_table(["job", "study", "state", "started", "time"], rows, words=True)


def logs(name: JobName, address: options.Cluster = None, follow_log: options.Follow = False) -> None:
    """Print a job's log."""
    cluster = launch.connect(address)
    job = cluster.find(name)
    if follow_log:
        launch.follow(cluster, job.name, _write_log, to_stderr)
    else:
        _write_log(cluster.log(job.name))


def stop(name: JobName, address: options.Cluster = None) -> None:
    """Stop a job as Ctrl-C does: no new trials, running ones may finish. Submit the study again to resume it."""
    cluster = launch.connect(address)
    job = cluster.find(name)
    if cluster.stop(job.name):
        write(f"{job.name}: no new trials; to see it end: hpo logs {job.name} --follow\n")
    else:
        write(f"{job.name} is over: {cluster.find(job.name).state}\n")


def _write_log(text: str) -> None:
    """A job's log, in which colours are all that a terminal obeys."""
    parts = _COLOUR.split(text)
    write("".join(part if index % 2 else printable(part) for index, part in enumerate(parts)), safe=False)


def _write_to_stderr(text: str) -> None:
    sys.stderr.write(printable(text))
    sys.stderr.flush()


def _running_time(job: StudyJob) -> float | None:
    return (job.ended or time.time()) - job.started if job.started else None


def _row(job: StudyJob) -> dict[str, str | float | int | None]:
    fields = ("study", "state", "started", "ended", "exit_code")
    return {"job": job.name, **{field: getattr(job, field) for field in fields}}
