"""The array types of the trainer, and its one kind of buffer."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[Any]
"""An array of float32 or float64."""
Labels: TypeAlias = NDArray[np.int64]


def floating(dtype: Any) -> "np.dtype[Any]":
    """The NumPy data type named by `dtype`.

    Raises:
        ValueError: if it is neither float32 nor float64.
    """
    try:
        resolved: np.dtype[Any] = np.dtype(dtype)
    except TypeError:
        resolved = np.dtype(np.void)
    if resolved not in (np.float32, np.float64):
        raise ValueError(f"`dtype` must be 'float32' or 'float64', but got {dtype!r}")
    return resolved


class Rows:
    """A buffer of rows that is allocated once; callers get its first `n` rows.

    Training and evaluation alternate between two batch sizes and share this memory. A call for more rows than ever
    before allocates new memory, so do not keep a view across calls.

    Args:
        width: elements per row.
        dtype: data type of the elements.
        fill: the initial value of every element; None leaves them undefined.
    """

    def __init__(self, width: int, dtype: Any, fill: float | None = None) -> None:
        self._width, self._dtype, self._fill = width, dtype, fill
        self._all: Floats = np.empty((0, width), dtype)
        self._lent = self._all

    def __call__(self, n: int) -> Floats:
        """The first `n` rows, C-contiguous, shape (n, width)."""
        if len(self._lent) != n:
            if len(self._all) < n:
                self._all = np.empty((n, self._width), self._dtype)
                if self._fill is not None:
                    self._all.fill(self._fill)
            self._lent = self._all[:n]
        return self._lent
