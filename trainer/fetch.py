"""Downloads the MNIST files, once, to where `trainer.data` looks for them."""

import contextlib
import fcntl
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import unquote, urlsplit

from trainer.data import DataError, check, mnist

if TYPE_CHECKING:
    from rich.progress import Progress

_log = logging.getLogger(__name__)

# Public copies of the original gzip files: PyTorch's and the Common Visual Data Foundation's.
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist",
    "https://storage.googleapis.com/cvdf-datasets/mnist",
)

# More bytes than any of MNIST's files has, however it is packed: the largest holds 47 MB.
LARGEST = 64 << 20

# Seconds to connect, and to wait for the next bytes.
_TIMEOUT = (10, 30)


def fetch_mnist(mirror: str | None = None, *, progress: bool = True) -> Path:
    """Downloads those of MNIST's four files that are missing or wrong.

    A file gets its name once it is complete and its uncompressed content has the digest of the original. What a killed
    download leaves is removed by the next one. Two downloads into one folder take turns.

    Args:
        mirror: Base of the files' addresses (http, https or file), to which a slash and the four names are
            appended; by default each of `MIRRORS` until one serves.
        progress: Whether to show a progress bar on standard error.

    Returns:
        The folder of the files, `mnist` below HPO_DATA_DIR or below the user's cache folder.

    Raises:
        DataError: The mirror is not an address, no mirror has the right file, or the folder cannot be written.
    """
    mirrors = list(MIRRORS) if mirror is None else [_checked(mirror)]
    folder = mnist.folder()
    files = (*mnist.TRAIN, *mnist.TEST)
    # Checked before the folder is locked, because a complete folder may be read-only.
    if any(_fault(folder / file.name, file) for file in files):
        with _locked(folder), _bars(progress) as bars:
            for leftover in folder.glob(".*.part"):
                leftover.unlink()
            for file in files:
                path = folder / file.name
                fault = _fault(path, file)
                if fault and path.exists():
                    _log.warning("%s; downloading it again", fault)
                if fault:
                    served = _download(file, path, mirrors, _Bar(bars, file.name))
                    mirrors.sort(key=lambda base: base != served)  # mirrors that failed come last
    return folder


class MNIST:
    """MNIST as `hpo fetch` and `hpo doctor` find it: the entry point `mnist` of the group `hpo.datasets`."""

    @staticmethod
    def fetch(mirror: str | None = None, *, progress: bool = True) -> Path:
        """As `fetch_mnist`."""
        return fetch_mnist(mirror, progress=progress)

    @staticmethod
    def check() -> None:
        """Raises `DataError` when the training images are missing, with what to do."""
        check("mnist")


def _checked(mirror: str) -> str:
    try:
        parts = urlsplit(mirror)
        sound = parts.netloc if parts.scheme in ("http", "https") else parts.scheme == "file"
    except ValueError:  # such as an unclosed bracket
        sound = False
    if not sound:
        raise DataError(f"`mirror` must be an http, https or file URL, but got {mirror!r}")
    return mirror.rstrip("/")


def _fault(path: Path, file: mnist.File) -> str | None:
    try:
        mnist.read(path, file)
    except DataError as error:
        return str(error)
    return None


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Makes the folder and locks it; the system releases the lock when the process dies."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror})") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.warning("waiting for another download into %s", folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download(file: mnist.File, path: Path, mirrors: list[str], bar: "_Bar") -> str:
    """Downloads one file from the first mirror that has it right, and returns that mirror."""
    temporary = path.with_name(f".{path.name}.part")
    faults = []
    try:
        for base in mirrors:
            try:
                with temporary.open("wb") as stream:
                    _transfer(f"{base}/{file.name}", stream, bar)
                mnist.read(temporary, file)
                temporary.replace(path)
                return base
            except (OSError, ValueError) as error:  # includes the errors of requests, and DataError
                faults.append(f"{base}: {str(error).removeprefix(f'{temporary}: ')}")
    finally:
        temporary.unlink(missing_ok=True)
    raise DataError(f"{file.name} could not be downloaded into {path.parent}\n  " + "\n  ".join(faults))


def _transfer(url: str, stream: BinaryIO, bar: "_Bar") -> None:
    bar.reset()
    parts = urlsplit(url)
    bounded: Any = _Bounded(stream)
    if parts.scheme == "file":
        with Path(unquote(parts.path)).open("rb") as source:
            shutil.copyfileobj(source, bounded)
        bar.total = stream.tell()
        bar.update(stream.tell())
        return
    from pooch import HTTPDownloader

    # The file as it is stored: the server must neither compress nor unpack it.
    headers = {"Accept-Encoding": "identity"}
    download = HTTPDownloader(progressbar=bar, chunk_size=1 << 16, timeout=_TIMEOUT, headers=headers)
    download(url, bounded, None)


class _Bounded:
    """A stream to write to, which takes at most `LARGEST` bytes: a server may send without end."""

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        self.flush = stream.flush

    def write(self, content: bytes) -> None:
        if self._stream.tell() + len(content) > LARGEST:
            raise DataError(f"the file has more than {LARGEST} bytes, which none of MNIST has; use another mirror")
        self._stream.write(content)


@contextlib.contextmanager
def _bars(visible: bool) -> Iterator["Progress"]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not visible) as bars:
        yield bars


class _Bar:
    """A progress bar with the methods that pooch calls, shown by rich."""

    def __init__(self, bars: "Progress", name: str):
        self._bars = bars
        self._task = bars.add_task(name, total=None)

    @property
    def total(self) -> float | None:
        return self._bars.tasks[self._task].total

    @total.setter
    def total(self, size: int) -> None:
        self._bars.update(self._task, total=size or None)

    def update(self, size: int) -> None:
        self._bars.advance(self._task, size)

    def reset(self) -> None:
        # rich's own reset would forget the speed of the download
        self._bars.update(self._task, completed=0)

    def close(self) -> None:
        self._bars.stop_task(self._task)
