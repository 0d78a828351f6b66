"""A study in MLflow, seen from outside its search."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag

from hpo.tracking.mlflow.client import connect
from hpo.tracking.mlflow.values import milliseconds


def parents(client: MlflowClient, uid: str, name: str) -> list[str]:
    """The ids of a study's parent runs: one, none where MLflow does not know it."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return []
    condition = f"tags.`hpo.uid` = '{uid}' AND tags.`hpo.role` = 'study'"
    return [run.info.run_id for run in client.search_runs([experiment.experiment_id], condition)]


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
        metrics = [Metric(key, value, now, count) for key, value in entry["metrics"].items()]
        tags = [RunTag(f"hpo.evaluation.{count}", json.dumps(dict(entry))), RunTag("hpo.evaluations", str(count))]
        client.log_batch(parent, metrics, tags=tags)
    return bool(found)


def delete(uri: str, name: str) -> int:
    """Moves a study's experiment to MLflow's trash; returns how many there were (0 or 1)."""
    client = connect(uri)
    experiment = client.get_experiment_by_name(name)
    if experiment is None or experiment.lifecycle_stage == "deleted":
        return 0
    client.delete_experiment(experiment.experiment_id)
    return 1
