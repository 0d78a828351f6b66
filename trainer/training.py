"""Training as a generator of epochs."""

import math
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np

from trainer.arrays import Floats, Labels
from trainer.batches import Batches, check_batches
from trainer.network import Network
from trainer.optimizers import Optimizer
from trainer.schedules import Schedule, constant

ACCURACY_AFTER: Final = ("last", "first")
Pairs = tuple[Floats, Labels]
"""Examples (n, features) and labels (n,)."""


class Diverged(ArithmeticError):
    """The loss, or the parameters after it, became NaN or infinite."""


def fit(
    network: Network,
    train: Pairs,
    *,
    optimizer: Optimizer,
    rng: np.random.Generator,
    epochs: int,
    batch_size: int = 100,
    validation: Pairs | None = None,
    sampling: str = "replacement",
    updates: int | None = None,
    schedule: Schedule | None = None,
    accuracy_after: str = "last",
    evaluated: int | None = None,
    train_evaluated: int | None = None,
    loss_after_update: bool = False,
    done: int = 0,
) -> Iterator[dict[str, float]]:
    """Trains in place, one epoch for each item taken from the generator.

    Args:
        network: the network to train; its weight decay is applied to its weights.
        train: examples of the network's data type, and integer labels.
        optimizer: one that no other network has used.
        rng: decides which examples form the mini-batches.
        epochs: how many in all, >= 1.
        batch_size: examples per update.
        validation: examples on which the network is only measured.
        sampling: "replacement" or "epoch" (see Batches).
        updates: updates per epoch when sampling with replacement; None means examples // batch_size.
        schedule: factor of the optimizer's learning rate over time; None keeps it.
        accuracy_after: after which update of an epoch the accuracies are measured: "last", or "first" as the
            chapter's curves are (section 6.4.3).
        evaluated: measure on the first so many examples only; None means all, 0 measures no accuracy.
        train_evaluated: the same for the training examples only; None means the value of `evaluated`.
        loss_after_update: measure the loss of a batch again after the update on it, as in the curves of Figs 6-9 and
            6-15; otherwise it is the loss before the update, which costs nothing.
        done: epochs that an earlier run has completed; this run starts after them.

    Returns:
        A generator of metrics per epoch: `loss` (mean cross-entropy of the epoch's batches, without the weight
        decay penalty, so that runs of different weight decay compare), `train_accuracy` and, with validation
        examples, `val_accuracy` and `val_loss`. It raises Diverged in the epoch in which the loss stops being
        finite.

    Raises:
        ValueError: for arguments outside these rules, before any training.
    """
    if int(epochs) != epochs or epochs < 1:
        raise ValueError(f"`epochs` must be an integer >= 1, but got (epochs={epochs})")
    check_batches(batch_size, sampling, updates)
    check_measuring(accuracy_after, evaluated, train_evaluated)
    for examples in (train, validation):
        if examples is not None:
            network.check_examples(*examples)
    batches = Batches(*train, batch_size, sampling, rng, updates)
    how = _Reporting(_shown(train, validation, evaluated, train_evaluated), accuracy_after, loss_after_update)
    return _epochs(network, batches, optimizer, schedule or constant(), how, range(done, epochs))


def check_measuring(accuracy_after: str, evaluated: int | None, train_evaluated: int | None = None) -> None:
    """Raises ValueError unless the arguments say when and on what accuracies are measured (see fit)."""
    if accuracy_after not in ACCURACY_AFTER:
        raise ValueError(f"`accuracy_after` must be one of {ACCURACY_AFTER}, but got {accuracy_after!r}")
    for name, size in (("evaluated", evaluated), ("train_evaluated", train_evaluated)):
        if size is not None and (int(size) != size or size < 0):
            raise ValueError(f"`{name}` must be an integer >= 0 or None, but got ({name}={size})")


def _shown(
    train: Pairs, validation: Pairs | None, evaluated: int | None, train_evaluated: int | None
) -> dict[str, Pairs]:
    """The examples that `fit` measures on, by the prefix of their metrics; see there."""
    known = evaluated if train_evaluated is None or evaluated == 0 else train_evaluated
    shown = {} if known == 0 else {"train": (train[0][:known], train[1][:known])}
    if validation is not None and evaluated != 0:
        shown["val"] = (validation[0][:evaluated], validation[1][:evaluated])
    return shown


class _Reporting(NamedTuple):
    """On which examples and when `fit` measures; see there."""

    shown: Mapping[str, Pairs]
    accuracy_after: str
    loss_after_update: bool


def _epochs(
    network: Network,
    batches: Batches,
    optimizer: Optimizer,
    schedule: Schedule,
    reporting: _Reporting,
    epochs: range,
) -> Iterator[dict[str, float]]:
    base = optimizer.lr
    try:
        for epoch in epochs:
            # overflow is reported once, as Diverged, not as NumPy warnings
            with np.errstate(all="ignore"):
                metrics = _epoch(network, batches, optimizer, base, schedule, reporting, epoch)
            yield metrics
    finally:
        optimizer.lr = base


def _epoch(
    network: Network,
    batches: Batches,
    optimizer: Optimizer,
    base: float,
    schedule: Schedule,
    reporting: _Reporting,
    epoch: int,
) -> dict[str, float]:
    params, grads = network.params, network.grads
    weight_decay, decayed = network.weight_decay, network.decayed
    losses, measured = [], {}
    for i, (x, t) in enumerate(batches.epoch()):
        optimizer.lr = base * schedule(epoch + i / batches.per_epoch)
        loss = network.backpropagate(x, t)
        if not math.isfinite(loss):
            raise Diverged(f"the loss became {loss} in epoch {epoch + 1}, at learning rate {optimizer.lr:g}")
        optimizer.update(params, grads, weight_decay, decayed)
        losses.append(network.measure(x, t)[1] if reporting.loss_after_update else loss)
        if i == 0 and reporting.accuracy_after == "first":
            measured = _measure(network, reporting.shown)
    if not np.isfinite(params.sum()):
        raise Diverged(f"parameters stopped being finite in epoch {epoch + 1}, at learning rate {optimizer.lr:g}")
    if reporting.accuracy_after == "last":
        measured = _measure(network, reporting.shown)
    metrics = {"loss": math.fsum(losses) / len(losses), **measured}
    if not all(map(math.isfinite, metrics.values())):
        raise Diverged(f"epoch {epoch + 1} ended with {metrics}, at learning rate {optimizer.lr:g}")
    return metrics


def _measure(network: Network, shown: Mapping[str, Pairs]) -> dict[str, float]:
    metrics = {}
    if "train" in shown:
        metrics["train_accuracy"] = network.measure_accuracy(*shown["train"])
    if "val" in shown:
        metrics["val_accuracy"], metrics["val_loss"] = network.measure(*shown["val"])
    return metrics
