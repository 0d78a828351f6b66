"""A study's runs in MLflow, kept up to its ledger.

A child is written in at most three calls (create, one batch of parameters and metrics, terminate), those of several
trials side by side, and finished ones of a database together in one transaction.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Sequence

from mlflow.entities import Run, RunTag

from hpo.study import Study
from hpo.tracking.mlflow import bulk, values, views
from hpo.tracking.mlflow.client import connect, log, search
from hpo.tracking.mlflow.describe import description, study_tags
from hpo.tracking.mlflow.progress import Progress
from hpo.trial import COMPLETE, FAILED, PRUNED, RUNNING, Trial

STATUS = {RUNNING: "RUNNING", COMPLETE: "FINISHED", PRUNED: "KILLED", FAILED: "FAILED"}
# How many trials are written at once: a server of several processes takes 40 ms for the quickest call, mostly waiting,
# and bears more of them; a database takes any number in one transaction.
CALLERS, ROWS = 4, 50


class MlflowStore:
    """A study's experiment in MLflow.

    Args:
        uri: The tracking URI.
        study: What is searched; the experiment has its name.
        uid: The ledger's identity of the study.
        started: Seconds since the epoch; when the study was first run.

    Attributes:
        batch: How many trials one call of :meth:`write` takes.
    """

    def __init__(self, uri: str, study: Study, uid: str, started: float) -> None:
        self._client = connect(uri)
        self._database = bulk.database(self._client)
        self.batch = ROWS if self._database else CALLERS
        self._study = study
        self._uid = uid
        self._started = started
        self._experiment = ""
        self._parent = ""
        self._runs: dict[int, _Child] = {}
        self._progress = Progress(study.direction)

    # The parent ----------------------------------------------------------------------------------------------------

    def open(self, trials: Iterable[Trial]) -> set[int]:
        self._experiment = self._find_or_create_experiment()
        views.save(self._client, self._experiment, self._study, self._started)
        records = {trial.number: trial for trial in trials}
        runs = list(self._search(f"tags.`hpo.uid` = '{self._uid}'"))
        parents = [run for run in runs if run.data.tags.get("hpo.role") == "study"]
        for other in parents[1:]:  # made by a call that seemed to fail
            self._client.delete_run(other.info.run_id)
        self._open_parent(parents[0] if parents else None, [t for t in records.values() if t.finished])
        self._runs = {}
        for run in runs:
            if run.data.tags.get("hpo.role") == "trial":
                self._adopt(run, records.get(int(run.data.tags["hpo.trial"])))
        return set(self._runs)

    def _open_parent(self, run: Run | None, finished: list[Trial]) -> None:
        """The parent as the study is run now: the budget, say, may differ from one run to the next."""
        study = self._study
        tags = study_tags(study, self._uid)
        if run is None:
            tags["mlflow.note.content"] = description(study, [])
            start = values.milliseconds(self._started)
            run = self._client.create_run(self._experiment, start, tags, run_name=study.name)
        self._parent = str(run.info.run_id)
        if run.info.status != "RUNNING":
            self._client.update_run(self._parent, status="RUNNING")
        if study.source:
            self._client.log_text(self._parent, study.source, "study.toml")
        self._client.log_dict(self._parent, dict(study.resolved), "study.json")
        self._progress = Progress(study.direction)
        finished.sort(key=lambda trial: (trial.ended or 0.0, trial.number))
        recorded = int(run.data.metrics.get("trials_finished", 0))
        points = self._progress.after(finished, skip=recorded)
        params = [param for param in values.params(study.fixed, "fixed.") if param.key not in run.data.params]
        changed = [RunTag(key, value) for key, value in tags.items() if run.data.tags.get(key) != value]
        log(self._client, self._parent, points, params, changed)

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

    def _search(self, condition: str) -> Iterable[Run]:
        return search(self._client, self._experiment, condition)

    def progress(self, trials: list[Trial]) -> None:
        log(self._client, self._parent, self._progress.after(trials))

    def end(self, status: str, unfinished: Sequence[Trial] = ()) -> None:
        for trial in unfinished:  # shown all the same; the next run of the study begins it anew
            if trial.number not in self._runs:
                self._runs[trial.number] = self._create_child(trial, RUNNING, trial.attempt)
                log(self._client, self._runs[trial.number].run_id, params=values.params(trial.params))
        ours = {self._parent} | {child.run_id for child in self._runs.values()}
        for run in list(self._search(f"tags.`hpo.uid` = '{self._uid}'")):
            if run.info.run_id not in ours:  # a call that was tried twice, and obeyed twice
                self._client.delete_run(run.info.run_id)
        for child in self._runs.values():
            if not child.done:
                self._client.set_terminated(child.run_id, "KILLED")
        self._client.set_terminated(self._parent, status)

    # The children --------------------------------------------------------------------------------------------------

    def write(self, trials: Sequence[Trial]) -> None:
        # A failed trial has an artifact, which no table takes.
        whole = [trial for trial in trials if self._database and trial.finished and not self._begun(trial)]
        whole = [trial for trial in whole if not trial.error]
        self._write_side_by_side([trial for trial in trials if trial not in whole])
        if whole:
            runs = bulk.insert(self._database, self._experiment, [self._finished(trial) for trial in whole])
            for trial, run_id in zip(whole, runs, strict=True):
                self._runs[trial.number] = _Child(run_id, trial.attempt, trial.state, done=True)

    def _write_side_by_side(self, trials: Sequence[Trial]) -> None:
        """Writes each trial by calls of its own; the first error comes when all have ended."""
        if self._database:
            for trial in trials:
                self._write(trial)
            return
        errors: list[Exception] = []

        def write(trial: Trial) -> None:
            try:
                self._write(trial)
            except Exception as error:
                errors.append(error)

        # Not a pool: Python waits for the threads of one before it ends, however long a server lets them wait.
        threads = [threading.Thread(target=write, args=[trial], name="mirror-call", daemon=True) for trial in trials]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    def _begun(self, trial: Trial) -> bool:
        return trial.number in self._runs

    def _finished(self, trial: Trial) -> bulk.Finished:
        return bulk.Finished(
            f"trial {trial.number}",
            STATUS[trial.state],
            self._start(trial),
            values.milliseconds(trial.ended or 0),
            self._tags(trial, trial.state, trial.attempt),
            values.params(trial.params),
            values.metrics(trial.reports) + values.objective(trial, trial.reports),
        )

    def _write(self, trial: Trial) -> None:
        # The search goes on meanwhile. State and attempt are read before the reports: a finished trial gets no more of
        # them, and what a new attempt reports is not mistaken for the old one's.
        state, attempt = trial.state, trial.attempt
        reports = list(trial.reports)
        child = self._runs.get(trial.number)
        if child is not None and child.attempt != attempt:
            self._client.delete_run(child.run_id)
            child = None
            del self._runs[trial.number]  # of a trial that waits for a worker nothing takes its place yet
        if state == RUNNING and trial.started is None:
            return  # it waits for a worker
        if child is None:
            child = self._runs[trial.number] = self._create_child(trial, state, attempt)
        if child.done:
            return
        metrics = values.metrics(reports[child.sent :])
        if state != RUNNING:
            metrics += values.objective(trial, reports)
        tags = [] if child.state == state else [RunTag("hpo.state", state)]
        if trial.error:
            error = values.sayable(trial.error)
            tags.append(RunTag("hpo.error", error.splitlines()[-1][:1000]))
            self._client.log_text(child.run_id, error, "error.txt")
        log(self._client, child.run_id, metrics, [] if child.has_params else values.params(trial.params), tags)
        child.sent, child.has_params = len(reports), True
        if state != RUNNING:
            self._client.set_terminated(child.run_id, STATUS[state], values.milliseconds(trial.ended or 0))
            child.done = True

    def _create_child(self, trial: Trial, state: str, attempt: int) -> _Child:
        tags = self._tags(trial, state, attempt)
        run = self._client.create_run(self._experiment, self._start(trial), tags, run_name=f"trial {trial.number}")
        return _Child(str(run.info.run_id), attempt, state)

    def _tags(self, trial: Trial, state: str, attempt: int) -> dict[str, str]:
        return {
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

    def _start(self, trial: Trial) -> int:
        return values.milliseconds(trial.started or self._started)


class _Child:
    """What of a trial's run is written."""

    def __init__(self, run_id: str, attempt: int, state: str, *, done: bool = False) -> None:
        self.run_id = run_id
        self.attempt = attempt
        self.state = state
        self.done = done
        self.sent = 0
        self.has_params = False


def _agrees(run: Run, trial: Trial) -> bool:
    """Whether a run says what the record says, as far as a list of runs shows it: all but the curves' middles."""
    logged = values.metrics(trial.reports) + values.objective(trial, trial.reports)
    last = {key: metric.value for key, metric in values.latest(logged).items()}
    return (
        run.info.status == STATUS[trial.state]
        and run.data.tags.get("hpo.state") == trial.state
        and run.info.end_time == values.milliseconds(trial.ended or 0)
        and values.texts(trial.params).items() <= run.data.params.items()
        and all(_same(run.data.metrics.get(key), value) for key, value in last.items())
        and ("objective" in run.data.metrics) == ("objective" in last)
    )


def _same(found: float | None, value: float) -> bool:
    return found is not None and (found == values.stored(value) or (math.isnan(found) and math.isnan(value)))
