"""MLflow as the place where people look: one parent run per study, one child run per trial.

Runs are keyed by tags, so that a second life of the study finds them: ``hpo.study`` and ``hpo.uid`` (the ledger's own
identity of the study), ``hpo.role`` and ``hpo.trial``.
"""

from __future__ import annotations

import os

# Read by MLflow when it is imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# The mirror tries again by itself: MLflow's seven tries, or an hour's wait that a server asks for, would hold one call.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
os.environ.setdefault("MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER", "false")

from hpo.tracking.mlflow.page import delete, record_evaluation
from hpo.tracking.mlflow.store import MlflowStore

__all__ = ["MlflowStore", "delete", "record_evaluation"]
