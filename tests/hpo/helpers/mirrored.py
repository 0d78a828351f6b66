"""MLflow beside its ledger: one parent, one run per trial, and every value the same."""

from __future__ import annotations

import math
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from hpo.best import front_of
from hpo.ledger.snapshots import Snapshot
from hpo.trial import Direction, State, Trial

STATUS = {State.RUNNING: "KILLED", State.COMPLETE: "FINISHED", State.PRUNED: "FINISHED", State.FAILED: "FAILED"}


def active_runs(uri: str, name: str) -> list[Run]:
    """Every active run of a study's experiment."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(name)
    if experiment is None or experiment.lifecycle_stage == "deleted":
        return []
    return list(client.search_runs([experiment.experiment_id], max_results=5000))


def parent(uri: str, name: str) -> Run:
    (run,) = [run for run in active_runs(uri, name) if run.data.tags.get("hpo.role") == "study"]
    return run


def children(uri: str, name: str) -> dict[int, Run]:
    """The trials' runs by number; a number that is there twice is an error."""
    found: dict[int, Run] = {}
    for run in active_runs(uri, name):
        if run.data.tags.get("hpo.role") == "trial":
            number = int(run.data.tags["hpo.trial"])
            assert number not in found, f"two runs of trial {number}"
            found[number] = run
    return found


def exactly_once(uri: str, book: Snapshot) -> Run:
    """Compares every run of a study that nobody runs with the ledger; returns the parent."""
    name, client = book.study.name, MlflowClient(uri)
    runs = children(uri, name)
    assert sorted(runs) == [trial.number for trial in book.trials]
    above = parent(uri, name)
    assert len(active_runs(uri, name)) == len(runs) + 1
    assert above.info.status == ("FINISHED" if book.state == "complete" else "KILLED")
    for trial in book.trials:
        run = runs[trial.number]
        assert run.data.tags["mlflow.parentRunId"] == above.info.run_id
        assert (run.info.status, run.data.tags["hpo.state"]) == (STATUS[trial.state], trial.state)
        assert run.data.params == {key: str(value) for key, value in {**trial.params, **book.study.fixed}.items()}
        if trial.finished:
            _same_curves(client, run, trial)
    _same_progress(client, above, book)
    objectives = book.study.objectives
    front = [trial.number for trial in front_of(book.trials, objectives)][: None if len(objectives) > 1 else 1]
    tag = "hpo.pareto" if len(objectives) > 1 else "hpo.best"
    assert sorted(number for number, run in runs.items() if tag in run.data.tags) == sorted(front)
    return above


def _same_curves(client: MlflowClient, run: Run, trial: Trial) -> None:
    expected: dict[str, list[tuple[int, float, int]]] = {}
    for report in trial.reports:
        for key, value in report.metrics.items():
            expected.setdefault(key, []).append((report.step, value, _milliseconds(report.time)))
    for key, points in expected.items():
        history = [(m.step, m.value, m.timestamp) for m in client.get_metric_history(run.info.run_id, key)]
        assert repr(sorted(history)) == repr(points), (trial.number, key)
    assert run.data.metrics.get("objective") == trial.value
    assert run.info.start_time == _milliseconds(trial.started or math.nan)
    assert run.info.end_time == _milliseconds(trial.ended or math.nan)
    assert ("hpo.error" in run.data.tags) == (trial.error is not None)


def _milliseconds(seconds: float) -> int:
    """The nearest millisecond of a time as it is written; the product of a time half way may lie on the other side."""
    return round(round(seconds, 3) * 1000)


def _same_progress(client: MlflowClient, above: Run, book: Snapshot) -> None:
    """After n finished trials the parent's metrics have exactly the steps 1 to n, and end at the ledger's counts."""
    finished = [trial for trial in book.trials if trial.finished]
    for state in ("finished", State.COMPLETE, State.PRUNED, State.FAILED):
        history = client.get_metric_history(above.info.run_id, f"trials_{state}")
        assert sorted(point.step for point in history) == list(range(1, len(finished) + 1))
        count = len(finished) if state == "finished" else sum(trial.state == state for trial in finished)
        assert max((point.value for point in history), default=0) == count
    if len(book.study.objectives) > 1:
        assert "best_objective" not in above.data.metrics
        return
    values = [trial.value for trial in finished if trial.state == State.COMPLETE and trial.value is not None]
    best: Any = (max if book.study.direction == Direction.MAXIMIZE else min)(values, default=None)
    assert above.data.metrics.get("best_objective") == best
