"""A Lightning module, pruned while it trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import digits
import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from hpo.callbacks.lightning import ReportCallback


class Net(lightning.LightningModule):
    def __init__(self, width: int, lr: float) -> None:
        super().__init__()
        self.lr = lr
        self.layers = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        images, labels = batch
        return nn.functional.cross_entropy(self.layers(images), labels)

    def validation_step(self, batch: Any, index: int) -> None:
        images, labels = batch
        scores = self.layers(images)
        self.log("val_loss", nn.functional.cross_entropy(scores, labels))
        self.log("val_accuracy", (scores.argmax(dim=1) == labels).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def objective(params: Mapping[str, Any], seed: int, report: Callable[[Any], None]) -> None:
    lightning.seed_everything(seed, verbose=False)
    train, validation, *labels = map(torch.from_numpy, digits.load())
    trainer = lightning.Trainer(
        max_epochs=params["epochs"],
        callbacks=[ReportCallback(report)],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(
        Net(params["width"], params["lr"]),
        DataLoader(TensorDataset(train, labels[0]), batch_size=64, shuffle=True),
        DataLoader(TensorDataset(validation, labels[1]), batch_size=len(validation)),
    )
