"""What a search leaves on its parent's page when it has ended: description, data sets, report, and the chosen model."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Run
from mlflow.exceptions import MlflowException, RestException

from hpo.objective import Data
from hpo.study import Study
from hpo.tracking.mlflow.bulk import database
from hpo.tracking.mlflow.client import connect, search
from hpo.tracking.mlflow.describe import description
from hpo.trial import Trial

# The alias of the chosen trial's model in the registry.
CHAMPION = "champion"
# What `Page.crown` takes, by MLflow's names.
MODEL_KEYS = ("loader_module", "data_path", "input_example", "pip_requirements")
# The tag that says of which trials the report is.
REPORT_TAG = "hpo.report"


class Page:
    """The parent run of a study whose runs are all there.

    Args:
        uri: The tracking URI.
        study: What was searched.
        uid: The ledger's identity of the study.

    Raises:
        LookupError: When MLflow does not know the study.
    """

    def __init__(self, uri: str, study: Study, uid: str) -> None:
        self._client = connect(uri)
        self._study = study
        self._uid = uid
        experiment = self._client.get_experiment_by_name(study.name)
        parent = None if experiment is None else self._find(experiment.experiment_id, "tags.`hpo.role` = 'study'")
        if experiment is None or parent is None:
            raise LookupError(f"MLflow does not know {study.name}")
        self._experiment: str = experiment.experiment_id
        self._parent = parent

    def _find(self, experiment: str, condition: str) -> Run | None:
        return next(iter(search(self._client, experiment, f"tags.`hpo.uid` = '{self._uid}' AND {condition}")), None)

    def describe(self, trials: Sequence[Trial]) -> None:
        """Writes the description in Markdown."""
        self._client.set_tag(self._parent.info.run_id, "mlflow.note.content", description(self._study, trials))

    def log_data(self, parts: Sequence[Data]) -> None:
        """Shows what data the objective works on, where that is not shown yet."""
        known = self._parent.inputs.dataset_inputs if self._parent.inputs else []
        shown = {(entry.dataset.name, entry.dataset.digest) for entry in known}
        source = json.dumps({"tags": {"mlflow.source.name": str(self._study.objective)}})
        inputs = [
            DatasetInput(
                Dataset(part.name, part.digest, "code", source, profile=json.dumps({"num_rows": part.rows})),
                [InputTag("mlflow.data.context", part.split)],
            )
            for part in parts
            if (part.name, part.digest) not in shown
        ]
        if inputs:
            self._client.log_inputs(self._parent.info.run_id, inputs)

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
        self._client.log_artifacts(self._parent.info.run_id, str(folder), "report")
        self._client.set_tag(self._parent.info.run_id, REPORT_TAG, of)

    # The model -----------------------------------------------------------------------------------------------------

    def is_champion(self, trial: Trial) -> bool:
        """Whether the registry's champion is the model of this trial, and its run is still there."""
        if not self._is_registered():  # who asks a server with passwords for what is not there is denied it
            return False
        try:
            version = self._client.get_model_version_by_alias(self._study.name, CHAMPION)
        except (MlflowException, RestException) as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            return False
        return (
            version.tags.get("hpo.uid") == self._uid
            and version.tags.get("hpo.trial") == str(trial.number)
            and version.run_id == self._child(trial)
        )

    def _is_registered(self) -> bool:
        return bool(self._client.search_registered_models(f"name = '{self._study.name}'"))

    def _child(self, trial: Trial) -> str:
        """The id of a trial's run."""
        run = self._find(self._experiment, f"tags.`hpo.trial` = '{trial.number}'")
        if run is None:
            raise LookupError(f"MLflow does not know trial {trial.number} of {self._study.name}")
        return str(run.info.run_id)

    def crown(self, trial: Trial, made: Mapping[str, Any]) -> int:
        """Logs a model under its trial's run, registers it under the study's name, and makes it the champion.

        Args:
            trial: The chosen one.
            made: :data:`MODEL_KEYS`, as :func:`mlflow.pyfunc.save_model` takes them.

        Returns:
            The number of the model's version.
        """
        from hpo.tracking.mlflow.model import save  # MLflow's part for models takes long to import

        name, run_id, client = self._study.name, self._child(trial), self._client
        tags = {"hpo.uid": self._uid, "hpo.trial": str(trial.number), "hpo.objective": str(trial.value)}
        params = {key: str(value) for key, value in trial.params.items()}
        logged = client.create_logged_model(self._experiment, name, run_id, tags, params)
        with tempfile.TemporaryDirectory() as folder:
            save(Path(folder, "model"), logged, run_id, made)
            client.log_model_artifacts(logged.model_id, str(Path(folder, "model")))
        client.finalize_logged_model(logged.model_id, "READY")
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        if not self._is_registered():
            client.create_registered_model(name)
        # A database that this process has opened would look `models:/` up in MLflow's default store, not in itself.
        source = logged.artifact_location if database(client) else f"models:/{logged.model_id}"
        version = client.create_model_version(name, source, run_id, tags, model_id=logged.model_id)
        client.set_registered_model_alias(name, CHAMPION, version.version)
        return int(version.version)
