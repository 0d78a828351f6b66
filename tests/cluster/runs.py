"""Prints what an MLflow server has of a study, as JSON: run by the tests inside the machine, as any client would."""

import json
import sys

from mlflow import MlflowClient

study, metric = sys.argv[1:]
client = MlflowClient()
experiment = client.get_experiment_by_name(study)
runs = []
token = None
while True:
    page = client.search_runs([experiment.experiment_id], max_results=1000, page_token=token)
    for run in page:
        steps = len(client.get_metric_history(run.info.run_id, metric)) if "hpo.trial" in run.data.tags else 0
        runs.append(
            {
                "trial": run.data.tags.get("hpo.trial"),
                "status": run.info.status,
                "params": run.data.params,
                "tags": run.data.tags,
                "objective": run.data.metrics.get("objective"),
                "steps": steps,
            }
        )
    token = page.token
    if not token:
        break
json.dump(runs, sys.stdout)
