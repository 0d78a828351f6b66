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
import posixpath
import re
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
# MLflow's own limits for one batch are 100 parameters, 100 tags, and 1000 of everything together.
MAX_METRICS, MAX_PARAMS, MAX_VALUE = 890, 100, 6000


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
        parents = [run.info.run_id for run in runs if run.data.tags.get("hpo.role") == "study"]
        self._parent = parents[0] if parents else self._create_parent()
        for other in parents[1:]:  # made by a call that seemed to fail
            self._client.delete_run(other)
        self._client.update_run(self._parent, status="RUNNING")
        self._describe()
        records = {trial.number: trial for trial in trials}
        self._runs = {}
        for run in runs:
            if run.data.tags.get("hpo.role") == "trial":
                self._adopt(run, records.get(int(run.data.tags["hpo.trial"])))
        done = sorted((records[number] for number in self._runs), key=lambda trial: trial.ended or 0.0)
        self._count = len(done)
        self._best = _best([trial.value for trial in done if trial.state == COMPLETE], self._study.direction)
        if done:
            self._client.log_batch(self._parent, metrics=self._progress_metrics(done[-1]))
        return set(self._runs)

    def _adopt(self, run: Run, record: Trial | None) -> None:
        """Keeps a run that is there once and in full; any other is cleared away, and made anew where it is missed."""
        if record is None or not record.finished or record.number in self._runs or not _agrees(run, record):
            self._client.delete_run(run.info.run_id)
            return
        if run.data.tags.get("mlflow.parentRunId") != self._parent:
            self._client.set_tag(run.info.run_id, "mlflow.parentRunId", self._parent)
        self._runs[record.number] = _Child(run.info.run_id, record.attempt, record.state, done=True)

    def _find_or_create_experiment(self) -> str:
        experiment = self._client.get_experiment_by_name(self._study.name)
        if experiment is None:
            return str(self._client.create_experiment(self._study.name))
        self._experiment = str(experiment.experiment_id)
        if experiment.lifecycle_stage == "deleted":
            self._client.restore_experiment(self._experiment)
            for run in list(self._search("")):  # of studies that were deleted with it
                if run.data.tags.get("hpo.uid") != self._uid:
                    self._client.delete_run(run.info.run_id)
        return self._experiment

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
        return str(run.info.run_id)

    def _describe(self) -> None:
        """The study as it is run now; the budget may differ from one run to the next."""
        if self._study.source:
            self._client.log_text(self._parent, self._study.source, "study.toml")
        self._client.log_dict(self._parent, dict(self._study.resolved), "study.json")
        self._log(self._parent, [], _params(self._study.fixed, "fixed."), [])

    def progress(self, trials: list[Trial]) -> None:
        metrics = []
        for trial in trials:
            self._count += 1
            if trial.state == COMPLETE:
                self._best = _best([self._best, trial.value], self._study.direction)
            metrics += self._progress_metrics(trial)
        self._log(self._parent, metrics, [], [])

    def _progress_metrics(self, trial: Trial) -> list[Metric]:
        """How far the study is after ``trial``."""
        now = int((trial.ended or 0) * 1000)
        metrics = [Metric("trials_finished", self._count, now, self._count)]
        if self._best is not None:
            metrics.append(Metric("best_objective", self._best, now, self._count))
        return metrics

    def end(self, status: str) -> None:
        ours = {self._parent} | {child.run_id for child in self._runs.values()}
        for run in list(self._search(f"tags.`hpo.uid` = '{self._uid}'")):
            if run.info.run_id not in ours:  # a call that was tried twice, and obeyed twice
                self._client.delete_run(run.info.run_id)
        for child in self._runs.values():
            if not child.done:  # runs no longer; a next run of the study begins it anew
                self._client.set_terminated(child.run_id, "KILLED")
        self._client.set_terminated(self._parent, status)

    # The children --------------------------------------------------------------------------------------------------

    def write(self, trial: Trial) -> None:
        # The search goes on meanwhile. State and attempt are read before the reports: a finished trial gets no more of
        # them, and what a new attempt reports is not mistaken for the old one's.
        state, attempt = trial.state, trial.attempt
        reports = list(trial.reports)
        child = self._runs.get(trial.number)
        if child is not None and child.attempt != attempt:
            self._client.delete_run(child.run_id)
            child = None
        if state == RUNNING and trial.started is None:
            return  # it waits for a worker
        if child is None:
            child = self._runs[trial.number] = self._create_child(trial, state, attempt)
        if child.done:
            return
        metrics = [metric for report in reports[child.sent :] for metric in _metrics(report)]
        if state != RUNNING and trial.value is not None:
            last = reports[-1] if reports else Report(0, trial.ended or 0.0, {})
            metrics.append(Metric("objective", trial.value, int(last.time * 1000), last.step))
        tags = [] if child.state == state else [RunTag("hpo.state", state)]
        if trial.error:
            tags.append(RunTag("hpo.error", _sayable(trial.error).splitlines()[-1][:1000]))
            self._client.log_text(child.run_id, _sayable(trial.error), "error.txt")
        self._log(child.run_id, metrics, [] if child.has_params else _params(trial.params), tags)
        child.sent, child.has_params = len(reports), True
        if state != RUNNING:
            self._client.set_terminated(child.run_id, STATUS[state], int((trial.ended or 0) * 1000))
            child.done = True

    def _create_child(self, trial: Trial, state: str, attempt: int) -> _Child:
        tags = {
            "mlflow.parentRunId": self._parent,
            "hpo.study": self._study.name,
            "hpo.uid": self._uid,
            "hpo.role": "trial",
            "hpo.trial": str(trial.number),
            "hpo.state": state,
            "hpo.seed": str(trial.seed),
            "hpo.attempt": str(attempt),
            "hpo.worker": trial.worker or "",
        }
        start = int((trial.started or self._started) * 1000)
        run = self._client.create_run(self._experiment, start, tags, run_name=f"trial {trial.number}")
        return _Child(str(run.info.run_id), attempt, state)

    def _log(self, run_id: str, metrics: list[Metric], params: list[Param], tags: list[RunTag]) -> None:
        """One call where MLflow's limits allow it, and nothing where there is nothing to log."""
        while metrics or params or tags:
            self._client.log_batch(run_id, metrics[:MAX_METRICS], params[:MAX_PARAMS], tags)
            metrics, params, tags = metrics[MAX_METRICS:], params[MAX_PARAMS:], []


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
    return [Metric(_key(name), value, when, report.step) for name, value in report.metrics.items()]


def _params(values: Mapping[str, Any], prefix: str = "") -> list[Param]:
    return [Param(_key(prefix + name), _sayable(str(value))[:MAX_VALUE]) for name, value in values.items()]


def _key(name: str) -> str:
    """A name that MLflow takes: letters, digits, spaces and ``_-.:/``, and no path that leaves its folder."""
    name = re.sub(r"[^\w\-. :/]", "_", name[:250])
    return posixpath.normpath(name).lstrip("/.") or "_"


def _sayable(text: str) -> str:
    """Text without the halves of characters that no encoding takes."""
    return text.encode("utf-8", "replace").decode()


def _best(values: Iterable[float | None], direction: str) -> float | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return max(known) if direction == "maximize" else min(known)
