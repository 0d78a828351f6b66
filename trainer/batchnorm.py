"""Batch normalisation (section 6.3; Ioffe and Szegedy 2015)."""

from typing import Any

import numpy as np

from trainer.arrays import Floats, Rows
from trainer.layers import Layer


class BatchNorm(Layer):
    """Normalises every unit over the mini-batch, then scales and shifts it.

    Args:
        width: units.
        dtype: data type of all arrays.
        eps: added to the variance. Larger values than 1e-6 dominate the variance of networks with very small weights.
        momentum: share of the old value in an update of the running statistics, which a test pass uses. They
            start at 0, so after k updates they are 1 - momentum**k of their value.
    """

    gamma: Floats
    beta: Floats
    dgamma: Floats
    dbeta: Floats

    def __init__(self, width: int, dtype: "np.dtype[Any]", eps: float = 1e-6, momentum: float = 0.9) -> None:
        self.width, self.eps, self.momentum = width, eps, momentum
        self.running_mean = np.zeros(width, dtype)
        self.running_variance = np.zeros(width, dtype)
        self._out, self._centred, self._scratch = Rows(width, dtype), Rows(width, dtype), Rows(width, dtype)
        self._ones = Rows(1, dtype, fill=1.0)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"gamma": (self.width,), "beta": (self.width,)}

    def bind(self, name: str, parameter: Floats, gradient: Floats) -> None:
        super().bind(name, parameter, gradient)
        parameter[...] = 1.0 if name == "gamma" else 0.0

    def state(self) -> dict[str, Floats]:
        return {"running_mean": self.running_mean, "running_variance": self.running_variance}

    def forward(self, x: Floats) -> Floats:
        scale = self.gamma / np.sqrt(self.running_variance + self.eps)
        out = np.multiply(x, scale, out=self._out(len(x)))
        out += self.beta - self.running_mean * scale
        return out

    def forward_training(self, x: Floats) -> Floats:
        n = len(x)
        out = self._out(n)
        ones = self._ones(n).ravel()
        mean = np.dot(ones, x) / n  # (eq. 6.7), first line
        centred = np.subtract(x, mean, out=self._centred(n))
        variance = np.dot(ones, np.multiply(centred, centred, out=out)) / n  # (eq. 6.7), second line
        self._inverse = 1.0 / np.sqrt(variance + self.eps)
        np.multiply(centred, self.gamma * self._inverse, out=out)  # (eq. 6.7), third line, and (eq. 6.8)
        out += self.beta
        for running, now in ((self.running_mean, mean), (self.running_variance, variance)):
            running *= self.momentum
            running += (1.0 - self.momentum) * now
        return out

    def backward(self, dout: Floats) -> Floats:
        n = len(dout)
        ones = self._ones(n).ravel()
        centred, scratch = self._centred(n), self._scratch(n)
        np.dot(ones, dout, out=self.dbeta)
        np.multiply(dout, centred, out=scratch)
        np.multiply(np.dot(ones, scratch), self._inverse, out=self.dgamma)
        # the graph of Fig 6-17 in closed form, with xhat = (x - mean) * inverse:
        # dx = gamma * inverse * (dout - mean(dout) - xhat * mean(dout * xhat))
        np.multiply(centred, self.dgamma * self._inverse / n, out=scratch)
        np.subtract(dout, scratch, out=scratch)
        scratch -= self.dbeta / n
        scratch *= self.gamma * self._inverse
        return scratch
