"""XGBoost, pruned after any boosting round."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import digits
import xgboost

from hpo.callbacks.xgboost import ReportCallback


def objective(params: Mapping[str, Any], seed: int, report: Callable[[Any], None]) -> None:
    train, validation, train_labels, labels = digits.load()
    options = {"eta": params["lr"], "max_depth": params["depth"], "objective": "multi:softprob", "num_class": 10}
    xgboost.train(
        options | {"seed": seed, "nthread": 1},
        xgboost.DMatrix(train, train_labels),
        num_boost_round=params["rounds"],
        evals=[(xgboost.DMatrix(validation, labels), "validation")],
        callbacks=[ReportCallback(report)],
        verbose_eval=False,
    )
