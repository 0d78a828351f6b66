"""Gradients by central differences, for checking the analytic ones."""

from collections.abc import Callable

import numpy as np

from trainer.arrays import Floats


def numerical_gradient(f: Callable[[], float], parameters: Floats, h: float = 1e-4) -> Floats:
    """(f(p + h) - f(p - h)) / 2h for each element p.

    Args:
        f: the function; it must depend on the array `parameters`, which is changed and restored. Compute it in
            float64: float32 is not exact enough for the difference.
        parameters: an array of any shape.
        h: half the distance of the two points.

    Returns:
        An array of the same shape.
    """
    gradient = np.empty_like(parameters)
    for place in np.ndindex(parameters.shape):
        value = parameters[place]
        parameters[place] = value + h
        above = f()
        parameters[place] = value - h
        below = f()
        parameters[place] = value
        gradient[place] = (above - below) / (2.0 * h)
    return gradient
