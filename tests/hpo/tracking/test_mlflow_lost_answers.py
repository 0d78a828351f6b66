"""Calls that a server obeys and does not answer, and a server that is not there."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import ClassVar

import pytest
from own_server import Relay, relay
from stored import a_store, a_trial, exactly_once

from hpo.study import Study
from hpo.tracking import mirror as mirror_module
from hpo.tracking.mirror import Mirror
from hpo.trial import COMPLETE, FAILED, PRUNED


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
