"""An MLflow server that a test may kill and start again, and a proxy that makes one slow or broken."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# No job runners, which are a dozen more processes; and a server needs UTF-8, whatever the locale of its clients.
SETTINGS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONUTF8": "1"}


class Starter:
    """Starts servers without the seconds that importing MLflow takes: forks of one process (mlflow_app.py)."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def fork(self, folder: Path, port: int, app: str, **more: str) -> int:
        """Starts a server on ``server.db`` and ``artifacts`` of a folder; returns its process, which leads a group."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("mlflow_app.py"))],
                env=os.environ | SETTINGS,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        store = f"sqlite:///{folder}/server.db"
        environment = {
            "_MLFLOW_SERVER_FILE_STORE": store,
            "_MLFLOW_SERVER_REGISTRY_STORE": store,
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": f"{folder}/artifacts",
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "_MLFLOW_SGI_NAME": "uvicorn",
            **more,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"environment": environment, "folder": str(folder), "port": port, "app": app}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()


class OwnServer:
    """A real server on an ephemeral port, in a process group of its own.

    Args:
        folder: Where its database, its artifacts and its log are.
        template: An empty tracking database.
        starter: Who starts it.
        app: MLflow's application, or what makes it.
        environment: Further variables.
    """

    def __init__(
        self,
        folder: Path,
        template: Path,
        starter: Starter,
        app: str = "mlflow.server.fastapi_app:app",
        **environment: str,
    ) -> None:
        self.folder, self.port, self._starter = folder, _free_port(), starter
        self._app, self._environment = app, environment
        self.uri = f"http://127.0.0.1:{self.port}"
        shutil.copy(template, folder / "server.db")

    def start(self) -> None:
        self._pid = self._starter.fork(self.folder, self.port, self._app, **self._environment)
        deadline = time.monotonic() + 120
        while not self._answers():
            assert time.monotonic() < deadline, self.log
            assert self._lives(), self.log
            time.sleep(0.05)

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text()

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.uri + "/health", timeout=5):
                return True
        except OSError:
            return False

    def _lives(self) -> bool:
        try:
            os.kill(self._pid, 0)
        except ProcessLookupError:
            return False
        return True

    def kill(self, sign: int = signal.SIGKILL) -> None:
        """Ends the server and its workers at once."""
        os.killpg(self._pid, sign)
        deadline = time.monotonic() + 30
        while self._lives():
            assert time.monotonic() < deadline
            time.sleep(0.01)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Relay(http.server.BaseHTTPRequestHandler):
    """Passes requests on to ``target`` once ``answers`` is set; answers them itself where ``status`` is not 0."""

    protocol_version = "HTTP/1.1"
    target = ""
    status = 0
    answers: threading.Event

    def _pass_on(self) -> None:
        kind = type(self)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind.answers.wait()
        headers = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "connection")}
        request = urllib.request.Request(kind.target + self.path, body or None, headers, method=self.command)
        if kind.status:
            self._answer(kind.status, b'{"error_code": "INTERNAL_ERROR", "message": "out of luck"}', "application/json")
            return
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                self._answer(answer.status, answer.read(), answer.headers.get("Content-Type", ""))
        except urllib.error.HTTPError as error:
            self._answer(error.code, error.read(), error.headers.get("Content-Type", ""))

    def _answer(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on

    def log_message(self, *_: Any) -> None:
        pass


class _Proxy(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        pass  # a client that has gone


@contextmanager
def relay(target: str, kind: type[Relay] = Relay, **attributes: Any) -> Iterator[tuple[str, Any]]:
    """A proxy in front of a server: its address, and what decides how it behaves."""
    handler = type("Handler", (kind,), {"target": target, "answers": threading.Event(), **attributes})
    proxy = _Proxy(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_address[1]}", handler
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
