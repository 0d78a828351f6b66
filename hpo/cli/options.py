"""Options that several commands share, and how they are read."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from hpo.errors import HpoError, InputError
from hpo.interrupts import OnInterrupt
from hpo.ledger.address import DEFAULT_STORAGE, Address, parse
from hpo.machine import expand
from hpo.service import open_ledger
from hpo.study import load
from hpo.study.fields import duration
from hpo.text import redact
from hpo.tracking import DEFAULT_TRACKING


def read_path(text: str) -> Path:
    """A path, as it is shown; ``~`` and variables are expanded as in the other options and variables."""
    return Path(expand(text))


def read_name(text: str) -> str:
    """A study's name; that in a study file, where one is named."""
    file = read_path(text)
    return load(file).name if file.suffix == ".toml" and ("/" in text or file.exists()) else text


def complete_name(context: typer.Context, incomplete: str) -> list[str]:
    """The names in the ledger that begin like this, for the shell's completion; none without a ledger."""
    from hpo.ledger import snapshots

    storage = context.params.get("storage") or os.environ.get("HPO_STORAGE") or DEFAULT_STORAGE
    try:
        found = snapshots.names(open_ledger(expand(storage)))
    except HpoError:  # a shell that completes has no place for a message
        return []
    return [name for name in found if name.startswith(incomplete)]


Storage = Annotated[
    str,
    typer.Option(
        envvar="HPO_STORAGE",
        parser=expand,
        metavar="URL",
        help="The ledger: a journal file, sqlite:///PATH or postgresql://...",
        show_default=DEFAULT_STORAGE,
    ),
]
Tracking = Annotated[
    str,
    typer.Option(
        envvar="MLFLOW_TRACKING_URI",
        parser=expand,
        metavar="URI",
        help='The MLflow tracking store, or "none".',
        show_default=DEFAULT_TRACKING,
    ),
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Run all failed trials of the study again.")]
Wait = Annotated[
    bool,
    typer.Option(
        "--wait", help="Draw the report for MLflow before returning, not in the background; or set HPO_WAIT=1."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
_NAME = typer.Argument(
    metavar="NAME",
    help="The study's name, or its file.",
    show_default=False,
    parser=read_name,
    autocompletion=complete_name,
)
Name = Annotated[str, _NAME]
Names = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME...",
        help="Studies: names, study files, or quoted patterns such as 'compare-*'.",
        show_default=False,
        autocompletion=complete_name,
    ),
]
Prefer = Annotated[
    str | None,
    typer.Option(
        "--prefer",
        metavar="BOUNDS|WEIGHTS",
        help="Of several objectives: the trial of the front within bounds ('latency_ms <= 20') or by weights "
        "('accuracy=2, latency_ms=1').",
        show_default=False,
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace one key of the study, for example sampler.name=tpe."),
]
Trials = Annotated[
    int | None,
    typer.Option("--trials", min=1, metavar="N", help="Short for --set budget.trials=N.", show_default=False),
]
Workers = Annotated[
    str,
    typer.Option(
        metavar="N|auto",
        help="How many trials run at once; auto fills the machine or the cluster; "
        "0 runs one after another, without Ray.",
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(envvar="RAY_ADDRESS", metavar="RAY", help="A Ray cluster; by default Ray starts on this machine."),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        "--address",
        envvar="RAY_API_SERVER_ADDRESS",
        metavar="URL",
        help="The dashboard of the cluster's head, http://HEAD:8265; default: RAY_ADDRESS if it is a dashboard.",
    ),
]
Follow = Annotated[
    bool,
    typer.Option("--follow", "-f", help="Show the log until the job ends. Ctrl-C stops the output, not the job."),
]
StudyFile = Annotated[
    Path, typer.Argument(metavar="STUDY.toml", help="The study file.", show_default=False, parser=read_path)
]
EnqueueFrom = Annotated[
    str | None,
    typer.Option(metavar="OTHER", help="Try the best trials of this study, in the same ledger, first."),
]
Checkpoints = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        parser=read_path,
        help="Where objectives save checkpoints; on a cluster, a folder that every node sees.",
        show_default=".hpo/checkpoints",
    ),
]
WhenInterrupted = Annotated[
    OnInterrupt, typer.Option(help="What Ctrl-C or SIGTERM does to running trials; a second one always ends at once.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show Ray's log and what trials print.")]


# What a variable may say, as Typer takes it.
_YES, _NO = ("1", "true", "t", "yes", "y", "on"), ("0", "false", "f", "no", "n", "off")


def waits(wait: bool) -> bool:
    """Whether ``--wait`` or ``HPO_WAIT`` is set."""
    given = os.environ.get("HPO_WAIT", "").strip()
    if given.lower() not in ("", *_YES, *_NO):
        raise InputError.about("HPO_WAIT", "must be 1 or 0", given, got=True)
    return wait or given.lower() in _YES


def with_trials(overrides: list[str] | None, trials: int | None) -> list[str]:
    """The overrides, with what ``--trials`` stands for."""
    return [*(overrides or ()), *([] if trials is None else [f"budget.trials={trials}"])]


def typed() -> str:
    """This command as it was typed, for a shell to run again; without passwords."""
    return redact(shlex.join(["hpo", *sys.argv[1:]]))


def at_storage(where: Address) -> str:
    """The option that leads another command to this ledger; empty where it finds it without."""
    usual = parse(expand(os.environ.get("HPO_STORAGE") or DEFAULT_STORAGE))
    return "" if usual.url == where.url else f" --storage {shlex.quote(str(where))}"


def read_workers(text: str) -> int | None:
    """The number of workers; None for as many as fit."""
    if text == "auto":
        return None
    if not text.isdecimal():
        rule = "must be a whole number, 0 or more, or auto"
        raise InputError(f"--workers: {rule}, got {text!r}", key="--workers", rule=rule, value=text)
    return int(text)


def read_duration(option: str, text: str) -> float:
    """Seconds, from text such as 90s or 10m."""
    try:
        return duration(text)
    except ValueError as rule:
        raise InputError(f"{option}: {rule}, got {text!r}", key=option, rule=str(rule), value=text) from None
