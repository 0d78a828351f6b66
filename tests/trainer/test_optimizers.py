"""Rows U1, U2, U6, U9, U11, U12, U16 of the chapter; weight decay; agreement with PyTorch."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer import optimizers
from trainer.arrays import Floats
from trainer.optimizers import BLOCK, OPTIMIZERS, SGD, AdaGrad, Adam, AdamW, Momentum, Nesterov, RMSProp

START = (-7.0, 2.0)


def slope(point: Floats) -> Floats:
    return np.array([point[0] / 10.0, 2.0 * point[1]])


def run(optimizer: Any, steps: int, start: Any = START) -> Any:
    point = np.array(start)
    for _ in range(steps):
        optimizer.update(point, slope(point))
    return point


def constant_steps(optimizer: Any, steps: int) -> Floats:
    """Sizes of the steps under the constant gradient 1."""
    point, before, sizes = np.zeros(1), 0.0, []
    for _ in range(steps):
        optimizer.update(point, np.ones(1))
        sizes.append(before - point[0])
        before = point[0]
    return np.array(sizes)


def test_u1_one_step_of_sgd() -> None:
    np.testing.assert_allclose(run(SGD(0.95), 1), (-6.335, -1.8), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_u2_every_optimizer_serves_the_same_call_and_keeps_the_array(name: str) -> None:
    params = np.linspace(-1, 1, 7)
    view, before = params[2:5], params.copy()
    grads = np.ones(7)
    OPTIMIZERS[name]().update(params, grads, 0.1)
    assert (grads == 1).all()
    assert np.shares_memory(view, params)
    assert (params != before).all()
    np.testing.assert_array_equal(view, params[2:5])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_u2_an_optimizer_refuses_a_second_parameter_vector(name: str) -> None:
    optimizer = OPTIMIZERS[name]()
    optimizer.update(np.zeros(3), np.ones(3))
    with pytest.raises(ValueError, match="belongs to one parameter vector"):
        optimizer.update(np.zeros(3), np.ones(3))


def test_u6_momentum_starts_as_sgd_and_then_speeds_up() -> None:
    np.testing.assert_allclose(run(Momentum(0.1), 1), (-6.93, 1.6), rtol=0, atol=1e-12)
    np.testing.assert_allclose(run(Momentum(0.1), 2), (-6.7977, 0.92), rtol=0, atol=1e-12)


def test_u6_momentum_of_zero_is_sgd() -> None:
    np.testing.assert_array_equal(run(Momentum(0.1, momentum=0.0), 20), run(SGD(0.1), 20))


def test_u9_adagrad_steps_shrink_as_one_over_root_k() -> None:
    sizes = constant_steps(AdaGrad(0.5), 50)
    np.testing.assert_allclose(sizes, 0.5 / np.sqrt(np.arange(1, 51)), rtol=1e-6)


def test_u9_adagrad_leaves_elements_without_gradient_alone() -> None:
    point = np.array([1.0, 1.0])
    optimizer = AdaGrad(0.1)
    for _ in range(3):
        optimizer.update(point, np.array([0.0, 1.0]))
    assert point[0] == 1.0
    assert np.isfinite(point).all()


def test_u11_rmsprop_steps_do_not_vanish() -> None:
    assert constant_steps(RMSProp(0.01), 3000)[-1] == pytest.approx(0.01, rel=1e-6)
    assert constant_steps(AdaGrad(0.01), 3000)[-1] < 0.0002


def test_u12_first_step_of_adam_is_the_learning_rate() -> None:
    np.testing.assert_allclose(run(Adam(0.3), 1), (-6.7, 1.7), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_blocks_and_remainders_give_what_one_element_gives(name: str) -> None:
    """Elements do not influence one another, wherever the blocks end and the decay stops."""
    rng = np.random.default_rng(0)
    size, decayed = 2 * BLOCK + 37, BLOCK + 5
    params, grads = rng.standard_normal(size), rng.standard_normal((3, size))
    whole, optimizer = params.copy(), OPTIMIZERS[name](0.01)
    for g in grads:
        optimizer.update(whole, g.copy(), 0.1, decayed)
    for i in (0, BLOCK - 1, BLOCK, decayed - 1, decayed, 2 * BLOCK, size - 1):
        one, alone = params[i : i + 1].copy(), OPTIMIZERS[name](0.01)
        for g in grads:
            alone.update(one, g[i : i + 1].copy(), 0.1, 1 if i < decayed else 0)
        assert one[0] == whole[i]


@pytest.mark.parametrize("cls", [Momentum, Nesterov, AdaGrad, RMSProp, Adam])
def test_r2_weight_decay_is_the_gradient_of_the_penalty(cls: Any) -> None:
    rng = np.random.default_rng(1)
    start, grads = rng.standard_normal(5), rng.standard_normal((4, 5))
    built_in, by_hand = start.copy(), start.copy()
    first, second = cls(0.05), cls(0.05)
    for g in grads:
        first.update(built_in, g.copy(), 0.3)
        second.update(by_hand, g + 0.3 * by_hand)
    np.testing.assert_allclose(built_in, by_hand, rtol=1e-12)


@given(st.floats(1e-4, 0.5), st.floats(0, 1))
def test_r2_sgd_decay_multiplies_the_weights(lr: float, weight_decay: float) -> None:
    params = np.array([1.0, -2.0, 3.0])
    SGD(lr).update(params, np.zeros(3), weight_decay, 2)
    np.testing.assert_allclose(params, [1 - lr * weight_decay, -2 * (1 - lr * weight_decay), 3.0], rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_both_data_types_stay_what_they_are(name: str, dtype: Any) -> None:
    params = np.linspace(-1, 1, 9).astype(dtype)
    optimizer = OPTIMIZERS[name]()
    for _ in range(3):
        optimizer.update(params, np.ones(9, dtype), 0.1)
    assert params.dtype == dtype
    assert np.asarray(optimizer.state()["state"]).dtype == dtype


PEERS = {
    "sgd": (lambda: SGD(0.05), "SGD", {"lr": 0.05}),
    "momentum": (lambda: Momentum(0.05), "SGD", {"lr": 0.05, "momentum": 0.9}),
    "nesterov": (lambda: Nesterov(0.05), "SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    "adagrad": (lambda: AdaGrad(0.05), "Adagrad", {"lr": 0.05, "eps": 1e-7}),
    "rmsprop": (lambda: RMSProp(0.05), "RMSprop", {"lr": 0.05, "alpha": 0.99, "eps": 1e-7}),
    "adam": (lambda: Adam(0.05), "Adam", {"lr": 0.05}),
    "adamw": (lambda: AdamW(0.05), "AdamW", {"lr": 0.05}),
}


@pytest.mark.torch
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("name", PEERS)
def test_100_steps_agree_with_pytorch(name: str, weight_decay: float) -> None:
    import torch

    make, peer, arguments = PEERS[name]
    rng = np.random.default_rng(2)
    start, targets = rng.standard_normal(40), rng.standard_normal((100, 40))
    ours, optimizer = start.copy(), make()
    theirs = torch.nn.Parameter(torch.tensor(start))
    peer_optimizer = getattr(torch.optim, peer)([theirs], weight_decay=weight_decay, **arguments)
    for target in targets:
        optimizer.update(ours, ours - target, weight_decay)
        theirs.grad = (theirs - torch.tensor(target)).detach()
        peer_optimizer.step()
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: SGD(-0.1), r"`0 < lr < inf` must hold, but got \(lr=-0.1\)"),
        (lambda: SGD(float("nan")), "`0 < lr < inf`"),
        (lambda: Momentum(0.1, momentum=1.0), r"`0 <= momentum < 1` must hold, but got \(momentum=1.0\)"),
        (lambda: RMSProp(decay=-1), "`0 <= decay < 1`"),
        (lambda: Adam(beta2=2), "`0 <= beta2 < 1`"),
        (lambda: Adam(eps=0), "`0 < eps < inf`"),
        (lambda: SGD().update(np.zeros(2), np.zeros(2), -0.1), r"`0 <= weight_decay < inf`.*-0.1"),
        (lambda: SGD().update(np.zeros((2, 2)), np.zeros((2, 2))), r"flat vector, but got shape \(2, 2\)"),
        (lambda: SGD().update(np.zeros(2), np.zeros(3)), r"`grads.shape == \(2,\)`.* but got \(3,\)"),
        (lambda: optimizers.options("sdg"), "`optimizer` must be one of .*'sgd'.* but got 'sdg'"),
    ],
)
def test_bad_input_states_rule_and_value(make: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        make()
