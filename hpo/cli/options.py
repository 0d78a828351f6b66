"""Options that several commands share, so that they mean the same everywhere."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hpo.ledger.address import DEFAULT_STORAGE
from hpo.tracking import DEFAULT_TRACKING

Storage = Annotated[
    str,
    typer.Option(
        envvar="HPO_STORAGE",
        metavar="URL",
        help="The ledger: a journal file, sqlite:///PATH or postgresql://...",
        show_default=DEFAULT_STORAGE,
    ),
]
Tracking = Annotated[
    str,
    typer.Option(
        envvar="MLFLOW_TRACKING_URI",
        metavar="URI",
        help='The MLflow tracking store, or "none".',
        show_default=DEFAULT_TRACKING,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The study's name.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace one key of the study, such as sampler.name=tpe."),
]
Workers = Annotated[
    str,
    typer.Option(
        metavar="N|auto",
        help="How many trials run at once; auto fills the machine or the cluster; "
        "0 runs them in this process, without Ray.",
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(envvar="RAY_ADDRESS", metavar="RAY", help="A Ray cluster; without it Ray starts on this machine."),
]
Cluster = Annotated[
    str | None,
    typer.Option(
        "--address",
        envvar="RAY_API_SERVER_ADDRESS",
        metavar="URL",
        help="The dashboard of the cluster's head, http://HEAD:8265; without it RAY_ADDRESS where that is one.",
    ),
]
Follow = Annotated[
    bool, typer.Option("--follow", "-f", help="Show what the job says until it is over; Ctrl-C ends the showing only.")
]
Checkpoints = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Where objectives that save checkpoints do so; on a cluster, a folder that every node sees.",
        show_default=".hpo/checkpoints",
    ),
]


class OnInterrupt(StrEnum):
    """What becomes of running trials when a search is interrupted."""

    finish = "finish"
    stop = "stop"


WhenInterrupted = Annotated[
    OnInterrupt, typer.Option(help="What Ctrl-C or SIGTERM does to running trials; twice always ends at once.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show Ray's log and the workers' output.")]
