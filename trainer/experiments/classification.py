"""Training a classifier, as an objective: a generator with one mapping of metrics per epoch."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from trainer import data
from trainer.experiments.reading import read
from trainer.experiments.settings import Setting
from trainer.persistence import load_checkpoint, save_checkpoint
from trainer.training import fit

SECONDS_BETWEEN_SAVES: Final = 1.0
"""Saving takes milliseconds, as long as a whole epoch of a small network does."""


def classify(params: Mapping[str, Any], seed: int, checkpoint: str | Path | None = None) -> Iterator[dict[str, float]]:
    """Trains on the training share of a data set and measures on the validation share.

    Nothing here opens the test set.

    Args:
        params: a setting, by the names of `Setting`'s attributes and of the optimizer's arguments.
        seed: decides initial weights, mini-batches and dropout; not the validation split (`split_seed` does).
        checkpoint: a folder where the state is saved at the end of epochs; a later call with the same arguments first
            yields the metrics of the saved epochs again, then continues to the identical result.

    Yields:
        `loss`, `train_accuracy`, `val_accuracy` and `val_loss` of each epoch.

    Raises:
        ValueError: for a bad setting, before any work.
        DataError: if the data set is not there.
        Diverged: in the epoch in which the loss stops being finite.
    """
    setting = read(Setting, params)
    train, validation = setting.load()
    generators = make_generators(seed)
    network, optimizer = setting.make_network(generators[0]), setting.make_optimizer()
    history: list[dict[str, float]] = []
    file, owner = None, json.dumps([dataclasses.asdict(setting), seed])
    if checkpoint is not None:
        file = Path(checkpoint, "training.npz")
        history = load_checkpoint(file, owner, network, optimizer, generators)
        yield from list(history)
    saved = time.monotonic()
    for metrics in fit(
        network,
        train,
        optimizer=optimizer,
        validation=validation,
        rng=generators[1],
        done=len(history),
        **setting.fit_arguments(),
    ):
        history.append(metrics)
        if file is not None and time.monotonic() - saved >= SECONDS_BETWEEN_SAVES:
            save_checkpoint(file, owner, network, optimizer, generators, history)
            saved = time.monotonic()
        yield metrics


def check(params: Mapping[str, Any]) -> None:
    """Checks one set of parameters without training or loading anything.

    Raises:
        ValueError: for a bad setting.
        DataError: if the data set is not there.
    """
    setting = read(Setting, params)
    data.check(setting.dataset)


def parts(params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The data that `classify` works on.

    Args:
        params: as of `classify`.

    Yields:
        `name`, `digest` (of exactly these examples, in their order), `split` and `rows` of the training and of the
        validation share.

    Raises:
        ValueError, DataError: as `classify` does.
    """
    setting = read(Setting, params)
    for split, examples in zip(("train", "validation"), setting.load(), strict=True):
        if examples is not None:
            digest = hashlib.sha256()
            for array in examples:
                digest.update(np.ascontiguousarray(array).data)
            yield {
                "name": setting.dataset,
                "digest": digest.hexdigest()[:32],
                "split": split,
                "rows": len(examples[1]),
            }


classify.check = check  # type: ignore[attr-defined]
classify.data = parts  # type: ignore[attr-defined]


def sized(params: Mapping[str, Any], seed: int, checkpoint: str | Path | None = None) -> Iterator[dict[str, float]]:
    """Trains as `classify` does, with the size of the network among the metrics, for searches of small networks.

    Args:
        params: as of `classify`.
        seed: as of `classify`.
        checkpoint: as of `classify`.

    Yields:
        What `classify` yields, and `parameters`: how many numbers the network learns.

    Raises:
        ValueError, DataError, Diverged: as `classify` does.
    """
    parameters = float(read(Setting, params).make_network(make_generators(seed)[0]).params.size)
    for metrics in classify(params, seed, checkpoint):
        yield metrics | {"parameters": parameters}


sized.check = check  # type: ignore[attr-defined]
sized.data = parts  # type: ignore[attr-defined]


def evaluate(params: Mapping[str, Any], seed: int) -> Iterator[dict[str, float]]:
    """Trains on all `train_size` examples, including those for validation, and scores the sealed test set once.

    It is for the best parameters of a search; nothing else opens the test set.

    Args:
        params: as of `classify`.
        seed: decides initial weights, mini-batches and dropout.

    Yields:
        `test_accuracy` and `test_loss` (cross-entropy without penalty), once, at the end.

    Raises:
        ValueError, DataError, Diverged: as `classify` does.
    """
    setting = read(Setting, params)
    weights, batches = make_generators(seed)
    network = setting.make_network(weights)
    train = setting.cast(*data.load_train(setting.dataset, setting.train_size))
    arguments = setting.fit_arguments() | {"evaluated": 0}  # the training accuracy is not needed here
    for _ in fit(network, train, optimizer=setting.make_optimizer(), rng=batches, **arguments):
        pass
    accuracy, loss = network.measure(*setting.cast(*data.load_test(setting.dataset)))
    yield {"test_accuracy": accuracy, "test_loss": loss}


evaluate.check = check  # type: ignore[attr-defined]


def make_generators(seed: int) -> tuple[np.random.Generator, np.random.Generator]:
    """Independent generators for the network (initial weights, then dropout) and for the mini-batches."""
    network, batches = np.random.SeedSequence(seed).spawn(2)
    return np.random.default_rng(network), np.random.default_rng(batches)
