"""A study's runs in MLflow, kept up to its ledger.

Children of a database are written together, in one transaction. Behind a server, a child is written in at most three
calls (create, one batch of parameters and metrics, terminate), those of several trials side by side.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from mlflow.entities import Param, Run, RunTag

from hpo.study import Study
from hpo.text import cut
from hpo.tracking.mlflow import bulk, client, views
from hpo.tracking.mlflow.child import STATUS, Child, agrees, end_of, feasible
from hpo.tracking.mlflow.client import MAX_KEY, MAX_PARAM, MAX_TAG, clean, connect, log, runs_of
from hpo.tracking.mlflow.describe import SOURCE, description, source_tags, study_tags
from hpo.tracking.mlflow.page import DELETED_TAG
from hpo.tracking.mlflow.progress import Progress
from hpo.trial import StudyState, Trial

STUDY_STATUS = {StudyState.COMPLETE: "FINISHED", StudyState.STOPPED: "KILLED", StudyState.FAILED: "FAILED"}
# How many trials are written at once: a server of several processes takes 40 ms for the quickest call, mostly waiting,
# and bears more of them; a database takes any number in one transaction.
CALLERS, ROWS = 4, 50
# Characters of an error that are kept: as the artifact of its trial, and as a tag.
MAX_ERROR, MAX_LINE = 1_000_000, 1000
# The tag of the best trial's run alone, or of those on the front, for a column of the list.
BEST_TAG, FRONT_TAG = "hpo.best", "hpo.pareto"


class MlflowStore:
    """A study's experiment in MLflow.

    Args:
        uri: The tracking URI.
        study: What is searched; the experiment has its name.
        uid: The ledger's identity of the study.
        started: Seconds since the epoch; when the study was first run.
        since: The same; with which user and code earlier trials ran is not known here.
        remark: Told what was cut because MLflow does not take it whole, each thing once.
        artifacts: Where a database that this process opens keeps new experiments' files; None for ``mlruns`` in the
            working folder.

    Attributes:
        batch: How many trials one call of :meth:`write` takes.
    """

    def __init__(
        self,
        uri: str,
        study: Study,
        uid: str,
        started: float,
        since: float = 0.0,
        remark: Callable[[str], None] = lambda text: None,
        artifacts: Path | None = None,
    ) -> None:
        self._client = connect(uri)
        self._database = bulk.database(self._client)
        self._flat = "://" not in uri or uri.startswith("file:")
        if self._database and artifacts:
            self._database.artifact_root_uri = str(artifacts).replace("%", "%25")  # MLflow unquotes paths
        self.batch = ROWS if self._database else CALLERS
        self._study = study
        self._uid = uid
        self._started = started
        self._since = since
        self._source = source_tags(study)
        self._opened = 0
        self._experiment = ""
        self._parent = ""
        self._runs: dict[int, Child] = {}
        self._progress = Progress(study)
        self._marked: set[int] = set()
        self._mark = (FRONT_TAG, "true") if len(study.objectives) > 1 else (BEST_TAG, "best")
        self._remark = remark
        self._remarks: set[str] = set()

    # The parent ----------------------------------------------------------------------------------------------------

    def open(self, trials: Iterable[Trial]) -> set[int]:
        self._opened += 1
        self._experiment = self._find_or_create_experiment()
        shown = views.save(self._client, self._experiment, self._study, self._started)
        if shown < (total := len(self._study.space.parameters)):
            self._cut(f"the saved views show {shown} of {total} parameters")
        records = {trial.number: trial for trial in trials}
        runs = list(self._ours())
        parents = [run for run in runs if run.data.tags.get("hpo.role") == "study"]
        for other in parents[1:]:  # made by a call that seemed to fail
            self._client.delete_run(other.info.run_id)
        self._open_parent(parents[0] if parents else None, [t for t in records.values() if t.finished])
        self._runs, self._marked = {}, set()
        numbers = {str(number): number for number in records}
        for run in runs:
            if run.data.tags.get("hpo.role") == "trial":  # a person may have edited the other tags
                self._adopt(run, records.get(numbers.get(run.data.tags.get("hpo.trial", ""), -1)))
        self._mark_best()
        return set(self._runs)

    def _ours(self) -> Iterable[Run]:
        return runs_of(self._client, self._experiment, self._uid)

    def _cut(self, what: str) -> None:
        if what not in self._remarks:
            self._remarks.add(what)
            self._remark(f"MLflow has limits: {what}; the ledger has everything")

    def _open_parent(self, run: Run | None, finished: list[Trial]) -> None:
        """The parent as the study is run now: the budget, say, may differ from one run to the next."""
        study = self._study
        tags = study_tags(study, self._uid)
        if run is None:
            tags["mlflow.note.content"] = description(study, [])
            start = client.milliseconds(self._started)
            run = self._client.create_run(self._experiment, start, tags, run_name=study.name)
        self._parent = str(run.info.run_id)
        if run.info.status != "RUNNING":
            self._client.update_run(self._parent, status="RUNNING")
        if study.source:
            self._client.log_text(self._parent, study.source, "study.toml")
        self._client.log_dict(self._parent, dict(study.resolved), "study.json")
        self._progress = Progress(study)
        finished.sort(key=lambda trial: (trial.ended or 0.0, trial.number))
        recorded = run.data.metrics.get("trials_finished", 0.0)
        points = self._progress.after(finished, skip=recorded if math.isfinite(recorded) else 0.0)
        params = [param for param in self._params(study.fixed, "fixed.") if param.key not in run.data.params]
        changed = [RunTag(key, value) for key, value in tags.items() if run.data.tags.get(key) != value]
        log(self._client, self._parent, points, params, changed)

    def _adopt(self, run: Run, record: Trial | None) -> None:
        """Keeps a run that is there once and in full, with what earlier versions of hpo wrote otherwise put right.

        Any other is cleared away, and made anew where it is missed.
        """
        if record is None or not record.finished or record.number in self._runs or not agrees(run, record, self._flat):
            self._client.delete_run(run.info.run_id)
            return
        run_id = run.info.run_id
        if run.info.status != STATUS[record.state]:
            self._client.set_terminated(run_id, STATUS[record.state], run.info.end_time)
        wanted = self._tags(record)
        tags = [RunTag(key, wanted[key]) for key in sorted(wanted.keys() - run.data.tags.keys())]
        if run.data.tags.get("mlflow.parentRunId") != self._parent:
            tags.append(RunTag("mlflow.parentRunId", self._parent))
        log(self._client, run_id, [], [p for p in self._trial_params(record) if p.key not in run.data.params], tags)
        if self._mark[0] in run.data.tags:
            self._marked.add(record.number)
        self._runs[record.number] = Child(run_id, record.attempt, record.state, done=True)

    def _mark_best(self) -> None:
        """Moves the mark to the runs of the trials that are the best, or on the front, now."""
        best = self._progress.best & self._runs.keys()
        for number in self._marked - best:
            if number in self._runs:
                self._client.delete_tag(self._runs[number].run_id, self._mark[0])
        for number in best - self._marked:
            self._client.set_tag(self._runs[number].run_id, *self._mark)
        self._marked = best

    def _find_or_create_experiment(self) -> str:
        experiment = self._client.get_experiment_by_name(self._study.name)
        if experiment is None:
            return str(self._client.create_experiment(self._study.name))
        self._experiment = str(experiment.experiment_id)
        if experiment.lifecycle_stage == "deleted":
            self._client.restore_experiment(self._experiment)
            marked = f"tags.`{DELETED_TAG}` LIKE '%'"  # studies that `hpo delete` moved to the trash stay there
            for parent in list(client.search(self._client, self._experiment, marked)):
                if (uid := parent.data.tags[DELETED_TAG]) == parent.data.tags.get("hpo.uid") != self._uid:
                    for run in list(runs_of(self._client, self._experiment, uid)):
                        self._client.delete_run(run.info.run_id)
        return self._experiment

    def progress(self, trials: list[Trial]) -> None:
        log(self._client, self._parent, self._progress.after(trials))
        self._mark_best()

    def end(self, state: StudyState, unfinished: Sequence[Trial] = ()) -> None:
        for trial in unfinished:  # shown all the same; the next run of the study begins it anew
            if trial.number not in self._runs:
                self._runs[trial.number] = self._create_child(trial)
                log(self._client, self._runs[trial.number].run_id, params=self._trial_params(trial))
        if not self._database or self._opened > 1:
            self._delete_doubled()
        for child in self._runs.values():
            if not child.done:
                self._client.set_terminated(child.run_id, "KILLED")
        self._client.set_terminated(self._parent, STUDY_STATUS[state])

    def _delete_doubled(self) -> None:
        """Deletes what a call made that was tried twice, by us or by MLflow's own client, and obeyed twice."""
        ours = {self._parent} | {child.run_id for child in self._runs.values()}
        for run in list(self._ours()):
            if run.info.run_id not in ours:
                self._client.delete_run(run.info.run_id)

    # The children --------------------------------------------------------------------------------------------------

    def write(self, trials: Sequence[Trial]) -> None:
        rows = [trial for trial in trials if self._database and self._has_only_rows(trial)]
        taken = {trial.number for trial in rows}
        self._write_side_by_side([trial for trial in trials if trial.number not in taken])
        if not rows:
            return
        new = [trial for trial in rows if trial.number not in self._runs]
        changes = [self._change(self._runs[trial.number], trial) for trial in rows if trial.number in self._runs]
        runs = bulk.write(self._database, self._experiment, [self._new(trial) for trial in new], changes)
        for trial, run_id in zip(new, runs, strict=True):
            self._runs[trial.number] = Child(run_id, trial.attempt, trial.state)
        for trial in rows:
            self._runs[trial.number].is_at(trial)

    def _has_only_rows(self, trial: Trial) -> bool:
        """Whether all that is to be written of a trial belongs in tables: a failed one has a file, too."""
        child = self._runs.get(trial.number)
        if child is not None and (child.done or child.attempt != trial.attempt):
            return False
        return not trial.error and (trial.finished or trial.started is not None)

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

    def _new(self, trial: Trial) -> bulk.New:
        return bulk.New(
            f"trial {trial.number}",
            STATUS[trial.state],
            self._start(trial),
            end_of(trial),
            self._tags(trial),
            self._trial_params(trial),
            client.metrics(trial.reports) + client.objective(trial),
        )

    def _change(self, child: Child, trial: Trial) -> bulk.Change:
        metrics = client.metrics(trial.reports[child.sent :]) + client.objective(trial)
        return bulk.Change(child.run_id, STATUS[trial.state], end_of(trial), child.new_tags(trial), metrics)

    def _write(self, trial: Trial) -> None:
        child = self._runs.get(trial.number)
        if child is not None and child.attempt != trial.attempt:
            self._client.delete_run(child.run_id)
            child = None
            del self._runs[trial.number]
        if not trial.finished and trial.started is None:
            return  # it waits for a worker
        params = []
        if child is None:
            child, params = self._create_child(trial), self._trial_params(trial)
            self._runs[trial.number] = child
        if child.done:
            if child.state is not trial.state:  # a person has discarded it, or let it count again
                self._client.set_tag(child.run_id, "hpo.state", trial.state)
                child.state = trial.state
            return
        metrics = client.metrics(trial.reports[child.sent :], flat=self._flat) + client.objective(trial)
        tags = [RunTag(*tag) for tag in child.new_tags(trial).items()]
        if trial.error:
            if len(trial.error) > MAX_ERROR:
                self._cut(f"errors are cut in their middle to {MAX_ERROR} characters")
            error = cut(trial.error, MAX_ERROR)
            tags.append(RunTag("hpo.error", clean((error.rstrip().splitlines() or [""])[-1], MAX_LINE)))
            self._client.log_text(child.run_id, clean(error, 2 * MAX_ERROR), "error.txt")
        log(self._client, child.run_id, metrics, params, tags)
        if trial.finished:
            self._client.set_terminated(child.run_id, STATUS[trial.state], end_of(trial))
        child.is_at(trial)

    def _create_child(self, trial: Trial) -> Child:
        tags = self._tags(trial)
        run = self._client.create_run(self._experiment, self._start(trial), tags, run_name=f"trial {trial.number}")
        return Child(str(run.info.run_id), trial.attempt, trial.state)

    def _tags(self, trial: Trial) -> dict[str, str]:
        return {
            "mlflow.parentRunId": self._parent,
            "hpo.study": self._study.name,
            "hpo.uid": self._uid,
            "hpo.role": "trial",
            "hpo.trial": str(trial.number),
            "hpo.state": trial.state,
            **feasible(trial),
            "hpo.seed": str(trial.seed),
            "hpo.attempt": str(trial.attempt),
            "hpo.worker": clean(trial.worker or "", MAX_TAG),
            **({"hpo.from": clean(trial.place, MAX_TAG)} if trial.origin else {}),
            **{key: self._source[key] for key in (SOURCE if (trial.started or 0) < self._since else self._source)},
        }

    def _trial_params(self, trial: Trial) -> list[Param]:
        """Of a trial: what was searched, and what the study fixes, which differs between studies."""
        return self._params({**trial.params, **self._study.fixed})

    def _params(self, found: Mapping[str, object], prefix: str = "") -> list[Param]:
        """Parameters for MLflow, with a remark on what is cut."""
        for name, value in found.items():
            if len(prefix + name) > MAX_KEY:
                self._cut(f"names are cut to {MAX_KEY} characters, such as {name[:20]}...")
            if len(str(value)) > MAX_PARAM:
                shown = f"fixed.{name}" if name in self._study.fixed else name
                self._cut(f"values of {shown:.60} are cut to {MAX_PARAM} characters")
        return client.params(found, prefix, flat=self._flat)

    def _start(self, trial: Trial) -> int:
        return client.milliseconds(trial.started or self._started)
