"""Examples with labels, and their split into training and validation."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class DataError(ValueError):
    """A data set is missing, damaged or something else; the message names the file and what is wrong."""


class Examples(NamedTuple):
    """Images and their labels, row by row.

    Attributes:
        x: float32, shape (n, features), each pixel in [0, 1].
        t: int64, shape (n,), the class of each row of `x`.
    """

    x: NDArray[np.float32]
    t: NDArray[np.int64]


class Description(NamedTuple):
    """The sizes of a data set.

    Attributes:
        features: Pixels per image.
        classes: Different labels, 0 to classes - 1.
        train_size: Images in the training set.
        test_size: Images in the sealed test set.
    """

    features: int
    classes: int
    train_size: int
    test_size: int


def split_validation(examples: Examples, rate: float, rng: np.random.Generator) -> tuple[Examples, Examples]:
    """Shuffles, then takes the first part for validation (chapter section 6.5.1, row H1).

    Args:
        examples: n images with their labels; they are not changed.
        rate: The share for validation, strictly between 0 and 1; `round(rate * n)` examples are taken.
        rng: Shuffles; the same state gives the same split.

    Returns:
        Training and validation examples: copies, disjoint, together all of `examples`.

    Raises:
        ValueError: `rate` is out of its range, one part would be empty, or `x` and `t` differ in length.
    """
    x, t = examples
    if not 0 < rate < 1:
        raise ValueError(f"`0 < rate < 1` must hold, but got rate={rate!r}")
    if len(x) != len(t):
        raise ValueError(f"every image must have one label, but got {len(x)} images and {len(t)} labels")
    size = round(rate * len(t))
    if not 0 < size < len(t):
        raise ValueError(
            "both parts of a split must hold at least one example, "
            f"but rate={rate!r} of {len(t)} gives {size} to validation and {len(t) - size} to training"
        )
    order = rng.permutation(len(t))
    validation, train = order[:size], order[size:]
    return Examples(x[train], t[train]), Examples(x[validation], t[validation])
