"""What stands in MLflow of a study and its trials, in a local database and behind a real server."""

from __future__ import annotations

import math
import sys
import uuid
from pathlib import Path

import pytest
from mlflow import MlflowClient
from small_study import small_study
from stored import BEGAN, a_store, a_trial, exactly_once, finish, history, mirror, runs

from hpo.study import Study
from hpo.trial import COMPLETE, FAILED, PRUNED, RUNNING, Report, Trial

# What is promised --------------------------------------------------------------------------------------------------


def test_a_study_is_one_parent_and_one_child_per_trial(uri: str, study: Study) -> None:
    trials = [a_trial(0), a_trial(1, PRUNED, reports=1), a_trial(2, FAILED, reports=2)]
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
    }
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.params == {"lr": "0.001", "layers": "2", "activation": "relu", "hidden": "[100, 100]"}
    assert set(child.data.metrics) == {"score", "loss", "objective"}
    assert child.data.metrics["objective"] == trial.value
    milliseconds = int(BEGAN * 1000)
    assert history(uri, child, "score") == [
        (step, 4 + step / 8, milliseconds + 1000 * (4 + step)) for step in (1, 2, 3)
    ]
    assert (child.info.start_time, child.info.end_time) == (milliseconds + 4000, milliseconds + 64000)


def test_a_failed_trial_has_its_traceback_as_an_artifact(uri: str, study: Study) -> None:
    trial = a_trial(0, FAILED)
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
    assert Path(client.download_artifacts(parent.info.run_id, "study.toml")).read_text() == file.read_text()
    resolved = Path(client.download_artifacts(parent.info.run_id, "study.json")).read_text()
    assert '"trials": 9' in resolved


def test_a_running_trial_grows(uri: str, study: Study) -> None:
    store = a_store(uri, study)
    store.open([])
    trial = a_trial(0, RUNNING, reports=1)
    store.write([trial])
    (child,) = runs(uri, study, "trial")
    assert (child.info.status, child.data.tags["hpo.state"]) == ("RUNNING", "running")
    assert [step for step, _, _ in history(uri, child, "score")] == [1]

    trial.reports += a_trial(0, RUNNING, reports=4).reports[1:]
    store.write([trial])
    store.write([trial])
    assert [step for step, _, _ in history(uri, child, "score")] == [1, 2, 3, 4]

    finish(trial, PRUNED)
    store.write([trial])
    store.progress([trial])
    store.end("FINISHED", [])
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
    trial = a_trial(0, RUNNING, reports=2)
    store.write([trial])
    trial.reports.clear()
    trial.attempt = 2
    trial.reports.append(Report(1, BEGAN + 5, {"score": 9.0}))
    store.write([trial])
    finish(trial, COMPLETE)
    store.write([trial])
    store.progress([trial])
    store.end("FINISHED", [])

    exactly_once(uri, study, [trial])
    (child,) = runs(uri, study, "trial")
    assert child.data.tags["hpo.attempt"] == "2"
    assert "loss" not in child.data.metrics


def test_a_lost_attempt_is_gone_while_the_next_one_waits_for_a_worker(uri: str, study: Study) -> None:
    store = a_store(uri, study)
    store.open([])
    trial = a_trial(0, RUNNING, reports=2)
    store.write([trial])
    trial.reports.clear()
    trial.attempt, trial.started, trial.worker = 2, None, None
    store.write([trial])
    assert runs(uri, study, "trial") == []
    store.write([trial])
    store.end("KILLED", [trial])

    (child,) = runs(uri, study, "trial")
    assert child.data.tags["hpo.attempt"] == "2"
    assert child.info.status == "KILLED"


# Values and names of every kind ------------------------------------------------------------------------------------


def test_no_number_is_too_odd(uri: str, study: Study) -> None:
    odd = [math.nan, math.inf, -math.inf, 1e-310, 1.7e308, -0.0, 0.1 + 0.2]
    trial = a_trial(0, RUNNING, reports=0)
    trial.reports = [Report(step, BEGAN, {"score": value}) for step, value in enumerate(odd, start=1)]
    finish(trial, COMPLETE)
    mirror(uri, study, [trial])

    (child,) = runs(uri, study, "trial")
    values = [value for _, value, _ in history(uri, child, "score")]
    assert math.isnan(values[0])
    assert (values[1], values[2]) == (sys.float_info.max, -sys.float_info.max)
    assert values[3:] == odd[3:]
    assert child.data.metrics["objective"] == 0.1 + 0.2


def test_thousands_of_metrics_and_hundreds_of_params_all_arrive(uri: str, study: Study) -> None:
    trial = a_trial(0, RUNNING, reports=0)
    trial.params = {f"p{number}": number for number in range(250)}
    trial.reports = [
        Report(
            step, BEGAN + step, {f"m{metric}": float(metric * step) for metric in range(30)} | {"score": float(step)}
        )
        for step in range(1, 101)
    ]
    finish(trial, COMPLETE)
    many = small_study(name=study.name, fixed={f"f{number}": number for number in range(150)})
    mirror(uri, many, [trial])

    parent = exactly_once(uri, many, [trial])
    (child,) = runs(uri, study, "trial")
    assert len(child.data.params) == 250
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
    trial = a_trial(0, RUNNING, reports=1)
    trial.reports = [Report(1, BEGAN, {name: 0.5, "score": 1.0})]
    finish(trial, COMPLETE)
    mirror(mlflow_database, study, [trial])

    (child,) = runs(mlflow_database, study, "trial")
    assert child.data.metrics == {key: 0.5, "score": 1.0, "objective": 1.0}


def test_any_text_is_taken(uri: str, study: Study) -> None:
    trial = a_trial(0, RUNNING)
    trial.params = {"path": "caf\udce9", "long": "ä" * 7000, "empty": "", "emoji": "😀"}
    finish(trial, FAILED)
    trial.error = "OSError: no file 'caf\udce9'\n" + "x" * 5000
    mirror(uri, study, [trial])

    (child,) = runs(uri, study, "trial")
    assert child.data.params == {"path": "caf?", "long": "ä" * 6000, "empty": "", "emoji": "😀"}
