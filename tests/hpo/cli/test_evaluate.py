"""The sealed test set: opened once, for the chosen trial, and never unseen."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import CommandLine

from hpo.ledger import snapshots as books
from hpo.ledger.address import parse

OBJECTIVE = """
def objective(params, seed):
    return params["x"]

def evaluate(params, seed):
    with open("opened", "a") as opened:
        opened.write("x")
    yield {"test_loss": params["x"] * params["scale"]}

def threads(params, seed):
    import numpy
    from threadpoolctl import threadpool_info
    return max(pool["num_threads"] for pool in threadpool_info())

def silent(params, seed):
    return iter([])

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


def book(folder: Path) -> books.Snapshot:
    return books.read(parse(str(folder / "hpo.journal")), "sealed")


@pytest.fixture
def sealed(hpo: CommandLine, quick_report: None) -> Iterator[CommandLine]:
    (hpo.folder / "sealed_objective.py").write_text(OBJECTIVE)
    (hpo.folder / "study.toml").write_text(STUDY)
    yield hpo
    sys.modules.pop("sealed_objective", None)


@pytest.fixture
def folder(sealed: CommandLine) -> Path:
    return sealed.folder


def test_the_search_never_evaluates_and_an_evaluation_is_done_once(sealed: CommandLine, folder: Path) -> None:
    sealed("run", "study.toml", "--workers", "0", "--tracking", "none")
    assert not (folder / "opened").exists()
    first = sealed("evaluate", "sealed", "--json", "--tracking", "none")
    entry = first.json
    second = sealed("evaluate", "sealed", "--tracking", "none", code=2)
    assert f"was evaluated with trial {entry['trial']}" in second.err
    assert "--again" in second.err
    assert (folder / "opened").read_text() == "x"


def test_again_is_recorded_too(sealed: CommandLine, folder: Path) -> None:
    sealed("run", "study.toml", "--workers", "0", "--tracking", "none")
    sealed("evaluate", "sealed", "--tracking", "none")
    again = sealed("evaluate", "sealed", "--again", "--trial", "3", "--json", "--tracking", "none")
    _, second = book(folder).evaluations
    assert second == again.json
    assert second["trial"] == 3
    assert second["metrics"] == {"test_loss": 2.0 * book(folder).trials[3].params["x"]}


def test_a_tracking_store_that_cannot_be_is_refused_before_the_access(sealed: CommandLine, folder: Path) -> None:
    sealed("run", "study.toml", "--workers", "0", "--tracking", "none")
    assert "MLflow has no store for s3:" in sealed("evaluate", "sealed", "--tracking", "s3://b/x", code=2).err
    assert not book(folder).evaluations
    assert sealed("evaluate", "sealed", "--json", "--tracking", "none").json["metrics"]


def test_an_access_that_fails_is_recorded_as_an_access(sealed: CommandLine, folder: Path) -> None:
    (folder / "study.toml").write_text(STUDY.replace(":evaluate", ":broken"))
    sealed("run", "study.toml", "--workers", "0", "--tracking", "none")
    failed = sealed("evaluate", "sealed", "--tracking", "none", code=1)
    assert "the evaluation failed, and is recorded at " in failed.err
    assert "RuntimeError: out of memory; to try again: hpo evaluate sealed --again\n" in failed.err
    assert [entry["metrics"] for entry in book(folder).evaluations] == [{}]
    sealed("evaluate", "sealed", "--tracking", "none", code=2)


def test_an_evaluation_without_any_metric_has_failed_and_is_recorded(sealed: CommandLine, folder: Path) -> None:
    (folder / "study.toml").write_text(STUDY.replace(":evaluate", ":silent"))
    sealed("run", "study.toml", "--workers", "0", "--tracking", "none")
    failed = sealed("evaluate", "sealed", "--tracking", "none", code=1)
    assert failed.out == ""
    assert failed.err.startswith(
        'hpo: "sealed_objective:silent" reported no metric; that it saw the test set is recorded'
    )
    assert failed.err.endswith("hpo evaluate sealed --again\n")
    assert [entry["metrics"] for entry in book(folder).evaluations] == [{}]


