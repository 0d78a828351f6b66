"""Standard deviations of initial weights (section 6.2); biases start at 0."""

import math
from typing import Final

INITIALIZERS: Final = ("he", "xavier")
DEFAULT: Final = {"relu": "he", "sigmoid": "xavier", "tanh": "xavier"}
"""The initial values that suit an activation (section 6.2.3)."""


def standard_deviation(initializer: float | str, n_in: int) -> float:
    """Standard deviation of the normal distribution of a layer's initial weights.

    Args:
        initializer: the deviation itself, "xavier" (Glorot and Bengio 2010, in the form with the inputs only:
            sqrt(1 / n_in)) or "he" (He et al. 2015: sqrt(2 / n_in), as a ReLU halves the variance).
        n_in: inputs of the layer.

    Raises:
        ValueError: for another name, or a number that is negative or not finite.
    """
    if initializer == "he":
        return math.sqrt(2.0 / n_in)
    if initializer == "xavier":
        return math.sqrt(1.0 / n_in)
    if isinstance(initializer, str):
        raise ValueError(f"`initializer` must be a number or one of {INITIALIZERS}, but got {initializer!r}")
    if not (math.isfinite(initializer) and initializer >= 0):
        raise ValueError(f"`0 <= initializer < inf` must hold, but got (initializer={initializer})")
    return float(initializer)
