"""``hpo ui``: a real MLflow server on the runs, and nothing that stays behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path


def test_the_ui_serves_the_runs_on_this_machine_only_and_ends_with_its_command(
    tmp_path: Path, mlflow_database: str
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "hpo", "ui", "--tracking", mlflow_database, "--port", str(port)]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
    try:
        answer = _ask(f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search?max_results=5", server)
        assert [experiment["name"] for experiment in answer["experiments"]] == ["Default"]
        listening = {line.split()[1].split(":")[0] for line in _tcp() if line.split()[1].endswith(f":{port:04X}")}
        assert listening == {"0100007F"}
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
    assert f"MLflow: http://127.0.0.1:{port}" in (tmp_path / "log").read_text()


def _ask(url: str, server: subprocess.Popen[bytes]) -> dict[str, list[dict[str, str]]]:
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return dict(json.load(answer))
        except OSError:
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)


def _tcp() -> list[str]:
    """The listening sockets of this machine (state 0A), as the kernel lists them."""
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    lines = [line for table in tables if table.exists() for line in table.read_text().splitlines()[1:]]
    return [line for line in lines if line.split()[3] == "0A"]


def test_without_runs_it_says_how_to_make_some(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "hpo", "ui"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 2
    assert "there are no runs in sqlite:///mlflow.db; `hpo run STUDY.toml` makes some" in ended.stderr
