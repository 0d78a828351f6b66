"""LightGBM, pruned after any boosting round."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import digits
import lightgbm

from hpo.callbacks.lightgbm import ReportCallback


def objective(params: Mapping[str, Any], seed: int, report: Callable[[Any], None]) -> None:
    train, validation, train_labels, labels = digits.load()
    options = {"learning_rate": params["lr"], "max_depth": params["depth"], "objective": "multiclass", "num_class": 10}
    data = lightgbm.Dataset(train, train_labels)
    lightgbm.train(
        options | {"seed": seed, "num_threads": 1, "verbosity": -1, "deterministic": True},
        data,
        num_boost_round=params["rounds"],
        valid_sets=[lightgbm.Dataset(validation, labels, reference=data)],
        callbacks=[ReportCallback(report)],
    )
