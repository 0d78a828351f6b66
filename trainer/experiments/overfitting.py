"""What a network makes of images it has never seen: Figs 6-20, 6-21 and 6-23 and the ensemble of section 6.4.3.

These figures are drawn on the test images, epoch by epoch. That is no search, and must not become one: whoever
chooses a setting by what these objectives report has no test set any more. That the test images were opened is in a
study's ledger by the name of its objective. `classify` cannot open them, whatever its setting.
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

    The same seed and setting train the same network as `classify` does without a share for validation.

    Args:
        params: a setting, as of `classify`; nothing is held out of its training examples.
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
    """Trains equal networks one after the other and lets them answer together; one report per network.

    Args:
        params: a setting, as of `classify`, and `members`, how many networks (default 5).
        seed: each network has initial weights and mini-batches of its own, derived from it.

    Yields:
        `members` (so far), `single` (this network's test accuracy), `mean_single` (mean over those so far),
        `test_accuracy` of all so far together, and `gain` (together minus mean single).

    Raises:
        ValueError, DataError, Diverged: as `classify` does.
    """
    setting, members = _read_members(params)
    train = setting.cast(*data.load_train(setting.dataset, setting.train_size))
    test = setting.cast(*data.load_test(setting.dataset))
    arguments = setting.fit_arguments() | {"evaluated": 0}  # the ensemble is what is looked at
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
