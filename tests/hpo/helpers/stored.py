"""Trials that are written to MLflow, and what is found there."""

from __future__ import annotations

from dataclasses import replace

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType

from hpo.study import Study
from hpo.tracking.mlflow import MlflowStore
from hpo.trial import Report, State, StudyState, Trial

BEGAN = 1_700_000_000.0
SEARCHED = {"lr": 1e-3, "layers": 2, "activation": "relu", "hidden": [100, 100]}


def a_store(uri: str, study: Study, uid: str = "uid-1") -> MlflowStore:
    return MlflowStore(uri, study, uid, BEGAN)


def a_trial(number: int, state: State = State.COMPLETE, reports: int = 3, attempt: int = 1) -> Trial:
    trial = Trial(
        number,
        dict(SEARCHED),
        seed=number + 7,
        started=BEGAN + number,
        worker="host/1",
        attempt=attempt,
        reports=tuple(
            Report(step, BEGAN + number + step, {"score": number + step / 8, "loss": 1 / step})
            for step in range(1, reports + 1)
        ),
    )
    return trial if state is State.RUNNING else finish(trial, state)


def finish(trial: Trial, state: State) -> Trial:
    failed, last = state is State.FAILED, trial.last("score")
    return replace(
        trial,
        ended=BEGAN + trial.number + 60,
        values=() if failed or last is None else (last,),
        error="Traceback (most recent call last):\n  ...\nValueError: 学習率 too high" if failed else None,
        state=state,
    )


def mirror(
    uri: str, study: Study, trials: list[Trial], state: StudyState = StudyState.COMPLETE, uid: str = "uid-1"
) -> MlflowStore:
    """One life of a study: opens its store, writes what is missing, ends it."""
    store = a_store(uri, study, uid)
    mirrored = store.open([trial for trial in trials if trial.state != State.RUNNING])
    missing = [trial for trial in trials if trial.number not in mirrored]
    for start in range(0, len(missing), store.batch):
        store.write(missing[start : start + store.batch])
    store.progress([trial for trial in missing if trial.finished])
    store.end(state, [trial for trial in trials if not trial.finished])
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
    status = {State.RUNNING: "KILLED", State.COMPLETE: "FINISHED", State.PRUNED: "FINISHED", State.FAILED: "FAILED"}
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
