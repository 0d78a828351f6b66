"""Activation functions as layers. All work in place: each derivative follows from the output alone."""

from typing import Any, Final

import numpy as np

from trainer.arrays import Floats, Rows
from trainer.layers import Layer


class ReLU(Layer):
    """max(x, 0)."""

    def __init__(self, width: int, dtype: "np.dtype[Any]") -> None:
        self._zeros, self._positive = Rows(width, dtype, fill=0.0), Rows(width, np.bool_)

    def forward(self, x: Floats) -> Floats:
        # NumPy has a vector loop for an array of zeros; with the number 0 it is three times slower
        self._y = np.maximum(x, self._zeros(len(x)), out=x)
        return self._y

    def backward(self, dout: Floats) -> Floats:
        positive = np.greater(self._y, 0, out=self._positive(len(dout)))
        return np.multiply(dout, positive, out=dout)


class Sigmoid(Layer):
    """1 / (1 + exp(-x))."""

    def __init__(self, width: int, dtype: "np.dtype[Any]") -> None:
        self._slope = Rows(width, dtype)

    def forward(self, x: Floats) -> Floats:
        # (1 + tanh(x / 2)) / 2: the same function, without an exponential that can overflow
        x *= 0.5
        np.tanh(x, out=x)
        x *= 0.5
        x += 0.5
        self._y = x
        return x

    def backward(self, dout: Floats) -> Floats:
        slope = np.subtract(1.0, self._y, out=self._slope(len(dout)))
        slope *= self._y  # y (1 - y)
        return np.multiply(dout, slope, out=dout)


class Tanh(Layer):
    """Hyperbolic tangent."""

    def __init__(self, width: int, dtype: "np.dtype[Any]") -> None:
        self._slope = Rows(width, dtype)

    def forward(self, x: Floats) -> Floats:
        self._y = np.tanh(x, out=x)
        return self._y

    def backward(self, dout: Floats) -> Floats:
        slope = np.multiply(self._y, self._y, out=self._slope(len(dout)))
        np.subtract(1.0, slope, out=slope)  # 1 - y^2
        return np.multiply(dout, slope, out=dout)


ACTIVATIONS: Final = {"relu": ReLU, "sigmoid": Sigmoid, "tanh": Tanh}
