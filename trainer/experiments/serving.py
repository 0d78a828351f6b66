"""A trained classifier for a model server: trained again from its parameters, saved, and loaded by the server.

`model` saves it, and `load` reads it; MLflow finds `load` under the name `_load_pyfunc`. Nothing is pickled, and MLflow
is not imported. The server gets a `Classifier`, whose `predict` takes rows and returns classes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trainer import persistence
from trainer.arrays import Labels
from trainer.experiments.classification import check, make_generators
from trainer.experiments.reading import read
from trainer.experiments.settings import Setting
from trainer.network import Network
from trainer.training import fit

EXAMPLES = 3


class Classifier:
    """A network that accepts what a server passes: an array, a list of rows or a table.

    Args:
        network: the network that predicts.
    """

    def __init__(self, network: Network) -> None:
        self._network = network

    def predict(self, model_input: Any, params: Mapping[str, Any] | None = None) -> Labels:
        """The likeliest class of each row.

        Args:
            model_input: anything that NumPy turns into an array of shape (n, features); pixels in [0, 1].
            params: not used.

        Returns:
            int64, shape (n,).

        Raises:
            ValueError: for rows of another length.
        """
        return self._network.predict(np.asarray(model_input, self._network.dtype))


def model(params: Mapping[str, Any], seed: int, folder: str | Path) -> dict[str, Any]:
    """Trains as `classify` does, with the identical result, and saves the network.

    Args:
        params: as of `classify`.
        seed: as of `classify`.
        folder: where `network.npz` is written.

    Returns:
        What MLflow needs to serve it, by MLflow's names: `loader_module`, `data_path`, `input_example` (the first
        rows of the validation share, or of the training examples without one) and `pip_requirements`.

    Raises:
        ValueError, DataError, Diverged: as `classify` does.
    """
    setting = read(Setting, params)
    train, validation = setting.load()
    weights, batches = make_generators(seed)
    network = setting.make_network(weights)
    arguments = setting.fit_arguments() | {"evaluated": 0}  # the metrics are not needed here
    for _ in fit(network, train, optimizer=setting.make_optimizer(), rng=batches, **arguments):
        pass
    file = Path(folder, "network.npz")
    persistence.save(network, file)
    return {
        "loader_module": __name__,
        "data_path": str(file),
        "input_example": (validation or train)[0][:EXAMPLES],
        "pip_requirements": [f"numpy=={np.__version__}"],
    }


model.check = check  # type: ignore[attr-defined]


def _load_pyfunc(path: str) -> Classifier:
    return Classifier(persistence.load(path))
