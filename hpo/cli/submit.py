"""``hpo submit``: the same study as a Ray job, its driver inside the cluster."""

from __future__ import annotations

import re
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from hpo.cli.drive import check_study, read_workers
from hpo.cli.jobs import connect, follow, said, settle
from hpo.cli.options import (
    AsJson,
    Checkpoints,
    Cluster,
    Follow,
    OnInterrupt,
    Overrides,
    Verbose,
    WhenInterrupted,
    Workers,
)
from hpo.cli.text import print_json
from hpo.errors import InputError
from hpo.fields import duration
from hpo.ledger.address import parse, redact
from hpo.study import load

if TYPE_CHECKING:
    from hpo.execution.jobs import Jobs

# Seconds for which a job is watched until its search begins, and between two looks.
BEGIN, LOOK = 120.0, 0.5


def submit(
    study_file: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.", show_default=False)],
    address: Cluster = None,
    overrides: Overrides = None,
    follow_log: Follow = False,
    workers: Workers = "auto",
    on_interrupt: WhenInterrupted = OnInterrupt.finish,
    grace: Annotated[
        str, typer.Option(metavar="TIME", help="How long running trials may go on after `hpo stop`.")
    ] = "10m",
    checkpoints: Checkpoints = None,
    enqueue_from: Annotated[
        str | None,
        typer.Option(metavar="OTHER", help="Try the best trials of this study, in the same ledger, first."),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The ledger, as the head sees it, without a password.",
            show_default="HPO_STORAGE on the head",
        ),
    ] = None,
    tracking: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help='The MLflow tracking store, as the head sees it, without a password; or "none".',
            show_default="MLFLOW_TRACKING_URI on the head",
        ),
    ] = None,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Run a study as a job of a Ray cluster: the working folder's code goes there, and no open laptop is needed."""
    study = load(study_file, overrides or ())
    read_workers(workers)
    check_study(study)
    options = {
        "--workers": workers,
        "--on-interrupt": on_interrupt.value,
        "--checkpoints": _lasting("--checkpoints", checkpoints),
        "--enqueue-from": enqueue_from,
        "--storage": _public("--storage", storage),
        "--tracking": _public("--tracking", tracking),
    }
    if storage is not None and (path := parse(storage).path) is not None:
        _lasting("--storage", path)
    patience = _duration("--grace", grace)

    from hpo.execution import package

    with tempfile.TemporaryDirectory(prefix="hpo-submit-") as folder:
        parcel = Path(folder) / "job.zip"
        name, count = package.pack(Path.cwd(), study_file, parcel)
        size = parcel.stat().st_size
        jobs = connect(address)
        # Ray's own name for the time between asking a driver to end and ending it.
        environment = {"RAY_JOB_STOP_WAIT_TIME_S": str(max(1, round(patience)))}
        job = jobs.submit(study.name, _entrypoint(name, overrides or (), options, verbose=verbose), parcel, environment)
    if as_json:
        print_json({"job": job, "study": study.name, "address": jobs.address, "files": count, "bytes": size})
    else:
        sys.stdout.write(f"{job}\n")
    sys.stdout.flush()
    out = sys.stderr if as_json else sys.stdout
    if follow_log:
        follow(jobs, job, out)
    else:
        _watch_begin(jobs, job, study.name, out)


def _entrypoint(study_file: str, overrides: Sequence[str], options: dict[str, str | None], *, verbose: bool) -> str:
    """What the head's shell is told; it becomes the driver itself, so that a signal reaches the driver alone."""
    words = ["exec", "hpo", "run", study_file, *(["--verbose"] if verbose else [])]
    words += [word for override in overrides for word in ("--set", override)]
    words += [word for option, value in options.items() if value is not None for word in (option, value)]
    return shlex.join(words)


def _watch_begin(jobs: Jobs, name: str, study: str, out: TextIO) -> None:
    """Waits until the search begins, or the driver refuses: a second driver, a ledger out of reach, missing data."""
    sys.stderr.write(f"hpo: sent to {jobs.address}; `hpo logs {name} --follow` follows it\n")
    deadline = time.monotonic() + BEGIN
    try:
        while time.monotonic() < deadline:
            job = jobs.find(name)
            if job.over:
                log = jobs.log(name)
                settle(job, log)
                out.write(said(log))
                return
            if begun := re.search(rf"^{re.escape(study)}: \d+/.*", said(jobs.log(name)), re.MULTILINE):
                sys.stderr.write(f"hpo: it has begun: {begun[0]}\n")
                return
            time.sleep(LOOK)
    except KeyboardInterrupt:
        sys.stderr.write(f"\nhpo: the job goes on; `hpo stop {name}` ends it\n")
        return
    sys.stderr.write(f"hpo: it has not begun within {BEGIN:g} s; `hpo logs {name}` says how far it is\n")


def _public(option: str, url: str | None) -> str | None:
    """Refuses what would be read by everybody who may look at the cluster's jobs."""
    if url is not None and (redact(url) != url or re.search(r"(?i)password=|token=", url)):
        raise InputError(
            f"{option}: must hold no password, a job's options are read by everybody on the cluster; "
            "set HPO_STORAGE and MLFLOW_TRACKING_URI where the cluster's head is started"
        )
    return url


def _lasting(option: str, path: Path | None) -> str | None:
    if path is not None and not path.is_absolute():
        raise InputError(
            f"{option}: must be an absolute path on a cluster, a job's own folder goes with it, got {path}"
        )
    return None if path is None else str(path)


def _duration(option: str, text: str) -> float:
    try:
        return duration(text)
    except ValueError as rule:
        raise InputError(f"{option}: {rule}, got {text!r}") from None
