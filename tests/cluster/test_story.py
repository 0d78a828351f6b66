"""What docs/cluster.md tells a person to type, on the cluster that docker-compose.yml describes."""

from __future__ import annotations

import json

import pytest
from compose import MLFLOW, Compose

pytestmark = [pytest.mark.containers, pytest.mark.mnist, pytest.mark.xdist_group("cluster"), pytest.mark.timeout(1800)]


def test_a_client_runs_a_study_on_the_workers_with_ledger_and_runs_on_the_servers(cluster: Compose) -> None:
    """``docker compose run --rm hpo run STUDY``, and what can be asked afterwards."""
    told = cluster.client("run", "studies/digits.toml", "--set", "name=story", "--set", "budget.trials=4")
    assert "story: 4 complete in postgresql://hpo@postgres:5432/hpo" in told.stdout
    assert f"Browse the runs: http://{MLFLOW.replace('127.0.0.1', 'localhost')}\n" in told.stdout
    assert "not in MLflow" not in told.stdout + told.stderr  # neither a trial nor the report
    assert json.loads(cluster.client("show", "story", "--json").stdout)["trials"]["complete"] == 4

    user = f"hpo:{cluster.secrets['HPO_MLFLOW_PASSWORD']}"
    found = cluster.fetch(f"http://{MLFLOW}/api/2.0/mlflow/experiments/get-by-name?experiment_name=story", user=user)
    assert json.loads(found.body)["experiment"]["lifecycle_stage"] == "active"
    hosts = {cluster.inspect(name)["Config"]["Hostname"] for name in cluster.containers("ray-worker")}
    attributes = "trial_user_attributes JOIN trials USING (trial_id) JOIN studies USING (study_id)"
    query = f"SELECT value_json FROM {attributes} WHERE study_name = 'story' AND key = 'worker'"
    workers = {json.loads(value).split("/")[0] for (value,) in cluster.sql(query)}
    assert workers
    assert workers <= hosts
