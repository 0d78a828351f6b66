"""Reports what a Lightning module logs, after every validation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from hpo.callbacks import numbers


class ReportCallback(Callback):
    """``Trainer(callbacks=[ReportCallback(report)])``.

    Args:
        report: What the objective's parameter ``report`` received.
    """

    def __init__(self, report: Callable[[Any], None]) -> None:
        self._report = report

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking and (found := numbers(trainer.callback_metrics)):
            self._report(found)
