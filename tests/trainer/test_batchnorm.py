"""Rows B1 to B5."""

from typing import Any

import numpy as np
import pytest

from trainer.batchnorm import BatchNorm
from trainer.network import Network
from trainer.numerical import numerical_gradient

DOUBLE = np.dtype(np.float64)


def batchnorm(width: int, dtype: Any = DOUBLE, **arguments: Any) -> BatchNorm:
    layer = BatchNorm(width, dtype, **arguments)
    for name, shape in layer.shapes().items():
        layer.bind(name, np.empty(shape, dtype), np.empty(shape, dtype))
    return layer


def test_b1_training_output_has_mean_0_and_variance_1() -> None:
    x = 5 + 3 * np.random.default_rng(0).standard_normal((200, 4))
    out = batchnorm(4, eps=1e-6).forward_training(x)
    variance = x.var(axis=0)
    np.testing.assert_allclose(out.mean(axis=0), 0, rtol=0, atol=1e-9)
    np.testing.assert_allclose(out.var(axis=0), variance / (variance + 1e-6), rtol=0, atol=1e-9)
    assert (out.var(axis=0) < 1).all()


def test_b2_gamma_scales_and_beta_shifts() -> None:
    x = np.random.default_rng(0).standard_normal((50, 3))
    layer = batchnorm(3)
    plain = layer.forward_training(x).copy()
    assert (layer.gamma == 1).all()
    assert (layer.beta == 0).all()
    layer.gamma[...], layer.beta[...] = [2, 3, 4], [-1, 0, 1]
    np.testing.assert_allclose(layer.forward_training(x), plain * [2, 3, 4] + [-1, 0, 1], rtol=1e-12)


def test_b2_weight_decay_leaves_gamma_and_beta_alone() -> None:
    network = Network(6, [5, 4], 3, np.random.default_rng(0), batch_norm=True, weight_decay=0.1, dtype="float64")
    weights = sum(network.parameters[f"W{i}"].size for i in (1, 2, 3))
    assert network.decayed == weights
    assert not np.shares_memory(network.params[:weights], network.parameters["gamma1"])


def test_b3_normalisation_sits_before_each_activation_and_not_after_the_last_layer() -> None:
    network = Network(6, [5] * 5, 3, np.random.default_rng(0), batch_norm=True, dropout=0.2)
    names = [type(layer).__name__ for layer in network.layers]
    assert names == ["Dense", "BatchNorm", "ReLU", "Dropout"] * 5 + ["Dense"]
    assert [n for n in network.parameters if n.startswith(("gamma", "beta"))] == [
        name for i in range(1, 6) for name in (f"gamma{i}", f"beta{i}")
    ]


def test_b4_network_gradients_agree_with_central_differences() -> None:
    rng = np.random.default_rng(0)
    network = Network(10, [7, 6], 4, rng, batch_norm=True, activation="tanh", dtype="float64")
    x, t = rng.random((8, 10)), rng.integers(0, 4, 8)
    network.gradient(x, t)
    analytic = {name: gradient.copy() for name, gradient in network.gradients.items()}
    for name, parameter in network.parameters.items():
        numerical = numerical_gradient(lambda: network.gradient(x, t), parameter)
        assert np.abs(analytic[name] - numerical).mean() < 5e-7, name
        assert np.abs(analytic[name] - numerical).max() < 1e-6, name
    # the mean takes out what a bias before it adds
    assert np.abs(analytic["b1"]).max() < 1e-15
    assert np.abs(analytic["b2"]).max() < 1e-15


@pytest.mark.parametrize(("updates", "share"), [(1, 0.100), (10, 0.651)])
def test_b5_running_statistics_start_at_0_and_approach_the_truth(updates: Any, share: float) -> None:
    x = 4 + 2 * np.random.default_rng(0).standard_normal((400, 3))
    layer = batchnorm(3, momentum=0.9)
    for _ in range(updates):
        layer.forward_training(x)
    np.testing.assert_allclose(layer.running_mean, share * x.mean(axis=0), rtol=0.03)
    np.testing.assert_allclose(layer.running_variance, share * x.var(axis=0), rtol=0.03)


def test_b5_the_test_pass_uses_the_running_statistics_and_leaves_them_alone() -> None:
    layer = batchnorm(2, eps=0.5)
    layer.running_mean[...], layer.running_variance[...] = [1.0, -1.0], [3.5, 0.5]
    layer.gamma[...], layer.beta[...] = [2.0, 1.0], [0.0, 5.0]
    out = layer.forward(np.array([[3.0, 0.0], [1.0, -1.0]]))
    np.testing.assert_allclose(out, [[2.0, 6.0], [0.0, 5.0]])
    np.testing.assert_array_equal(layer.running_mean, [1.0, -1.0])


@pytest.mark.torch
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 1e-4)])
def test_100_steps_agree_with_pytorch(dtype: Any, tolerance: float) -> None:
    import torch

    rng = np.random.default_rng(3)
    layer = batchnorm(6, np.dtype(dtype))
    peer = torch.nn.BatchNorm1d(6, eps=1e-6, momentum=0.1, dtype=getattr(torch, dtype))
    for _ in range(100):
        x, dout = rng.standard_normal((2, 32, 6)).astype(dtype)
        theirs = torch.tensor(x, requires_grad=True)
        peer.zero_grad()
        out = peer(theirs)
        out.backward(torch.tensor(dout))
        np.testing.assert_allclose(layer.forward_training(x), out.detach().numpy(), rtol=0, atol=tolerance)
        np.testing.assert_allclose(layer.backward(dout), theirs.grad.numpy(), rtol=0, atol=tolerance)
        for name, theirs_p in (("gamma", peer.weight), ("beta", peer.bias)):
            gradient = getattr(layer, f"d{name}")
            np.testing.assert_allclose(gradient, theirs_p.grad.numpy(), rtol=0, atol=tolerance)
            getattr(layer, name)[...] -= 0.01 * gradient
            theirs_p.data -= 0.01 * theirs_p.grad
    np.testing.assert_allclose(layer.gamma, peer.weight.detach().numpy(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(layer.beta, peer.bias.detach().numpy(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(layer.running_mean, peer.running_mean.numpy(), rtol=0, atol=1e-5)