def test_mlflow_has_the_score_on_the_study(sealed: CommandLine, mlflow_database: str) -> None:
    from mlflow import MlflowClient

    uri = mlflow_database
    sealed("run", "study.toml", "--workers", "0", "--tracking", uri)
    entry = sealed("evaluate", "sealed", "--json", "--tracking", uri).json
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("sealed")
    assert experiment is not None
    parent = client.search_runs([experiment.experiment_id], "tags.`hpo.role` = 'study'")[0]
    assert parent.data.metrics["test_loss"] == entry["metrics"]["test_loss"]
    assert json.loads(parent.data.tags["hpo.evaluation.1"]) == entry


def test_a_score_that_is_no_number_is_null_in_json(sealed: CommandLine, folder: Path) -> None:
    (folder / "sealed_objective.py").write_text(OBJECTIVE.replace('params["scale"]}', "float('nan'), 'b': 1e999}"))
    sealed("run", "study.toml", "--workers", "0", "--tracking", "none")
    entry = sealed("evaluate", "sealed", "--json", "--tracking", "none").json
    assert entry["metrics"] == {"test_loss": None, "b": None}


def test_a_command_evaluates_in_a_folder_of_its_own(sealed: CommandLine, folder: Path) -> None:
    """With the placeholders and metrics of the study's other command; nothing of it stays."""
    script = "mkdir -p $1 && printf 'loss\\n%s\\n' $2 > $1/m.csv"
    words = json.dumps(["sh", "-c", script, "sh", "{folder}", "{trial}"])
    study = STUDY.replace('"sealed_objective:objective"', words).replace('"sealed_objective:evaluate"', words)
    (folder / "study.toml").write_text(f'{study}[reports]\ncsv = "{{folder}}/m.csv"\n')
    sealed("run", "study.toml", "--workers", "0", "--tracking", "none")
    before = {*folder.glob("*"), *folder.glob(".hpo/trials/**/*")}
    assert sealed("evaluate", "sealed", "--trial", "3", "--json", "--tracking", "none").json["metrics"] == {"loss": 3}
    assert {*folder.glob("*"), *folder.glob(".hpo/trials/**/*")} == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nothing",), "there is no study 'nothing'"),
        (("sealed", "--trial", "77"), "--trial: sealed has no complete trial 77"),
    ],
)
def test_what_cannot_be_evaluated_is_said(sealed: CommandLine, words: tuple[str, ...], message: str) -> None:
    sealed("run", "study.toml", "--workers", "0", "--tracking", "none")
    refused = sealed("evaluate", *words, "--tracking", "none", code=2)
    assert message in refused.err


def test_a_study_without_an_evaluation_says_what_is_missing(sealed: CommandLine, folder: Path) -> None:
    (folder / "study.toml").write_text(STUDY.replace('evaluate = "sealed_objective:evaluate"', ""))
    sealed("run", "study.toml", "--workers", "0", "--tracking", "none")
    refused = sealed("evaluate", "sealed", "--tracking", "none", code=2)
    assert 'add `evaluate = "package.module:name"`' in refused.err


def test_an_evaluation_has_the_threads_that_a_worker_has(sealed: CommandLine, folder: Path) -> None:
    """In a process of its own: this one may have been started with a single thread."""
    text = STUDY.replace("sealed_objective:evaluate", "sealed_objective:threads")
    (folder / "study.toml").write_text(text + "[workers]\ncpus = 1\n")
    sealed("run", "study.toml", "--workers", "0", "--tracking", "none")
    out, err = sealed.start("evaluate", "sealed", "--json", "--tracking", "none").communicate(timeout=120)
    assert out, err
    assert json.loads(out)["metrics"] == {"loss": 1}
