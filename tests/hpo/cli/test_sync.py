"""``hpo sync``: whatever has become of MLflow, it is as the ledger says afterwards."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from command_line import QUICK, CommandLine
from mirrored import active_runs, children, exactly_once, parent
from mlflow import MlflowClient

from hpo.ledger import snapshots as books
from hpo.ledger.address import parse

pytestmark = pytest.mark.usefixtures("quick_report")

MIXED = """
import time

def mixed(params, seed):
    for step in range(4):
        yield {"loss": params["lr"] / (step + 1), "nan": float("nan")}
    if params["lr"] > 0.1:
        raise RuntimeError("out of luck")
"""


def book(hpo: CommandLine) -> books.Snapshot:
    return books.read(parse(str(hpo.folder / "hpo.journal")), "small")


@pytest.fixture
def studied(hpo: CommandLine) -> CommandLine:
    """A study of six trials that MLflow has not seen: some complete, some pruned, some failed."""
    (hpo.folder / "mixed_objective.py").write_text(MIXED)
    hpo.run("--set", "objective=mixed_objective:mixed", "--set", "budget.trials=12", "--set", "pruner.name=median")
    assert {trial.state for trial in book(hpo).trials} == {"complete", "pruned", "failed"}
    return hpo


def test_a_store_is_rebuilt_from_nothing(studied: CommandLine, mlflow_database: str) -> None:
    (studied.folder / "mlflow.db").unlink()
    ended = studied("sync", "small", "--tracking", mlflow_database)

    assert ended.out == f"small: 12 trials in MLflow at {mlflow_database}, 12 of them written now\n"
    exactly_once(mlflow_database, book(studied))


def test_a_second_sync_changes_no_run(studied: CommandLine, mlflow_database: str) -> None:
    studied("sync", "small", "--tracking", mlflow_database)
    before = {run.info.run_id for run in active_runs(mlflow_database, "small")}

    again = studied("sync", "small", "--tracking", mlflow_database, "--json").json

    assert again == {"name": "small", "trials": 12, "written": 0, "failed": []}
    assert {run.info.run_id for run in active_runs(mlflow_database, "small")} == before


def test_what_was_deleted_changed_or_doubled_by_hand_is_mended(studied: CommandLine, mlflow_database: str) -> None:
    studied("sync", "small", "--tracking", mlflow_database)
    client, runs = MlflowClient(mlflow_database), children(mlflow_database, "small")
    above = parent(mlflow_database, "small")
    for number in (0, 3):
        client.delete_run(runs[number].info.run_id)
    complete = next(trial.number for trial in book(studied).trials if trial.state == "complete" and trial.number > 3)
    client.log_metric(runs[complete].info.run_id, "loss", 77.0, step=99)
    twin = client.create_run(above.info.experiment_id, tags=dict(runs[5].data.tags))
    client.delete_run(above.info.run_id)

    mended = studied("sync", "small", "--tracking", mlflow_database, "--json").json

    assert mended["written"] == 3
    exactly_once(mlflow_database, book(studied))
    assert client.get_run(twin.info.run_id).info.lifecycle_stage == "deleted"


def test_a_deleted_experiment_comes_back(studied: CommandLine, mlflow_database: str) -> None:
    studied("sync", "small", "--tracking", mlflow_database)
    client = MlflowClient(mlflow_database)
    client.delete_experiment(parent(mlflow_database, "small").info.experiment_id)

    studied("sync", "small", "--tracking", mlflow_database)

    exactly_once(mlflow_database, book(studied))


def test_a_study_that_is_being_run_is_refused(hpo: CommandLine, mlflow_database: str) -> None:
    driver = hpo.start("run", "s.toml", *QUICK, "--set", "objective=small_objectives:waiting")
    try:
        while not (hpo.folder / "started").exists():
            assert driver.poll() is None
            time.sleep(0.05)
        refused = hpo("sync", "small", "--tracking", mlflow_database, code=2)
        assert "study 'small' is being run by pid" in refused.err
        assert active_runs(mlflow_database, "small") == []
    finally:
        (hpo.folder / "go").touch()
        driver.communicate(timeout=60)


def test_an_unfinished_trial_of_a_dead_driver_is_shown_as_cut_off(hpo: CommandLine, mlflow_database: str) -> None:
    driver = hpo.start("run", "s.toml", *QUICK, "--set", "objective=small_objectives:waiting")
    while not (hpo.folder / "started").exists():
        assert driver.poll() is None
        time.sleep(0.05)
    driver.kill()
    driver.communicate(timeout=60)

    hpo("sync", "small", "--tracking", mlflow_database)

    assert [trial.state for trial in book(hpo).trials] == ["running"]
    exactly_once(mlflow_database, book(hpo))
    (hpo.folder / "go").touch()
    waiting = ("--set", "objective=small_objectives:waiting")
    hpo("run", "s.toml", "--workers", "0", "--tracking", mlflow_database, *waiting)
    exactly_once(mlflow_database, book(hpo))


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("sync", "nothing"), 2, "there is no study 'nothing'"),
        (("sync", "small", "--tracking", "none"), 2, "--tracking: must be a tracking store, got none"),
        (("sync", "small", "--storage", "absent.journal"), 2, "there is no study 'small'"),
        (("sync", "small", "--tracking", "foo://bar"), 2, "--tracking: MLflow has no store for foo://"),
        (("sync", "small", "--tracking", "http://me:secret@127.0.0.1:9"), 1, "http://me:***@127.0.0.1:9"),
    ],
)
def test_what_cannot_be_done_is_said(
    hpo: CommandLine, words: tuple[str, ...], code: int, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    hpo.run()
    ended = hpo(*words, code=code)
    assert message in ended.err
    assert "secret" not in ended.err + ended.out
    assert "the search continues" not in ended.err
    assert "Traceback" not in ended.err
