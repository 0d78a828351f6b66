"""How a trial is kept in Optuna's storage, and read back.

Optuna keeps parameters, state, value and the metric's intermediate values. Attributes hold everything else that is
needed to rebuild the runs in MLflow: seed, worker, attempt, times, all metrics of all reports, error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.ledger.rows import REPORTS, pack, packed, unpack
from hpo.study import Study
from hpo.trial import Direction, Report, State, Trial

DIRECTIONS = {Direction.MINIMIZE: StudyDirection.MINIMIZE, Direction.MAXIMIZE: StudyDirection.MAXIMIZE}
TO_OPTUNA = {
    State.RUNNING: TrialState.RUNNING,
    State.COMPLETE: TrialState.COMPLETE,
    State.PRUNED: TrialState.PRUNED,
    State.INFEASIBLE: TrialState.PRUNED,  # with INFEASIBLE, and without values: for Optuna's tools the worst there is
    State.FAILED: TrialState.FAIL,
    State.DISCARDED: TrialState.FAIL,  # for samplers and pruners; the ledger itself keeps the trial as it ended
}
FROM_OPTUNA = {state: own for own, state in TO_OPTUNA.items() if own not in (State.INFEASIBLE, State.DISCARDED)} | {
    TrialState.WAITING: State.RUNNING
}
# The user attribute of an infeasible trial.
INFEASIBLE = "infeasible"


class Records:
    """Turns the trials of one study into Optuna's, and back.

    Args:
        study: The study; its space says how parameters are stored, its objectives what Optuna sees of a report.
    """

    def __init__(self, study: Study) -> None:
        self._space = study.space
        self._objectives = tuple(study.objectives)
        self._distributions = study.space.distributions()

    def to_optuna(self, trial: Trial) -> FrozenTrial:
        """The trial as Optuna stores it; Optuna numbers it when it is stored."""
        return FrozenTrial(
            number=trial.number,
            trial_id=-1,
            state=TO_OPTUNA[trial.state],
            value=None,
            values=trial.values if trial.values and trial.state in (State.COMPLETE, State.PRUNED) else None,
            datetime_start=_moment(trial.started) or datetime.now(),
            datetime_complete=(_moment(trial.ended) or datetime.now()) if trial.finished else None,
            params=self._space.encode(trial.params),
            distributions={name: self._distribution(name, value) for name, value in trial.params.items()},
            user_attrs=attributes(trial),
            system_attrs={**trial.notes, **({REPORTS: pack(trial.reports)} if trial.reports else {})},
            intermediate_values={step: values[0] for step, values in self.values_by_step(trial).items()},
        )

    def values_by_step(self, trial: Trial) -> dict[int, tuple[float, ...]]:
        """The values of all objectives, of the reports that have all of them; none where they are infeasible."""
        wanted = self._objectives
        return {
            report.step: tuple(report.metrics[name] for name in wanted)
            for report in trial.reports
            if trial.state is not State.INFEASIBLE and report.metrics.keys() >= {*wanted}
        }

    def to_trial(self, stored: FrozenTrial, reports: Sequence[Report] | None = None) -> Trial:
        """Optuna's trial as the rest of hpo sees it.

        Args:
            stored: The trial.
            reports: Its reports; None for those that it holds.
        """
        attrs, notes = stored.user_attrs, dict(stored.system_attrs)
        held = packed(attrs, notes)
        notes.pop(REPORTS, None)
        state = State.INFEASIBLE if attrs.get(INFEASIBLE) else FROM_OPTUNA[stored.state]
        if reports is None:
            reports = unpack(held) if held else ()
        return Trial(
            number=stored.number,
            params=self._space.decode(stored.params),
            seed=attrs.get("seed", 0),
            state=state,
            values=_finite(stored.values) if state in (State.COMPLETE, State.PRUNED) else (),
            started=attrs.get("started"),
            ended=attrs.get("ended"),
            worker=attrs.get("worker"),
            attempt=attrs.get("attempt", 1),
            reports=reports,
            error=attrs.get("error"),
            notes=notes,
        )

    def _distribution(self, name: str, value: Any) -> Any:
        """The parameter's distribution; a wider one for a value beyond the range, which narrowing may have widened."""
        parameter = self._space[name]
        return (
            self._distributions[name] if parameter.contains(value) else parameter.widened(value, value).distribution()
        )


def attributes(trial: Trial) -> dict[str, Any]:
    """The user attributes of a trial; what is unknown is left out."""
    attrs = {
        "seed": trial.seed,
        "worker": trial.worker,
        "attempt": trial.attempt,
        "started": trial.started,
        "ended": trial.ended,
        "error": trial.error,
        INFEASIBLE: True if trial.state is State.INFEASIBLE else None,
    }
    return {key: value for key, value in attrs.items() if value is not None}


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds)


def _finite(values: Sequence[float] | None) -> tuple[float, ...]:
    # Optuna gives a pruned trial its last report as its value, whatever that is.
    return tuple(values) if values and all(map(math.isfinite, values)) else ()
