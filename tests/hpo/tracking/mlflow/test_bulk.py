"""Runs that go straight into a database are those that MLflow's own calls would have made."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run
from mlflow.exceptions import MlflowException

from hpo.tracking.mlflow import bulk
from hpo.tracking.mlflow.client import log

AWKWARD = bulk.New(
    name="trial 7",
    status="KILLED",
    started=1_700_000_000_123,
    ended=1_700_000_060_456,
    tags={"hpo.trial": "7", "mlflow.parentRunId": "x", "hpo.worker": ""},
    params=[Param("lr", "0.001"), Param("path", "caf? 学習率 😀"), Param("empty", "")],
    metrics=[
        *(
            Metric("loss", value, 1000 + step, step)
            for step, value in enumerate([0.5, math.nan, math.inf, -math.inf], 1)
        ),
        *(Metric("same", 1.0, 1000, 3) for _ in range(3)),
        Metric("joined", 2.0, 1000, 1),
        Metric("joined", 1.0, 1000, 1),
        Metric("late", 1.0, 2000, 1),
        Metric("late", 9.0, 1000, 1),
        Metric("last nan", 1.0, 1000, 1),
        Metric("last nan", math.nan, 1000, 2),
    ],
)
METRIC = [Metric("new", 1.0, 1000, 9)]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database(request: pytest.FixtureRequest, mlflow_database: str) -> str:
    """The URI of a fresh tracking database; the artifacts go to ``tmp_path``."""
    if request.param == "sqlite":
        return mlflow_database
    return str(request.getfixturevalue("bare_postgresql_url")).replace("postgresql:", "postgresql+psycopg:")


def by_calls(client: MlflowClient, experiment: str, run: bulk.New) -> str:
    run_id = str(client.create_run(experiment, run.started, dict(run.tags), run_name=run.name).info.run_id)
    log(client, run_id, run.metrics, run.params)
    client.set_terminated(run_id, run.status, run.ended)
    return run_id


def seen(client: MlflowClient, run_id: str) -> dict[str, Any]:
    """Everything that MLflow shows of a run, its own id left out."""
    run: Run = client.get_run(run_id)
    info = {key: str(value).replace(run_id, "ID") for key, value in dict(run.info).items()}
    curves = {
        key: sorted((m.step, m.timestamp, repr(m.value)) for m in client.get_metric_history(run_id, key))
        for key in run.data.metrics
    }
    latest = {key: repr(value) for key, value in run.data.metrics.items()}
    return {"info": info, "tags": run.data.tags, "params": run.data.params, "latest": latest, "curves": curves}


def test_the_two_ways_leave_the_same_run(database: str) -> None:
    client = MlflowClient(database)
    experiment = client.create_experiment("bulk")
    plain = AWKWARD._replace(name="trial 8", status="FINISHED", tags={}, params=[], metrics=[])

    inserted = bulk.write(bulk.database(client), experiment, [AWKWARD, plain])

    for run, run_id in zip((AWKWARD, plain), inserted, strict=True):
        assert seen(client, run_id) == seen(client, by_calls(client, experiment, run))
    assert len(client.search_runs([experiment])) == 4


def test_a_run_that_goes_on_is_the_same_by_both_ways(database: str) -> None:
    client = MlflowClient(database)
    store, experiment = bulk.database(client), client.create_experiment("bulk")
    numbers = np.random.default_rng(0)
    values, keys = [math.nan, math.inf, -math.inf, 0.0, -0.5, 2.0], ["loss", "rate", "late"]
    metrics = [
        Metric(keys[numbers.integers(3)], values[numbers.integers(6)], int(numbers.integers(5)), 10 * n % 7)
        for n in range(40)
    ]
    metrics = list({(m.key, m.timestamp, m.step, repr(m.value)): m for m in metrics}.values())
    whole = AWKWARD._replace(metrics=metrics, tags={"hpo.state": "COMPLETE", "hpo.worker": "a", "hpo.feasible": "true"})
    begun = whole._replace(
        status="RUNNING", ended=None, metrics=metrics[:3], tags={"hpo.state": "RUNNING", "hpo.worker": "a"}
    )

    runs = bulk.write(store, experiment, [begun, begun])  # two at a time: neither takes what is the other's
    called = str(client.create_run(experiment, begun.started, dict(begun.tags), run_name=begun.name).info.run_id)
    log(client, called, begun.metrics, begun.params)
    assert seen(client, runs[0]) == seen(client, called)
    for start in range(3, len(metrics), 5):
        part = metrics[start : start + 5]
        bulk.write(store, experiment, [], [bulk.Change(runs[0], "RUNNING", None, {}, part)])
        bulk.write(store, experiment, [begun], [bulk.Change(runs[1], "RUNNING", None, {}, part)])
        log(client, called, part)
        assert [seen(client, run) for run in runs] == [seen(client, called)] * 2
    final = {"hpo.state": "COMPLETE", "hpo.feasible": "true"}
    changes = [bulk.Change(run, whole.status, whole.ended, final, []) for run in runs]
    bulk.write(store, experiment, [], changes)

    assert [seen(client, run) for run in runs] == [seen(client, by_calls(client, experiment, whole))] * 2


@pytest.mark.parametrize("gone", ["deleted", "unknown"])
def test_a_run_that_somebody_has_deleted_is_refused_and_nothing_is_written(database: str, gone: str) -> None:
    client = MlflowClient(database)
    store, experiment = bulk.database(client), client.create_experiment("bulk")
    kept, deleted = bulk.write(store, experiment, [AWKWARD, AWKWARD])
    client.delete_run(deleted)
    before = seen(client, kept)
    wanted = [kept, deleted if gone == "deleted" else "0" * 32]

    with pytest.raises(MlflowException, match=f"run {wanted[1]} must be in the 'active' state"):
        bulk.write(store, experiment, [AWKWARD], [bulk.Change(i, "FAILED", 7, {"a": "b"}, METRIC) for i in wanted])

    assert seen(client, kept) == before
    assert len(client.search_runs([experiment])) == 1


def test_a_batch_that_cannot_be_written_whole_is_not_written_at_all(database: str) -> None:
    client = MlflowClient(database)
    experiment = client.create_experiment("bulk")
    broken = AWKWARD._replace(tags={"hpo.trial": object()})  # type: ignore[dict-item]

    refusal = "not supported" if database.startswith("sqlite") else "cannot adapt"

    with pytest.raises(MlflowException, match=refusal):
        bulk.write(bulk.database(client), experiment, [AWKWARD, broken])

    assert client.search_runs([experiment]) == []


def test_a_store_behind_a_server_is_no_database(mlflow_server: str) -> None:
    assert bulk.database(MlflowClient(mlflow_server)) is None


def test_long_runs_are_written_in_parts(database: str) -> None:
    client = MlflowClient(database)
    experiment = client.create_experiment("bulk")
    steps = bulk.ROWS + 7
    long = AWKWARD._replace(metrics=[Metric("loss", 1 / step, step, step) for step in range(1, steps + 1)])

    (run_id,) = bulk.write(bulk.database(client), experiment, [long])

    assert len(client.get_metric_history(run_id, "loss")) == steps
    assert client.get_run(run_id).data.metrics == {"loss": 1 / steps}
