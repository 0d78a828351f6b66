"""The data sets, in their three roles: train for weights, validation for hyper-parameters, test for the end.

`load_train` and `split_validation` serve a search; nothing that they do touches a file of the test set.
`load_test` opens the sealed test set and is for the one evaluation of the setting that the search has chosen.
Importing this package imports the standard library and NumPy, nothing else.
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
    """Loads the training images in their canonical order, which is never shuffled here.

    The arrays are read-only. Those of "mnist" are mapped into memory from a decoded copy in the cache folder,
    so that all processes of a machine share them and a part costs no more than its own pages.

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
    """Opens the sealed test set. No search calls this: it is scored once, for the chosen setting.

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
    """Tells the sizes of a data set without opening it.

    Raises:
        ValueError: The data set is unknown.
    """
    return _find(dataset).DESCRIPTION


def check(dataset: str) -> None:
    """Looks whether a data set can be searched on, without reading it or looking for its test files.

    Raises:
        ValueError: The data set is unknown.
        DataError: A training file is missing; the message says which, where it should be, how to get it.
    """
    _find(dataset).check()


def _find(dataset: str) -> _Dataset:
    if dataset not in _DATASETS:
        raise ValueError(f"`dataset` must be one of {', '.join(map(repr, _DATASETS))}, but got {dataset!r}")
    return _DATASETS[dataset]
