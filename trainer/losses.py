"""Softmax with cross-entropy error."""

from typing import Any

import numpy as np

from trainer.arrays import Floats, Labels, Rows


class SoftmaxCrossEntropy:
    """Mean of -log softmax(scores)[label] over a batch.

    Computed as log-sum-exp of the scores less the score of the label, which neither overflows nor needs a
    small constant inside the logarithm.
    """

    def __init__(self, classes: int, dtype: "np.dtype[Any]") -> None:
        self._probabilities = Rows(classes, dtype)
        self._classes = classes
        self._starts = np.empty(0, np.int64)

    def _places(self, t: Labels) -> Labels:
        """Where the labels' elements lie in a flattened (n, classes) array."""
        if len(self._starts) < len(t):
            self._starts = np.arange(len(t)) * self._classes
        return self._starts[: len(t)] + t

    def forward(self, scores: Floats, t: Labels) -> float:
        """The loss of `scores` (n, classes) for the labels `t` (n,)."""
        n = len(scores)
        p = self._probabilities(n)
        np.subtract(scores, scores.max(axis=1, keepdims=True), out=p)
        self._t = self._places(t)
        chosen = p.take(self._t)
        np.exp(p, out=p)
        total = p.sum(axis=1, keepdims=True)
        p /= total
        return float((np.log(total).sum() - chosen.sum()) / n)

    def backward(self) -> Floats:
        """Gradient of the latest loss by the scores: (softmax - one-hot) / n, shape (n, classes)."""
        p = self._probabilities(len(self._t))
        p.reshape(-1)[self._t] -= 1.0
        p /= len(self._t)
        return p
