"""Row R3."""

import numpy as np

from trainer import norms


def test_r3_the_three_norms() -> None:
    weights = np.array([3.0, -4.0])
    assert (norms.l2(weights), norms.l1(weights), norms.maximum(weights)) == (5.0, 7.0, 4.0)
