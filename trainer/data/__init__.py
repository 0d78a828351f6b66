"""The data sets in three roles: training for weights, validation for hyper-parameters, test for the final score.

A search uses `load_train` and `split_validation`; they never touch a file of the test set. `load_test` opens the
sealed test set, for one evaluation of the best parameters. This package imports only NumPy and the standard library.
"""

from typing import Protocol

from trainer.data import digits, mnist
from trainer.data.examples import DataError, Description, Examples, split_validation

__all__ = [
    "DataError",
    "Description",
    "Examples",
    "check",
    "describe",
    "load_test",
    "load_train",
    "split_validation",
]


class _Dataset(Protocol):
    DESCRIPTION: Description

    def check(self) -> None: ...

    def load_train(self) -> Examples: ...

    def load_test(self) -> Examples: ...


_DATASETS: dict[str, _Dataset] = {"digits": digits, "mnist": mnist}


def load_train(dataset: str, size: int | None = None) -> Examples:
    """Loads the training images in their canonical order.

    The arrays are read-only. Those of "mnist" are mapped into memory from a decoded copy in the cache folder, so that
    all processes of a machine share them, and a part of them needs only its own pages.

    Args:
        dataset: "mnist" (60,000 images of 784 pixels) or "digits" (scikit-learn's, 1,437 of 64 pixels).
        size: How many images, from the first on; all of them when None.

    Returns:
        `size` examples, pixels in [0, 1].

    Raises:
        ValueError: The data set is unknown, or it has no `size` images.
        DataError: A file is missing, damaged or not what its name says.
    """
    source = _find(dataset)
    available = source.DESCRIPTION.train_size
    if size is not None and not 1 <= size <= available:
        raise ValueError(f"`1 <= size <= {available}` must hold for {dataset!r}, but got size={size!r}")
    x, t = source.load_train()
    return Examples(x[:size], t[:size])


def load_test(dataset: str) -> Examples:
    """Opens the sealed test set. No search calls this: it is used once, for the best parameters.

    Args:
        dataset: "mnist" (10,000 images) or "digits" (360 images).

    Returns:
        All test examples in canonical order, pixels in [0, 1], read-only.

    Raises:
        ValueError: The data set is unknown.
        DataError: A file is missing, damaged or not what its name says.
    """
    return _find(dataset).load_test()


def describe(dataset: str) -> Description:
    """Returns the sizes of a data set without opening it.

    Raises:
        ValueError: The data set is unknown.
    """
    return _find(dataset).DESCRIPTION


def check(dataset: str) -> None:
    """Checks whether the training files of a data set are there, without reading them or looking for the test files.

    Raises:
        ValueError: The data set is unknown.
        DataError: A training file is missing; the message says which, where it should be, and how to get it.
    """
    _find(dataset).check()


def _find(dataset: str) -> _Dataset:
    if dataset not in _DATASETS:
        raise ValueError(f"`dataset` must be one of {', '.join(map(repr, _DATASETS))}, but got {dataset!r}")
    return _DATASETS[dataset]
