"""Dropout (section 6.4.3; Srivastava et al. 2014)."""

from typing import Any

import numpy as np

from trainer.arrays import Floats, Rows
from trainer.layers import Layer


def check_rate(rate: float, name: str = "dropout") -> None:
    """Raises ValueError unless `rate` is a share of units that can be removed."""
    if not 0 <= rate < 1:
        raise ValueError(f"`0 <= {name} < 1` must hold, but got ({name}={rate})")


class Dropout(Layer):
    """Removes each unit with probability `rate` in a training pass.

    The expectation of a training pass equals the test pass: either the test pass multiplies by the share that is kept,
    1 - rate (as in the chapter's listing; its text says the removed share, a mistake), or the training pass divides by
    it.

    Args:
        width: units.
        dtype: data type of all arrays.
        rate: probability of removal, in [0, 1).
        rng: decides what is removed.
        inverted: True scales in the training pass, False in the test pass.
    """

    def __init__(
        self,
        width: int,
        dtype: "np.dtype[Any]",
        rate: float,
        rng: np.random.Generator,
        inverted: bool = False,
    ) -> None:
        check_rate(rate)
        self.rate, self.inverted, self.rng = rate, inverted, rng
        self._threshold = np.uint16(min(round(rate * 2**16), 2**16 - 1))
        self._out, self._mask = Rows(width, dtype), Rows(width, dtype)

    def forward(self, x: Floats) -> Floats:
        if self.inverted:
            return x
        return np.multiply(x, 1.0 - self.rate, out=self._out(len(x)))

    def forward_training(self, x: Floats) -> Floats:
        n = len(x)
        # 16 random bits per unit are exact enough for a rate; a generator makes 64 at a time
        words = self.rng.bit_generator.random_raw(-(-x.size // 4))
        draws = words.view(np.uint16)[: x.size].reshape(x.shape)
        mask = np.greater_equal(draws, self._threshold, out=self._mask(n), casting="unsafe")
        if self.inverted:
            mask *= 1.0 / (1.0 - self.rate)
        return np.multiply(x, mask, out=self._out(n))

    def backward(self, dout: Floats) -> Floats:
        return np.multiply(dout, self._mask(len(dout)), out=dout)
