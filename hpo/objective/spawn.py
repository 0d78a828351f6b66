"""A program of a trial: started in a group of its own, listened to, and ended with everything that it started."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
import uuid
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

# Seconds between two looks whether a program has ended that left its output to another process.
POLL_SECONDS = 0.1
# Bytes of a line that are read, and what a pipe can hold when its program ends; bytes of one read.
MAX_LINE_BYTES, PIPE, PART = 2**20, 2**20, 2**16
# Seconds for which a process may survive a kill before it is left to the system.
SURVIVAL = 2.0
# Begins the name of the variable that marks a program and everything it starts.
MARK = "HPO_COMMAND"
# A shell that reads a process group's number and a mark, waits for its standard input to close, and ends the group and
# what carries the mark.
_GUARD = """read -r group mark; read -r _; kill -s KILL -- "-$group"
for file in $(grep -lszxF -- "$mark" /proc/[0-9]*/environ); do file=${file#/proc/}; kill -s KILL "${file%/*}"; done"""


class _Stream(NamedTuple):
    file: IO[bytes]
    line: bytearray


def lines(process: subprocess.Popen[bytes]) -> Generator[tuple[IO[bytes] | None, str], None, None]:
    """The lines of both outputs, each cut to :data:`MAX_LINE_BYTES`, until the program ends.

    A carriage return, with which a progress bar is drawn anew, ends a line too. In every moment without a line, the
    stream is None. What is read goes to the trial's log at once, also when the caller stops listening.
    """
    assert process.stdout is not None
    assert process.stderr is not None
    left = PIPE
    with selectors.DefaultSelector() as selector:
        for file in (process.stdout, process.stderr):
            selector.register(file, selectors.EVENT_READ, _Stream(file, bytearray()))
        try:
            while left > 0:
                ended = process.poll() is not None  # before reading: what it wrote is then in the pipes
                ready = selector.select(0 if ended else POLL_SECONDS)
                if ended and not ready:
                    break
                if not ready:
                    yield None, ""
                for key, _ in ready:
                    chunk = os.read(key.fd, PART)
                    left -= len(chunk) if ended else 0  # another process may write for ever
                    if chunk and key.data.line[-1:] == b"\r":
                        del key.data.line[-1]
                        chunk = b"\r" + chunk
                    *whole, rest = _pieces(chunk) if chunk else [b""] * (2 if key.data.line else 1)
                    found = [_ended(key.data.line, piece) for piece in whole]
                    _log("".join(f"{text}\n" for text in found).encode(errors="replace"))
                    key.data.line.extend(rest[: MAX_LINE_BYTES - len(key.data.line)])
                    if not chunk:
                        selector.unregister(key.fileobj)
                    yield from ((key.data.file, text) for text in found)
                    if not found:
                        yield None, ""
        finally:
            streams = [key.data for key in selector.get_map().values()]
            unfinished = [(stream.file, _ended(stream.line, b"")) for stream in streams if stream.line]
            _log("".join(f"{text}\n" for _, text in unfinished).encode(errors="replace"))
    yield from unfinished


def _pieces(chunk: bytes) -> list[bytes]:
    """What stands between the ends of lines; a carriage return at the end stays, as a line feed may follow."""
    body = chunk.removesuffix(b"\r")
    pieces = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    pieces[-1] += chunk[len(body) :]
    return pieces


def _ended(line: bytearray, piece: bytes) -> str:
    """A line whose last piece has come; begins the next one."""
    line += piece[: MAX_LINE_BYTES - len(line)]
    text = line.decode(errors="replace").removesuffix("\r")
    line.clear()
    return text


@contextmanager
def spawn(
    command: Sequence[str], environment: Mapping[str, str], folder: str | None = None, grace: float = 5.0
) -> Iterator[subprocess.Popen[bytes]]:
    """A running program; it and all that it starts are ended with the block, or when this process is killed.

    Args:
        command: The program and its arguments.
        environment: Variables beside this process's own.
        folder: Where it runs; None for this process's working folder.
        grace: Seconds that it has to end after SIGTERM, before SIGKILL.

    Raises:
        RuntimeError: When it cannot be started.
    """
    mark = f"{MARK}_{uuid.uuid4().hex}"
    guard = subprocess.Popen(
        ["/bin/sh", "-c", _GUARD], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    try:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=os.environ | environment | {mark: "1"},
                cwd=folder,
                start_new_session=True,  # its own process group: a stop then reaches its children too
            )
        except OSError as error:
            what = " (it, its interpreter after #!, or its folder)" if isinstance(error, FileNotFoundError) else ""
            raise RuntimeError(f"{command[0]!r} cannot be started: {error.strerror}{what}") from None
        assert guard.stdin is not None
        guard.stdin.write(f"{process.pid} {mark}=1\n")
        guard.stdin.flush()
        try:
            yield process
        finally:
            _end(process, f"{mark}=1".encode(), grace)
            for stream in (process.stdout, process.stderr):
                assert stream is not None
                stream.close()
    finally:
        guard.kill()
        guard.communicate()


def _log(data: bytes) -> None:
    """Passes output on to this process's standard error, which is the trial's log."""
    with suppress(OSError):
        while data:  # a terminal or a pipe may take a part
            data = data[os.write(2, data) :]


def _end(process: subprocess.Popen[bytes], mark: bytes, grace: float) -> None:
    """Asks the program and all that it started to end, and kills what is left after ``grace`` seconds."""
    left = _send(signal.SIGTERM, process, mark)
    deadline = time.monotonic() + grace
    bytes_left = PIPE
    while left and time.monotonic() < deadline:
        bytes_left -= _drain(process, bytes_left)  # or a program that says goodbye at length would wait for a reader
        time.sleep(0.01)
        process.poll()
        left = _send(0, process, mark)
    if left:
        _send(signal.SIGKILL, process, mark)
    with suppress(subprocess.TimeoutExpired):  # a process that survives a kill is left to the system
        process.wait(5.0)
    _drain(process, bytes_left)


def _drain(process: subprocess.Popen[bytes], bytes_left: int) -> int:
    """Reads what is there, but not for ever; logs at most ``bytes_left`` bytes of it, and returns how many."""
    logged = 0
    for stream in (process.stdout, process.stderr):
        assert stream is not None
        os.set_blocking(stream.fileno(), False)
        with suppress(BlockingIOError):
            for _ in range(PIPE // PART):
                if not (chunk := os.read(stream.fileno(), PART)):
                    break
                _log(chunk[: bytes_left - logged])
                logged += len(chunk[: bytes_left - logged])
    return logged


def _send(sign: int, process: subprocess.Popen[bytes], mark: bytes) -> bool:
    """Sends a signal to the program's group and to what has left it; returns whether there was anything."""
    found = False
    with suppress(ProcessLookupError):  # no process is left
        os.killpg(process.pid, sign)
        found = True
    if found and not sign:  # the search below reads the environment of every process
        return True
    for pid in _marked(mark):
        with suppress(ProcessLookupError):
            os.kill(pid, sign)
            found = True
    return found


def kill_marked(mark: bytes) -> None:
    """Ends this user's processes with ``NAME=VALUE`` in their environment, and those that they start meanwhile."""
    deadline = time.monotonic() + SURVIVAL
    while (pids := list(_marked(mark))) and time.monotonic() < deadline:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.002)


def _marked(mark: bytes) -> Iterator[int]:
    proc = Path("/proc")
    for folder in proc.iterdir() if proc.exists() else ():  # which looks at names only
        if folder.name.isdigit():
            with suppress(OSError):  # ended meanwhile, or another user's
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    yield int(folder.name)
