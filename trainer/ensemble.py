"""Several networks whose predictions are averaged (section 6.4.3)."""

from collections.abc import Sequence

import numpy as np

from trainer.arrays import Floats, Labels
from trainer.network import Network


class Ensemble:
    """Averages the class probabilities of networks that were trained separately.

    Args:
        networks: at least one; all with the same inputs and classes.
    """

    def __init__(self, networks: Sequence[Network]) -> None:
        shapes = {(network.features, network.classes) for network in networks}
        if len(shapes) != 1:
            raise ValueError(f"the networks must share one (features, classes), but got {sorted(shapes)}")
        self.networks = list(networks)

    def probabilities(self, x: Floats) -> Floats:
        """Mean over the networks of the softmax of their scores, shape (n, classes)."""
        mean: Floats = np.mean([network.probabilities(x) for network in self.networks], axis=0)
        return mean

    def predict(self, x: Floats) -> Labels:
        """The likeliest class of each row of `x` (n, features), shape (n,)."""
        classes: Labels = self.probabilities(x).argmax(axis=1)
        return classes

    def accuracy(self, x: Floats, t: Labels) -> float:
        """Share of the rows of `x` whose likeliest class is that of `t`."""
        self.networks[0].check_examples(x, t)
        return float(np.count_nonzero(self.predict(x) == t)) / len(t)
