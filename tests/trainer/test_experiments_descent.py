"""Rows U3 to U14 and U16: paths on eq. 6.2, against table 4.6 of the chapter's test plan."""

from typing import Any

import numpy as np
import pytest

from trainer.arrays import Floats
from trainer.experiments import descend
from trainer.experiments.descent import angle_off, height, path, slope
from trainer.optimizers import SGD, AdaGrad, Adam, Momentum, Nesterov, RMSProp

FIGURES = {
    "sgd": lambda: SGD(0.95),
    "momentum": lambda: Momentum(0.1),
    "adagrad": lambda: AdaGrad(1.5),
    "adam": lambda: Adam(0.3),
}
TABLE = {  # step: (x, y)
    "sgd": {
        1: (-6.335000, -1.800000),
        2: (-5.733175, 1.620000),
        5: (-4.249530, -1.180980),
        10: (-2.579787, 0.697357),
        20: (-0.950757, 0.243153),
        29: (-0.387175, -0.094203),
        30: (-0.350393, 0.084782),
    },
    "momentum": {
        1: (-6.930000, 1.600000),
        2: (-6.797700, 0.920000),
        5: (-6.101438, -1.160840),
        10: (-4.347554, 0.008800),
        20: (-0.824755, -0.698505),
        29: (0.814112, 0.272878),
        30: (0.896414, 0.088086),
    },
    "adagrad": {
        1: (-5.500000, 0.500000),
        2: (-4.573268, 0.136197),
        5: (-2.898562, 0.002803),
        10: (-1.489386, 0.000004),
        20: (-0.420469, 0.000000),
        29: (-0.136185, 0.000000),
        30: (-0.120162, 0.000000),
    },
    "adam": {
        1: (-6.700001, 1.700000),
        2: (-6.400417, 1.402246),
        5: (-5.507281, 0.547714),
        10: (-4.059419, -0.491846),
        20: (-1.521450, -0.278868),
        29: (0.020149, 0.321957),
        30: (0.136007, 0.318245),
    },
}
DIGITS = 5e-7  # the table prints six decimals


def figure(name: str, steps: int = 29) -> Any:
    return path(FIGURES[name](), steps)


def sign_changes(values: Floats) -> int:
    return int(np.sum(values[1:] * values[:-1] < 0))


def travelled(points: Floats) -> float:
    return float(np.abs(np.diff(points[:, 1])).sum())


def heights(points: Floats) -> Floats:
    return np.array([height(point) for point in points])


def first_below(points: Floats, level: float = 1e-2) -> int:
    return int(np.argmax(heights(points) < level))


def for_good_below(points: Floats, level: float = 1e-2) -> int:
    return int(np.max(np.nonzero(heights(points) >= level))) + 1


@pytest.mark.parametrize("name", TABLE)
def test_table_4_6(name: str) -> None:
    points = figure(name, 30)
    tolerance = {"adagrad": 1e-6, "adam": 1e-4}.get(name, DIGITS)
    for step, expected in TABLE[name].items():
        np.testing.assert_allclose(points[step], expected, rtol=0, atol=tolerance, err_msg=f"step {step}")


def test_u3_the_bowl() -> None:
    assert height(np.array([-7.0, 2.0])) == pytest.approx(6.45, abs=1e-12)
    # the level set through (sqrt(20), 0) also passes (0, 1): an ellipse of axis ratio sqrt(20)
    assert height(np.array([20**0.5, 0.0])) == pytest.approx(height(np.array([0.0, 1.0])), abs=1e-12)


def test_u4_the_gradient_hardly_points_at_the_minimum() -> None:
    np.testing.assert_allclose(slope(np.array([-7.0, 2.0])), (-0.7, 4.0), rtol=0, atol=1e-12)
    assert angle_off(np.array([-7.0, 2.0])) == pytest.approx(64.1, abs=0.1)
    grid = [(x, y) for x in np.linspace(-10, 10, 41) for y in np.linspace(-5, 5, 21) if (x, y) != (0, 0)]
    angles = np.array([angle_off(np.array(point)) for point in grid])
    assert 100 * np.mean(angles > 5) == pytest.approx(93, abs=0.5)
    assert 100 * np.mean(angles > 30) == pytest.approx(80, abs=0.5)
    assert np.median(angles) == pytest.approx(53.7, abs=0.1)


def test_u5_sgd_zigzags() -> None:
    points = figure("sgd")
    k = np.arange(30)
    np.testing.assert_allclose(points[:, 0], -7 * 0.905**k, rtol=0, atol=1e-9)
    np.testing.assert_allclose(points[:, 1], 2 * (-0.9) ** k, rtol=0, atol=1e-9)
    assert sign_changes(points[:, 1]) == 29
    assert sign_changes(points[:, 0]) == 0
    assert height(points[29]) == pytest.approx(0.01637, abs=5e-6)
    assert travelled(points) == pytest.approx(36.21, abs=5e-3)
    assert first_below(figure("sgd", 60)) == 32


