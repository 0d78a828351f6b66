"""MNIST: 60,000 training and 10,000 test images of 28x28 handwritten digits, from the four original files.

The files are in the folder `mnist` in HPO_DATA_DIR if that is set, else in the user's cache folder.
"""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from trainer.data import arrays
from trainer.data.examples import DataError, Description, Examples
from trainer.data.idx import digest, parse_idx, read_gzip

T = TypeVar("T", bound=np.generic)

DESCRIPTION = Description(features=784, classes=10, train_size=60_000, test_size=10_000)


class File(NamedTuple):
    """One of the four files: its name, its array's shape, and the sha256 of its uncompressed content."""

    name: str
    shape: tuple[int, ...]
    sha256: str


class Files(NamedTuple):
    """The two files of a part; row i of one belongs to row i of the other."""

    images: File
    labels: File


TRAIN = Files(
    File(
        "train-images-idx3-ubyte.gz",
        (60_000, 28, 28),
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    File(
        "train-labels-idx1-ubyte.gz",
        (60_000,),
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
)
TEST = Files(
    File(
        "t10k-images-idx3-ubyte.gz",
        (10_000, 28, 28),
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    File(
        "t10k-labels-idx1-ubyte.gz",
        (10_000,),
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)


def folder() -> Path:
    """Returns the folder of the four files, which may not exist yet."""
    configured = os.environ.get("HPO_DATA_DIR")
    base = Path(configured).expanduser() if configured else arrays.cache_folder()
    return base.absolute() / "mnist"


def check() -> None:
    for file in TRAIN:
        path = folder() / file.name
        try:
            path.stat()
        except OSError as error:
            raise _unavailable(path, error) from error


def load_train() -> Examples:
    images, labels = TRAIN
    size, *sides = images.shape
    return Examples(
        _keep(images, (size, math.prod(sides)), np.float32, _pixels),
        _keep(labels, (size,), np.int64, _classes),
    )


def load_test() -> Examples:
    # Not kept in the cache: there is no decoded copy of the sealed test set.
    images, labels = TEST
    test = Examples(_pixels(folder() / images.name, images), _classes(folder() / labels.name, labels))
    for array in test:
        array.setflags(write=False)
    return test


def read(path: Path, file: File) -> NDArray[np.uint8]:
    """Reads one of the four files and verifies that its content is the original, byte for byte.

    Returns:
        The array, of shape `file.shape`, read-only.

    Raises:
        DataError: The file is missing, damaged, or holds something else; the message says what.
    """
    try:
        content = read_gzip(path)
    except OSError as error:
        raise _unavailable(path, error) from error
    found = digest(content)
    for other in (*TRAIN, *TEST):
        if found == other.sha256 and other != file:
            raise DataError(f"{path}: holds the content of {other.name} (files swapped?)")
    try:
        array = parse_idx(content)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    if array.shape != file.shape:
        raise DataError(f"{path}: holds an array of shape {array.shape} where {file.shape} must be")
    if found != file.sha256:
        raise DataError(f"{path}: the content's sha256 must be {file.sha256}, but got {found}")
    return array


def _keep(file: File, shape: tuple[int, ...], dtype: type[T], decode: Callable[[Path, File], NDArray[T]]) -> NDArray[T]:
    path = folder() / file.name
    key = f"{file.name.removesuffix('.gz')}-{file.sha256[:32]}-{np.dtype(dtype)}"
    try:
        return arrays.keep(path, key, shape, dtype, lambda: decode(path, file))
    except OSError as error:
        raise _unavailable(path, error) from error


def _unavailable(path: Path, error: OSError) -> DataError:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        return DataError(f"{path}: cannot be read ({error.strerror})")
    return DataError(
        f"{path.name} is not in {path.parent}: download MNIST with `hpo fetch mnist`, "
        "or set HPO_DATA_DIR to the folder that holds mnist/"
    )


def _pixels(path: Path, file: File) -> NDArray[np.float32]:
    images = read(path, file)
    return np.divide(images.reshape(len(images), -1), 255, dtype=np.float32)


def _classes(path: Path, file: File) -> NDArray[np.int64]:
    return read(path, file).astype(np.int64)
