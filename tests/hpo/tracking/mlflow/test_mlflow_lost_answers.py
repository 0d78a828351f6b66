"""Calls that a server obeys and does not answer, and a server that is not there."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
from own_server import Relay, relay
from stored import a_store, a_trial, exactly_once

from hpo.study import Study
from hpo.tracking import mirror as mirror_module
from hpo.tracking.mirror import Mirror
from hpo.trial import State, StudyState


class Losing(Relay):
    """Some answers never reach the client."""

    # Of these calls each third, fifth, seventh answer is lost.
    losses: ClassVar = {"runs/create": 3, "runs/log-batch": 5, "runs/update": 7}
    counts: collections.Counter[str]
    lost: list[str]

    def _answer(self, status: int, content: bytes, kind: str) -> None:
        call = "/".join(self.path.split("/")[-2:])
        self.counts[call] += 1
        if call in self.losses and self.counts[call] % self.losses[call] == 0:
            self.lost.append(call)
            self.close_connection = True
            self.connection.close()  # obeyed, but nobody is told
            return
        super()._answer(status, content, kind)


@pytest.fixture
def losing_server(mlflow_server: str) -> Iterator[tuple[str, type[Losing]]]:
    with relay(mlflow_server, Losing, counts=collections.Counter(), lost=[]) as (address, handler):
        handler.answers.set()
        yield address, handler


@pytest.mark.slow
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
    trials = [a_trial(number, (State.COMPLETE, State.PRUNED, State.FAILED)[number % 3]) for number in range(12)]
    mirror = Mirror(lambda: a_store(address, study), [], warnings.append)
    for trial in trials:
        mirror.update(trial)

    missing = mirror.close(StudyState.COMPLETE, 60)

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

    assert mirror.close(StudyState.COMPLETE, 60) == 1
    assert len(warnings) == 1
    assert "127.0.0.1" in warnings[0]
    assert "secret" not in warnings[0]


class TooMany(BaseHTTPRequestHandler):
    """Asks for an hour's patience."""

    def do_GET(self) -> None:
        self.send_response(429)
        self.send_header("Retry-After", "3600")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


class Silent(TooMany):
    """Never answers while the test runs."""

    def do_GET(self) -> None:
        self.server.over.wait(60)  # type: ignore[attr-defined]

    do_POST = do_GET


@pytest.mark.parametrize(("handler", "limit"), [(TooMany, 60.0), (Silent, 2.0)])
def test_a_server_that_asks_for_an_hour_or_never_answers_does_not_keep_the_mirror(
    study: Study, monkeypatch: pytest.MonkeyPatch, handler: type[BaseHTTPRequestHandler], limit: float
) -> None:
    monkeypatch.setattr(mirror_module, "BACKOFF", (0.01, 0.02))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads, over = True, threading.Event()
    server.over = over  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        mirror = Mirror(lambda: a_store(f"http://127.0.0.1:{server.server_port}", study), [], lambda text: None)
        mirror.update(a_trial(0))
        began = time.monotonic()
        assert mirror.close(StudyState.COMPLETE, limit) == 1
        assert time.monotonic() - began < min(limit + 5, 45)
    finally:
        over.set()
        server.shutdown()
        server.server_close()
