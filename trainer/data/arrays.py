"""Decoded arrays in the user's cache folder, which all processes of a machine map into their memory.

A source file is unpacked and verified once. Its array is kept as an npy file named after the digest of the content. A
text file beside it records which source file was verified, with size and modification time. While these are unchanged,
the array is mapped and the source is not opened. The cache is optional: if it is deleted, damaged or cannot be written,
loading takes longer and gives the same result.
"""

import contextlib
import hashlib
import io
import logging
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from trainer.data.examples import DataError

T = TypeVar("T", bound=np.generic)

_log = logging.getLogger(__name__)

# Writing an array takes a second: a temporary file that is an hour old belongs to a dead process.
_STALE_SECONDS = 3600

# Arrays that could not be written to the cache, by key and fingerprint: decoded once per process, not per trial.
_unkept: dict[tuple[str, str], NDArray[Any]] = {}


def cache_folder() -> Path:
    """Returns the user's cache folder of `hpo`, whether it is there or not.

    Raises:
        DataError: The user's home folder is unknown.
    """
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if xdg.is_absolute():  # the specification says to ignore relative paths
        return xdg / "hpo"
    if sys.platform == "win32" and "LOCALAPPDATA" in os.environ:
        return Path(os.environ["LOCALAPPDATA"]) / "hpo" / "Cache"
    try:
        home = Path.home()
    except RuntimeError as error:
        raise DataError("no home folder for the cache: set XDG_CACHE_HOME to an absolute path") from error
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "hpo"


def keep(
    source: Path, key: str, shape: tuple[int, ...], dtype: type[T], decode: Callable[[], NDArray[T]]
) -> NDArray[T]:
    """Returns the array that `decode` makes of `source`: mapped from the cache, decoded only if it must be.

    Args:
        source: The file that `decode` reads and verifies. If its path, size or modification time is new, it is
            verified again.
        key: Name of the array in the cache; different for each content and each way to decode it.
        shape: The array's shape.
        dtype: The array's type.
        decode: Reads `source`, verifies it and returns the array, or raises.

    Returns:
        A read-only array, mapped from the cache if that can be written, else in this process's memory.

    Raises:
        OSError: `source` is missing or cannot be accessed.
    """
    status = source.stat()
    verified = f"{source} {status.st_size} {status.st_mtime_ns}\n"
    if (key, verified) in _unkept:
        return _unkept[key, verified]
    # If anything is wrong with the cache, the source is decoded.
    with contextlib.suppress(OSError, ValueError):
        array, stamp = _places(key, source)
        if stamp.read_text() == verified:
            return _map(array, shape, dtype)
    decoded = decode()
    decoded.setflags(write=False)
    try:
        array, stamp = _places(key, source)
        array.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(array.parent)
        # The array first: the stamp says that it is there.
        _write(array, _header(shape, dtype), decoded.data)
        _write(stamp, verified.encode())
        return _map(array, shape, dtype)
    except (OSError, ValueError) as error:
        _log.warning("every process decodes %s anew, its array cannot be kept: %s", source, error)
        _unkept[key, verified] = decoded
        return decoded


def _places(key: str, source: Path) -> tuple[Path, Path]:
    folder = cache_folder() / "arrays"
    path_hash = hashlib.sha256(str(source).encode()).hexdigest()[:16]
    return folder / f"{key}.npy", folder / f"{key}-{path_hash}.txt"


def _header(shape: tuple[int, ...], dtype: type[np.generic]) -> bytes:
    stream = io.BytesIO()
    description = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, description)
    return stream.getvalue()


def _map(path: Path, shape: tuple[int, ...], dtype: type[T]) -> NDArray[T]:
    """Maps an array for reading; ValueError unless header and length are exactly as written."""
    header = _header(shape, dtype)
    length = len(header) + math.prod(shape) * np.dtype(dtype).itemsize
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size != length or stream.read(len(header)) != header:
            raise ValueError(f"{path}: not the npy file of {length} bytes that was written, but one of {size}")
        mapped = np.memmap(stream, dtype, mode="r", offset=len(header), shape=shape)
    return mapped.view(np.ndarray)  # slices of an np.memmap are slower


def _write(path: Path, *parts: bytes | memoryview) -> None:
    """Writes a file completely or not at all, even if several processes write it at once."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            for part in parts:
                stream.write(part)
            stream.flush()
            os.fsync(stream.fileno())  # without it, zeros of the right length may remain after a power cut
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _remove_stale(folder: Path) -> None:
    for leftover in folder.glob(".*.tmp"):
        with contextlib.suppress(FileNotFoundError):  # another process was faster
            if leftover.stat().st_mtime < time.time() - _STALE_SECONDS:
                leftover.unlink()
