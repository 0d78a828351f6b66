"""The layer interface and the fully connected layer."""

from typing import Any

import numpy as np

from trainer.arrays import Floats, Rows


class Layer:
    """One step of a network.

    The passes write into buffers of the layer and may overwrite their argument. What they return is valid until the
    next call. `backward` belongs to the latest `forward_training`.
    """

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the parameters; most layers have none. Weight decay acts on "W" only."""
        return {}

    def bind(self, name: str, parameter: Floats, gradient: Floats) -> None:
        """Gives the layer views of one parameter and its gradient, as attributes `name` and `dname`."""
        setattr(self, name, parameter)
        setattr(self, f"d{name}", gradient)

    def forward(self, x: Floats) -> Floats:
        """The output for a batch `x`, one example per row, in a test pass."""
        raise NotImplementedError

    def forward_training(self, x: Floats) -> Floats:
        """The output in a training pass; the same for most layers."""
        return self.forward(x)

    def backward(self, dout: Floats) -> Floats:
        """Turns the gradient with respect to the output into that for the input; fills the parameters' gradients."""
        raise NotImplementedError


class Dense(Layer):
    """Fully connected ("affine") layer, x W + b.

    Args:
        n_in: inputs per example.
        n_out: units.
        dtype: data type of all arrays.
        input_gradient: False for the first layer of a network, where the gradient for the input is not needed. It is
            the most expensive product of the backward pass; without it `backward` returns its argument.
    """

    W: Floats
    b: Floats
    dW: Floats
    db: Floats

    def __init__(self, n_in: int, n_out: int, dtype: "np.dtype[Any]", input_gradient: bool = True) -> None:
        self.n_in, self.n_out = n_in, n_out
        self._input_gradient = input_gradient
        self._out, self._dx = Rows(n_out, dtype), Rows(n_in, dtype)
        self._ones = Rows(1, dtype, fill=1.0)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {"W": (self.n_in, self.n_out), "b": (self.n_out,)}

    def initialize(self, std: float, rng: np.random.Generator) -> None:
        """Draws the weights from a normal distribution around 0; the biases become 0."""
        rng.standard_normal(dtype=self.W.dtype, out=self.W)
        self.W *= std
        self.b[...] = 0.0

    def forward(self, x: Floats) -> Floats:
        out = self._out(len(x))
        np.dot(x, self.W, out=out)
        out += self.b
        self._x = x
        return out

    def backward(self, dout: Floats) -> Floats:
        np.dot(self._x.T, dout, out=self.dW)
        # a product with ones sums the rows faster than np.sum
        np.dot(self._ones(len(dout)).ravel(), dout, out=self.db)
        if not self._input_gradient:
            return dout
        return np.dot(dout, self.W.T, out=self._dx(len(dout)))
