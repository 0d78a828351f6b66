"""A study's model in MLflow's registry: the best trial's, by the alias `champion`."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlflow.entities import LoggedModelOutput
from mlflow.exceptions import MlflowException, RestException

from hpo.errors import TrackingError
from hpo.tracking.mlflow.bulk import database
from hpo.tracking.mlflow.client import texts
from hpo.tracking.mlflow.page import Page
from hpo.trial import Trial

# The alias of the chosen trial's model in the registry, and the tag of a registered model that hpo made.
CHAMPION, OURS = "champion", "hpo.study"
# What `register` takes, by MLflow's names.
MODEL_KEYS = ("loader_module", "data_path", "input_example", "pip_requirements")


def is_champion(page: Page, trial: Trial) -> bool:
    """Whether the registry's champion is the model of this trial, and its run is still there.

    Raises:
        TrackingError: When the registry has a model of this name that is not hpo's.
    """
    if not _is_registered(page):  # a server with passwords denies access to a model that is not there
        return False
    try:
        version = page.client.get_model_version_by_alias(page.study.name, CHAMPION)
    except (MlflowException, RestException) as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        return False
    return (
        version.tags.get("hpo.uid") == page.uid
        and version.tags.get("hpo.trial") == str(trial.number)
        and version.run_id == page.run_of(trial)
    )


def _is_registered(page: Page) -> bool:
    name = page.study.name
    if not (found := page.client.search_registered_models(f"name = '{name}'")):
        return False
    if OURS not in found[0].tags:  # earlier versions of hpo gave the tag to the versions only
        versions = page.client.search_model_versions(f"name = '{name}'")
        first = min(versions, key=lambda version: int(version.version), default=None)
        if first is None or "hpo.uid" not in first.tags:
            raise TrackingError(
                f"the registry has a model {name!r} that hpo did not create, and hpo does not change it; "
                "rename that model or the study"
            )
    return True


def register(page: Page, trial: Trial, save: Callable[[Path, dict[str, Any]], object]) -> int:
    """Logs a model under its trial's run, registers it under the study's name, and makes it the champion.

    Args:
        page: The study's.
        trial: The chosen one.
        save: Saves the model in a new folder, as :func:`save` does; gets the folder and the model's names.

    Returns:
        The number of the model's version.

    Raises:
        TrackingError: When the registry has a model of this name that is not hpo's.
    """
    name, run_id, client = page.study.name, page.run_of(trial), page.client
    registered = _is_registered(page)
    tags = {"hpo.uid": page.uid, "hpo.trial": str(trial.number), "hpo.objective": str(trial.value)}
    logged = client.create_logged_model(page.experiment, name, run_id, tags, texts(trial.params))
    with tempfile.TemporaryDirectory() as folder:
        ids = {"artifact_path": logged.artifact_location, "run_id": run_id, "model_id": logged.model_id}
        save(Path(folder, "model"), ids)
        client.log_model_artifacts(logged.model_id, str(Path(folder, "model")))
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
    if not registered:
        client.create_registered_model(name, {OURS: name})
    # A database that this process has opened would look `models:/` up in MLflow's default store, not in itself.
    source = logged.artifact_location if database(client) else f"models:/{logged.model_id}"
    version = client.create_model_version(name, source, run_id, tags, model_id=logged.model_id)
    client.set_registered_model_alias(name, CHAMPION, version.version)
    return int(version.version)


def save(path: Path, made: Mapping[str, Any], ids: Mapping[str, Any]) -> None:
    """Saves what a study's ``model`` has made in a new folder, with the signature that its example shows.

    Imports the study's loader.

    Args:
        path: The folder.
        made: :data:`MODEL_KEYS`, as :func:`mlflow.pyfunc.save_model` takes them.
        ids: The arguments of :class:`mlflow.models.Model`.
    """
    with warnings.catch_warnings():  # MLflow remarks on its own type hints
        warnings.simplefilter("ignore")
        import mlflow.pyfunc  # takes long
    from mlflow.models import Model, infer_signature

    model = Model(**ids)
    mlflow.pyfunc.save_model(path, mlflow_model=model, **made)
    example = made["input_example"]
    model.signature = infer_signature(example, mlflow.pyfunc.load_model(str(path)).predict(example))
    model.save(str(path / "MLmodel"))
