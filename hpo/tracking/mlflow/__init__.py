"""MLflow as the place where people look: one parent run per study, one child run per trial.

Runs are keyed by tags, so that a second life of the study finds them: ``hpo.study`` and ``hpo.uid`` (the ledger's own
identity of the study), ``hpo.role`` and ``hpo.trial``.
"""

from __future__ import annotations

import os

# Read by MLflow when it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# The mirror tries again by itself; MLflow's own seven tries would hold one call for minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

from hpo.tracking.mlflow.store import MlflowStore
from hpo.tracking.mlflow.studies import delete, record_evaluation

__all__ = ["MlflowStore", "delete", "record_evaluation"]
