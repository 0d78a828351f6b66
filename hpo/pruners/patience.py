"""Early stopping of a trial by its own reports."""

from __future__ import annotations

import math

from optuna.pruners import BasePruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial


class PatiencePruner(BasePruner):
    """Ends a trial after a number of reports in a row without improvement; an equal value is no improvement.

    (Optuna's PatientPruner does not end a trial whose values stay exactly equal.)

    Args:
        patience: The number of reports, at least 1.
        min_delta: By how much a value must beat the best before it to count as an improvement.
    """

    def __init__(self, patience: int, min_delta: float = 0.0) -> None:
        self._patience, self._min_delta = patience, min_delta

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        sign = -1.0 if study.direction is StudyDirection.MAXIMIZE else 1.0
        best, waited = math.inf, 0
        for value in trial.intermediate_values.values():
            # NaN beats nothing.
            if sign * value < best - self._min_delta:
                best, waited = sign * value, 0
            else:
                waited += 1
        return waited >= self._patience
