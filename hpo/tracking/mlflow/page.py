"""A study's page in MLflow, seen from outside its search: description, data sets, report, scores; its end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    Metric,
    Run,
    RunTag,
    ViewType,
)

from hpo.objective.contract import Data
from hpo.study import Study
from hpo.tracking.mlflow.client import (
    MAX_TAG,
    clean,
    connect,
    key,
    log,
    milliseconds,
    runs_of,
    search,
)
from hpo.tracking.mlflow.describe import description
from hpo.trial import Trial

# The tags that say of which trials the report is, and that a study was deleted.
REPORT_TAG, FILES_TAG, DELETED_TAG = "hpo.report", "hpo.files", "hpo.deleted"
# MLflow's limits for a data set: name, digest, and a tag.
MAX_DATA = (500, 36, 500)


class Page:
    """The parent run of a study whose runs are all there.

    Args:
        uri: The tracking URI.
        study: What was searched.
        uid: The ledger's identity of the study.

    Attributes:
        client: For the store with the page.
        study: As given.
        uid: As given.
        experiment: The id of the study's experiment.

    Raises:
        LookupError: When MLflow does not know the study.
    """

    def __init__(self, uri: str, study: Study, uid: str) -> None:
        self.client = connect(uri)
        self.study, self.uid = study, uid
        found = parents(self.client, uid, study.name)
        if not found:
            raise LookupError(f"MLflow does not know {study.name}")
        self._parent = found[0]
        self.experiment = str(self._parent.info.experiment_id)

    def describe(self, trials: Sequence[Trial]) -> None:
        """Writes the description in Markdown."""
        self.client.set_tag(self._parent.info.run_id, "mlflow.note.content", description(self.study, trials))

    def log_data(self, parts: Sequence[Data]) -> None:
        """Shows what data the objective works on, where that is not shown yet."""
        known = self._parent.inputs.dataset_inputs if self._parent.inputs else []
        shown = {(entry.dataset.name, entry.dataset.digest) for entry in known}
        source = json.dumps({"tags": {"mlflow.source.name": str(self.study.objective)}})
        inputs = [
            DatasetInput(
                Dataset(name, digest, "code", source, profile=json.dumps({"num_rows": part.rows})),
                [InputTag("mlflow.data.context", split)],
            )
            for part in parts
            for name, digest, split in [map(clean, (part.name, part.digest, part.split), MAX_DATA)]
            if (name, digest) not in shown
        ]
        if inputs:
            self.client.log_inputs(self._parent.info.run_id, inputs)

    # The report ----------------------------------------------------------------------------------------------------

    def has_report(self, of: str) -> bool:
        """Whether the report of these trials (:meth:`attach`) is there."""
        return bool(self._parent.data.tags.get(REPORT_TAG) == of)

    def attach(self, folder: Path, of: str) -> None:
        """Keeps a folder's files as the artifacts ``report/``.

        Args:
            folder: Where they are.
            of: What the report is of, for :meth:`has_report`.
        """
        self.client.log_artifacts(self._parent.info.run_id, str(folder), "report")
        self.client.set_tag(self._parent.info.run_id, REPORT_TAG, of)

    def attach_files(self, trial: Trial, folder: Path) -> None:
        """Keeps a trial's log and files as artifacts of its run, once.

        Links that lead out of the folder or nowhere, links to folders, pipes and sockets are left out.

        Args:
            trial: A finished one.
            folder: Where they are.
        """
        run, of = self.run_of(trial), str(trial.ended)
        if self.client.get_run(run).data.tags.get(FILES_TAG) == of:
            return
        paths = sorted(folder.rglob("*"))
        if any(path.is_symlink() or not (path.is_file() or path.is_dir()) for path in paths):
            for path in paths:
                if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
                    inner = path.parent.relative_to(folder).as_posix()
                    self.client.log_artifact(run, str(path), None if inner == "." else inner)
        else:
            self.client.log_artifacts(run, str(folder))
        self.client.set_tag(run, FILES_TAG, of)

    def run_of(self, trial: Trial) -> str:
        """The id of a trial's run."""
        for run in runs_of(self.client, self.experiment, self.uid, f"tags.`hpo.trial` = '{trial.number}'"):
            return str(run.info.run_id)
        raise LookupError(f"MLflow does not know trial {trial.number} of {self.study.name}")


def parents(client: MlflowClient, uid: str, name: str) -> list[Run]:
    """A study's parent runs: one, none where MLflow does not know it."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return []
    return list(runs_of(client, experiment.experiment_id, uid, "tags.`hpo.role` = 'study'"))


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
    client = connect(uri)
    found = parents(client, uid, name)
    for parent in found:
        now = milliseconds(entry["time"])
        metrics = [Metric(key(name), value, now, count) for name, value in entry["metrics"].items()]
        note = clean(json.dumps(dict(entry)), MAX_TAG)
        tags = [RunTag(f"hpo.evaluation.{count}", note), RunTag("hpo.evaluations", str(count))]
        log(client, parent.info.run_id, metrics, tags=tags)
    return bool(found)


def delete(uri: str, uid: str, name: str) -> int:
    """Moves a study's runs to MLflow's trash, and its experiment too if nothing else is in it.

    Args:
        uri: The tracking URI.
        uid: The ledger's identity of the study.
        name: The study's name.

    Returns:
        How many experiments had runs of the study (0 or 1).
    """
    client = connect(uri)
    experiment = client.get_experiment_by_name(name)
    if experiment is None or experiment.lifecycle_stage == "deleted":
        return 0
    number = experiment.experiment_id
    ours = list(runs_of(client, number, uid))
    for run in ours:
        if run.data.tags.get("hpo.role") == "study":  # else they would come back with the experiment
            client.set_tag(run.info.run_id, DELETED_TAG, uid)
    if ours and number != "0" and not _holds_others(client, number, uid):  # MLflow itself needs number 0
        client.delete_experiment(number)
    else:
        for run in ours:
            client.delete_run(run.info.run_id)
    return int(bool(ours))


def _holds_others(client: MlflowClient, experiment: str, uid: str) -> bool:
    """Whether anything in an experiment is not this study's; what another study of hpo left in the trash is nothing."""
    for run in search(client, experiment, "", ViewType.ALL):
        owner = run.data.tags.get("hpo.uid")
        if owner is None or (owner != uid and run.info.lifecycle_stage == "active"):
            return True
    models = client.search_logged_models([experiment])
    if any("hpo.uid" not in model.tags for model in models):
        return True
    return bool(client.search_traces(locations=[experiment], max_results=1, include_spans=False))
