"""The sealed test set: opened once, for the chosen trial, and never unseen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hpo.ledger import books
from hpo.ledger.address import parse

OBJECTIVE = """
import pathlib

def objective(params, seed):
    return params["x"]

def evaluate(params, seed):
    pathlib.Path("opened").open("a").write("x")
    yield {"test_loss": params["x"] * params["scale"]}

def threads(params, seed):
    from threadpoolctl import threadpool_info
    return max(pool["num_threads"] for pool in threadpool_info())

def broken(params, seed):
    raise RuntimeError("out of memory")
"""
STUDY = """
name = "sealed"
objective = "sealed_objective:objective"
metric = "loss"
direction = "minimize"
evaluate = "sealed_objective:evaluate"
[fixed]
scale = 2.0
[space]
x = { low = 0.0, high = 1.0 }
[budget]
trials = 5
"""


def hpo(folder: Path, *words: str, tracking: str = "none") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hpo", *words, "--tracking", tracking]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def book(folder: Path) -> books.Book:
    return books.read(parse(str(folder / "hpo.journal")), "sealed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sealed_objective.py").write_text(OBJECTIVE)
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path


def test_the_search_never_evaluates_and_an_evaluation_is_done_once(folder: Path) -> None:
    hpo(folder, "run", "study.toml", "--workers", "0")
    assert not (folder / "opened").exists()
    first = hpo(folder, "evaluate", "sealed", "--json")
    assert first.returncode == 0, first.stderr
    entry = json.loads(first.stdout)
    second = hpo(folder, "evaluate", "sealed")
    assert second.returncode == 2
    assert f"was evaluated with trial {entry['trial']}" in second.stderr
    assert "--again" in second.stderr
    assert (folder / "opened").read_text() == "x"


def test_again_is_recorded_too(folder: Path) -> None:
    hpo(folder, "run", "study.toml", "--workers", "0")
    hpo(folder, "evaluate", "sealed")
    again = hpo(folder, "evaluate", "sealed", "--again", "--trial", "3", "--json")
    _, second = book(folder).evaluations
    assert second == json.loads(again.stdout)
    assert second["trial"] == 3
    assert second["metrics"] == {"test_loss": 2.0 * book(folder).trials[3].params["x"]}


def test_an_access_that_fails_is_recorded_as_an_access(folder: Path) -> None:
    (folder / "study.toml").write_text(STUDY.replace(":evaluate", ":broken"))
    hpo(folder, "run", "study.toml", "--workers", "0")
    failed = hpo(folder, "evaluate", "sealed")
    assert failed.returncode == 1
    assert "the evaluation failed, and is recorded: RuntimeError: out of memory" in failed.stderr
    assert [entry["metrics"] for entry in book(folder).evaluations] == [{}]
    assert hpo(folder, "evaluate", "sealed").returncode == 2


def test_mlflow_has_the_score_on_the_study(folder: Path) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{folder}/mlflow.db"
    hpo(folder, "run", "study.toml", "--workers", "0", tracking=uri)
    entry = json.loads(hpo(folder, "evaluate", "sealed", "--json", tracking=uri).stdout)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("sealed")
    assert experiment is not None
    parent = client.search_runs([experiment.experiment_id], "tags.`hpo.role` = 'study'")[0]
    assert parent.data.metrics["test_loss"] == entry["metrics"]["test_loss"]
    assert json.loads(parent.data.tags["hpo.evaluation.1"]) == entry


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nothing",), "there is no study 'nothing'"),
        (("sealed", "--trial", "77"), "--trial: sealed has no complete trial 77"),
    ],
)
def test_what_cannot_be_evaluated_is_said(folder: Path, words: tuple[str, ...], message: str) -> None:
    hpo(folder, "run", "study.toml", "--workers", "0")
    refused = hpo(folder, "evaluate", *words)
    assert refused.returncode == 2
    assert message in refused.stderr


def test_a_study_without_an_evaluation_says_what_is_missing(folder: Path) -> None:
    (folder / "study.toml").write_text(STUDY.replace('evaluate = "sealed_objective:evaluate"', ""))
    hpo(folder, "run", "study.toml", "--workers", "0")
    refused = hpo(folder, "evaluate", "sealed")
    assert refused.returncode == 2
    assert 'add `evaluate = "package.module:name"`' in refused.stderr


def test_an_evaluation_has_the_threads_that_a_worker_has(folder: Path) -> None:
    text = STUDY.replace("sealed_objective:evaluate", "sealed_objective:threads")
    (folder / "study.toml").write_text(text + "[workers]\ncpus = 1\n")
    hpo(folder, "run", "study.toml", "--workers", "0")
    entry = json.loads(hpo(folder, "evaluate", "sealed", "--json").stdout)
    assert entry["metrics"] == {"loss": 1}
