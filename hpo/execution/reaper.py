"""Ends what a dead driver leaves behind: Ray's helpers outlive it by minutes, an objective's own children for ever.

A small process of its own session waits for the driver's end of a pipe to close, however the driver ends. Then it ends
every process that carries the driver's mark in its environment, which whatever the driver started has inherited.
Linux only: elsewhere nothing is watched.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
import uuid
from pathlib import Path

MARK = "HPO_DRIVER"
# Seconds for which the dead driver's processes are looked for: a worker may be starting just now.
PATIENCE = 5.0


def watch() -> None:
    """Marks everything that this process starts from now on, and has it ended when this process is gone."""
    if watching():
        return
    if not Path("/proc/self/environ").exists():
        return
    os.environ[MARK] = f"{os.getpid()}-{uuid.uuid4().hex}"
    reading, _ours = os.pipe()  # our end closes with us, and with nobody else: no child inherits it
    silent = [(os.POSIX_SPAWN_OPEN, descriptor, os.devnull, os.O_WRONLY, 0) for descriptor in (1, 2)]
    os.posix_spawn(
        sys.executable,
        [sys.executable, "-S", "-E", __file__, os.environ[MARK]],
        {},
        file_actions=[(os.POSIX_SPAWN_DUP2, reading, 0), *silent],
        setsid=True,  # a signal to the driver's group is not meant for it
    )
    os.close(reading)


def watching() -> bool:
    """Whether :func:`watch` was called by this process, on a system where it can watch."""
    return os.environ.get(MARK, "").startswith(f"{os.getpid()}-")


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
    try:
        return any(logs.search(str(file.readlink())) for file in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def _reap(mark: str) -> None:
    sys.stdin.buffer.read()  # returns when the driver is gone
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        for pid in marked(mark):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.2)


if __name__ == "__main__":
    _reap(sys.argv[1])
