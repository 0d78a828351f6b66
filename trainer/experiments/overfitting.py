"""Accuracy on unseen images: Figs 6-20, 6-21 and 6-23, and the ensemble of section 6.4.3.

These figures are measured on the test images after every epoch. Never search with these objectives: parameters chosen
by their metrics have no independent test set left. The name of the objective in the ledger shows that the test images
were opened. `classify` cannot open them, whatever its parameters.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from trainer import data, norms
from trainer.ensemble import Ensemble
from trainer.experiments.classification import check, make_generators
from trainer.experiments.reading import read
from trainer.experiments.settings import Setting
from trainer.training import fit


def overfit(params: Mapping[str, Any], seed: int) -> Iterator[dict[str, float]]:
    """Trains on the first `train_size` examples and measures on all test examples, every epoch.

    The same seed and parameters train the same network as `classify` does without validation.

    Args:
        params: as of `classify`; all training examples are used for training.
        seed: decides initial weights, mini-batches and dropout.

    Yields:
        `loss`, `train_accuracy`, `test_accuracy`, `test_loss`, `gap` (training minus test accuracy) and
        `weight_norm` (L2 norm of all weight matrices together) of each epoch.

    Raises:
        ValueError, DataError, Diverged: as `classify` does.
    """
    setting = read(Setting, params)
    weights, batches = make_generators(seed)
    network = setting.make_network(weights)
    train = setting.cast(*data.load_train(setting.dataset, setting.train_size))
    test = setting.cast(*data.load_test(setting.dataset))
    for metrics in fit(
        network,
        train,
        optimizer=setting.make_optimizer(),
        validation=test,
        rng=batches,
        **setting.fit_arguments(),
    ):
        train_accuracy, test_accuracy = metrics["train_accuracy"], metrics["val_accuracy"]
        yield {
            "loss": metrics["loss"],
            "train_accuracy": train_accuracy,
            "test_accuracy": test_accuracy,
            "test_loss": metrics["val_loss"],
            "gap": train_accuracy - test_accuracy,
            "weight_norm": norms.l2(network.params[: network.decayed]),
        }


overfit.check = check  # type: ignore[attr-defined]


def ensemble(params: Mapping[str, Any], seed: int) -> Iterator[dict[str, float]]:
    """Trains networks one after the other and averages their predictions; one report per network.

    Args:
        params: as of `classify`, and `members`, how many networks (default 5).
        seed: each network derives its own initial weights and mini-batches from it.

    Yields:
        `members` (so far), `single` (this network's test accuracy), `mean_single` (mean over those so far),
        `test_accuracy` of all so far together, and `gain` (together minus mean single).

    Raises:
        ValueError, DataError, Diverged: as `classify` does.
    """
    setting, members = _read_members(params)
    train = setting.cast(*data.load_train(setting.dataset, setting.train_size))
    test = setting.cast(*data.load_test(setting.dataset))
    arguments = setting.fit_arguments() | {"evaluated": 0}  # only the ensemble is measured
    networks, singles = [], []
    for own_seed in np.random.SeedSequence(seed).generate_state(members):
        weights, batches = make_generators(int(own_seed))
        network = setting.make_network(weights)
        for _ in fit(network, train, optimizer=setting.make_optimizer(), rng=batches, **arguments):
            pass
        networks.append(network)
        singles.append(network.accuracy(*test))
        together, mean_single = Ensemble(networks).accuracy(*test), float(np.mean(singles))
        yield {
            "members": float(len(networks)),
            "single": singles[-1],
            "mean_single": mean_single,
            "test_accuracy": together,
            "gain": together - mean_single,
        }


def _read_members(params: Mapping[str, Any]) -> tuple[Setting, int]:
    rest = {name: value for name, value in params.items() if name != "members"}
    members = params.get("members", 5)
    if not isinstance(members, int) or isinstance(members, bool) or members < 1:
        raise ValueError(f"`members` must be an integer >= 1, but got {members!r}")
    return read(Setting, rest), members


def _check_members(params: Mapping[str, Any]) -> None:
    setting, _ = _read_members(params)
    data.check(setting.dataset)


ensemble.check = _check_members  # type: ignore[attr-defined]
