"""What stands in MLflow of a study and its trials, in a local database and behind a real server."""

from __future__ import annotations

import getpass
import math
import random
import re
import string
import sys
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from small_study import small_study
from stored import BEGAN, a_store, a_trial, exactly_once, finish, history, mirror, runs

from hpo.errors import InputError
from hpo.machine import absolute_uri
from hpo.study import Study
from hpo.tracking import check
from hpo.tracking.mlflow import MlflowStore
from hpo.tracking.mlflow.describe import description
from hpo.trial import Report, State, StudyState, Trial

# What is promised --------------------------------------------------------------------------------------------------


def test_a_study_is_one_parent_and_one_child_per_trial(uri: str, study: Study) -> None:
    trials = [a_trial(0), a_trial(1, State.PRUNED, reports=1), a_trial(2, State.FAILED, reports=2)]
    mirror(uri, study, trials)

    parent = exactly_once(uri, study, trials)
    assert parent.info.status == "FINISHED"
    assert parent.info.run_name == study.name
    assert parent.data.tags.items() >= {"hpo.study": study.name, "hpo.role": "study", "hpo.uid": "uid-1"}.items()
    assert parent.data.params == {"fixed.epochs": "3", "fixed.dataset": "digits"}
    assert parent.data.metrics["best_objective"] == trials[0].value


def test_a_child_has_the_promised_tags_params_metrics_and_times(uri: str, study: Study) -> None:
    trial = a_trial(4)
    mirror(uri, study, [trial])

    (parent,), (child,) = runs(uri, study, "study"), runs(uri, study, "trial")
    ours = {key: value for key, value in child.data.tags.items() if key.startswith("hpo.")}
    assert ours == {
        "hpo.study": study.name,
        "hpo.uid": "uid-1",
        "hpo.role": "trial",
        "hpo.trial": "4",
        "hpo.state": "complete",
        "hpo.seed": "11",
        "hpo.attempt": "1",
        "hpo.worker": "host/1",
        "hpo.best": "best",
    }
    assert child.data.tags["mlflow.source.name"] == "simple_objectives:curve"
    assert child.data.tags["mlflow.user"] == child.info.user_id == getpass.getuser()
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    searched = {"lr": "0.001", "layers": "2", "activation": "relu", "hidden": "[100, 100]"}
    assert child.data.params == searched | {"epochs": "3", "dataset": "digits"}
    assert set(child.data.metrics) == {"score", "loss", "objective"}
    assert child.data.metrics["objective"] == trial.value
    milliseconds = int(BEGAN * 1000)
    assert history(uri, child, "score") == [
        (step, 4 + step / 8, milliseconds + 1000 * (4 + step)) for step in (1, 2, 3)
    ]
    assert (child.info.start_time, child.info.end_time) == (milliseconds + 4000, milliseconds + 64000)


def test_a_failed_trial_has_its_traceback_as_an_artifact(uri: str, study: Study) -> None:
    trial = a_trial(0, State.FAILED)
    mirror(uri, study, [trial])

    (child,) = runs(uri, study, "trial")
    assert child.info.status == "FAILED"
    assert child.data.tags["hpo.error"] == "ValueError: 学習率 too high"
    client = MlflowClient(uri)
    assert [file.path for file in client.list_artifacts(child.info.run_id)] == ["error.txt"]
    local = client.download_artifacts(child.info.run_id, "error.txt")
    assert Path(local).read_text(encoding="utf-8") == trial.error


def test_the_study_file_and_its_resolved_form_are_artifacts_of_the_parent(uri: str, tmp_path: Path) -> None:
    from hpo.study import load

    name = f"s{uuid.uuid4().hex[:12]}"
    file = tmp_path / "study.toml"
    file.write_text(
        f'name = "{name}"\nobjective = "a:b"\nmetric = "score"\ndirection = "minimize"\n'
        "[space]\nlr = { low = 0.1, high = 1.0 }\n[budget]\ntrials = 3\n"
    )
    mirror(uri, load(file), [])
    larger = load(file, ["budget.trials=9"])
    mirror(uri, larger, [])

    (parent,) = runs(uri, larger, "study")
    client = MlflowClient(uri)
    copy = Path(client.download_artifacts(parent.info.run_id, "study.toml"))
    assert copy.read_bytes() == file.read_bytes()
    resolved = Path(client.download_artifacts(parent.info.run_id, "study.json")).read_text(encoding="utf-8")
    assert '"trials": 9' in resolved


