"""What stands in MLflow, in a local database and behind a real server, after everything that can happen to it."""

from __future__ import annotations

import collections
import http.server
import math
import socketserver
import sys
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from small_study import small_study

from hpo.study import Study
from hpo.tracking import mirror as mirror_module
from hpo.tracking.mirror import Mirror
from hpo.tracking.mlflow import MlflowStore, delete
from hpo.trial import COMPLETE, FAILED, PRUNED, RUNNING, Report, Trial

BEGAN = 1_700_000_000.0
SEARCHED = {"lr": 1e-3, "layers": 2, "activation": "relu", "hidden": [100, 100]}


@pytest.fixture(params=["database", "server"])
def uri(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("mlflow_database" if request.param == "database" else "mlflow_server"))


@pytest.fixture
def study() -> Study:
    return small_study(name=f"s{uuid.uuid4().hex[:12]}", fixed={"epochs": 3, "dataset": "digits"})


def a_store(uri: str, study: Study, uid: str = "uid-1") -> MlflowStore:
    return MlflowStore(uri, study, uid, BEGAN)


def a_trial(number: int, state: str = COMPLETE, reports: int = 3, attempt: int = 1) -> Trial:
    trial = Trial(number, dict(SEARCHED), seed=number + 7, started=BEGAN + number, worker="host/1", attempt=attempt)
    for step in range(1, reports + 1):
        trial.reports.append(Report(step, BEGAN + number + step, {"score": number + step / 8, "loss": 1 / step}))
    finish(trial, state)
    return trial


def finish(trial: Trial, state: str) -> None:
    if state != RUNNING:
        trial.ended = BEGAN + trial.number + 60
        trial.value = trial.last("score") if state in (COMPLETE, PRUNED) else None
        trial.error = (
            "Traceback (most recent call last):\n  ...\nValueError: 学習率 too high" if state == FAILED else None
        )
        trial.state = state


def mirror(uri: str, study: Study, trials: list[Trial], status: str = "FINISHED", uid: str = "uid-1") -> MlflowStore:
    """One life of a study: opens its store, writes what is missing, ends it."""
    store = a_store(uri, study, uid)
    mirrored = store.open([trial for trial in trials if trial.state != RUNNING])
    missing = [trial for trial in trials if trial.number not in mirrored]
    for start in range(0, len(missing), store.batch):
        store.write(missing[start : start + store.batch])
    store.progress([trial for trial in missing if trial.finished])
    store.end(status, [trial for trial in trials if not trial.finished])
    return store


def runs(uri: str, study: Study, role: str, view: int = ViewType.ACTIVE_ONLY) -> list[Run]:
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(study.name)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], f"tags.`hpo.role` = '{role}'", view, max_results=5000)
    return sorted(found, key=lambda run: int(run.data.tags.get("hpo.trial", -1)))


def history(uri: str, run: Run, metric: str) -> list[tuple[int, float, int]]:
    return [(m.step, m.value, m.timestamp) for m in MlflowClient(uri).get_metric_history(run.info.run_id, metric)]


def exactly_once(uri: str, study: Study, trials: list[Trial]) -> Run:
    """One parent, one child per trial, each as its record says; returns the parent."""
    (parent,) = runs(uri, study, "study")
    children = runs(uri, study, "trial")
    assert [int(run.data.tags["hpo.trial"]) for run in children] == [trial.number for trial in trials]
    status = {RUNNING: "KILLED", COMPLETE: "FINISHED", PRUNED: "KILLED", FAILED: "FAILED"}
    for run, trial in zip(children, trials, strict=True):
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert (run.info.status, run.data.tags["hpo.state"]) == (status[trial.state], trial.state)
        assert run.data.metrics.get("objective") == trial.value
        steps = [step for step, _, _ in history(uri, run, "score")]
        assert steps == [report.step for report in trial.reports]
    finished = [trial for trial in trials if trial.finished]
    if finished:
        assert parent.data.metrics["trials_finished"] == len(finished)
    return parent


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


# The next life of a study ------------------------------------------------------------------------------------------


def test_a_second_run_doubles_nothing(uri: str, study: Study) -> None:
    trials = [a_trial(0), a_trial(1, PRUNED), a_trial(2, FAILED)]
    mirror(uri, study, trials)
    before = {run.info.run_id for run in runs(uri, study, "trial")}

    mirror(uri, study, trials)
    mirror(uri, study, [*trials, a_trial(3)])

    exactly_once(uri, study, [*trials, a_trial(3)])
    assert before < {run.info.run_id for run in runs(uri, study, "trial")}


def test_runs_that_somebody_deleted_are_made_again(uri: str, study: Study) -> None:
    trials = [a_trial(number) for number in range(4)]
    mirror(uri, study, trials)
    for run in runs(uri, study, "trial")[1:3]:
        MlflowClient(uri).delete_run(run.info.run_id)

    mirror(uri, study, trials)

    exactly_once(uri, study, trials)


def test_a_deleted_parent_is_made_again_and_its_children_follow(uri: str, study: Study) -> None:
    trials = [a_trial(number) for number in range(3)]
    mirror(uri, study, trials)
    (parent,) = runs(uri, study, "study")
    MlflowClient(uri).delete_run(parent.info.run_id)

    mirror(uri, study, trials)

    assert exactly_once(uri, study, trials).info.run_id != parent.info.run_id


