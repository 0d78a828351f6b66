"""Finished runs straight into a tracking database: any number of them in one transaction.

MLflow's own calls write a run in eight transactions and some fifty statements, and there is none for several runs. A
database that this process has opened takes them in five statements into MLflow's own tables; a store behind a server is
written by calls. What the two ways leave must be the same: ``tests/hpo/tracking/mlflow/test_bulk.py`` compares them.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.utils.uri import append_to_uri_path

from hpo.tracking.mlflow.client import latest

# Rows per statement: what bounds the memory of a batch of long trials.
ROWS = 5000


class Finished(NamedTuple):
    """A run that is over.

    Attributes:
        name: Its name.
        status: One of MLflow's run statuses.
        started: Milliseconds since the epoch.
        ended: Milliseconds since the epoch.
        tags: By their keys.
        params: With different keys.
        metrics: In order of their steps.
    """

    name: str
    status: str
    started: int
    ended: int
    tags: Mapping[str, str]
    params: Sequence[Param]
    metrics: Sequence[Metric]


def database(client: MlflowClient) -> Any:
    """The client's store where that is a database opened by this process; None where it is behind a server."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = client._tracking_client.store
    return store if isinstance(store, SqlAlchemyStore) else None


def insert(store: Any, experiment_id: str, runs: Iterable[Finished]) -> list[str]:
    """Writes all of the runs, or none.

    Args:
        store: What :func:`database` gave.
        experiment_id: An active experiment.
        runs: What to write.

    Returns:
        Their ids.
    """
    from mlflow.store.tracking.dbmodels import models

    location = store.get_experiment(experiment_id).artifact_location
    found = [(uuid.uuid4().hex, run) for run in runs]
    tables: list[tuple[Any, Iterator[dict[str, Any]]]] = [
        (models.SqlRun, (_run(run_id, run, experiment_id, location) for run_id, run in found)),
        (models.SqlTag, (row for run_id, run in found for row in _tags(run_id, run))),
        (models.SqlParam, ({"run_uuid": i, "key": p.key, "value": p.value} for i, run in found for p in run.params)),
        (models.SqlMetric, (row for run_id, run in found for row in _metrics(store, run_id, run))),
        (models.SqlLatestMetric, (row for run_id, run in found for row in _latest(store, run_id, run))),
    ]
    with store.ManagedSessionMaker(read_only=False) as session:
        for model, rows in tables:
            while part := list(itertools.islice(rows, ROWS)):
                session.execute(model.__table__.insert(), part)
    return [run_id for run_id, _ in found]


def _run(run_id: str, run: Finished, experiment_id: str, location: str) -> dict[str, Any]:
    return {
        "run_uuid": run_id,
        "name": run.name,
        "experiment_id": int(experiment_id),
        "artifact_uri": append_to_uri_path(location, run_id, "artifacts"),  # type: ignore[no-untyped-call]
        "status": run.status,
        "start_time": run.started,
        "end_time": run.ended,
        "deleted_time": None,
        "lifecycle_stage": "active",
        "user_id": run.tags.get("mlflow.user", "unknown"),
        "source_type": "UNKNOWN",
        "source_name": "",
        "entry_point_name": "",
        "source_version": "",
    }


def _tags(run_id: str, run: Finished) -> Iterator[dict[str, Any]]:
    for key, value in {**run.tags, "mlflow.runName": run.name}.items():
        yield {"run_uuid": run_id, "key": key, "value": value}


def _metrics(store: Any, run_id: str, run: Finished) -> Iterator[dict[str, Any]]:
    seen = set()
    for metric in run.metrics:
        row = _row(store, run_id, metric)
        identity = tuple(row.values())
        if identity not in seen:  # two names of a metric may have become one
            seen.add(identity)
            yield row


def _latest(store: Any, run_id: str, run: Finished) -> Iterator[dict[str, Any]]:
    for metric in latest(run.metrics).values():
        yield _row(store, run_id, metric)


def _row(store: Any, run_id: str, metric: Metric) -> dict[str, Any]:
    is_nan, value = store.sanitize_metric_value(metric.value)
    return {
        "run_uuid": run_id,
        "key": metric.key,
        "value": value,
        "timestamp": metric.timestamp,
        "step": metric.step,
        "is_nan": is_nan,
    }
