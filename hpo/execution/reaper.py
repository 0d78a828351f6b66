"""Ends what a dead driver leaves behind: Ray's helpers outlive it by minutes, an objective's own children for ever.

A small process of its own session waits for the driver's end of a pipe to close, however the driver ends. Then it ends
every process that carries the driver's mark in its environment, which whatever the driver started has inherited.
Linux only: elsewhere nothing is watched.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

MARK = "HPO_DRIVER"
# Seconds for which the dead driver's processes are looked for: a worker may be starting just now.
PATIENCE = 5.0


_watching: list[subprocess.Popen[bytes]] = []


def watch() -> None:
    """Marks everything that this process starts from now on, and has it ended when this process is gone."""
    if _watching or not Path("/proc/self/environ").exists():
        return
    os.environ[MARK] = uuid.uuid4().hex
    reaper = subprocess.Popen(
        [sys.executable, "-S", "-E", __file__, os.environ[MARK]],
        stdin=subprocess.PIPE,  # its other end is ours, and closes with us
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={},
        start_new_session=True,  # a signal to the driver's group is not meant for it
    )
    _watching.append(reaper)


def marked(mark: str) -> list[int]:
    """The processes of this user that carry the mark."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environ = (entry / "environ").read_bytes()
            except OSError:  # ended meanwhile, or somebody else's
                continue
            if f"{MARK}={mark}".encode() in environ.split(b"\0"):
                found.append(int(entry.name))
    return found


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
