"""MLflow as the place where people look: one parent run per study, one child run per trial.

Runs are keyed by tags, so that a second life of the study finds them: ``hpo.study`` and ``hpo.uid`` (the ledger's own
identity of the study), ``hpo.role`` and ``hpo.trial``. A child is written in at most three calls: create, one batch of
parameters and metrics, terminate.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# The mirror tries again by itself; MLflow's own seven tries would hold one call for minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag

from hpo.study import Study
from hpo.trial import COMPLETE, FAILED, PRUNED, RUNNING, Report, Trial

STATUS = {RUNNING: "RUNNING", COMPLETE: "FINISHED", PRUNED: "KILLED", FAILED: "FAILED"}
# MLflow's own limits for one batch.
MAX_METRICS, MAX_PARAMS, MAX_VALUE = 1000, 100, 6000


class MlflowStore:
    """A study's experiment in MLflow.

    Args:
        uri: The tracking URI.
        study: What is searched; the experiment has its name.
        uid: The ledger's identity of the study.
        started: Seconds since the epoch; when the study was first run.
    """

    def __init__(self, uri: str, study: Study, uid: str, started: float) -> None:
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.ERROR)
        _make_database(uri)
        self._client = MlflowClient(tracking_uri=uri)
        self._study = study
        self._uid = uid
        self._started = started
        self._experiment = ""
        self._parent = ""
        self._runs: dict[int, _Child] = {}
        self._count = 0
        self._best: float | None = None

    # The parent ----------------------------------------------------------------------------------------------------

    def open(self, trials: Iterable[Trial]) -> set[int]:
        self._experiment = self._find_or_create_experiment()
        runs = list(self._search(f"tags.`hpo.uid` = '{self._uid}'"))
        parents = [run for run in runs if run.data.tags.get("hpo.role") == "study"]
        self._parent = parents[0].info.run_id if parents else self._create_parent()
        self._client.update_run(self._parent, status="RUNNING")
        self._runs, mirrored = {}, set()
        records = {trial.number: trial for trial in trials}
        for run in runs:
            if run.data.tags.get("hpo.role") != "trial":
                continue
            number = int(run.data.tags["hpo.trial"])
            record = records.get(number)
            if record is not None and record.finished and number not in self._runs and _agrees(run, record):
                self._runs[number] = _Child(run.info.run_id, record.attempt, record.state, done=True)
                mirrored.add(number)
            else:  # half written by a driver that died, or written twice: it is made anew
                self._client.delete_run(run.info.run_id)
        done = [trial for trial in records.values() if trial.number in mirrored]
        self._count = len(done)
        self._best = _best([trial.value for trial in done if trial.state == COMPLETE], self._study.direction)
        return mirrored

    def _find_or_create_experiment(self) -> str:
        experiment = self._client.get_experiment_by_name(self._study.name)
        if experiment is None:
            return str(self._client.create_experiment(self._study.name))
        if experiment.lifecycle_stage == "deleted":
            self._client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)

    def _search(self, condition: str) -> Iterator[Run]:
        token = None
        while True:
            page = self._client.search_runs([self._experiment], condition, max_results=1000, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _create_parent(self) -> str:
        study = self._study
        tags = {
            "hpo.study": study.name,
            "hpo.uid": self._uid,
            "hpo.role": "study",
            "hpo.metric": study.metric,
            "hpo.direction": study.direction,
            "hpo.objective": study.objective if isinstance(study.objective, str) else " ".join(study.objective),
            "hpo.sampler": study.sampler.name,
            "hpo.pruner": study.pruner.name,
            "hpo.seed": str(study.seed),
        }
        run = self._client.create_run(self._experiment, int(self._started * 1000), tags, run_name=study.name)
        run_id = str(run.info.run_id)
        if study.source:
            self._client.log_text(run_id, study.source, "study.toml")
        self._client.log_dict(run_id, dict(study.resolved), "study.json")
        params = [Param(f"fixed.{key}", _text(value)) for key, value in study.fixed.items()]
        self._client.log_batch(run_id, params=params[:MAX_PARAMS])
        return run_id

    def progress(self, trials: list[Trial]) -> None:
        metrics = []
        for trial in trials:
            self._count += 1
            now = int((trial.ended or 0) * 1000)
            if trial.state == COMPLETE:
                self._best = _best([self._best, trial.value], self._study.direction)
            if self._best is not None:
                metrics.append(Metric("best_objective", self._best, now, self._count))
            metrics.append(Metric("trials_finished", self._count, now, self._count))
        for start in range(0, len(metrics), MAX_METRICS):
            self._client.log_batch(self._parent, metrics=metrics[start : start + MAX_METRICS])

    def end(self, status: str) -> None:
        self._client.set_terminated(self._parent, status)

    # The children --------------------------------------------------------------------------------------------------

    def write(self, trial: Trial) -> None:
        state = trial.state  # read before the reports: a finished trial gets no more of them
        reports = list(trial.reports)
        child = self._runs.get(trial.number)
        if child is not None and child.attempt != trial.attempt:
            self._client.delete_run(child.run_id)
            child = None
        if child is None:
            child = self._runs[trial.number] = self._create_child(trial, state)
        if child.done:
            return
        metrics = [metric for report in reports[child.sent :] for metric in _metrics(report)]
        if state != RUNNING and trial.value is not None:
            last = reports[-1] if reports else Report(0, trial.ended or 0.0, {})
            metrics.append(Metric("objective", trial.value, int(last.time * 1000), last.step))
        tags = [] if child.state == state else [RunTag("hpo.state", state)]
        if trial.error:
            tags.append(RunTag("hpo.error", trial.error.splitlines()[-1][:1000]))
            self._client.log_text(child.run_id, trial.error, "error.txt")
        self._log(child, trial, metrics, tags)
        child.sent = len(reports)
        if state != RUNNING:
            self._client.set_terminated(child.run_id, STATUS[state], int((trial.ended or 0) * 1000))
            child.done = True

    def _create_child(self, trial: Trial, state: str) -> _Child:
        tags = {
            "mlflow.parentRunId": self._parent,
            "hpo.study": self._study.name,
            "hpo.uid": self._uid,
            "hpo.role": "trial",
            "hpo.trial": str(trial.number),
            "hpo.state": state,
            "hpo.seed": str(trial.seed),
            "hpo.attempt": str(trial.attempt),
            "hpo.worker": trial.worker or "",
        }
        start = int((trial.started or self._started) * 1000)
        run = self._client.create_run(self._experiment, start, tags, run_name=f"trial {trial.number}")
        return _Child(str(run.info.run_id), trial.attempt, state)

    def _log(self, child: _Child, trial: Trial, metrics: list[Metric], tags: list[RunTag]) -> None:
        params = [Param(key, _text(value)) for key, value in trial.params.items()] if not child.has_params else []
        rest = metrics[MAX_METRICS:]
        self._client.log_batch(child.run_id, metrics[:MAX_METRICS], params, tags)
        child.has_params = True
        for start in range(0, len(rest), MAX_METRICS):
            self._client.log_batch(child.run_id, rest[start : start + MAX_METRICS])


class _Child:
    """What of a trial's run is written."""

    def __init__(self, run_id: str, attempt: int, state: str, *, done: bool = False) -> None:
        self.run_id = run_id
        self.attempt = attempt
        self.state = state
        self.done = done
        self.sent = 0
        self.has_params = False


