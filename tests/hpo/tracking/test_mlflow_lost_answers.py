"""Calls that a server obeys and does not answer, and a server that is not there."""

from __future__ import annotations

import collections
import http.server
import socketserver
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from stored import a_store, a_trial, exactly_once

from hpo.study import Study
from hpo.tracking import mirror as mirror_module
from hpo.tracking.mirror import Mirror
from hpo.trial import COMPLETE, FAILED, PRUNED


class Losing(http.server.BaseHTTPRequestHandler):
    """Passes requests on; some answers never reach the client."""

    protocol_version = "HTTP/1.1"
    target = ""
    # Of these calls each third, fifth, seventh answer is lost.
    losses: ClassVar = {"runs/create": 3, "runs/log-batch": 5, "runs/update": 7}
    counts: collections.Counter[str]
    lost: list[str]

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "connection")}
        request = urllib.request.Request(self.target + self.path, body or None, headers, method=self.command)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, content, kind = answer.status, answer.read(), answer.headers.get("Content-Type", "")
        except urllib.error.HTTPError as error:
            status, content, kind = error.code, error.read(), error.headers.get("Content-Type", "")
        call = "/".join(self.path.split("/")[-2:])
        self.counts[call] += 1
        if call in self.losses and self.counts[call] % self.losses[call] == 0:
            self.lost.append(call)
            self.close_connection = True
            self.connection.close()  # obeyed, but nobody is told
            return
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on

    def log_message(self, *_: Any) -> None:
        pass


class Proxy(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        pass  # a connection that we closed ourselves


@pytest.fixture
def losing_server(mlflow_server: str) -> Iterator[tuple[str, type[Losing]]]:
    handler = type("Handler", (Losing,), {"target": mlflow_server, "counts": collections.Counter(), "lost": []})
    proxy = Proxy(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{proxy.server_address[1]}", handler
    proxy.shutdown()
    proxy.server_close()
    thread.join()


@pytest.mark.parametrize("retries", ["0", "1"])
def test_answers_that_get_lost_double_nothing(
    losing_server: tuple[str, type[Losing]],
    mlflow_server: str,
    study: Study,
    retries: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mirror_module, "INTERVAL", 0.01)
    monkeypatch.setattr(mirror_module, "BACKOFF", (0.01, 0.02))
    monkeypatch.setattr(mirror_module, "LAST_TRIES", 50)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", retries)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    address, handler = losing_server
    warnings: list[str] = []
    trials = [a_trial(number, (COMPLETE, PRUNED, FAILED)[number % 3]) for number in range(12)]
    mirror = Mirror(lambda: a_store(address, study), [], warnings.append)
    for trial in trials:
        mirror.update(trial)

    missing = mirror.close("FINISHED", 60)

    assert set(handler.lost) == set(handler.losses)
    assert missing == 0
    exactly_once(mlflow_server, study, trials)


def test_a_server_that_is_not_there_is_said_once_without_its_password(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_module, "BACKOFF", (0.01, 0.02))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    warnings: list[str] = []
    mirror = Mirror(lambda: a_store("http://me:secret@127.0.0.1:9", study), [], warnings.append)
    mirror.update(a_trial(0))

    assert mirror.close("FINISHED", 60) == 1
    assert len(warnings) == 1
    assert "127.0.0.1" in warnings[0]
    assert "secret" not in warnings[0]
