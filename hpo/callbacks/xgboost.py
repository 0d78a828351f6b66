"""Reports XGBoost's evaluations after every boosting round."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xgboost.callback import TrainingCallback

from hpo.callbacks import numbers


class ReportCallback(TrainingCallback):
    """``xgboost.train(evals=[(data, "validation")], callbacks=[ReportCallback(report)])`` reports ``validation-rmse``.

    Args:
        report: What the objective's parameter ``report`` received.
    """

    def __init__(self, report: Callable[[Any], None]) -> None:
        self._report = report

    def after_iteration(self, model: Any, epoch: int, evals_log: Mapping[str, Mapping[str, Sequence[Any]]]) -> bool:
        latest = {f"{data}-{metric}": found[-1] for data, log in evals_log.items() for metric, found in log.items()}
        if found := numbers(latest):
            self._report(found)
        return False  # training goes on
