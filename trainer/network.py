"""A fully connected classification network."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from trainer.activations import ACTIVATIONS
from trainer.arrays import Floats, Labels, floating
from trainer.batchnorm import BatchNorm
from trainer.dropout import Dropout, check_rate
from trainer.initializers import DEFAULT, standard_deviation
from trainer.layers import Dense, Layer
from trainer.losses import SoftmaxCrossEntropy

EVALUATION_ROWS = 512
"""Examples per forward pass of an evaluation: enough for the matrix product, and in the cache."""


class Network:
    """[Dropout ->] Dense [-> BatchNorm] -> activation [-> Dropout], repeated; then a last Dense gives the scores.

    All parameters are in one flat vector `params`, their gradients in `grads`; the layers hold views. The weight
    matrices come first, so that weight decay acts on the first `decayed` elements. `parameters` and `gradients` name
    the views: W1, b1, gamma1, beta1, W2, ...

    Args:
        features: inputs per example.
        hidden: units of each hidden layer.
        classes: number of classes.
        rng: draws the initial weights, and then the units that dropout removes.
        activation: "relu", "sigmoid" or "tanh".
        initializer: "he", "xavier" or the standard deviation of the initial weights; None takes the one that
            suits the activation (section 6.2.3).
        weight_decay: coefficient of the L2 penalty on the weights, >= 0. Biases, gamma and beta are exempt.
        batch_norm: whether to normalise before each activation.
        dropout: probability of removal after each activation, in [0, 1).
        input_dropout: probability of removal of an input, in [0, 1).
        dtype: "float32" or "float64".

    Raises:
        ValueError: for a value outside these rules.
    """

    def __init__(
        self,
        features: int,
        hidden: Sequence[int],
        classes: int,
        rng: np.random.Generator,
        *,
        activation: str = "relu",
        initializer: float | str | None = None,
        weight_decay: float = 0.0,
        batch_norm: bool = False,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        dtype: str = "float32",
    ) -> None:
        check_architecture(
            features, hidden, classes, activation, initializer, weight_decay, dropout, input_dropout, dtype
        )
        self.config: dict[str, Any] = {
            "features": int(features),
            "hidden": [int(n) for n in hidden],
            "classes": int(classes),
            "activation": activation,
            "initializer": initializer,
            "weight_decay": float(weight_decay),
            "batch_norm": bool(batch_norm),
            "dropout": float(dropout),
            "input_dropout": float(input_dropout),
            "dtype": floating(dtype).name,
        }
        self.dtype = floating(dtype)
        self.features, self.classes, self.weight_decay = int(features), int(classes), float(weight_decay)
        self.layers: list[Layer] = list(self._build(rng))
        # no gradient for the inputs is needed, so the backward pass ends at the first Dense
        self._backwards = self.layers[:0:-1] if input_dropout else self.layers[::-1]
        self.loss_layer = SoftmaxCrossEntropy(classes, self.dtype)
        self._allocate()
        initializer = DEFAULT[activation] if initializer is None else initializer
        for layer in self.layers:
            if isinstance(layer, Dense):
                layer.initialize(standard_deviation(initializer, layer.n_in), rng)

    def _build(self, rng: np.random.Generator) -> Iterator[Layer]:
        c = self.config
        widths = [c["features"], *c["hidden"]]
        if c["input_dropout"] > 0:  # inverted: a test pass uses the examples unchanged
            yield Dropout(c["features"], self.dtype, c["input_dropout"], rng, inverted=True)
        for i, (n_in, n_out) in enumerate(pairwise(widths)):
            yield Dense(n_in, n_out, self.dtype, input_gradient=i > 0)
            if c["batch_norm"]:
                yield BatchNorm(n_out, self.dtype)
            yield ACTIVATIONS[c["activation"]](n_out, self.dtype)
            if c["dropout"] > 0:
                yield Dropout(n_out, self.dtype, c["dropout"], rng)
        yield Dense(widths[-1], c["classes"], self.dtype, input_gradient=len(widths) > 1)

    def _allocate(self) -> None:
        """Puts all parameters into one vector, those that decay first, and gives the layers their views."""
        owners = [(layer, name, shape) for layer in self.layers for name, shape in layer.shapes().items()]
        owners.sort(key=lambda owner: owner[1] != "W")  # keeps the order of the layers otherwise
        self.decayed = sum(math.prod(shape) for _, name, shape in owners if name == "W")
        size = sum(math.prod(shape) for *_, shape in owners)
        self.params: Floats = np.zeros(size, self.dtype)
        self.grads: Floats = np.zeros(size, self.dtype)
        self.parameters: dict[str, Floats] = {}
        self.gradients: dict[str, Floats] = {}
        numbers = {name: 0 for _, name, _ in owners}
        start = 0
        for layer, name, shape in owners:
            end = start + math.prod(shape)
            parameter, gradient = self.params[start:end].reshape(shape), self.grads[start:end].reshape(shape)
            layer.bind(name, parameter, gradient)
            numbers[name] += 1
            self.parameters[f"{name}{numbers[name]}"] = parameter
            self.gradients[f"{name}{numbers[name]}"] = gradient
            start = end

    def scores(self, x: Floats) -> Floats:
        """The outputs of the last layer in a test pass, before the softmax, shape (n, classes)."""
        out = np.empty((len(x), self.classes), self.dtype)
        for low in range(0, len(x), EVALUATION_ROWS):
            out[low : low + EVALUATION_ROWS] = self._forward(x[low : low + EVALUATION_ROWS])
        return out

    def predict(self, x: Floats) -> Labels:
        """The likeliest class of each row of `x` (n, features), shape (n,)."""
        self.check_examples(x)
        classes: Labels = self.scores(x).argmax(axis=1)
        return classes

    def probabilities(self, x: Floats) -> Floats:
        """Softmax of the scores, shape (n, classes)."""
        self.check_examples(x)
        scores = self.scores(x)
        scores -= scores.max(axis=1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=1, keepdims=True)
        return scores

    def accuracy(self, x: Floats, t: Labels) -> float:
        """Share of the rows of `x` whose likeliest class is that of `t`, in a test pass."""
        self.check_examples(x, t)
        return self.measure_accuracy(x, t)

    def measure_accuracy(self, x: Floats, t: Labels) -> float:
        """Accuracy of a test pass, without checking the examples."""
        return float(np.count_nonzero(self.scores(x).argmax(axis=1) == t)) / len(t)

    def measure(self, x: Floats, t: Labels) -> tuple[float, float]:
        """Accuracy and mean cross-entropy (without penalty) of a test pass, without checking the examples."""
        scores = self.scores(x)
        correct = np.count_nonzero(scores.argmax(axis=1) == t)
        return float(correct) / len(t), self.loss_layer.forward(scores, t)

    def loss(self, x: Floats, t: Labels) -> float:
        """Cross-entropy in a test pass, plus the L2 penalty weight_decay / 2 * sum(W^2) over all weights."""
        self.check_examples(x, t)
        return self.measure(x, t)[1] + self.penalty()

    def penalty(self) -> float:
        """weight_decay / 2 * sum(W^2) over all weight matrices (section 6.4.2)."""
        weights = self.params[: self.decayed]
        return 0.5 * self.weight_decay * float(np.dot(weights, weights))

    def gradient(self, x: Floats, t: Labels) -> float:
        """Fills `grads` with the gradient of a training pass's loss, penalty included; returns that loss."""
        self.check_examples(x, t)
        loss = self.backpropagate(x, t)
        self.grads[: self.decayed] += self.weight_decay * self.params[: self.decayed]
        return loss + self.penalty()

    def backpropagate(self, x: Floats, t: Labels) -> float:
        """Like `gradient`, without the weight-decay terms and without checking the examples."""
        for layer in self.layers:
            x = layer.forward_training(x)
        loss = self.loss_layer.forward(x, t)
        dout = self.loss_layer.backward()
        for layer in self._backwards:
            dout = layer.backward(dout)
        return loss

    def _forward(self, x: Floats) -> Floats:
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def state(self) -> dict[str, Floats]:
        """Arrays beside the parameters that predictions depend on: the running statistics of BatchNorm."""
        normalisations = (layer for layer in self.layers if isinstance(layer, BatchNorm))
        return {
            f"{name}{number}": array
            for number, layer in enumerate(normalisations, start=1)
            for name, array in layer.state().items()
        }

    def check_examples(self, x: Floats, t: Labels | None = None) -> None:
        """Raises ValueError unless the examples fit the network: shapes, type, finite values, labels."""
        if x.ndim != 2 or x.shape[1] != self.features or len(x) == 0:
            raise ValueError(f"`x.shape == (n, {self.features})` with n >= 1 must hold, but got {x.shape}")
        if x.dtype != self.dtype:
            raise ValueError(f"`x.dtype == {self.dtype}`, the network's, must hold, but got {x.dtype}")
        with np.errstate(over="ignore", invalid="ignore"):
            settled = np.isfinite(x.sum())  # a quick check that is enough if the sum is finite
        if not settled and not np.isfinite(x).all():
            raise ValueError("all elements of `x` must be finite, but some are not")
        if t is None:
            return
        if t.shape != (len(x),) or t.dtype.kind not in "iu":
            raise ValueError(f"`t` must be {len(x)} integers, one per row of x, but got {t.dtype} {t.shape}")
        if t.min() < 0 or t.max() >= self.classes:
            got = f"(min={t.min()}, max={t.max()})"
            raise ValueError(f"labels must lie in 0..{self.classes - 1}, but got {got}")


def check_architecture(
    features: int,
    hidden: Sequence[int],
    classes: int,
    activation: str,
    initializer: float | str | None,
    weight_decay: float,
    dropout: float,
    input_dropout: float,
    dtype: str,
) -> None:
    """Raises ValueError unless the arguments describe a network (see Network)."""
    if features < 1 or classes < 2:
        raise ValueError(f"`1 <= features` and `2 <= classes` must hold, but got ({features=}, {classes=})")
    if any(int(n) != n or n < 1 for n in hidden):
        raise ValueError(f"`hidden` must be positive integers, but got (hidden={list(hidden)})")
    if activation not in ACTIVATIONS:
        raise ValueError(f"`activation` must be one of {tuple(ACTIVATIONS)}, but got {activation!r}")
    if initializer is not None:
        standard_deviation(initializer, 1)
    if not 0 <= weight_decay < math.inf:
        raise ValueError(f"`0 <= weight_decay < inf` must hold, but got (weight_decay={weight_decay})")
    check_rate(dropout)
    check_rate(input_dropout, "input_dropout")
    floating(dtype)
