"""Rows R5 and R6, and D2: the test pass is multiplied by the share that stays."""

from typing import Any

import numpy as np
import pytest

from trainer.dropout import Dropout

DOUBLE = np.dtype(np.float64)


def dropout(rate: float, inverted: bool = False, width: int = 1000, dtype: Any = DOUBLE) -> Dropout:
    return Dropout(width, dtype, rate, np.random.default_rng(0), inverted)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rate", [0.15, 0.2, 0.5, 0.999])
def test_r5_the_share_kept_is_one_minus_the_rate(rate: float, dtype: Any) -> None:
    out = dropout(rate, dtype=np.dtype(dtype)).forward_training(np.ones((1000, 1000), dtype))
    assert out.dtype == dtype
    assert set(np.unique(out)) == {0.0, 1.0}
    assert out.mean() == pytest.approx(1 - rate, abs=0.002)


def test_r5_units_fall_independently_and_anew_in_every_pass() -> None:
    layer = dropout(0.5)
    first = layer.forward_training(np.ones((1000, 1000))).copy()
    second = layer.forward_training(np.ones((1000, 1000)))
    assert (first * second).mean() == pytest.approx(0.25, abs=0.002)
    assert (first[:, :-1] * first[:, 1:]).mean() == pytest.approx(0.25, abs=0.002)


@pytest.mark.parametrize("inverted", [False, True])
def test_r5_the_mean_of_training_passes_is_the_test_pass(inverted: bool) -> None:
    x = np.random.default_rng(1).standard_normal((1, 20))
    layer = dropout(0.3, inverted, width=20)
    passes = np.mean([layer.forward_training(x).copy() for _ in range(20_000)], axis=0)
    np.testing.assert_allclose(passes, layer.forward(x), rtol=0, atol=0.05)


def test_r5_backward_uses_the_same_mask() -> None:
    layer = dropout(0.4)
    mask = layer.forward_training(np.ones((10, 1000))).copy()
    np.testing.assert_array_equal(layer.backward(np.full((10, 1000), 3.0)), 3.0 * mask)


def test_r6_scaling_can_move_to_the_training_pass() -> None:
    x = np.random.default_rng(1).standard_normal((10, 1000))
    plain, inverted = dropout(0.2), dropout(0.2, inverted=True)
    np.testing.assert_allclose(inverted.forward_training(x), plain.forward_training(x) / 0.8, rtol=1e-12)
    np.testing.assert_array_equal(inverted.forward(x), x)
    np.testing.assert_allclose(plain.forward(x), 0.8 * x, rtol=1e-12)


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_rate_outside_its_range_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match=rf"`0 <= dropout < 1` must hold, but got \(dropout={rate}\)"):
        dropout(rate)
