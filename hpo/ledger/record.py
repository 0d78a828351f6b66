"""How a trial's record is kept in Optuna's storage, and read back.

Optuna keeps parameters, state, value and the metric's intermediate values. Everything else a mirror needs to be rebuilt
from nothing is in user attributes: seed, worker, attempt, times, all metrics of all reports, error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.space import Space
from hpo.trial import COMPLETE, FAILED, PRUNED, RUNNING, Report, Trial

DIRECTIONS = {"minimize": StudyDirection.MINIMIZE, "maximize": StudyDirection.MAXIMIZE}
STATES = {
    TrialState.RUNNING: RUNNING,
    TrialState.WAITING: RUNNING,
    TrialState.COMPLETE: COMPLETE,
    TrialState.PRUNED: PRUNED,
    TrialState.FAIL: FAILED,
}


def attributes(trial: Trial) -> dict[str, Any]:
    """The user attributes of a trial; what is unknown is left out."""
    attrs = {
        "seed": trial.seed,
        "worker": trial.worker,
        "attempt": trial.attempt,
        "started": trial.started,
        "ended": trial.ended,
        "error": trial.error,
        "reports": _pack(trial.reports) if trial.reports else None,
    }
    return {key: value for key, value in attrs.items() if value is not None}


def to_trial(frozen: FrozenTrial, space: Space) -> Trial:
    """A ledger's trial as the rest of hpo sees it."""
    attrs = frozen.user_attrs
    state = STATES[frozen.state]
    return Trial(
        number=frozen.number,
        params=space.decode(frozen.params),
        seed=attrs.get("seed", 0),
        state=state,
        value=_finite(frozen.values[0]) if state in (COMPLETE, PRUNED) and frozen.values else None,
        started=attrs.get("started"),
        ended=attrs.get("ended"),
        worker=attrs.get("worker"),
        attempt=attrs.get("attempt", 1),
        reports=_unpack(attrs["reports"]) if "reports" in attrs else [],
        error=attrs.get("error"),
        notes=frozen.system_attrs,
    )


def _pack(reports: list[Report]) -> dict[str, Any]:
    names = {name: None for report in reports for name in report.metrics}  # a set that keeps its order
    return {
        "time": [round(report.time, 3) for report in reports],
        "metrics": {name: [_to_json(report.metrics.get(name)) for report in reports] for name in names},
    }


def _unpack(packed: Mapping[str, Any]) -> list[Report]:
    columns = packed["metrics"]
    return [
        Report(
            index + 1,
            time,
            {name: float(column[index]) for name, column in columns.items() if column[index] is not None},
        )
        for index, time in enumerate(packed["time"])
    ]


def _finite(value: float) -> float | None:
    # Optuna gives a pruned trial its last report as its value, whatever that is.
    return value if math.isfinite(value) else None


def _to_json(value: float | None) -> float | str | None:
    # JSON has no NaN, and other tools read this text too.
    return value if value is None or math.isfinite(value) else str(value)