def test_u7_momentum_zigzags_less() -> None:
    points = figure("momentum")
    assert sign_changes(points[:, 1]) == 4
    assert travelled(points) == pytest.approx(8.93, abs=5e-3)
    assert height(points[29]) == pytest.approx(0.1076, abs=5e-5)
    assert int(np.argmax(np.abs(points[:, 0]) < 1)) == 20
    long = figure("momentum", 100)
    assert first_below(long) == 24
    assert height(long[24]) == pytest.approx(0.00954, abs=5e-6)
    assert for_good_below(long) == 56


def test_u8_too_large_a_rate_diverges() -> None:
    assert height(path(SGD(0.9), 60)[-1]) < 1e-3
    np.testing.assert_allclose(np.abs(path(SGD(1.0), 60)[:, 1]), 2.0, rtol=1e-9)
    # row U8: f = 13.1 after 30 steps of lr 1.01, and growing
    diverging = heights(path(SGD(1.01), 60))
    assert diverging[30] == pytest.approx(13.1, abs=0.1)
    assert diverging[60] > diverging[30] > diverging[15]


def test_u10_adagrad_goes_straight() -> None:
    points = figure("adagrad")
    assert sign_changes(points[:, 1]) == 0
    assert (np.diff(points[:, 1]) <= 0).all()
    assert height(points[29]) == pytest.approx(9.27e-4, abs=5e-7)
    assert first_below(points) == for_good_below(points) == 20


def test_u11_rmsprop_gets_there() -> None:
    assert first_below(path(RMSProp(0.3), 30)) == 6


def test_u13_adam_swings_less_than_momentum() -> None:
    points = figure("adam")
    assert sign_changes(points[:, 1]) == 2
    assert points[:, 1].min() == pytest.approx(-0.708, abs=5e-4)
    assert figure("momentum")[:, 1].min() == pytest.approx(-1.418, abs=5e-4)
    assert travelled(points) == pytest.approx(3.74, abs=5e-3)
    assert height(points[29]) == pytest.approx(0.1037, abs=1e-4)
    long = figure("adam", 100)
    assert first_below(long) == for_good_below(long) == 52


def test_u14_the_order_by_path_length_and_by_height() -> None:
    reports = {}
    rates = {"sgd": 0.95, "momentum": 0.1, "adagrad": 1.5, "adam": 0.3}
    for name, lr in rates.items():
        *_, reports[name] = descend({"optimizer": name, "lr": lr, "steps": 30}, seed=0)
    lengths = {name: np.linalg.norm(np.diff(figure(name), axis=0), axis=1).sum() for name in rates}
    expected = {"adagrad": 7.56, "adam": 8.18, "momentum": 12.60, "sgd": 36.81}
    assert sorted(lengths, key=lengths.get) == list(expected)
    for name, length in expected.items():
        assert lengths[name] == pytest.approx(length, abs=5e-3)
    after_30 = {"adagrad": 7.2e-4, "sgd": 0.0133, "momentum": 0.0479, "adam": 0.102}
    for name, value in after_30.items():
        assert reports[name]["height"] == pytest.approx(value, rel=5e-3)


def test_u16_nesterov() -> None:
    points = path(Nesterov(0.1), 29)
    assert first_below(points) == 22
    assert heights(points).argmin() == 24
    assert heights(points).min() == pytest.approx(3e-4, abs=5e-5)
    assert travelled(points) == pytest.approx(4.44, abs=5e-3)


def test_descend_reports_every_step() -> None:
    reports = list(descend({"optimizer": "sgd", "lr": 0.95, "steps": 2}, seed=5))
    assert [sorted(r) for r in reports] == [["height", "path_length", "x", "y"]] * 2
    assert reports[0]["x"] == pytest.approx(-6.335, abs=1e-12)


@pytest.mark.parametrize(
    ("params", "rule"),
    [
        ({"optimizer": "sgd", "steps": 0}, "`1 <= steps` must hold"),
        ({"optimizer": "sgd", "momentum": 0.9}, r"unknown parameters \['momentum'\]; the legal ones .*'lr'"),
        ({"optimizer": "adm"}, "`optimizer` must be one of"),
        ({}, r"\['optimizer'\] must be given"),
        ({"optimizer": "sgd", "lr": "high"}, "`lr` must be of type float, but got 'high'"),
    ],
)
def test_bad_input_states_rule_and_value(params: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        descend.check(params)