def test_a_running_trial_grows(uri: str, study: Study) -> None:
    store = a_store(uri, study)
    store.open([])
    trial = a_trial(0, State.RUNNING, reports=1)
    store.write([trial])
    (child,) = runs(uri, study, "trial")
    assert (child.info.status, child.data.tags["hpo.state"]) == ("RUNNING", "running")
    assert [step for step, _, _ in history(uri, child, "score")] == [1]

    trial = a_trial(0, State.RUNNING, reports=4)
    store.write([trial])
    store.write([trial])
    assert [step for step, _, _ in history(uri, child, "score")] == [1, 2, 3, 4]

    trial = finish(trial, State.PRUNED)
    store.write([trial])
    store.progress([trial])
    store.end(StudyState.COMPLETE, [])
    exactly_once(uri, study, [trial])
    assert runs(uri, study, "trial")[0].info.run_id == child.info.run_id


def test_a_trial_that_waits_for_a_worker_has_no_run_yet(uri: str, study: Study) -> None:
    store = a_store(uri, study)
    store.open([])
    store.write([Trial(0, {"lr": 0.1}, seed=1)])

    assert runs(uri, study, "trial") == []


def test_a_second_attempt_replaces_the_first(uri: str, study: Study) -> None:
    store = a_store(uri, study)
    store.open([])
    trial = a_trial(0, State.RUNNING, reports=2)
    store.write([trial])
    trial = replace(trial, attempt=2, reports=(Report(1, BEGAN + 5, {"score": 9.0}),))
    store.write([trial])
    trial = finish(trial, State.COMPLETE)
    store.write([trial])
    store.progress([trial])
    store.end(StudyState.COMPLETE, [])

    exactly_once(uri, study, [trial])
    (child,) = runs(uri, study, "trial")
    assert child.data.tags["hpo.attempt"] == "2"
    assert "loss" not in child.data.metrics


def test_a_lost_attempt_is_gone_while_the_next_one_waits_for_a_worker(uri: str, study: Study) -> None:
    store = a_store(uri, study)
    store.open([])
    trial = a_trial(0, State.RUNNING, reports=2)
    store.write([trial])
    trial = replace(trial, attempt=2, reports=(), started=None, worker=None)
    store.write([trial])
    assert runs(uri, study, "trial") == []
    store.write([trial])
    store.end(StudyState.STOPPED, [trial])

    (child,) = runs(uri, study, "trial")
    assert child.data.tags["hpo.attempt"] == "2"
    assert child.info.status == "KILLED"


# Values and names of every kind ------------------------------------------------------------------------------------


def test_no_number_is_too_odd(uri: str, study: Study) -> None:
    odd = [math.nan, math.inf, -math.inf, 1e-310, 1.7e308, -0.0, 0.1 + 0.2]
    trial = a_trial(0, State.RUNNING, reports=0)
    reports = tuple(Report(step, BEGAN, {"score": value}) for step, value in enumerate(odd, start=1))
    trial = replace(trial, reports=reports)
    trial = finish(trial, State.COMPLETE)
    mirror(uri, study, [trial])

    (child,) = runs(uri, study, "trial")
    values = [value for _, value, _ in history(uri, child, "score")]
    assert math.isnan(values[0])
    assert (values[1], values[2]) == (sys.float_info.max, -sys.float_info.max)
    assert values[3:] == odd[3:]
    assert child.data.metrics["objective"] == 0.1 + 0.2


