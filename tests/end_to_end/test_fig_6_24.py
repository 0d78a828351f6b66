"""The chapter's search, as ``hpo run studies/fig_6_24.toml`` runs it: rows H8 and H9 of the chapter's list."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from scipy.stats import spearmanr
from working_folder import WorkingFolder, mlflow_runs

from hpo.ledger import snapshots as books
from hpo.ledger.address import parse
from hpo.trial import Direction, State, Trial, best_first
from trainer.data import mnist

STUDY = Path(__file__).parents[2] / "studies" / "fig_6_24.toml"

pytestmark = [pytest.mark.mnist, pytest.mark.xdist_group("ray")]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the study was run, with the training images alone: the test images are not there."""
    folder = tmp_path_factory.mktemp("fig-6-24")
    (folder / "data" / "mnist").mkdir(parents=True)
    for name in ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"):
        (folder / "data" / "mnist" / name).symlink_to((mnist.folder() / name).absolute())
    run = WorkingFolder(folder / "work", trials=1, pause=0.0)
    process = run.start("run", str(STUDY), "--workers", "2", data=folder / "data")
    _, error = process.communicate(timeout=280)
    assert process.returncode == 0, error
    return run.path


@pytest.fixture(scope="module")
def trials(searched: Path) -> list[Trial]:
    return books.read(parse(str(searched / "hpo.journal")), "fig-6-24").trials


def column(trials: list[Trial], name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([math.log10(trial.params[name]) for trial in trials])


def values(trials: list[Trial]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([trial.value for trial in trials])


def test_a_hundred_trials_of_fifty_epochs_complete_without_the_test_images(trials: list[Trial]) -> None:
    assert [trial.number for trial in trials] == list(range(100))
    assert {trial.state for trial in trials} == {State.COMPLETE}
    assert {len(trial.reports) for trial in trials} == {50}


def test_the_best_trials_lie_in_the_chapters_bands(trials: list[Trial]) -> None:
    best = best_first(trials, Direction.MAXIMIZE)[:5]

    assert 0.65 <= (best[0].value or 0.0) <= 0.95
    assert all(trial.params["lr"] > 1e-3 for trial in best)


def test_the_learning_rate_matters_and_weight_decay_does_not(trials: list[Trial]) -> None:
    assert spearmanr(values(trials), column(trials, "lr")).statistic >= 0.45
    assert abs(spearmanr(values(trials), column(trials, "weight_decay")).statistic) < 0.30


def test_mlflow_holds_the_parent_and_a_hundred_children_with_fifty_steps_each(
    searched: Path, trials: list[Trial]
) -> None:
    (parent,) = mlflow_runs(searched, "fig-6-24", "study")
    children = mlflow_runs(searched, "fig-6-24", "trial")
    client = MlflowClient(f"sqlite:///{searched}/mlflow.db")

    assert parent.info.status == "FINISHED"
    assert [run.data.metrics["objective"] for run in children] == [trial.value for trial in trials]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert all(steps(client, run) == list(range(1, 51)) for run in children)


def steps(client: MlflowClient, run: Run) -> list[int]:
    return [metric.step for metric in client.get_metric_history(run.info.run_id, "val_accuracy")]
