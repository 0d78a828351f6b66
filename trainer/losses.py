"""Softmax with cross-entropy error."""

from typing import Any

import numpy as np

from trainer.arrays import Floats, Labels


class SoftmaxCrossEntropy:
    """Mean of -log softmax(scores)[label] over a batch.

    Computed as log-sum-exp of the scores minus the score of the label. This does not overflow and needs no small
    constant inside the logarithm. The arrays are transposed, one row per class, because NumPy sums a few long rows
    several times faster than many short ones.
    """

    def __init__(self, classes: int, dtype: "np.dtype[Any]") -> None:
        self._classes, self._dtype = classes, dtype
        self._size(0)

    def _size(self, n: int) -> None:
        self._n = n
        self._rows: Floats = np.empty((self._classes, n), self._dtype)
        self._flat = self._rows.reshape(-1)
        self._top: Floats = np.empty(n, self._dtype)
        self._total: Floats = np.empty(n, self._dtype)
        self._columns = np.arange(n)

    def forward(self, scores: Floats, t: Labels) -> float:
        """The loss of `scores` (n, classes) for the labels `t` (n,)."""
        if len(scores) != self._n:
            self._size(len(scores))
        rows, total = self._rows, self._total
        np.copyto(rows, scores.T)
        rows -= np.maximum.reduce(rows, axis=0, out=self._top)
        self._places = t * self._n + self._columns
        chosen = self._flat.take(self._places)
        np.exp(rows, out=rows)
        np.add.reduce(rows, axis=0, out=total)
        return float(np.add.reduce(np.log(total, out=self._top)) - np.add.reduce(chosen)) / self._n

    def backward(self) -> Floats:
        """Gradient of the latest loss with respect to the scores: (softmax - one-hot) / n, shape (n, classes)."""
        self._total *= self._n
        self._rows /= self._total
        self._flat[self._places] -= 1.0 / self._n
        return self._rows.T
