"""Runs that other programs logged in MLflow, as trials."""

from __future__ import annotations

from collections import Counter

from mlflow import MlflowClient
from mlflow.entities import Run

from hpo.errors import InputError, TrackingError
from hpo.machine import sqlite_path, without_database
from hpo.text import reason, redact
from hpo.tracking.mlflow.client import OBJECTIVE, connect, search
from hpo.trial import FROM, Origin, Report, State, Trial

# What became of a run, in MLflow's words; all others have not finished.
_STATES = {"FINISHED": State.COMPLETE, "FAILED": State.FAILED, "KILLED": State.FAILED}


def mlflow_trials(uri: str, experiment: str) -> list[Trial]:
    """The runs of an experiment, the oldest first, with parameters as text, and all metrics with their histories.

    Args:
        uri: The tracking store.
        experiment: The experiment's name, or its id.

    Raises:
        InputError: When there is no such store or experiment.
        TrackingError: When MLflow fails.
    """
    if without_database(uri):
        raise InputError(f"--mlflow: there is no database at {sqlite_path(uri)}", key="--mlflow", value=uri)
    try:
        client = connect(uri)
        found = client.get_experiment_by_name(experiment)
        if found is None and experiment.isdecimal():
            found = next((e for e in client.search_experiments() if e.experiment_id == experiment), None)
        if found is None:
            known = ", ".join(e.name for e in client.search_experiments(max_results=20))
            message = f"--mlflow: there is no experiment {experiment!r} in {redact(uri)}; it has: {known}"
            raise InputError(message, key="--mlflow", value=experiment)
        if found.lifecycle_stage == "deleted":
            restore = f"to restore it: mlflow experiments restore -x {found.experiment_id}"
            message = f"--mlflow: the experiment {experiment!r} in {redact(uri)} is deleted; {restore}"
            raise InputError(message, key="--mlflow", value=experiment)
        # The run of a study that hpo mirrored is no trial.
        runs = [run for run in search(client, found.experiment_id, "") if run.data.tags.get("hpo.role") != "study"]
        runs.sort(key=lambda run: (run.info.start_time, run.info.run_id))
        return [_read(client, run, found.name, number) for number, run in enumerate(runs)]
    except InputError as error:
        message = f"--mlflow: {str(error).removeprefix('--tracking: ').removeprefix('--mlflow: ')}"
        raise InputError(message, key="--mlflow", rule=error.rule, value=error.value) from None
    except Exception as error:  # MLflow raises many kinds
        raise TrackingError(f"--mlflow: {redact(uri)} cannot be read: {reason(error)}") from error


def _read(client: MlflowClient, run: Run, experiment: str, number: int) -> Trial:
    info, tags = run.info, run.data.tags
    state = _STATES.get(info.status, State.RUNNING)
    if state is State.COMPLETE and tags.get("hpo.state") in list(State):  # of a run that hpo wrote
        state = State(tags["hpo.state"])
    ended = None if info.end_time is None else info.end_time / 1000
    seed = tags.get("hpo.seed", "0")
    return Trial(
        number,
        dict(run.data.params),
        int(seed) if seed.isdecimal() else 0,
        state,
        (),
        info.start_time / 1000,
        ended,
        reports=_reports(client, run),
        notes={FROM: list(Origin(info.run_id, experiment, number))},
    )


def _reports(client: MlflowClient, run: Run) -> tuple[Report, ...]:
    """The histories of all metrics as reports: what was logged for one step belongs together.

    Where a metric was logged several times for a step, as without steps, its values belong to reports of their own.
    """
    rows: dict[tuple[int, int], dict[str, float]] = {}
    times: dict[tuple[int, int], float] = {}
    for name in run.data.metrics:
        if name == OBJECTIVE and "hpo.uid" in run.data.tags:
            continue
        before = Counter[int]()
        for metric in sorted(client.get_metric_history(run.info.run_id, name), key=lambda m: (m.step, m.timestamp)):
            place = (metric.step, before[metric.step])
            before[metric.step] += 1
            rows.setdefault(place, {})[name] = float(metric.value)
            times[place] = max(times.get(place, 0.0), metric.timestamp / 1000)
    return tuple(Report(step, times[place], rows[place]) for step, place in enumerate(sorted(rows), start=1))
