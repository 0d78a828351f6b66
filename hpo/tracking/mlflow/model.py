"""A model in MLflow's own form on disk."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

with warnings.catch_warnings():  # MLflow remarks on its own type hints
    warnings.simplefilter("ignore")
    import mlflow.pyfunc
from mlflow.entities import LoggedModel
from mlflow.models import Model, infer_signature


def save(path: Path, logged: LoggedModel, run_id: str, made: Mapping[str, Any]) -> None:
    """Saves what a study's ``model`` has made, with the signature that its example shows.

    Args:
        path: A folder, which is made.
        logged: What MLflow knows of the model.
        run_id: The run that it comes from.
        made: Arguments of :func:`mlflow.pyfunc.save_model`, ``input_example`` among them.
    """
    model = Model(artifact_path=logged.artifact_location, run_id=run_id, model_id=logged.model_id)
    mlflow.pyfunc.save_model(path, mlflow_model=model, **made)
    example = made["input_example"]
    model.signature = infer_signature(example, mlflow.pyfunc.load_model(str(path)).predict(example))
    model.save(str(path / "MLmodel"))
