"""``hpo ui``: a real MLflow server on the runs, and nothing that stays behind."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest


def hpo(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hpo", *words], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture
def study(tmp_path: Path, mlflow_database: str) -> str:
    """The name of a study in ``mlflow.db`` and ``hpo.journal`` of ``tmp_path``."""
    (tmp_path / "quadratic.py").write_text("def objective(params, seed):\n    yield {'loss': params['lr'] ** 2}\n")
    (tmp_path / "study.toml").write_text(
        'name = "quadratic"\nobjective = "quadratic:objective"\nmetric = "loss"\ndirection = "minimize"\n'
        "budget.trials = 2\nspace.lr = { low = 0.1, high = 1.0 }\n"
    )
    ended = hpo("run", "study.toml", "--workers", "0", "--tracking", mlflow_database, folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    return "quadratic"


def test_the_ui_opens_at_the_study_listens_here_alone_and_leaves_no_process(tmp_path: Path, study: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "hpo", "ui", "--port", str(port), "--no-browser"]
    log = tmp_path / "log"
    with log.open("w") as file:
        server = subprocess.Popen(command, cwd=tmp_path, stdout=file, stderr=file, start_new_session=True)
    try:
        _wait_for("Ctrl-C ends it", log, server)
        (line,) = [line for line in log.read_text().splitlines() if line.startswith("quadratic: ")]
        address = line.split()[-1]
        assert address.startswith(f"http://127.0.0.1:{port}/#/experiments/")
        assert "viewStateShareKey=trials" in address
        number = address.split("/experiments/")[1].split("/")[0]
        experiment = _ask(f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/get?experiment_id={number}")
        assert experiment["experiment"]["name"] == "quadratic"
        listening = {line.split()[1].split(":")[0] for line in _tcp() if line.split()[1].endswith(f":{port:04X}")}
        assert listening == {"0100007F"}
        assert len(_processes(server.pid)) == 2  # this command and the server
    finally:
        server.send_signal(signal.SIGTERM)  # to the command alone
        assert server.wait(60) == 0
    deadline = time.monotonic() + 30
    while _processes(server.pid):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _wait_for(text: str, log: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 200
    while text not in log.read_text():
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def _ask(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return dict(json.load(answer))


def _processes(session: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, of = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:  # it has ended
            continue
        if int(of) == session and state != "Z":
            found.append(int(folder.name))
    return found


def _tcp() -> list[str]:
    """The listening sockets of this machine (state 0A), as the kernel lists them."""
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    lines = [line for table in tables if table.exists() for line in table.read_text().splitlines()[1:]]
    return [line for line in lines if line.split()[3] == "0A"]


def test_a_study_on_a_server_has_its_links_there(tmp_path: Path, study: str, mlflow_server: str) -> None:
    moved = hpo(
        *("run", "study.toml", "--set", "name=elsewhere", "--workers", "0", "--tracking", mlflow_server),
        folder=tmp_path,
    )
    assert moved.returncode == 0, moved.stderr
    ended = hpo("ui", "elsewhere", "--tracking", mlflow_server, "--no-browser", folder=tmp_path)
    assert ended.returncode == 0, ended.stderr
    first, *others = ended.stdout.splitlines()
    assert first.startswith(f"elsewhere: {mlflow_server}/#/experiments/")
    assert [line.split(":")[0] for line in others] == ["charts", "the study"]


def test_links_lead_to_where_browsers_find_the_server(
    tmp_path: Path, study: str, mlflow_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    monkeypatch.setenv("HPO_MLFLOW_URL", "http://outside:1234")
    ran = hpo("run", "study.toml", "--set", "name=inside", "--workers", "0", folder=tmp_path)
    assert ran.stdout.endswith("\nBrowse the runs: http://outside:1234\n"), ran.stderr
    shown = hpo("ui", "inside", "--no-browser", folder=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert all(line.split()[-1].startswith("http://outside:1234/#/") for line in shown.stdout.splitlines())
    other = hpo("ui", "--tracking", f"{mlflow_server}/", "--no-browser", folder=tmp_path)
    assert f"{mlflow_server}/" in other.stdout, other.stderr
    assert "outside" not in other.stdout


def test_an_unknown_study_is_said_before_a_server_starts(tmp_path: Path, study: str) -> None:
    ended = hpo("ui", "quadratik", folder=tmp_path)
    assert ended.returncode == 2
    assert "ui: there is no study 'quadratik' in sqlite:///mlflow.db" in ended.stderr


def test_a_port_in_use_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = hpo("ui", "--port", str(port), folder=tmp_path)
    assert ended.returncode == 2
    assert f"hpo: --port: cannot listen on 127.0.0.1:{port}: " in ended.stderr


def test_without_runs_it_says_how_to_make_some(tmp_path: Path) -> None:
    ended = hpo("ui", folder=tmp_path)
    assert ended.returncode == 2
    assert "there are no runs in sqlite:///mlflow.db; `hpo run STUDY.toml` makes some" in ended.stderr
