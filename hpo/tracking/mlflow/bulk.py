"""Runs straight into a tracking database: any number of them in one transaction.

MLflow's own calls write a run in eight transactions and some fifty statements, and one that goes on in two transactions
each time; there is none for several runs. A database that this process has opened takes new runs, and what changes in
others, in a few statements into MLflow's own tables; a store behind a server is written by calls. What the two ways
leave must be the same: ``tests/hpo/tracking/mlflow/test_bulk.py`` compares them.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from mlflow.utils.uri import append_to_uri_path

from hpo.tracking.mlflow.client import latest

# Rows per statement: what bounds the memory of a batch of long trials.
ROWS = 5000
# Where MLflow keeps a run's name once more.
NAME_TAG = "mlflow.runName"


class New(NamedTuple):
    """A run that is not there yet.

    Attributes:
        name: Its name.
        status: One of MLflow's run statuses.
        started: Milliseconds since the epoch.
        ended: The same; None while it runs.
        tags: By their keys.
        params: With different keys.
        metrics: In order of their steps.
    """

    name: str
    status: str
    started: int
    ended: int | None
    tags: Mapping[str, str]
    params: Sequence[Param]
    metrics: Sequence[Metric]


class Change(NamedTuple):
    """What is new in a run that is there.

    Attributes:
        run_id: Its id.
        status: One of MLflow's run statuses.
        ended: Milliseconds since the epoch; None while it runs.
        tags: Those that are new or have changed, by their keys.
        metrics: Those that are new, in order of their steps.
    """

    run_id: str
    status: str
    ended: int | None
    tags: Mapping[str, str]
    metrics: Sequence[Metric]


def database(client: MlflowClient) -> Any:
    """The client's store where that is a database opened by this process; None where it is behind a server."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    store = client._tracking_client.store
    return store if isinstance(store, SqlAlchemyStore) else None


def write(store: Any, experiment_id: str, new: Sequence[New], changes: Sequence[Change] = ()) -> list[str]:
    """Writes all of it, or nothing.

    Args:
        store: What :func:`database` gave.
        experiment_id: An active experiment.
        new: Runs to make.
        changes: What to change in others, each of them once.

    Returns:
        The ids of the new runs.

    Raises:
        MlflowException: When a run to change is not there, or deleted.
    """
    from mlflow.store.tracking.dbmodels import models

    location = store.get_experiment(experiment_id).artifact_location
    made = [(uuid.uuid4().hex, run) for run in new]
    changed = [change.run_id for change in changes]
    metrics = [(run_id, run.metrics) for run_id, run in made] + [(change.run_id, change.metrics) for change in changes]
    with store.ManagedSessionMaker(read_only=False) as session:
        _check_active(session, models.SqlRun.__table__, changed)
        _insert(session, models.SqlRun, (_run(run_id, run, experiment_id, location) for run_id, run in made))
        _end(session, models.SqlRun.__table__, [change for change in changes if change.ended is not None])
        _drop_tags(session, models.SqlTag.__table__, changes)
        _insert(session, models.SqlTag, _tags((run_id, {**run.tags, NAME_TAG: run.name}) for run_id, run in made))
        _insert(session, models.SqlTag, _tags((change.run_id, change.tags) for change in changes))
        _insert(session, models.SqlParam, (_param(run_id, param) for run_id, run in made for param in run.params))
        _insert(session, models.SqlMetric, _metrics(store, metrics))
        last = _take_latest(session, models.SqlLatestMetric.__table__, changed)
        _insert(session, models.SqlLatestMetric, _latest(store, metrics, last))
    return [run_id for run_id, _ in made]


def _insert(session: Any, model: Any, rows: Iterable[dict[str, Any]]) -> None:
    rows = iter(rows)
    while part := list(itertools.islice(rows, ROWS)):
        session.execute(model.__table__.insert(), part)


def _check_active(session: Any, runs: Any, wanted: Sequence[str]) -> None:
    query = runs.select().where(runs.c.run_uuid.in_(wanted), runs.c.lifecycle_stage == "active")
    if gone := set(wanted) - {row.run_uuid for row in session.execute(query)}:
        raise MlflowException(f"The run {min(gone)} must be in the 'active' state")


def _end(session: Any, runs: Any, changes: Iterable[Change]) -> None:
    for change in changes:
        update = runs.update().where(runs.c.run_uuid == change.run_id)
        session.execute(update.values(status=change.status, end_time=change.ended))


def _drop_tags(session: Any, tags: Any, changes: Iterable[Change]) -> None:
    """Makes room for the new values of tags."""
    for change in changes:
        if change.tags:
            session.execute(tags.delete().where(tags.c.run_uuid == change.run_id, tags.c.key.in_(change.tags)))


def _take_latest(session: Any, table: Any, runs: Sequence[str]) -> list[dict[str, Any]]:
    """Takes the last values of runs out of their table."""
    where = table.c.run_uuid.in_(runs)
    found = [dict(row) for row in session.execute(table.select().where(where)).mappings()]
    if found:
        session.execute(table.delete().where(where))
    return found


def _run(run_id: str, run: New, experiment_id: str, location: str) -> dict[str, Any]:
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


def _tags(found: Iterable[tuple[str, Mapping[str, str]]]) -> Iterator[dict[str, Any]]:
    for run_id, tags in found:
        for key, value in tags.items():
            yield {"run_uuid": run_id, "key": key, "value": value}


def _param(run_id: str, param: Param) -> dict[str, Any]:
    return {"run_uuid": run_id, "key": param.key, "value": param.value}


def _metrics(store: Any, logged: Iterable[tuple[str, Sequence[Metric]]]) -> Iterator[dict[str, Any]]:
    for run_id, metrics in logged:
        seen = set()
        for metric in metrics:
            row = _metric(store, run_id, metric)
            identity = tuple(row.values())
            if identity not in seen:  # two names of a metric may have become one
                seen.add(identity)
                yield row


def _latest(
    store: Any, logged: Iterable[tuple[str, Sequence[Metric]]], before: Iterable[dict[str, Any]]
) -> Iterable[dict[str, Any]]:
    """The last values of runs: of what they had before, and what is new."""
    new = (_metric(store, run_id, metric) for run_id, metrics in logged for metric in latest(metrics).values())
    rows = sorted([*before, *new], key=lambda row: (row["step"], row["timestamp"], row["value"]))
    return {(row["run_uuid"], row["key"]): row for row in rows}.values()


def _metric(store: Any, run_id: str, metric: Metric) -> dict[str, Any]:
    is_nan, value = store.sanitize_metric_value(metric.value)
    return {
        "run_uuid": run_id,
        "key": metric.key,
        "value": value,
        "timestamp": metric.timestamp,
        "step": metric.step,
        "is_nan": is_nan,
    }
