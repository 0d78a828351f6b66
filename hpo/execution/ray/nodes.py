"""Folders of trials on nodes that do not share the driver's: made there, sent to the driver, and removed.

A folder travels as a tar archive, in chunks, through Ray's object store; it is never whole in anybody's memory. On the
node it is in a folder of this user's in the node's folder for temporary files (``TMPDIR``).
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
import tempfile
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError, RpcError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hpo.execution import ARRIVING, MARKER
from hpo.execution.ray import cluster

# Bytes of a chunk; how many of them wait for the driver; and bytes of a folder that is sent at all.
CHUNK, WAITING, MOST = 1 << 22, 4, 10 << 30
# Seconds for which a node may be silent while it sends; and for which nodes may take to remove folders.
TRANSFER_TIMEOUT, REMOVAL_TIMEOUT = 60.0, 30.0


# On a node ---------------------------------------------------------------------------------------------------------


def shared(folder: str, uid: str) -> bool:
    """Whether the driver's folder of a trial is here too: the study's own mark is above it."""
    with suppress(OSError):
        return (Path(folder).parents[1] / MARKER).read_text() == uid
    return False


def new(uid: str) -> tuple[str, Path]:
    """A name that no other folder of the study's has, and the folder's path on this node; it does not exist yet."""
    name = uuid.uuid4().hex
    return name, _own(uid) / name


def _own(uid: str) -> Path:
    """Holds a study's folders on this node; nobody else may enter it."""
    root = Path(tempfile.gettempdir()) / f"hpo-{os.getuid()}"
    root.mkdir(mode=0o700, exist_ok=True)
    found = root.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"{root} belongs to another user: set TMPDIR to another folder on this node")
    (root / uid).mkdir(exist_ok=True)
    return root / uid


def _discard(uid: str, names: Collection[str]) -> None:
    for name in names:
        shutil.rmtree(_own(uid) / name, ignore_errors=True)


def _sweep(uid: str, keep: Collection[str]) -> None:
    _discard(uid, {path.name for path in _own(uid).iterdir()} - {*keep})
    with suppress(OSError):  # it is not empty
        _own(uid).rmdir()


def _send(uid: str, name: str) -> Iterator[bytes]:
    folder, waiting = _own(uid) / name, bytearray()
    size = sum(path.lstat().st_size for path in folder.rglob("*"))
    if not folder.exists():
        raise FileNotFoundError(f"{folder} is gone")
    if size > MOST:
        raise OSError(f"{folder} has {size / 2**30:.1f} GiB, and at most {MOST >> 30} are sent")
    for part in pack(folder):
        waiting += part
        if len(waiting) >= CHUNK:
            yield bytes(waiting)
            waiting.clear()
    yield bytes(waiting)
    yield b""  # that is all