def _make_database(uri: str) -> None:
    """Makes an absent sqlite database beside its place and moves it there whole.

    MLflow makes its tables one by one; a process killed meanwhile leaves a file that no MLflow opens again.
    """
    path = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or path.exists():
        return
    draft = path.parent / ".hpo" / f"{path.name}.{uuid.uuid4().hex}"
    draft.parent.mkdir(exist_ok=True)
    try:
        MlflowClient(tracking_uri=f"sqlite:///{draft}").search_experiments(max_results=1)
        with contextlib.suppress(FileExistsError):  # another driver was faster
            path.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)


def record_evaluation(uri: str, uid: str, name: str, entry: Mapping[str, Any], count: int) -> bool:
    """Notes an access to the sealed test set on a study's parent run.

    Args:
        uri: The tracking URI.
        uid: The ledger's identity of the study.
        name: The study's name.
        entry: ``time``, ``trial`` and ``metrics``.
        count: How many accesses there have been, this one included.

    Returns:
        Whether MLflow knows the study.
    """
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return False
    condition = f"tags.`hpo.uid` = '{uid}' AND tags.`hpo.role` = 'study'"
    parents = client.search_runs([experiment.experiment_id], condition)
    for parent in parents:
        now = int(entry["time"] * 1000)
        metrics = [Metric(key, value, now, count) for key, value in entry["metrics"].items()]
        tags = [RunTag(f"hpo.evaluation.{count}", json.dumps(dict(entry))), RunTag("hpo.evaluations", str(count))]
        client.log_batch(parent.info.run_id, metrics, tags=tags)
    return bool(parents)


def delete(uri: str, name: str) -> int:
    """Moves a study's experiment to MLflow's trash; returns how many there were (0 or 1)."""
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(name)
    if experiment is None or experiment.lifecycle_stage == "deleted":
        return 0
    client.delete_experiment(experiment.experiment_id)
    return 1


def _agrees(run: Run, trial: Trial) -> bool:
    return bool(
        run.info.status == STATUS[trial.state]
        and run.data.tags.get("hpo.state") == trial.state
        and run.data.metrics.get("objective") == trial.value
    )


def _metrics(report: Report) -> list[Metric]:
    when = int(report.time * 1000)
    return [Metric(name, value, when, report.step) for name, value in report.metrics.items()]


def _text(value: Any) -> str:
    return str(value)[:MAX_VALUE]


def _best(values: Iterable[float | None], direction: str) -> float | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return max(known) if direction == "maximize" else min(known)
