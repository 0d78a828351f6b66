"""A Keras model, pruned while it trains; ``KERAS_BACKEND`` chooses what computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import digits
import keras

from hpo.callbacks.keras import ReportCallback


def objective(params: Mapping[str, Any], seed: int, report: Callable[[Any], None]) -> None:
    keras.utils.set_random_seed(seed)
    train, validation, train_labels, labels = digits.load()
    model = keras.Sequential([keras.layers.Dense(params["width"], activation="relu"), keras.layers.Dense(10)])
    model.compile(
        keras.optimizers.Adam(params["lr"]),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(
        train,
        train_labels,
        batch_size=64,
        epochs=params["epochs"],
        validation_data=(validation, labels),
        callbacks=[ReportCallback(report)],
        verbose=0,
    )
