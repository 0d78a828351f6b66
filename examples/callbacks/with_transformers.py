"""Hugging Face's ``Trainer``, on a small model of its own, pruned while it trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from tempfile import TemporaryDirectory
from typing import Any

import digits
import torch
from torch import nn
from transformers import Trainer, TrainingArguments

from hpo.callbacks.transformers import ReportCallback


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))

    def forward(self, pixels: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.layers(pixels)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def objective(params: Mapping[str, Any], seed: int, report: Callable[[Any], None]) -> None:
    torch.manual_seed(seed)
    train, validation, *labels = map(torch.from_numpy, digits.load())
    with TemporaryDirectory() as folder:
        Trainer(
            Net(params["width"]),
            TrainingArguments(
                folder,
                num_train_epochs=params["epochs"],
                learning_rate=params["lr"],
                per_device_train_batch_size=64,
                eval_strategy="epoch",
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=True,
                seed=seed,
            ),
            train_dataset=[{"pixels": p, "labels": y} for p, y in zip(train, labels[0], strict=True)],
            eval_dataset=[{"pixels": p, "labels": y} for p, y in zip(validation, labels[1], strict=True)],
            callbacks=[ReportCallback(report)],
        ).train()
