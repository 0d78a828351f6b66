"""The MLflow UI as a part of this command: one server process beside it, and no job runners."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from hpo.errors import HpoError

# Job runners and their watchers would be 13 more processes.
SETTINGS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


def serve(uri: str, host: str, port: int) -> None:
    """Runs the server until Ctrl-C or SIGTERM, and leaves nothing behind.

    Args:
        uri: The tracking store, a database or a folder.
        host: Where to listen.
        port: The same.

    Raises:
        HpoError: When the server ends by itself; it has said why.
    """
    os.environ.update(SETTINGS)
    from mlflow.cli import cli

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    words = ["server", "--backend-store-uri", uri, "--host", host, "--port", str(port), "--workers", "1"]
    try:
        cli.main(words, prog_name="mlflow", standalone_mode=False)
    except SystemExit as end:
        if end.code:
            raise HpoError(f"the MLflow server ended with exit code {end.code}") from None
    finally:
        for child in _children():
            os.kill(child, signal.SIGTERM)


def _children() -> list[int]:
    """The processes that this one started; MLflow does not pass a SIGTERM on to its server."""
    lists = Path("/proc/self/task").glob("*/children")
    return [int(pid) for path in lists for pid in path.read_text().split()]
