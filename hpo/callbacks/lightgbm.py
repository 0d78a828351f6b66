"""Reports LightGBM's evaluations after every boosting round."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightgbm.callback import CallbackEnv

from hpo.callbacks import numbers


class ReportCallback:
    """``lightgbm.train(valid_sets=[data], callbacks=[ReportCallback(report)])`` reports ``valid_0-l2``.

    Args:
        report: What the objective's parameter ``report`` received.
    """

    order = 20  # after LightGBM's own recorders, before its early stopping

    def __init__(self, report: Callable[[Any], None]) -> None:
        self._report = report

    def __call__(self, env: CallbackEnv) -> None:
        results = env.evaluation_result_list or []
        if found := numbers({f"{result[0]}-{result[1]}": result[2] for result in results}):
            self._report(found)
