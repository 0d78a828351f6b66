"""Ends what a dead driver leaves behind: Ray's helpers outlive it by minutes, an objective's own children for ever.

A small process of its own session waits for the driver's end of a pipe to close, however the driver ends. Then it ends
every process that carries the driver's mark in its environment, which whatever the driver started has inherited.
Linux only: elsewhere nothing is watched.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MARK = "HPO_DRIVER"
# Seconds for which the dead driver's processes are looked for: a worker may be starting just now.
REAPING_SECONDS = 5.0


_mark: str | None = None


def watch(folder: str) -> None:
    """From now on, ends what was started while :func:`marking`, and removes a folder, when this process is gone.

    Args:
        folder: Holds what those processes write.
    """
    global _mark
    if not Path("/proc/self/environ").exists():
        return
    _mark = f"{os.getpid()}-{uuid.uuid4().hex}"
    reading, _ours = os.pipe()  # our end closes only when this process ends: no child inherits it
    silent = [(os.POSIX_SPAWN_OPEN, descriptor, os.devnull, os.O_WRONLY, 0) for descriptor in (1, 2)]
    os.posix_spawn(
        sys.executable,
        [sys.executable, "-S", "-E", __file__, _mark, folder],
        {},
        file_actions=[(os.POSIX_SPAWN_DUP2, reading, 0), *silent],
        setsid=True,  # a signal to the driver's group is not meant for it
    )
    os.close(reading)


@contextmanager
def marking() -> Iterator[None]:
    """Marks what is started within the block, and what that starts; nothing else of this process's children."""
    if _mark is not None:
        os.environ[MARK] = _mark
    try:
        yield
    finally:
        os.environ.pop(MARK, None)


def watching() -> bool:
    """Whether this process is watched."""
    return _mark is not None and _mark.startswith(f"{os.getpid()}-")


def marked(mark: str) -> list[int]:
    """The processes of this user that carry the mark."""
    # Ray's Python helpers write their title over the environment they were given; but their logs are the driver's.
    logs = re.compile(rf"/session_[^/]*_{mark.partition('-')[0]}/logs/")
    return [pid for pid in _others() if _carries(pid, mark) or _writes(pid, logs)]


def writing_to(folder: str) -> list[int]:
    """The processes of this user that have a file in the folder open; none where that cannot be seen."""
    return [pid for pid in _others() if _writes(pid, re.compile(re.escape(f"{folder}/")))]


def _others() -> list[int]:
    proc = Path("/proc")
    names = [entry.name for entry in proc.iterdir()] if proc.exists() else []
    return [int(name) for name in names if name.isdigit() and int(name) != os.getpid()]


def _carries(pid: int, mark: str) -> bool:
    try:
        return f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:  # ended meanwhile, or somebody else's
        return False


def _writes(pid: int, logs: re.Pattern[str]) -> bool:
    """Whether the process is a helper of Ray's and writes such logs; other programs may have connected to Ray."""
    try:
        if not Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::"):
            return False
        return any(logs.search(str(file.readlink())) for file in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def _reap(mark: str, folder: str) -> None:
    sys.stdin.buffer.read()  # returns when the driver is gone
    deadline = time.monotonic() + REAPING_SECONDS
    while time.monotonic() < deadline:
        for pid in marked(mark):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.2)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    _reap(sys.argv[1], sys.argv[2])
