"""Starts MLflow servers quickly: a process that has imported the server once, and forks for each that is asked for.

``mlflow server`` imports MLflow twice, in the command and in its worker; that was half the time of many tests. Here the
worker alone is forked: MLflow's own application under uvicorn, configured by the same variables. Each line of standard
input describes one server (JSON: the arguments of :func:`serve`); the answer is its process number.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def serve(environment: dict[str, str], folder: str, port: int, app: str) -> None:
    """Runs one server in this process, which leads a process group of its own."""
    import uvicorn

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    if sys.platform == "linux":  # no server outlives tests that were killed
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.chdir(folder)
    log = os.open(Path(folder, "server.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(environment)
    uvicorn.run(app, host="127.0.0.1", port=port, factory=app.endswith(":create_app"))


def main() -> None:
    # uvicorn first: by it MLflow knows that it is a server.
    for name in ("uvicorn.lifespan.on", "uvicorn.protocols.http.auto", "mlflow.server.fastapi_app"):
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel forgets servers that have ended
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        if (child := os.fork()) == 0:
            try:
                serve(**asked)
            finally:
                os._exit(1)
        print(child, flush=True)


if __name__ == "__main__":
    main()