def test_thousands_of_metrics_and_hundreds_of_params_all_arrive(uri: str, study: Study) -> None:
    trial = a_trial(0, State.RUNNING, reports=0)
    reports = tuple(
        Report(
            step, BEGAN + step, {f"m{metric}": float(metric * step) for metric in range(30)} | {"score": float(step)}
        )
        for step in range(1, 101)
    )
    trial = replace(trial, params={f"p{number}": number for number in range(250)}, reports=reports)
    trial = finish(trial, State.COMPLETE)
    many = small_study(name=study.name, fixed={f"f{number}": number for number in range(150)})
    mirror(uri, many, [trial])

    parent = exactly_once(uri, many, [trial])
    (child,) = runs(uri, study, "trial")
    assert len(child.data.params) == 250 + 150
    assert len(parent.data.params) == 150
    for metric in ("m0", "m29"):
        number = int(metric[1:])
        assert [(step, value) for step, value, _ in history(uri, child, metric)] == [
            (step, float(number * step)) for step in range(1, 101)
        ]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("val_accuracy", "val_accuracy"),
        ("layer 1/grad.norm:max-abs", "layer 1/grad.norm:max-abs"),
        ("acc@5", "acc_5"),
        ("loss (%)", "loss ___"),
        ("精度", "精度"),
        ("../../etc", "etc"),
        ("/a//b/", "a/b"),
        ("..", "_"),
        ("x" * 300, "x" * 250),
    ],
)
def test_any_name_of_a_metric_becomes_one_that_mlflow_takes(
    mlflow_database: str, study: Study, name: str, key: str
) -> None:
    trial = a_trial(0, State.RUNNING, reports=1)
    trial = replace(trial, reports=(Report(1, BEGAN, {name: 0.5, "score": 1.0}),))
    trial = finish(trial, State.COMPLETE)
    mirror(mlflow_database, study, [trial])

    (child,) = runs(mlflow_database, study, "trial")
    assert child.data.metrics == {key: 0.5, "score": 1.0, "objective": 1.0}


def test_any_text_is_taken(uri: str, study: Study) -> None:
    trial = a_trial(0, State.RUNNING)
    trial = replace(trial, params={"path": "caf\udce9", "long": "ä" * 7000, "empty": "", "emoji": "😀"})
    trial = replace(finish(trial, State.FAILED), error="OSError: no file 'caf\udce9'\n" + "x" * 5000)
    mirror(uri, study, [trial])

    (child,) = runs(uri, study, "trial")
    fixed = {name: str(value) for name, value in study.fixed.items()}
    assert child.data.params == fixed | {"path": "caf?", "long": "ä" * 6000, "empty": "", "emoji": "😀"}


def test_five_hundred_long_parameters_arrive_and_what_is_cut_is_said_once(uri: str) -> None:
    letters = random.Random(1)
    names = ["w_" + "".join(letters.choices(string.ascii_lowercase, k=24)) for _ in range(500)]
    study = small_study(
        name=f"s{uuid.uuid4().hex[:12]}",
        space={name: {"low": -1.0, "high": 1.0} for name in names},
        fixed={f"f{index}": "ä" * 5999 for index in range(250)} | {"long": "x" * 6001},
    )
    remarks: list[str] = []
    trials = [replace(a_trial(number), params=dict.fromkeys(names, 0.5)) for number in range(2)]
    for _ in range(2):
        store = MlflowStore(uri, study, "uid-1", BEGAN, remark=remarks.append)
        missing = [trial for trial in trials if trial.number not in store.open(trials)]
        store.write(missing)
        store.end(StudyState.COMPLETE)
    assert [len(run.data.params) for run in runs(uri, study, "trial")] == [751, 751]
    (parent,) = runs(uri, study, "study")
    assert len(parent.data.params) == 251
    experiment = MlflowClient(uri).get_experiment(parent.info.experiment_id)
    assert max(map(len, experiment.tags.values())) <= 20_000
    assert len(remarks) == 4  # two per life
    assert re.fullmatch(r"MLflow has limits: the saved views show \d+ of 500 parameters; the ledger has .*", remarks[0])
    assert "values of fixed.long are cut to 6000 characters" in remarks[1]


