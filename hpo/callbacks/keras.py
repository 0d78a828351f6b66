"""Reports what Keras logs at the end of every epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras

from hpo.callbacks import numbers


class ReportCallback(keras.callbacks.Callback):
    """``model.fit(callbacks=[ReportCallback(report)])``.

    Args:
        report: What the objective's parameter ``report`` received.
    """

    def __init__(self, report: Callable[[Any], None]) -> None:
        super().__init__()
        self._report = report

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        if found := numbers(logs):
            self._report(found)