def test_a_deleted_experiment_is_made_again(uri: str, study: Study) -> None:
    trials = [a_trial(number) for number in range(3)]
    mirror(uri, study, trials)
    assert delete(uri, study.name) == 1
    assert delete(uri, study.name) == 0

    mirror(uri, study, trials)

    exactly_once(uri, study, trials)


def test_a_whole_store_is_rebuilt_from_nothing(mlflow_database: str, study: Study, tmp_path: Path) -> None:
    trials = [a_trial(0), a_trial(1, PRUNED), a_trial(2, FAILED), a_trial(3)]
    mirror(mlflow_database, study, trials)

    lost_and_new = f"sqlite:///{tmp_path}/new.db"
    mirror(lost_and_new, study, trials)

    exactly_once(lost_and_new, study, trials)


def test_a_study_deleted_and_made_again_does_not_mix_with_the_old_one(uri: str, study: Study) -> None:
    mirror(uri, study, [a_trial(number) for number in range(3)], uid="old")
    delete(uri, study.name)

    trials = [a_trial(0, PRUNED)]
    mirror(uri, study, trials, uid="new")

    assert exactly_once(uri, study, trials).data.tags["hpo.uid"] == "new"


def test_a_study_of_the_same_name_from_another_ledger_is_left_alone(uri: str, study: Study) -> None:
    mirror(uri, study, [a_trial(0)], uid="theirs")
    mirror(uri, study, [a_trial(0), a_trial(1)], uid="ours")

    uids = [run.data.tags["hpo.uid"] for run in runs(uri, study, "trial")]
    assert sorted(uids) == ["ours", "ours", "theirs"]
    assert len(runs(uri, study, "study")) == 2


def test_half_written_runs_of_a_dead_driver_are_replaced(uri: str, study: Study) -> None:
    store = a_store(uri, study)  # its driver dies without a word: it is never ended
    store.open([])
    trials = [a_trial(0), a_trial(1, RUNNING, reports=2), a_trial(2, RUNNING, reports=1)]
    for trial in trials:
        store.write([trial])

    for trial in trials[1:]:
        trial.reports = a_trial(trial.number).reports
        finish(trial, COMPLETE)
    mirror(uri, study, trials)

    exactly_once(uri, study, trials)


def test_a_run_that_was_written_but_not_ended_is_replaced(uri: str, study: Study) -> None:
    trial = a_trial(0)
    mirror(uri, study, [trial])
    (child,) = runs(uri, study, "trial")
    MlflowClient(uri).update_run(child.info.run_id, status="RUNNING")

    mirror(uri, study, [trial])

    exactly_once(uri, study, [trial])


def test_a_trial_that_finished_otherwise_than_mlflow_says_is_corrected(uri: str, study: Study) -> None:
    """The driver died between MLflow's word and the ledger's; run again, the trial came out differently."""
    mirror(uri, study, [a_trial(0)])

    trial = a_trial(0, FAILED)
    mirror(uri, study, [trial])

    exactly_once(uri, study, [trial])


def test_what_still_runs_when_a_study_ends_is_no_zombie(uri: str, study: Study) -> None:
    trials = [a_trial(0), a_trial(1, RUNNING)]
    mirror(uri, study, trials, status="KILLED")

    exactly_once(uri, study, trials)
    assert (
        MlflowClient(uri).search_runs(
            [runs(uri, study, "study")[0].info.experiment_id], "attributes.status = 'RUNNING'"
        )
        == []
    )


# Calls that are obeyed and not answered ----------------------------------------------------------------------------


class Losing(http.server.BaseHTTPRequestHandler):
    """Passes requests on; some answers never reach the client."""

    protocol_version = "HTTP/1.1"
    target = ""
    # Of these calls each third, fifth, seventh answer is lost.
    losses: ClassVar = {"runs/create": 3, "runs/log-batch": 5, "runs/update": 7}
    counts: collections.Counter[str]
    lost: list[str]

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "connection")}
        request = urllib.request.Request(self.target + self.path, body or None, headers, method=self.command)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, content, kind = answer.status, answer.read(), answer.headers.get("Content-Type", "")
        except urllib.error.HTTPError as error:
            status, content, kind = error.code, error.read(), error.headers.get("Content-Type", "")
        call = "/".join(self.path.split("/")[-2:])
        self.counts[call] += 1
        if call in self.losses and self.counts[call] % self.losses[call] == 0:
            self.lost.append(call)
            self.close_connection = True
            self.connection.close()  # obeyed, but nobody is told
            return
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on

    def log_message(self, *_: Any) -> None:
        pass


class Proxy(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        pass  # a connection that we closed ourselves


@pytest.fixture
def losing_server(mlflow_server: str) -> Iterator[tuple[str, type[Losing]]]:
    handler = type("Handler", (Losing,), {"target": mlflow_server, "counts": collections.Counter(), "lost": []})
    proxy = Proxy(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=proxy.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{proxy.server_address[1]}", handler
    proxy.shutdown()
    proxy.server_close()
    thread.join()


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
