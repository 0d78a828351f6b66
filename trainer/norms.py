"""Norms: section 6.4.2 names them as measures of the size of weights."""

import numpy as np

from trainer.arrays import Floats


def l2(weights: Floats) -> float:
    """Root of the sum of squares."""
    return float(np.sqrt(np.sum(weights * weights)))


def l1(weights: Floats) -> float:
    """Sum of the absolute values."""
    return float(np.sum(np.abs(weights)))


def maximum(weights: Floats) -> float:
    """Largest absolute value."""
    return float(np.max(np.abs(weights)))
