"""The chapter's stochastic experiments in their own settings, for the tests that hold them against the bands."""

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from trainer import SGD, Network, data, fit
from trainer.optimizers import Optimizer


@cache
def sealed_images() -> data.Examples:
    """The 10,000 test images: these are tests of the trainer, and no search looks at them."""
    return data.load_test("mnist")


def start(
    seed: int, layers: int, optimizer: Optimizer, size: int | None, epochs: int, **arguments: Any
) -> tuple[Network, Iterator[dict[str, float]]]:
    """A network of so many hidden layers of 100, and its training on the first `size` images."""
    weights, batches = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))
    of_network = ("activation", "initializer", "weight_decay", "batch_norm", "dropout", "dtype")
    network = Network(784, [100] * layers, 10, weights, **{k: v for k, v in arguments.items() if k in of_network})
    of_fit = {k: v for k, v in arguments.items() if k not in of_network}
    x, t = data.load_train("mnist", size)
    train = x.astype(network.dtype, copy=False), t
    return network, fit(network, train, optimizer=optimizer, rng=batches, epochs=epochs, **of_fit)


def batch_losses(seed: int, optimizer: Optimizer, iterations: int, **arguments: Any) -> np.ndarray:
    """Figs 6-9 and 6-15: the loss on each batch of 128 of all images, right after the update on it."""
    _, reports = start(
        seed,
        4,
        optimizer,
        None,
        iterations,
        updates=1,
        batch_size=128,
        evaluated=1,
        loss_after_update=True,
        **arguments,
    )
    return np.array([report["loss"] for report in reports])


def training_accuracies(seed: int, lr: float = 0.01, **arguments: Any) -> np.ndarray:
    """Figs 6-18 and 6-19: 5 hidden layers, 1000 images, 20 epochs, accuracy after the first update of each."""
    _, reports = start(seed, 5, SGD(lr), 1000, 20, batch_size=100, accuracy_after="first", **arguments)
    return np.array([report["train_accuracy"] for report in reports])


def overfit(seed: int, epochs: int, **arguments: Any) -> tuple[Network, np.ndarray, float]:
    """Figs 6-20, 6-21 and 6-23: 6 hidden layers on 300 images.

    Returns:
        The network, its training accuracy in each epoch, and the gap to the test accuracy, the mean of the last 20
        epochs.
    """
    network, reports = start(seed, 6, SGD(0.01), 300, epochs, batch_size=100, accuracy_after="first", **arguments)
    train, gaps = [], []
    for epoch, report in enumerate(reports):
        train.append(report["train_accuracy"])
        if epoch >= epochs - 20:
            gaps.append(network.accuracy(*data.load_train("mnist", 300)) - network.accuracy(*sealed_images()))
    return network, np.array(train), float(np.mean(gaps))


def from_then_on(values: np.ndarray, level: float) -> int:
    """First index from which all values are at least `level`."""
    below = np.nonzero(values < level)[0]
    return int(below[-1]) + 1 if len(below) else 0
