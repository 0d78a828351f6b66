"""Reports what Hugging Face's ``Trainer`` evaluates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hpo.callbacks import numbers


class ReportCallback(TrainerCallback):
    """``Trainer(callbacks=[ReportCallback(report)])``, with an ``eval_strategy`` that evaluates while it trains.

    Args:
        report: What the objective's parameter ``report`` received.
    """

    def __init__(self, report: Callable[[Any], None]) -> None:
        self._report = report

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if found := numbers(metrics):
            self._report(found)
