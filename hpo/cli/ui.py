"""``hpo ui``: the MLflow UI on the runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.options import Tracking
from hpo.errors import InputError
from hpo.ledger.address import redact
from hpo.tracking import DEFAULT_TRACKING


def ui(
    tracking: Tracking = DEFAULT_TRACKING,
    host: Annotated[
        str, typer.Option(help="Where to listen; anything but this machine lets strangers in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
) -> None:
    """Start the MLflow UI on the runs, on this machine only, until Ctrl-C."""
    if tracking.startswith(("http://", "https://")):
        sys.stdout.write(f"the runs are on a server: {redact(tracking)}\n")
        return
    if tracking.startswith("sqlite:///") and not Path(tracking.removeprefix("sqlite:///")).exists():
        raise InputError(f"ui: there are no runs in {tracking}; `hpo run STUDY.toml` makes some")
    # One worker and no job runners: 2 processes and 0.4 GB instead of 15 and 2.3 GB.
    settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", tracking]
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    sys.stdout.write(f"MLflow: http://{host}:{port} (Ctrl-C ends it)\n")
    sys.stdout.flush()
    os.execve(command[0], command, os.environ | settings)
