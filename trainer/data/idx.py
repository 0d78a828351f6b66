"""IDX, MNIST's format: two zero bytes, the type, the number of dimensions, the dimensions, the values.

The type and the number of dimensions take one byte each; a dimension takes four, the most significant first.
"""

import gzip
import hashlib
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.data.examples import DataError

_UNSIGNED_BYTE = 0x08
# Far more than the largest file (47 MB), far less than the memory of a machine.
_LARGEST = 1 << 28


def read_gzip(path: Path) -> bytes:
    """Returns the uncompressed content of a gzip file.

    Raises:
        OSError: The file is missing or cannot be read.
        DataError: It is not a gzip file, is damaged, is cut off, or holds far too much.
    """
    try:
        with gzip.open(path) as stream:
            content = stream.read(_LARGEST + 1)
    except EOFError as error:
        raise DataError(f"{path}: the file is cut off ({path.stat().st_size} bytes)") from error
    except gzip.BadGzipFile as error:
        raise DataError(f"{path}: not a gzip file, or a damaged one ({error})") from error
    except zlib.error as error:
        raise DataError(f"{path}: the compressed data is damaged ({error})") from error
    if len(content) > _LARGEST:
        raise DataError(f"{path}: holds more than {_LARGEST} bytes, far too many for a data set of this kind")
    return content


def parse_idx(content: bytes) -> NDArray[np.uint8]:
    """Returns the array of unsigned bytes that an IDX content holds, as a read-only view of it.

    Raises:
        DataError: The content is not IDX, holds a type other than unsigned bytes, or its length
            does not fit its dimensions.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[3] == 0:
        raise DataError(f"not an IDX file: it begins with {content[:4].hex(' ') or 'nothing'}")
    if content[2] != _UNSIGNED_BYTE:
        raise DataError(f"IDX type must be 0x08 (unsigned byte), but got 0x{content[2]:02x}")
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise DataError(f"an IDX header of {content[3]} dimensions takes {start} bytes, but got {len(content)}")
    shape = tuple(int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4))
    if len(content) - start != math.prod(shape):
        raise DataError(
            f"IDX dimensions {shape} take {math.prod(shape)} bytes of values, but got {len(content) - start}"
        )
    try:
        return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
    except ValueError as error:  # more dimensions than NumPy has, or empty ones beside enormous ones
        raise DataError(f"IDX dimensions {shape} make no array ({error})") from error


def digest(content: bytes) -> str:
    """Returns the sha256 of an uncompressed content, which does not depend on how gzip packed it."""
    return hashlib.sha256(content).hexdigest()
