"""One trial's run in MLflow: what of it is written, and whether it says what the ledger says."""

from __future__ import annotations

from mlflow.entities import Run

from hpo.tracking.mlflow import client
from hpo.trial import State, Trial

# MLflow shows a killed run as a failure, and has no status of its own for one that was stopped early on purpose.
STATUS = {
    State.RUNNING: "RUNNING",
    State.COMPLETE: "FINISHED",
    State.PRUNED: "FINISHED",
    State.INFEASIBLE: "FINISHED",
    State.FAILED: "FAILED",
    State.DISCARDED: "FINISHED",
}


def end_of(trial: Trial) -> int | None:
    """When a trial ended, in milliseconds since the epoch; None while it runs."""
    return client.milliseconds(trial.ended or 0) if trial.finished else None


class Child:
    """What of a trial's run is written."""

    def __init__(self, run_id: str, attempt: int, state: str, *, done: bool = False) -> None:
        self.run_id = run_id
        self.attempt = attempt
        self.state = state
        self.done = done
        self.sent = 0

    def new_tags(self, trial: Trial) -> dict[str, str]:
        state = {} if self.state == trial.state else {"hpo.state": str(trial.state)}
        return state | feasible(trial)

    def is_at(self, trial: Trial) -> None:
        """Remembers that the run says what this trial says."""
        self.state, self.done, self.sent = trial.state, trial.finished, len(trial.reports)


def feasible(trial: Trial) -> dict[str, str]:
    """The tag that says whether a trial is within its bounds; none where it was not judged."""
    return {} if trial.feasible is None else {"hpo.feasible": str(trial.feasible).lower()}


def agrees(run: Run, trial: Trial, flat: bool) -> bool:
    """Whether a run says what the record says, as far as a list of runs shows it: all but the curves' middles."""
    logged = client.metrics(trial.reports, flat=flat) + client.objective(trial)
    last = {key: metric.value for key, metric in client.latest(logged).items()}
    return (
        run.info.status in (STATUS[trial.state], "KILLED" if trial.state == State.PRUNED else "")
        and run.data.tags.get("hpo.state") == trial.state
        and feasible(trial).items() <= run.data.tags.items()
        and run.info.end_time == client.milliseconds(trial.ended or 0)
        and client.texts(trial.params, flat=flat).items() <= run.data.params.items()
        and all(client.same(run.data.metrics.get(key), value) for key, value in last.items())
        and ("objective" in run.data.metrics) == ("objective" in last)
    )