def test_names_that_mlflow_takes_for_the_same_stay_different(mlflow_database: str, study: Study) -> None:
    names = ["a=b", "a_b", "a?b", "c//d", "c/d", *("x" * 260 + end for end in "yz")]
    trial, study = a_trial(0, State.RUNNING), replace(study, fixed={})
    report = Report(1, BEGAN, {name: float(index) for index, name in enumerate(names)} | {"score": 1.0})
    trial = replace(trial, params={name: index for index, name in enumerate(names)}, reports=(report,))
    for state in (State.FAILED, State.COMPLETE):  # by calls, and in one transaction
        mirror(mlflow_database, study, [finish(trial, state)])
        (child,) = runs(mlflow_database, study, "trial")
        assert sorted(child.data.params.values()) == sorted(map(str, range(len(names))))
        assert child.data.params["a_b"] == "1"
        assert child.data.params["c/d"] == "4"
        assert {*child.data.metrics.values()} >= set(range(len(names)))


@pytest.mark.parametrize(
    "error", ["\n", "x\0\udce9y", "first\n" + "é" * 3_000_000 + "\nlast\n"], ids=["blank", "odd", "long"]
)
def test_any_error_is_taken_and_bounded(mlflow_database: str, study: Study, error: str, tmp_path: Path) -> None:
    trial = replace(a_trial(0, State.FAILED), error=error)
    mirror(mlflow_database, study, [trial])
    (child,) = runs(mlflow_database, study, "trial")
    artifact = MlflowClient(mlflow_database).download_artifacts(child.info.run_id, "error.txt", str(tmp_path))
    kept = Path(artifact).read_text(encoding="utf-8")
    assert len(kept) <= 1_000_020
    assert "\0" not in kept
    if len(error) > 1000:
        assert kept.startswith("first\n")
        assert kept.endswith("\nlast\n")
        assert child.data.tags["hpo.error"] == "last"


def test_text_of_a_study_is_no_markup_of_its_page(study: Study) -> None:
    trial = replace(a_trial(0, State.FAILED), error="`</code><img src=x>![a](http://b)|\n \n")
    hostile = replace(a_trial(1), params={"activation": "<img src=x>![a](http://b)|", "lr": 1.0})
    text = description(study, [trial, hostile])
    assert "`'</code><img src=x>![a](http://b)|`" in text  # as code
    assert r"\<img src=x>\!\[a\](http://b)\|" in text
    assert description(study, [replace(trial, error=" \n")]).count("Last failure") == 0


def test_a_folder_holds_a_metric_and_its_parts(tmp_path: Path, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    folder = str(tmp_path / "runs")
    trial = a_trial(0, State.RUNNING)
    report = Report(1, BEGAN, {"loss": 1.0, "loss/train": 2.0, "score": 3.0})
    trial = finish(replace(trial, params={"a": 1, "a/b": 2}, reports=(report,)), State.COMPLETE)
    first = mirror(folder, study, [trial])
    assert first.open([trial]) == {0}  # it agrees with its record
    (child,) = runs(folder, study, "trial")
    assert child.data.metrics == {"loss": 1.0, "loss.train": 2.0, "score": 3.0, "objective": 3.0}
    assert child.data.params == {name: str(value) for name, value in study.fixed.items()} | {"a": "1", "a.b": "2"}


def test_a_folder_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    for place in ("./mlruns", "/tmp/x", "file:///tmp/x"):
        with pytest.raises(InputError, match="MLFLOW_ALLOW_FILE_STORE=true"):
            check(place)
    for place in ("none", "sqlite:///mlflow.db", "http://host", "postgresql://host/db", "databricks"):
        check(place)


def test_a_store_stays_where_it_is_when_the_working_folder_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_uri("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert absolute_uri("./mlruns") == f"{tmp_path}/mlruns"
    for place in ("none", "sqlite:////a/b.db", "sqlite:///:memory:", "http://host", "file:///x", "databricks"):
        assert absolute_uri(place) == place