def pack(folder: Path) -> Iterator[bytes]:
    """A folder as a tar archive, in small parts.

    A file that vanishes meanwhile is left out, and one that shrinks is filled up with zeros.
    """
    with tarfile.open(fileobj=io.BytesIO(), mode="w") as archive:
        for path in sorted(folder.rglob("*")):
            with suppress(FileNotFoundError):
                if (info := archive.gettarinfo(path, str(path.relative_to(folder)))) is None:  # a socket
                    continue
                with path.open("rb") if info.isreg() else io.BytesIO() as file:
                    yield info.tobuf(tarfile.PAX_FORMAT)
                    for start in range(0, info.size, CHUNK):  # a folder's or a link's size is 0
                        length = min(CHUNK, info.size - start)
                        yield file.read(length).ljust(length, b"\0")
                    yield bytes(-info.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


# On the driver -----------------------------------------------------------------------------------------------------


class RayNodes:
    """The nodes of the cluster that this process is connected to: :class:`hpo.execution.Nodes`.

    Args:
        notify: Receives remarks about what a folder holds and cannot be unpacked.
    """

    def __init__(self, notify: Callable[[str], object]) -> None:
        self._notify = notify
        self._removing: list[Any] = []

    def fetch(self, uid: str, place: str, into: Path) -> None:
        node, name = place.split("/")
        try:
            stream = _on(node, _send, num_returns="streaming", _generator_backpressure_num_objects=WAITING)(uid, name)
            unpack(_chunks(stream), into, self._notify)
        except RayTaskError as error:
            kind = FileNotFoundError if isinstance(error.cause, FileNotFoundError) else OSError
            raise kind(str(error.cause)) from None
        except RayError as error:
            with suppress(RpcError):
                if node not in cluster.alive():
                    raise FileNotFoundError("its node has left the cluster") from None
            raise OSError(" ".join(str(error).split())[:300]) from None
        except (RpcError, tarfile.TarError) as error:
            raise OSError(f"the node does not send it: {error}") from None

    def discard(self, uid: str, places: Collection[str]) -> None:
        names = defaultdict(list)
        for place in places:
            node, name = place.split("/")
            names[node].append(name)
        self._removing = self._still_removing(0) + [
            _on(node, _discard)(uid, of_node) for node, of_node in names.items()
        ]

    def sweep(self, uid: str, keep: Collection[str]) -> None:
        with suppress(RpcError):  # the cluster is gone, and with it what was to be removed
            names = [place.split("/")[1] for place in keep]
            self._removing += [_on(node, _sweep)(uid, names) for node in cluster.alive()]
            self._still_removing(REMOVAL_TIMEOUT)

    def _still_removing(self, timeout: float) -> list[Any]:
        tasks = self._removing
        return ray.wait(tasks, num_returns=len(tasks), timeout=timeout, fetch_local=False)[1] if tasks else []


def _on(node: str, function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """A function as a Ray task that runs on one node or not at all."""
    pinned = NodeAffinitySchedulingStrategy(node, soft=False)
    options |= {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": pinned}
    made: Callable[..., Any] = _task(function).options(**options).remote
    return made


@cache
def _task(function: Callable[..., Any]) -> Any:
    return ray.remote(function)


def _chunks(stream: Any) -> Iterator[bytes]:
    chunk = None
    while chunk != b"":
        if not ray.wait([stream], timeout=TRANSFER_TIMEOUT, fetch_local=False)[0]:
            raise OSError(f"its node has sent nothing for {TRANSFER_TIMEOUT:g} s")
        try:
            chunk = ray.get(next(stream), timeout=TRANSFER_TIMEOUT)
        except StopIteration:
            raise OSError("its node has not sent all of it") from None
        yield chunk


class _Incoming(io.RawIOBase):
    """What arrives, as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest, self._size = chunks, b"", 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            if (chunk := next(self._chunks, None)) is None:
                return 0
            self._rest, self._size = chunk, self._size + len(chunk)
            if self._size > 2 * MOST:
                raise OSError("its node does not stop sending")
        length = min(len(buffer), len(self._rest))
        buffer[:length], self._rest = self._rest[:length], self._rest[length:]
        return length


def unpack(chunks: Iterator[bytes], into: Path, notify: Callable[[str], object]) -> None:
    """Unpacks an archive into a folder, which appears when it is complete.

    Links that lead out of the folder, and what is neither file, folder nor link, are left out.
    """
    left_out = []
    arriving = into.with_name(f"{into.name}{ARRIVING}")
    shutil.rmtree(arriving, ignore_errors=True)
    try:
        arriving.mkdir(parents=True)
        with tarfile.open(fileobj=io.BufferedReader(_Incoming(chunks), CHUNK), mode="r|") as archive:
            archive.extraction_filter = lambda member, path: member  # Pythons before 3.11.4 have no filters
            for member in archive:
                if _stays_inside(member, arriving):
                    member.mode = (member.mode | (0o700 if member.isdir() else 0o600)) & 0o755
                    member.uid, member.gid, member.uname, member.gname = os.getuid(), os.getgid(), "", ""
                    archive.extract(member, arriving)
                else:
                    left_out.append(member.name)
        arriving.rename(into)
    finally:
        shutil.rmtree(arriving, ignore_errors=True)
    if left_out:
        names = ", ".join(map(repr, left_out[:5])) + (", ..." if len(left_out) > 5 else "")
        notify(f"not in {into}, because they lead out of the trial's folder or are special files: {names}")


def _stays_inside(member: tarfile.TarInfo, folder: Path) -> bool:
    """Whether a member is a file, folder or link that lies in the folder and does not lead out of it."""
    root = folder.resolve()
    place = root / member.name
    leads = (place.parent if member.issym() else root) / member.linkname
    inside = place.resolve().is_relative_to(root) and leads.resolve().is_relative_to(root)
    return inside and (member.isreg() or member.isdir() or member.issym() or member.islnk())
