"""The sealed test set: one trial's parameters are scored on it, and every access is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from hpo import objective
from hpo.errors import HpoError, InputError
from hpo.execution.guest import Guest, GuestFailed
from hpo.ledger.address import Address
from hpo.machine import absolute_uri
from hpo.progress import to_stderr
from hpo.study import Study
from hpo.study.constraints import missing_best
from hpo.study.fields import show
from hpo.text import number, redact
from hpo.tracking import check as check_tracking
from hpo.trial import Trial, counts_as_best, numbered

if TYPE_CHECKING:
    from hpo.ledger.snapshots import Snapshot


def evaluate(
    where: Address,
    name: str,
    *,
    trial_number: int | None = None,
    preference: str | None = None,
    again: bool = False,
    tracking: str = "none",
) -> dict[str, Any]:
    """Scores one trial's parameters with the study's ``evaluate`` function.

    Everything that can be wrong is checked first. Then the access is recorded, and only then is the test set opened.

    Args:
        where: The ledger.
        name: The study.
        trial_number: The trial; None for the best.
        preference: With several objectives, which trial of the front (:func:`hpo.insight.front.prefer`).
        again: Evaluate a study that has been evaluated before; that is recorded too.
        tracking: The MLflow tracking store that gets the score, or ``"none"``.

    Returns:
        The record: ``time`` (seconds since the epoch), ``trial`` and ``metrics``.

    Raises:
        InputError: When the study cannot be evaluated, or has been evaluated before.
        HpoError: When the evaluation fails, or reports no metric; the access is recorded.
    """
    from hpo.ledger import snapshots

    tracking = absolute_uri(tracking)
    check_tracking(tracking)
    snapshot = snapshots.read(where, name)
    trial = _choose(snapshot, trial_number, preference)
    if snapshot.evaluations and not again:
        raise _evaluated_before(name, snapshot.evaluations[0])
    study = snapshot.study
    if study.evaluate is None:
        raise InputError(
            f'{name} has no function to evaluate with; add `evaluate = "package.module:name"` to its file',
            key="evaluate",
        )
    with closing(Guest(study)) as guest:
        try:
            guest.call(check_score, study, trial)
        except GuestFailed as failure:
            rule = f"importing and checking it failed{failure}"
            raise InputError(f"evaluate: {rule}", key="evaluate", rule=rule, value=study.evaluate) from None
        with snapshots.note_evaluation(where, name, trial.number) as entry:
            entry["metrics"].update(_scored(guest, study, trial))
    if tracking != "none":
        from hpo.tracking.mlflow import record_evaluation

        if not record_evaluation(tracking, snapshot.uid, name, entry, len(snapshot.evaluations) + 1):
            to_stderr(f"MLflow at {redact(tracking)} has no study {name}; to write it there: hpo sync {name}")
    return entry


def _evaluated_before(name: str, first: Mapping[str, Any]) -> InputError:
    when = datetime.fromtimestamp(first["time"]).astimezone().isoformat(timespec="seconds")
    return InputError(
        f"{name} was evaluated with trial {first['trial']} at {when}: {metrics_text(first['metrics'])}; a trial "
        "chosen after a look at the test set has no fair test score. Use --again to evaluate it anyway; "
        "that is recorded too",
        key="--again",
        value=first["trial"],
    )


def _scored(guest: Guest, study: Study, trial: Trial) -> dict[str, float]:
    try:
        scored: dict[str, float] = guest.call(score, study, trial)
    except Exception as error:  # a study of a notebook runs here
        what = str(error) if isinstance(error, GuestFailed) else f": {type(error).__name__}: {error}"
        again = f"to try again: hpo evaluate {study.name} --again"
        raise HpoError(f"the evaluation failed, and is recorded{what}; {again}") from error
    if not scored:
        raise HpoError(
            f"{show(study.evaluate)} reported no metric; that it saw the test set is recorded. Let it report one, as "
            f'in `yield {{"test_loss": 0.1}}`; then: hpo evaluate {study.name} --again'
        )
    return scored


def metrics_text(metrics: dict[str, float]) -> str:
    """An evaluation's metrics in one line."""
    return (
        ", ".join(f"{key} {number(value)}" for key, value in metrics.items())
        or "no result; it failed or was interrupted"
    )


def _choose(snapshot: Snapshot, wanted: int | None, preference: str | None) -> Trial:
    from hpo.insight.front import chosen

    study, trials = snapshot.study, snapshot.trials
    if wanted is not None and preference is not None:
        raise InputError("--prefer: cannot be given together with --trial", key="--prefer", value=preference)
    if not any(map(counts_as_best, trials)):
        raise missing_best(study.name, study.bounds, trials)
    if wanted is None:
        return chosen(study, trials, preference)
    found = numbered(trials, wanted)
    if found is None or not counts_as_best(found):
        within = f" within the bounds of {' and '.join(found.violations)}" if found and found.violations else ""
        raise InputError(f"--trial: {study.name} has no complete trial {wanted}{within}", key="--trial", value=wanted)
    return found


def check_score(study: Study, trial: Trial) -> None:
    """Imports the study's ``evaluate``, and lets it check the parameters, before the test set is opened."""
    import threadpoolctl  # noqa: F401 -- for `score`, while modules are found: the study's code may change where

    assert study.evaluate is not None
    objective.check(objective.resolve(study.evaluate), [{**study.fixed, **trial.params}])


def score(study: Study, trial: Trial) -> dict[str, float]:
    """What the study's ``evaluate`` reports last, of each metric; trains and scores."""
    from threadpoolctl import threadpool_limits

    assert study.evaluate is not None
    metrics: dict[str, float] = {}
    target, params = objective.resolve(study.evaluate), {**study.fixed, **trial.params}
    with (
        TemporaryDirectory(ignore_cleanup_errors=True) as own,
        threadpool_limits(study.workers.threads),  # as on a worker: the same numbers in the same time
    ):
        places = {"folder": f"{own}/files", "checkpoint": f"{own}/checkpoint", "trial": trial.number}
        for report in objective.reports(target, params, trial.seed, study.metric, **places):
            metrics.update(report)
    return metrics
