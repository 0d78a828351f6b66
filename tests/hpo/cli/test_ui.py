"""``hpo ui``: a real MLflow server on the runs, and nothing that stays behind."""

from __future__ import annotations

import errno
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from command_line import CommandLine

from hpo import run
from hpo.cli.ui import _open

# One process of pytest starts the server, once.
pytestmark = pytest.mark.xdist_group("hpo ui")

STUDY = """
name = "quadratic"
objective = "quadratic:objective"
metric = "loss"
direction = "minimize"
space.x = { low = 0.0, high = 1.0 }
budget.trials = 2
"""


@pytest.fixture
def study(hpo: CommandLine, quick_report: None, mlflow_database: str) -> str:
    """The name of a study in ``mlflow.db`` and ``hpo.journal`` of the working folder."""
    words = ("--set", "name=quadratic", "--set", "budget.trials=2", "--workers", "0", "--tracking", mlflow_database)
    hpo("run", "s.toml", *words)
    return "quadratic"


class Running(NamedTuple):
    """A running ``hpo ui``: its links by their titles, its output, and a client that knows the token."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    links: dict[str, str]
    token: str

    def ask(self, path: str, body: object = None, **headers: str) -> tuple[int, bytes]:
        """Status and content of an answer; redirects are not followed, and proxies not asked."""
        fields = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"} | headers
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(
                "GET" if body is None else "POST",
                path,
                None if body is None else json.dumps(body),
                {name: value for name, value in fields.items() if value},
            )
            answer = connection.getresponse()
            return answer.status, answer.read()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, empty_mlflow_database: Path) -> Iterator[Running]:
    """One server for all tests here."""
    folder = tmp_path_factory.mktemp("ui")
    shutil.copy(empty_mlflow_database, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HPO_STORAGE", "HPO_DATA_DIR", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
            patch.delenv(name, raising=False)
        patch.chdir(folder)
        patch.setattr("hpo.report.files.write", _no_figures)
        (folder / "quadratic.py").write_text("def objective(params, seed):\n    return params['x']\n")
        (folder / "s.toml").write_text(STUDY)
        run("s.toml", workers=0, tracking=f"sqlite:///{folder}/mlflow.db", quiet=True)
    yield from _ui(folder)


def _no_figures(study: object, trials: object, folder: Path, **_: object) -> None:
    (folder / "report.html").write_text("<p>a report</p>")


def _ui(folder: Path) -> Iterator[Running]:
    """``hpo ui`` in a folder, until its test or tests have ended."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "hpo", "ui", "--port", str(port), "--no-browser"]
    log = folder / "log"
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "https_proxy"), "http://127.0.0.1:9")
    own = {name: value for name, value in os.environ.items() if name not in ("HPO_STORAGE", "MLFLOW_TRACKING_URI")}
    with log.open("w") as file:
        server = subprocess.Popen(
            command, cwd=folder, stdout=file, stderr=file, start_new_session=True, env=own | proxies
        )
    try:
        _wait_for("Press Ctrl-C to stop", log, server)
        links = {line.split(":")[0]: line.split()[-1] for line in log.read_text().splitlines() if "#/" in line}
        token = urllib.parse.parse_qs(urllib.parse.urlsplit(links["quadratic"]).query)["token"][0]
        yield Running(server, port, log, links, token)
    finally:
        server.send_signal(signal.SIGTERM)  # to the command alone
        assert server.wait(60) == 0
    deadline = time.monotonic() + 30
    while _processes(server.pid):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_ui_opens_at_the_study_listens_here_alone_and_leaves_no_process(running: Running) -> None:
    address = running.links["quadratic"]
    assert address.startswith(f"http://127.0.0.1:{running.port}/?token={running.token}#/experiments/")
    assert "viewStateShareKey=trials" in address
    number = address.split("/experiments/")[1].split("/")[0]
    status, found = running.ask(f"/api/2.0/mlflow/experiments/get?experiment_id={number}")
    assert (status, json.loads(found)["experiment"]["name"]) == (200, "quadratic")
    listening = {line.split()[1].split(":")[0] for line in _tcp() if line.split()[1].endswith(f":{running.port:04X}")}
    assert listening == {"0100007F"}
    assert len(_processes(running.process.pid)) == 1  # this command is the server


def test_without_the_token_nothing_is_served_and_with_it_no_file_elsewhere(running: Running) -> None:
    folder = running.log.parent
    create = "/api/2.0/mlflow/experiments/create"
    for path in (
        "/",
        "/health",
        "/version",
        "/static-files/index.html",
        "/get-artifact?path=x",
        "/?token=",
        "/?token=x",
    ):
        assert running.ask(path, Authorization="")[0] == 401, path
        assert running.ask(path, Authorization="Bearer x", Cookie=f"hpo-ui-{running.port}=x")[0] == 401, path
    assert running.ask(create, {"name": "taken"}, Authorization="")[0] == 401
    assert running.ask("/health")[0] == 200
    assert running.ask("/health", Host="evil.example")[0] == 403
    assert running.ask("/health", Origin=f"http://127.0.0.1:{running.port + 1}")[0] == 403
    outside = folder.parent
    for index, place in enumerate((str(outside), f"file://{outside}", f"{folder}/mlruns/../..", "mlruns/%2e%2e/..")):
        status, answer = running.ask(create, {"name": f"e{index}", "artifact_location": place})
        assert status in (400, 403), (place, answer)
    assert running.ask(create, {"name": "inside", "artifact_location": f"{folder}/mlruns/mine"})[0] == 200
    # The token is in the printed links, and nowhere else that others see.
    others = [line for line in running.log.read_text().splitlines() if "#/experiments/" not in line]
    assert running.token not in "\n".join(others)
    told = [
        Path(f"/proc/{pid}/{name}").read_bytes()
        for pid in _processes(running.process.pid)
        for name in ("cmdline", "environ")
    ]
    assert running.token.encode() not in b"".join(told)


