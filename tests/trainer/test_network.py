"""Rows X1, W1, W5, W8, W12, R2; the flat vectors; bad input."""

from typing import Any

import numpy as np
import pytest

from trainer.arrays import Floats, Labels
from trainer.initializers import standard_deviation
from trainer.layers import Dense
from trainer.network import EVALUATION_ROWS, Network
from trainer.numerical import numerical_gradient
from trainer.optimizers import SGD


def network(rng: int = 0, **arguments: Any) -> Network:
    given = {"features": 10, "hidden": [7, 6], "classes": 4, "dtype": "float64"} | arguments
    return Network(rng=np.random.default_rng(rng), **given)


def examples(n: int = 8, features: int = 10, classes: int = 4) -> tuple[Floats, Labels]:
    rng = np.random.default_rng(1)
    return rng.random((n, features)), rng.integers(0, classes, n)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"activation": "sigmoid"},
        {"activation": "tanh", "hidden": [8]},
        {"hidden": []},
        {"weight_decay": 0.1},
        {"batch_norm": True, "weight_decay": 0.1},
    ],
)
def test_x1_whole_networks_agree_with_central_differences(arguments: dict[str, Any]) -> None:
    net = network(**arguments)
    for name, parameter in net.parameters.items():
        if name.startswith("b"):  # off 0, so that no unit sits on the kink of ReLU
            parameter[...] = np.random.default_rng(2).normal(0.3, 0.1, parameter.shape)
    x, t = examples()
    net.gradient(x, t)
    analytic = net.grads.copy()
    numerical = numerical_gradient(lambda: net.gradient(x, t), net.params, h=1e-5)
    assert np.abs(analytic - numerical).mean() <= 3e-7
    assert np.abs(analytic - numerical).max() <= 1e-6


@pytest.mark.parametrize("rates", [{"dropout": 0.3}, {"input_dropout": 0.3, "dropout": 0.2}])
def test_x1_gradients_with_dropout_agree_with_central_differences(rates: dict[str, float]) -> None:
    x, t = examples()

    def net(params: dict[str, Any] | None = None) -> Network:
        made = network(**rates, activation="tanh")  # the same seed: the same masks
        if params is not None:
            made.params[...] = params
        return made

    checked = net()
    params = checked.params.copy()
    checked.gradient(x, t)
    numerical = numerical_gradient(lambda: net(params).gradient(x, t), params)
    np.testing.assert_allclose(checked.grads, numerical, rtol=0, atol=1e-6)


def test_dropout_of_inputs_lets_fewer_of_them_in_and_spares_the_test_pass() -> None:
    x, t = examples(60)
    net, plain = network(input_dropout=0.5), network()
    np.testing.assert_array_equal(net.predict(x), plain.predict(x))
    assert net.loss(x, t) == plain.loss(x, t)
    blind = network(input_dropout=1 - 2**-16)
    blind.gradient(x, t)
    assert np.count_nonzero(blind.gradients["W1"]) < plain.params[: plain.decayed].size / 100
    passes = np.mean([net.layers[0].forward_training(x).copy() for _ in range(2000)], axis=0)
    np.testing.assert_allclose(passes, x, rtol=0, atol=0.15)


def test_x1_an_ignorant_network_has_the_loss_ln_of_the_classes() -> None:
    net = network(features=784, hidden=[100] * 3, classes=10, initializer=1e-6)
    assert net.loss(*examples(50, 784, 10)) == pytest.approx(np.log(10), abs=1e-6)


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
@pytest.mark.parametrize("value", [0.0, 0.01])
def test_w1_equal_initial_weights_stay_equal(activation: str, value: Any) -> None:
    # 16 units: a matrix product may round the columns beyond a multiple of its tile in another order
    net = network(features=20, hidden=[16], activation=activation, dtype="float32")
    for name in ("W1", "W2"):
        net.parameters[name][...] = value
    x, t = examples(60, 20)
    optimizer = SGD(0.1)
    for _ in range(500):
        net.backpropagate(x.astype(np.float32), t)
        optimizer.update(net.params, net.grads)
    weights = net.parameters["W1"]
    assert np.ptp(weights, axis=1).max() == 0.0
    if value == 0 and activation == "relu":
        assert not net.gradients["W1"].any()
        assert not net.gradients["W2"].any()
        assert not net.parameters["b1"].any()
        assert net.parameters["b2"].any()
    else:
        assert weights.any()


@pytest.mark.parametrize(("initializer", "std"), [("xavier", 0.03571), ("he", 0.05051), (0.01, 0.01)])
def test_w5_w8_sample_deviation_of_initial_weights(initializer: float | str, std: float) -> None:
    net = network(features=784, hidden=[100], initializer=initializer)
    assert net.parameters["W1"].std() == pytest.approx(std, rel=0.011)
    assert not net.parameters["b1"].any()


