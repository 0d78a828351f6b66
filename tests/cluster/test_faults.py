"""The chapter's search on a cluster whose hosts are killed, cut off and restarted while it runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from compose import MLFLOW, ROOT, Compose

from hpo.search.advisor import Advisor
from hpo.study import load

pytestmark = [pytest.mark.containers, pytest.mark.mnist, pytest.mark.xdist_group("cluster"), pytest.mark.timeout(1800)]
STUDY = "fig-6-24"


def test_fig_6_24_survives_the_loss_of_every_host_but_the_head(cluster: Compose) -> None:
    submitted = cluster.hpo("submit", "studies/fig_6_24.toml", "--json", cwd=cluster.folder)
    job = json.loads(submitted.stdout)["job"]
    first, second = cluster.containers("ray-worker")
    (mlflow,) = cluster.containers("mlflow")
    (postgres,) = cluster.containers("postgres")

    in_the_middle(cluster, 8)
    cluster.kill(mlflow)
    in_the_middle(cluster, 16)
    cluster.kill(first)
    in_the_middle(cluster, 24)
    cluster.podman("restart", "--time=30", postgres)
    cluster.wait("postgres", "service_healthy")
    in_the_middle(cluster, 32)
    address = cluster.address(second, "compute")
    cluster.until(lambda: address in cluster.alive(), f"{second} takes part")
    cluster.link(second, "down")
    cluster.until(lambda: address not in cluster.alive(), f"{second} is missed")
    cluster.link(second, "up")

    cluster.until(lambda: cluster.job(job)["status"] not in ("PENDING", "RUNNING"), "the study ends")
    log = cluster.hpo("logs", job, cwd=cluster.folder).stdout
    assert cluster.job(job)["status"] == "SUCCEEDED", log
    if "not in MLflow yet" in log:  # MLflow was away for longer than a driver waits; this is what its log advises
        assert f"hpo sync {STUDY}" in log
        cluster.settle()
        cluster.client("sync", STUDY)
    assert finished(cluster) == [(number, "COMPLETE") for number in range(100)]
    assert params(cluster) == undisturbed()
    mirrored = runs(cluster)
    parents = [run for run in mirrored if run["trial"] is None]
    trials = sorted((run for run in mirrored if run["trial"] is not None), key=lambda run: int(run["trial"]))
    assert [run["status"] for run in parents] == ["FINISHED"]
    assert [(int(run["trial"]), run["status"], run["steps"]) for run in trials] == [
        (number, "FINISHED", 50) for number in range(100)
    ]
    assert {int(run["trial"]): run["objective"] for run in trials} == values(cluster)
    # Both workers came back by themselves.
    cluster.until(lambda: len(cluster.alive()) == 2, "both workers are back")


def in_the_middle(cluster: Compose, count: int) -> None:
    """Waits for this many finished trials; what happens next happens to a search that is not over."""
    cluster.until(lambda: len(finished(cluster)) >= count, f"{count} trials have finished")
    assert len(finished(cluster)) < 100


def rows(cluster: Compose, columns: str, tables: str) -> list[list[str]]:
    joined = "FROM trials JOIN studies USING (study_id)"
    return cluster.sql(f"SELECT {columns} {joined} {tables} AND study_name = '{STUDY}' ORDER BY number")


def finished(cluster: Compose) -> list[tuple[int, str]]:
    found = rows(cluster, "number, state", "WHERE state NOT IN ('RUNNING', 'WAITING')")
    return [(int(number), state) for number, state in found]


def values(cluster: Compose) -> dict[int, float]:
    found = rows(cluster, "number, value", "JOIN trial_values USING (trial_id) WHERE objective = 0")
    return {int(number): float(value) for number, value in found}


def params(cluster: Compose) -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = {}
    for number, name, value in rows(
        cluster, "number, param_name, param_value", "JOIN trial_params USING (trial_id) WHERE true"
    ):
        found.setdefault(int(number), {})[name] = float(value)
    return found


def undisturbed() -> dict[int, Mapping[str, Any]]:
    """What a search that nobody disturbs tries: the random sampler depends on seed and number alone."""
    advisor = Advisor(load(ROOT / "studies" / "fig_6_24.toml"))
    return {number: advisor.ask().params for number in range(100)}


def runs(cluster: Compose) -> list[dict[str, Any]]:
    """What MLflow has of the study."""
    environment = cluster.machine.environment() | {
        "MLFLOW_TRACKING_URI": f"http://{MLFLOW}",
        "MLFLOW_TRACKING_USERNAME": "hpo",
        "MLFLOW_TRACKING_PASSWORD": cluster.secrets["HPO_MLFLOW_PASSWORD"],
    }
    script = str(Path(__file__).with_name("runs.py"))
    done = cluster.machine.run(sys.executable, script, STUDY, "val_accuracy", environment=environment, timeout=300)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found
