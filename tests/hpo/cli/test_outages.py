"""MLflow in trouble while a search runs: the search does not wait, one warning says so, nothing is lost or doubled."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import CommandLine
from mirrored import active_runs, children, exactly_once
from mlflow import MlflowClient
from own_server import OwnServer, Starter, relay

from hpo import mirroring
from hpo.ledger import snapshots as books
from hpo.ledger.address import parse
from hpo.tracking import mirror

pytestmark = [pytest.mark.usefixtures("quick_report"), pytest.mark.timeout(300)]

GATED = """
import time
from pathlib import Path

def gated(params, seed):
    while len(Path("ended").read_text()) >= int(Path("allowed").read_text() or 0):
        time.sleep(0.05)
    for step in range(5):
        yield {"loss": params["lr"] / (step + 1)}
    with Path("ended").open("a") as ended:
        ended.write("x")

def endless(params, seed):
    yield {"loss": 1.0}
    while int(Path("allowed").read_text() or 0) == 0:
        time.sleep(0.2)
        yield {"loss": params["lr"]}
"""
RUN = ("run", "s.toml", "--workers", "0", "--set", "objective=gated_objective:gated")


def allow(hpo: CommandLine, trials: int) -> None:
    """Lets so many trials of the study run; the next one waits."""
    draft = hpo.folder / "allowed.draft"
    draft.write_text(str(trials))
    draft.replace(hpo.folder / "allowed")


@pytest.fixture
def gated(hpo: CommandLine, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    (hpo.folder / "gated_objective.py").write_text(GATED)
    (hpo.folder / "ended").touch()
    allow(hpo, 0)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return hpo


@pytest.fixture
def server(tmp_path: Path, empty_mlflow_database: Path, mlflow_starter: Starter) -> Iterator[OwnServer]:
    folder = tmp_path / "server"
    folder.mkdir()
    server = OwnServer(folder, empty_mlflow_database, mlflow_starter)
    server.start()
    yield server
    server.kill()


def book(hpo: CommandLine, name: str = "small") -> books.Snapshot:
    return books.read(parse(str(hpo.folder / "hpo.journal")), name)


def finished(hpo: CommandLine) -> int:
    return sum(trial.finished for trial in book(hpo).trials)


def wait_for(condition: Callable[[], bool], driver: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        assert driver.poll() is None, driver.communicate()
        time.sleep(0.1)


@pytest.mark.slow
def test_a_server_that_is_killed_and_started_again_has_everything_once(gated: CommandLine, server: OwnServer) -> None:
    driver = gated.start(*RUN, "--set", "budget.trials=12", "--tracking", server.uri)
    allow(gated, 4)
    wait_for(lambda: len(children(server.uri, "small")) >= 4, driver)
    server.kill()
    allow(gated, 8)
    wait_for(lambda: finished(gated) == 8, driver)  # the search goes on
    server.start()
    allow(gated, 12)

    _, said = driver.communicate(timeout=200)

    assert driver.returncode == 0, said
    assert said.count("is slow or failing") <= 1, said
    assert "Traceback" not in said
    gated("sync", "small", "--tracking", server.uri)  # a slow machine may not have had the time
    exactly_once(server.uri, book(gated))


@pytest.mark.slow
def test_a_driver_that_is_killed_leaves_what_sync_makes_whole(gated: CommandLine, server: OwnServer) -> None:
    driver = gated.start(*RUN, "--set", "budget.trials=8", "--tracking", server.uri)
    allow(gated, 4)
    wait_for(lambda: len(children(server.uri, "small")) >= 4, driver)
    driver.kill()
    driver.communicate(timeout=60)

    gated("sync", "small", "--tracking", server.uri)
    exactly_once(server.uri, book(gated))
    allow(gated, 1000)
    gated(*RUN, "--set", "budget.trials=8", "--tracking", server.uri)
    gated("sync", "small", "--tracking", server.uri)

    assert len(book(gated).trials) == 8
    exactly_once(server.uri, book(gated))


@pytest.mark.slow
def test_runs_deleted_by_hand_while_the_search_goes_on_are_there_in_the_end(
    gated: CommandLine, server: OwnServer
) -> None:
    driver = gated.start(*RUN, "--set", "budget.trials=8", "--tracking", server.uri)
    allow(gated, 4)
    wait_for(lambda: len(children(server.uri, "small")) >= 4, driver)
    client = MlflowClient(server.uri)
    for run in active_runs(server.uri, "small"):  # the parent too
        client.delete_run(run.info.run_id)
    allow(gated, 8)
    driver.communicate(timeout=200)
    assert driver.returncode == 0

    gated("sync", "small", "--tracking", server.uri)
    exactly_once(server.uri, book(gated))


@pytest.mark.slow
def test_a_search_ends_while_mlflow_has_not_answered_a_single_call(
    gated: CommandLine, mlflow_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirroring, "DRAIN", 0.5)
    allow(gated, 1000)
    with relay(mlflow_server) as (address, behaviour):
        try:
            ended = gated(*RUN, "--set", "name=slow", "--tracking", address)
        finally:
            behaviour.answers.set()

    assert [trial.state for trial in book(gated, "slow").trials] == ["complete"] * 5
    assert ended.err.splitlines()[-1] == "hpo: 5 trials are not in MLflow yet; to write them: hpo sync slow"
    # In a process of its own, as always: MLflow keeps in each by what address a run's artifacts are reached.
    _, said = (sync := gated.start("sync", "slow", "--tracking", mlflow_server)).communicate(timeout=200)
    assert sync.returncode == 0, said
    exactly_once(mlflow_server, book(gated, "slow"))


def test_a_server_that_answers_with_errors_is_told_once_and_caught_up_with(
    gated: CommandLine, mlflow_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror, "BACKOFF", (0.05, 0.1))
    allow(gated, 1000)
    with relay(mlflow_server) as (address, behaviour):
        behaviour.answers.set()
        behaviour.status = 500
        ended = gated(*RUN, "--set", "name=broken", "--tracking", address)
        assert ended.err.count("is slow or failing") == 1
        assert "5 trials are not in MLflow yet" in ended.err
        behaviour.status = 0
        gated("sync", "broken", "--tracking", address)

    exactly_once(mlflow_server, book(gated, "broken"))


@pytest.mark.slow
def test_a_curve_grows_while_its_trial_runs(gated: CommandLine, server: OwnServer) -> None:
    words = ("--set", "objective=gated_objective:endless", "--set", "budget.trials=1")
    driver = gated.start(*RUN, *words, "--tracking", server.uri)
    client, lengths = MlflowClient(server.uri), set()

    def growing() -> bool:
        for run in children(server.uri, "small").values():
            assert run.info.status == "RUNNING"
            lengths.add(len(client.get_metric_history(run.info.run_id, "loss")))
        return len(lengths) >= 3

    wait_for(growing, driver)
    allow(gated, 1)
    driver.communicate(timeout=100)

    gated("sync", "small", "--tracking", server.uri)
    exactly_once(server.uri, book(gated))
