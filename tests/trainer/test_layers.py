"""Rows X1 and B4: every backward pass against central differences, in float64 and batches of 8 or more."""

from typing import Any

import numpy as np
import pytest

from trainer.activations import ACTIVATIONS
from trainer.arrays import Rows
from trainer.batchnorm import BatchNorm
from trainer.dropout import Dropout
from trainer.layers import Dense
from trainer.losses import SoftmaxCrossEntropy
from trainer.numerical import numerical_gradient

N, WIDTH = 8, 5
DOUBLE = np.dtype(np.float64)


def bound(layer: Any, rng: np.random.Generator) -> Any:
    """The layer with random parameters of its own."""
    for name, shape in layer.shapes().items():
        layer.bind(name, np.empty(shape), np.empty(shape))
        getattr(layer, name)[...] = rng.standard_normal(shape)
    return layer


def layers(rng: np.random.Generator) -> Any:
    yield bound(Dense(WIDTH, 3, DOUBLE), rng)
    yield bound(BatchNorm(WIDTH, DOUBLE), rng)
    for activation in ACTIVATIONS.values():
        yield activation(WIDTH, DOUBLE)


@pytest.mark.parametrize("which", range(5))
def test_x1_backward_agrees_with_central_differences(which: int) -> None:
    rng = np.random.default_rng(which)
    layer = list(layers(rng))[which]
    x = rng.standard_normal((N, WIDTH))
    weights = rng.standard_normal(layer.forward_training(x.copy()).shape)

    def loss() -> float:
        return float((layer.forward_training(x.copy()) * weights).sum())

    loss()
    dx = layer.backward(weights.copy()).copy()
    analytic = {name: getattr(layer, f"d{name}").copy() for name in layer.shapes()}
    np.testing.assert_allclose(dx, numerical_gradient(loss, x), rtol=0, atol=1e-6)
    for name, gradient in analytic.items():
        numerical = numerical_gradient(loss, getattr(layer, name))
        np.testing.assert_allclose(gradient, numerical, rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("inverted", [False, True])
def test_x1_dropout_backward_agrees_with_central_differences(inverted: bool) -> None:
    x, weights = np.random.default_rng(0).standard_normal((2, N, WIDTH))

    def passed() -> tuple[Dropout, float]:
        layer = Dropout(WIDTH, DOUBLE, 0.4, np.random.default_rng(7), inverted)  # the same mask every time
        return layer, float((layer.forward_training(x) * weights).sum())

    dx = passed()[0].backward(weights.copy())
    np.testing.assert_allclose(dx, numerical_gradient(lambda: passed()[1], x), rtol=0, atol=1e-6)


def test_x1_loss_backward_agrees_with_central_differences() -> None:
    rng = np.random.default_rng(0)
    scores, t = 3 * rng.standard_normal((N, 4)), rng.integers(0, 4, N)
    layer = SoftmaxCrossEntropy(4, DOUBLE)
    layer.forward(scores, t)
    analytic = layer.backward().copy()
    numerical = numerical_gradient(lambda: layer.forward(scores, t), scores)
    np.testing.assert_allclose(analytic, numerical, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_loss_neither_overflows_nor_loses_a_hopeless_example(dtype: Any) -> None:
    scores = np.array([[1e4, 0.0, -1e4], [0.0, 0.0, 0.0]], dtype)
    layer = SoftmaxCrossEntropy(3, np.dtype(dtype))
    with np.errstate(all="raise", under="ignore"):
        loss = layer.forward(scores, np.array([2, 0]))
    assert loss == pytest.approx((2e4 + np.log(3)) / 2, rel=1e-6)
    assert np.isfinite(layer.backward()).all()


def test_activations_follow_their_formulas_far_from_zero_too() -> None:
    x = np.array([[-800.0, -2.0, 0.0, 2.0, 800.0]])
    with np.errstate(all="raise", under="ignore"):
        results = {name: cls(5, DOUBLE).forward(x.copy()) for name, cls in ACTIVATIONS.items()}
    np.testing.assert_allclose(results["relu"], [[0, 0, 0, 2, 800]])
    np.testing.assert_allclose(results["sigmoid"], [[0, 1 / (1 + np.exp(2)), 0.5, 1 / (1 + np.exp(-2)), 1]])
    np.testing.assert_allclose(results["tanh"], [[-1, np.tanh(-2), 0, np.tanh(2), 1]])


def test_the_first_layer_computes_no_gradient_by_its_input() -> None:
    layer = bound(Dense(WIDTH, 3, DOUBLE, input_gradient=False), np.random.default_rng(0))
    layer.forward(np.ones((N, WIDTH)))
    dout = np.ones((N, 3))
    assert layer.backward(dout) is dout
    np.testing.assert_array_equal(layer.dW, np.full((WIDTH, 3), N))


def test_rows_lend_the_same_memory_to_every_batch_size() -> None:
    rows = Rows(3, np.float32, fill=2.0)
    large = rows(10)
    small = rows(4)
    assert small.shape == (4, 3)
    assert np.shares_memory(large, small)
    assert np.shares_memory(large, rows(10))
    assert (rows(20) == 2.0).all()
