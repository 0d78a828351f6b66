"""Rows W3 to W11: activations of five layers of 100, on 1000 normal examples; table 4.5."""

from typing import Any

import numpy as np
import pytest

from trainer.arrays import Floats
from trainer.experiments import spread
from trainer.experiments.activation_spread import Spread, activations


def layers(activation: str, initializer: float | str, seed: int = 0, runs: int = 1) -> Any:
    """The reports of each layer, averaged over so many seeds."""
    all_runs = [list(spread({"activation": activation, "initializer": initializer}, seed + i)) for i in range(runs)]
    return [{key: np.mean([run[i][key] for run in all_runs]) for key in all_runs[0][0]} for i in range(5)]


def column(reports: list[dict[str, Any]], key: str) -> Floats:
    return np.array([report[key] for report in reports])


def test_w3_sigmoid_std_1_piles_up_at_both_ends() -> None:
    edges = column(layers("sigmoid", 1.0), "edges")
    assert edges[0] == pytest.approx(0.734, abs=0.01)
    np.testing.assert_allclose(edges[1:], [0.618, 0.618, 0.614, 0.609], rtol=0, atol=0.12)
    for a in activations(Spread(activation="sigmoid", initializer=1.0), np.random.default_rng(0)):
        assert 0.03 < np.mean(a * (1 - a)) < 0.07  # of at most .25


def test_w4_sigmoid_std_001_gathers_around_a_half() -> None:
    reports = layers("sigmoid", 0.01)
    std = column(reports, "std")
    assert std[0] == pytest.approx(0.0250, abs=0.001)
    np.testing.assert_allclose(std[1:], [0.0124, 0.0123, 0.0124, 0.0123], rtol=0, atol=0.004)
    # a single unit answers every example alike, the more the deeper
    np.testing.assert_allclose(column(reports, "unit_std"), [0.025, 6.2e-4, 1.5e-5, 3.9e-7, 9.6e-9], rtol=0.15)
    outputs = list(activations(Spread(activation="sigmoid", initializer=0.01), np.random.default_rng(0)))
    assert np.mean(np.abs(outputs[0] - 0.5) <= 0.05) >= 0.95
    for a in outputs[1:]:
        assert np.mean(np.abs(a - 0.5) <= 0.05) == 1.0
        assert np.mean(a * (1 - a)) >= 0.249


def test_w6_sigmoid_xavier_spreads() -> None:
    reports = layers("sigmoid", "xavier")
    std = column(reports, "std")
    assert std[0] == pytest.approx(0.208, abs=0.004)
    np.testing.assert_allclose(std[1:], [0.126, 0.122, 0.121, 0.119], rtol=0, atol=0.04)
    assert column(reports, "edges").max() < 0.01
    np.testing.assert_allclose(column(reports, "unit_std"), [0.208, 0.0484, 0.0114, 0.00267, 6.29e-4], rtol=0.2)


def test_w7_tanh_repairs_the_shape() -> None:
    reports = layers("tanh", "xavier")
    np.testing.assert_allclose(column(reports, "std"), [0.627, 0.485, 0.407, 0.356, 0.320], rtol=0, atol=0.03)
    assert np.abs(column(reports, "skew")).max() < 0.05
    assert column(reports, "kurtosis")[0] == pytest.approx(-1.37, abs=0.1)
    assert column(reports, "kurtosis")[4] == pytest.approx(-0.57, abs=0.3)


def test_w8_relu_he_is_xavier_times_root_2_per_layer() -> None:
    rng = np.random.default_rng
    he = activations(Spread(activation="relu", initializer="he"), rng(5))
    xavier = activations(Spread(activation="relu", initializer="xavier"), rng(5))
    for layer, (a, b) in enumerate(zip(he, xavier, strict=True), start=1):
        assert np.abs(a - 2 ** (layer / 2) * b).max() <= 1e-12 * a.max()


def test_w9_relu_std_001_dies_out() -> None:
    means = column(layers("relu", 0.01), "mean")
    expected = [0.03985, 0.00290, 2.07e-4, 1.46e-5, 1.05e-6]
    for mean, reference, tolerance in zip(means, expected, [0.025, 0.25, 0.35, 0.45, 0.55], strict=True):
        assert mean == pytest.approx(reference, rel=tolerance)
    small = activations(Spread(activation="relu", initializer=0.01), np.random.default_rng(0))
    xavier = activations(Spread(activation="relu", initializer="xavier"), np.random.default_rng(0))
    for layer, (a, b) in enumerate(zip(small, xavier, strict=True), start=1):
        assert np.abs(a - 10.0**-layer * b).max() <= 1e-12 * a.max()


def test_w10_relu_xavier_loses_some_with_every_layer() -> None:
    reports = layers("relu", "xavier")
    expected = [0.398, 0.290, 0.207, 0.146, 0.105]
    for mean, reference, tolerance in zip(
        column(reports, "mean"), expected, [0.025, 0.25, 0.35, 0.45, 0.55], strict=True
    ):
        assert mean == pytest.approx(reference, rel=tolerance)
    assert column(reports, "mean_square")[0] == pytest.approx(0.502, rel=0.05)
    assert column(reports, "mean_square")[4] == pytest.approx(0.036, rel=0.9)


def test_w11_relu_he_keeps_its_spread() -> None:
    one = layers("relu", "he")
    assert one[0]["mean"] == pytest.approx(0.564, abs=0.01)
    assert one[4]["mean"] == pytest.approx(0.593, abs=0.30)
    np.testing.assert_allclose(column(one, "zeros"), 0.5, rtol=0, atol=0.1)
    several = layers("relu", "he", runs=5)
    assert 0.8 < several[4]["mean"] / several[0]["mean"] < 1.3


def test_the_default_initial_values_suit_the_activation() -> None:
    assert list(spread({"activation": "relu"}, 0)) == list(spread({"activation": "relu", "initializer": "he"}, 0))


@pytest.mark.parametrize(
    ("params", "rule"),
    [
        ({"activation": "step"}, "`activation` must be one of"),
        ({"activation": "relu", "initializer": "zero"}, "`initializer` must be a number or one of"),
        ({"activation": "relu", "layers": 0}, r"`1 <= layers` must hold, but got \(layers=0\)"),
        ({"activation": "relu", "seed": 0}, r"unknown parameters \['seed'\]"),
    ],
)
def test_bad_input_states_rule_and_value(params: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        spread.check(params)
