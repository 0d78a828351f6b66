"""``hpo submit``, ``jobs``, ``logs`` and ``stop``: what is refused before anything is sent, and a real cluster."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator

import pytest
from command_line import QUICK, CommandLine

NOWHERE = "http://127.0.0.1:9"

# Refused here -------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.setenv(name, "")  # so that what the command sets is undone too
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("no_cluster")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "metrik=loss"], "s.toml with --set: metrik: unknown key; did you mean 'metric'?"),
        (["--set", "sampler.name=tep"], "s.toml with --set: sampler.name: must be one of "),
        (["--set", "objective=absent:f"], "s.toml with --set: objective: cannot import 'absent:f': "),
        (["--workers", "many"], "--workers: must be a whole number, 0 or more, or auto, got 'many'"),
        (["--grace", "soon"], "--grace: must be a duration such as "),
        (["--checkpoints", "here"], "--checkpoints: must be an absolute path on a cluster, "),
        (["--storage", "hpo.journal"], "--storage: must be an absolute path on a cluster, "),
        (["--storage", "mysql://x/y"], "storage: must be the path of a journal file, "),
        (["--storage", "postgresql://me:s3cret@host/hpo"], "--storage: must hold no password, "),
        (["--storage", "postgresql://host/hpo?user=me&password=s3cret"], "--storage: must hold no password, "),
        (["--tracking", "http://me:s3cret@host:5000"], "--tracking: must hold no password, "),
        (["--address", "HEAD:8265"], "--address: must be the head's dashboard, http://HEAD:8265, got 'HEAD:8265'"),
        (["--address", "ray://HEAD:10001"], "--address: must be the head's dashboard, http://HEAD:8265, got 'ray:"),
        (["--address", "http://me:s3cret@127.0.0.1:9"], "--address: must hold no password; "),
        ([], "--address: which cluster? Give the dashboard of its head: --address http://HEAD:8265"),
        (["--address", NOWHERE], f"--address: nothing answers at {NOWHERE}: Connection refused"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(hpo: CommandLine, words: list[str], message: str) -> None:
    address = [] if words == [] or "--address" in words else ["--address", NOWHERE]
    ended = hpo("submit", "s.toml", *words, *address, code=2)
    assert ended.out == ""
    assert ended.err.startswith(f"hpo: {message}")
    assert ended.err.count("\n") == 1
    assert "s3cret" not in ended.err


@pytest.fixture
def some_server() -> Iterator[str]:
    """A web server that is no Ray."""

    class Silent(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>Welcome</html>")

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    threading.Thread(target=server.serve_forever).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.usefixtures("no_cluster")
def test_a_server_that_is_no_ray_is_said_to_be_none(
    hpo: CommandLine, some_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", some_server)
    ended = hpo("jobs", code=2)
    assert ended.err.startswith(f"hpo: --address: no Ray jobs API at {some_server}: ")
    assert ended.err.count("\n") == 1


@pytest.mark.usefixtures("no_cluster")
def test_a_token_file_that_is_not_there_is_said(
    hpo: CommandLine, some_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "no/such/file")
    ended = hpo("jobs", "--address", some_server, code=2)
    assert ended.err.startswith("hpo: RAY_AUTH_TOKEN_PATH: no/such/file cannot be read: ")


# The driver's side: nothing is kept in a job's own folder ------------------------------------------------------------


@pytest.fixture
def inside_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")


@pytest.mark.usefixtures("inside_a_job")
def test_a_driver_in_a_job_refuses_a_ledger_that_would_be_lost(hpo: CommandLine) -> None:
    ended = hpo("run", "s.toml", *QUICK, code=2)
    assert ended.err == (
        "hpo: storage: hpo.journal would be lost with this job's folder; where the cluster's head is started, "
        "set HPO_STORAGE=postgresql://USER@HOST/DATABASE, or give a full path\n"
    )
    assert hpo.calls == 0


@pytest.mark.usefixtures("inside_a_job")
def test_a_driver_in_a_job_refuses_runs_that_would_be_lost(hpo: CommandLine) -> None:
    ended = hpo("run", "s.toml", "--workers", "0", "--storage", str(hpo.folder / "hpo.journal"), code=2)
    assert ended.err.startswith("hpo: tracking: sqlite:///mlflow.db would be lost with this job's folder; ")
    assert hpo.calls == 0


@pytest.mark.usefixtures("inside_a_job")
def test_a_driver_in_a_job_keeps_what_has_a_full_path(hpo: CommandLine) -> None:
    hpo("run", "s.toml", *QUICK, "--storage", str(hpo.folder / "hpo.journal"))
    assert hpo.calls == 5
