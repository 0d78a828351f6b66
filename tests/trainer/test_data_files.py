"""The files of MNIST: what is missing, damaged or swapped is named, and random bytes do no harm."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import small_mnist
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from trainer import data
from trainer.data import DataError
from trainer.data.idx import parse_idx


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = small_mnist.install(monkeypatch, tmp_path)
    small_mnist.write(folder)
    return folder


def test_a_missing_file_is_named_with_its_folder_and_the_remedies(folder: Path) -> None:
    (folder / "train-labels-idx1-ubyte.gz").unlink()
    for function in (data.check, data.load_train):
        with pytest.raises(DataError) as caught:
            function("mnist")
        for part in (
            "train-labels-idx1-ubyte.gz is not in",
            str(folder),
            "`hpo fetch mnist`",
            "HPO_DATA_DIR",
        ):
            assert part in str(caught.value)


def test_a_check_decodes_nothing(folder: Path) -> None:
    for name in small_mnist.NAMES:
        (folder / name).write_bytes(b"not an image")
    data.check("mnist")


def test_a_folder_in_a_files_place_cannot_be_read(folder: Path) -> None:
    (folder / "train-images-idx3-ubyte.gz").unlink()
    (folder / "train-images-idx3-ubyte.gz").mkdir()
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte.gz: cannot be read \(Is a directory\)"):
        data.load_train("mnist")


def flipped(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


IMAGES = small_mnist.CONTENTS["train-images-idx3-ubyte.gz"]
PACKED = small_mnist.FILES["train-images-idx3-ubyte.gz"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        pytest.param(b"", "not an IDX file: it begins with nothing", id="empty"),
        pytest.param(b"<html>404</html>", "not a gzip file", id="not gzip"),
        pytest.param(PACKED[:-100], r"the file is cut off \(\d+ bytes\)", id="truncated"),
        pytest.param(PACKED + b"more", "not a gzip file, or a damaged one", id="something behind it"),
        pytest.param(flipped(PACKED, 300), "damaged", id="a flipped bit in the compressed data"),
        pytest.param(flipped(PACKED, len(PACKED) - 6), "CRC check failed", id="a flipped bit in the checksum"),
        pytest.param(gzip.compress(flipped(IMAGES, 99)), "sha256 must be .*, but got", id="a flipped pixel"),
        pytest.param(gzip.compress(flipped(IMAGES, 1)), "not an IDX file: it begins with 00 01 08 03", id="magic"),
        pytest.param(gzip.compress(flipped(IMAGES, 2)), "IDX type must be 0x08", id="type"),
        pytest.param(gzip.compress(IMAGES[:9]), "header of 3 dimensions takes 16 bytes, but got 9", id="header"),
        pytest.param(gzip.compress(IMAGES[:-1]), "take 600 bytes of values, but got 599", id="a pixel less"),
        pytest.param(gzip.compress(IMAGES + b"0"), "take 600 bytes of values, but got 601", id="a pixel more"),
        pytest.param(
            gzip.compress(small_mnist.idx(small_mnist.IMAGES["train"][:40])),
            r"holds an array of shape \(40, 4, 3\) where \(50, 4, 3\) must be",
            id="fewer images",
        ),
        *(
            pytest.param(small_mnist.FILES[other], f"holds the content of {other} .files swapped", id=other)
            for other in small_mnist.NAMES[1:]
        ),
    ],
)
def test_a_wrong_file_is_refused_with_its_fault(folder: Path, content: bytes, fault: str) -> None:
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=fault) as caught:
        data.load_train("mnist")
    assert str(caught.value).startswith(f"{path}: ")


def test_what_swells_beyond_all_measure_is_not_unpacked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.data.idx._LARGEST", 600)
    noise = gzip.compress(np.random.default_rng(0).bytes(1_000_000))
    (folder / "train-images-idx3-ubyte.gz").write_bytes(noise[:-100])  # an end that nobody comes to see
    with pytest.raises(DataError, match="holds more than 600 bytes"):
        data.load_train("mnist")


@given(st.binary() | st.binary().map(lambda tail: b"\0\0\x08" + tail))
def test_any_bytes_are_an_array_or_a_data_error(content: bytes) -> None:
    try:
        array = parse_idx(content)
    except DataError:
        return
    assert small_mnist.idx(array) == content


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=255))
def test_any_empty_dimensions_are_an_array_or_a_data_error(shape: list[int]) -> None:
    shape[len(shape) // 2] = 0
    content = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
    try:
        array = parse_idx(content)
    except DataError:  # NumPy has no more than 64 dimensions, and an end to their product
        return
    assert array.shape == tuple(shape)


@given(npst.arrays(np.uint8, npst.array_shapes(max_dims=6, min_side=0)))
def test_idx_gives_back_what_was_written(array: np.ndarray) -> None:
    np.testing.assert_array_equal(parse_idx(small_mnist.idx(array)), array)