@pytest.mark.browser
def test_the_printed_link_works_in_a_browser_and_leaves_no_token_in_its_address(running: Running, browser: Any) -> None:
    page = browser.new_page()
    page.set_default_timeout(120_000)
    page.goto(running.links["quadratic"])
    page.get_by_role("link", name="trial 0", exact=True).wait_for()
    assert running.token not in page.url
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    page.context.clear_cookies()
    assert page.request.get(f"http://127.0.0.1:{running.port}/").status == 401
    page.close()


@pytest.mark.browser
def test_a_fresh_browser_at_the_root_sees_the_trials_and_keeps_what_its_person_chose(
    running: Running, browser: Any
) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(120_000)
    page.goto(f"http://127.0.0.1:{running.port}/?token={running.token}")
    page.get_by_role("link", name="trial 0", exact=True).wait_for()
    assert "viewStateShareKey=trials" in page.url
    page.evaluate("""localStorage.setItem("mlflow.workflowType_v1", '"genai"')""")
    page.goto("about:blank")
    page.goto(f"http://127.0.0.1:{running.port}/#/experiments")
    page.get_by_role("link", name="quadratic", exact=True).wait_for()
    assert page.evaluate("""localStorage.getItem("mlflow.workflowType_v1")""") == '"genai"'
    assert page.get_by_text("Ask questions about your").count() == 0
    context.close()


def test_the_server_s_log_is_a_file_and_the_terminal_has_the_links_alone(running: Running) -> None:
    assert running.ask("/api/2.0/mlflow/traces/nothing")[0] >= 400
    *links, last = running.log.read_text().splitlines()
    assert [line.split(":")[0] for line in links] == ["quadratic", "charts", "the study"]
    assert last == "Press Ctrl-C to stop. The server's log: .hpo/ui.log"
    output = {Path(f"/proc/{running.process.pid}/fd/{number}").readlink() for number in (1, 2)}
    assert output == {running.log.parent / ".hpo" / "ui.log"}


def test_a_browser_finds_the_link_in_a_private_file_and_not_in_its_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("webbrowser.open", opened.append)
    _open("http://127.0.0.1:1/?token=secret#/x?a=b&c=d", tmp_path)
    assert "secret" not in opened[0]
    assert "http://127.0.0.1:1/?token=secret#/x?a=b&amp;c=d" in (tmp_path / "open.html").read_text()


def _wait_for(text: str, log: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 200
    while text not in log.read_text():
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


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


@pytest.mark.slow
def test_a_study_on_a_server_has_its_links_there(hpo: CommandLine, study: str, mlflow_server: str) -> None:
    hpo("run", "s.toml", "--set", "name=elsewhere", "--workers", "0", "--tracking", mlflow_server)
    ended = hpo("ui", "elsewhere", "--tracking", mlflow_server, "--no-browser")
    first, *others = ended.out.splitlines()
    assert first.startswith(f"elsewhere: {mlflow_server}/#/experiments/")
    assert [line.split(":")[0] for line in others] == ["charts", "the study"]


def test_links_lead_to_where_browsers_find_the_server(
    hpo: CommandLine, study: str, mlflow_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    monkeypatch.setenv("HPO_MLFLOW_URL", "http://outside:1234")
    ran = hpo("run", "s.toml", "--set", "name=inside", "--workers", "0")
    assert ran.out.endswith("\nBrowse the runs: http://outside:1234\n"), ran.err
    shown = hpo("ui", "inside", "--no-browser")
    assert all(line.split()[-1].startswith("http://outside:1234/#/") for line in shown.out.splitlines())
    other = hpo("ui", "--tracking", f"{mlflow_server}/", "--no-browser")
    assert f"{mlflow_server}/" in other.out, other.err
    assert "outside" not in other.out


def test_an_unknown_study_is_said_before_a_server_starts(hpo: CommandLine, study: str) -> None:
    ended = hpo("ui", "quadratik", code=2)
    assert "ui: there is no study 'quadratik' in sqlite:///mlflow.db" in ended.err


def test_a_port_in_use_is_said_at_once(hpo: CommandLine) -> None:
    (hpo.folder / "mlflow.db").touch()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = hpo("ui", "--port", str(port), code=2)
    said = f"hpo: --port: cannot listen on 127.0.0.1:{port}: {os.strerror(errno.EADDRINUSE)}; choose another --port\n"
    assert ended.err == said


def test_without_runs_it_says_how_to_make_some(hpo: CommandLine) -> None:
    ended = hpo("ui", code=2)
    assert "there are no runs in sqlite:///mlflow.db; create some with: hpo run STUDY.toml" in ended.err