@pytest.mark.parametrize(("activation", "rule"), [("relu", "he"), ("sigmoid", "xavier"), ("tanh", "xavier")])
def test_w12_each_activation_has_its_initial_values(activation: str, rule: str) -> None:
    default, named = network(activation=activation), network(activation=activation, initializer=rule)
    np.testing.assert_array_equal(default.params, named.params)
    assert standard_deviation(rule, 50) == pytest.approx({"he": 0.2, "xavier": 0.02**0.5}[rule], abs=1e-15)


def test_r2_the_penalty_is_added_once_per_weight_matrix() -> None:
    plain, decayed = network(), network(weight_decay=0.1)
    x, t = examples()
    squares = sum(float((decayed.parameters[f"W{i}"] ** 2).sum()) for i in (1, 2, 3))
    assert decayed.loss(x, t) - plain.loss(x, t) == pytest.approx(0.05 * squares, abs=1e-12)
    plain.gradient(x, t)
    decayed.gradient(x, t)
    for name, gradient in decayed.gradients.items():
        extra = 0.1 * decayed.parameters[name] if name.startswith("W") else 0.0
        np.testing.assert_allclose(gradient - plain.gradients[name], extra, rtol=0, atol=1e-12, err_msg=name)


def test_all_parameters_lie_in_one_vector_weights_first() -> None:
    net = network(batch_norm=True)
    assert net.params.size == sum(p.size for p in net.parameters.values())
    for name, parameter in net.parameters.items():
        assert np.shares_memory(parameter, net.params), name
        assert np.shares_memory(parameter, net.params[: net.decayed]) == name.startswith("W"), name
    first = next(layer for layer in net.layers if isinstance(layer, Dense))
    net.params[...] = 7.0
    assert (first.W == 7.0).all()


def test_predictions_do_not_depend_on_how_evaluation_is_cut() -> None:
    net = network(dtype="float32")
    x, t = examples(EVALUATION_ROWS + 30)
    x = x.astype(np.float32)
    whole = net.scores(x)
    parts = np.concatenate([net.scores(x[i : i + 100]) for i in range(0, len(x), 100)])
    np.testing.assert_allclose(whole, parts, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(net.predict(x), whole.argmax(axis=1))
    assert net.accuracy(x, t) == np.mean(whole.argmax(axis=1) == t)
    np.testing.assert_allclose(net.probabilities(x).sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("rate", [0.0, 0.2])
def test_the_examples_are_never_changed(rate: float) -> None:
    net = network(input_dropout=rate)
    x, t = examples()
    before = x.copy()
    x.flags.writeable = False
    net.gradient(x, t)
    net.predict(x)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"features": 0}, "`1 <= features`"),
        ({"classes": 1}, "`2 <= classes`"),
        ({"hidden": [5, 0]}, r"`hidden` must be positive integers, but got \(hidden=\[5, 0\]\)"),
        ({"activation": "rilu"}, r"`activation` must be one of \('relu', 'sigmoid', 'tanh'\), but got 'rilu'"),
        ({"initializer": "lecun"}, r"`initializer` must be a number or one of \('he', 'xavier'\)"),
        ({"initializer": -1.0}, "`0 <= initializer < inf`"),
        ({"weight_decay": -0.1}, r"`0 <= weight_decay < inf` must hold, but got \(weight_decay=-0.1\)"),
        ({"dropout": 1.0}, "`0 <= dropout < 1`"),
        ({"input_dropout": -0.1}, r"`0 <= input_dropout < 1` must hold, but got \(input_dropout=-0.1\)"),
        ({"dtype": "float16"}, "`dtype` must be 'float32' or 'float64', but got 'float16'"),
        ({"dtype": "flat"}, "`dtype` must be 'float32' or 'float64', but got 'flat'"),
    ],
)
def test_bad_architecture_states_rule_and_value(arguments: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        network(**arguments)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda x, t: (x[:, :-1], t), r"`x.shape == \(n, 10\)` .* but got \(8, 9\)"),
        (lambda x, t: (x[0], t), r"but got \(10,\)"),
        (lambda x, t: (x[:0], t[:0]), r"n >= 1 must hold, but got \(0, 10\)"),
        (lambda x, t: (x.astype(np.float32), t), "`x.dtype == float64`.* but got float32"),
        (lambda x, t: (np.where(x > 0.9, np.nan, x), t), "must be finite"),
        (lambda x, t: (x, t[:-1]), "`t` must be 8 integers"),
        (lambda x, t: (x, t.astype(float)), "`t` must be 8 integers"),
        (lambda x, t: (x, t + 4), r"labels must lie in 0..3, but got \(min=4"),
        (lambda x, t: (x, t - 4), "labels must lie in 0..3, but got"),
    ],
)
def test_bad_examples_state_rule_and_value(change: Any, rule: str) -> None:
    x, t = examples()
    for use in (network().gradient, network().loss, network().accuracy):
        with pytest.raises(ValueError, match=rule):
            use(*change(x, t))
