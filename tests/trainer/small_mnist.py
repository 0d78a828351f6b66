"""A few made-up images in MNIST's four files, with the table of digests to match."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

from trainer.data import Description, mnist

rng = np.random.default_rng(0)
IMAGES = {
    "train": rng.integers(0, 256, (50, 4, 3), np.uint8),
    "t10k": rng.integers(0, 256, (20, 4, 3), np.uint8),
}
LABELS = {"train": rng.integers(0, 10, 50, np.uint8), "t10k": rng.integers(0, 10, 20, np.uint8)}


def idx(array: np.ndarray) -> bytes:
    dimensions = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + dimensions + array.tobytes()


CONTENTS = {
    name: idx(array)
    for part in ("train", "t10k")
    for name, array in (
        (f"{part}-images-idx3-ubyte.gz", IMAGES[part]),
        (f"{part}-labels-idx1-ubyte.gz", LABELS[part]),
    )
}
FILES = {name: gzip.compress(content) for name, content in CONTENTS.items()}
NAMES = tuple(FILES)
DESCRIPTION = Description(features=12, classes=10, train_size=50, test_size=20)


def _files(part: str) -> mnist.Files:
    images, labels = f"{part}-images-idx3-ubyte.gz", f"{part}-labels-idx1-ubyte.gz"
    return mnist.Files(
        mnist.File(images, IMAGES[part].shape, hashlib.sha256(CONTENTS[images]).hexdigest()),
        mnist.File(labels, LABELS[part].shape, hashlib.sha256(CONTENTS[labels]).hexdigest()),
    )


TABLE = {"TRAIN": _files("train"), "TEST": _files("t10k"), "DESCRIPTION": DESCRIPTION}

# The same for another process: a named tuple's repr is the expression that makes it.
PREAMBLE = "\n".join(
    [
        "from trainer.data import Description, load_train, mnist",
        "from trainer.data.mnist import File, Files",
        *(f"mnist.{name} = {value!r}" for name, value in TABLE.items()),
    ]
)


def install(monkeypatch: pytest.MonkeyPatch, base: Path) -> Path:
    """Makes the small set this test's MNIST, with all folders below `base`; returns that of its files."""
    for name, value in TABLE.items():
        monkeypatch.setattr(mnist, name, value)
    monkeypatch.setenv("HPO_DATA_DIR", str(base / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(base / "cache"))
    return base / "data" / "mnist"


def write(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
