"""What a process and all that it starts print, of bounded size: the beginning at once, the end when it is over."""

from __future__ import annotations

import fcntl
import os
import tempfile

# Bytes of an attempt's output that are passed on while it runs, and of its end that are passed on afterwards.
HEAD = TAIL = 1 << 18
# Bytes that may lie on the disk.
MOST = 1 << 25


class Output:
    """A file without a name, for the standard output and error of a process; writing to it never blocks."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed with the process
        # Writers of one file append, also after it was cut.
        fcntl.fcntl(self._file, fcntl.F_SETFL, fcntl.fcntl(self._file, fcntl.F_GETFL) | os.O_APPEND)
        self._read = self._cut = 0
        self._last = b""

    def fileno(self) -> int:
        return self._file.fileno()

    def begin(self) -> None:
        """Forgets what was printed: another trial begins."""
        os.ftruncate(self.fileno(), 0)
        self._read = self._cut = 0
        self._last = b""

    def more(self) -> bytes:
        """What was printed since the last call, up to :data:`HEAD` bytes in all."""
        size = os.fstat(self.fileno()).st_size
        found = b""
        if not self._cut and self._read < HEAD:
            found = os.pread(self.fileno(), min(size, HEAD) - self._read, self._read)
            self._read += len(found)
        if size > MOST:
            self._last = os.pread(self.fileno(), TAIL, size - TAIL)
            os.ftruncate(self.fileno(), 0)
            self._cut += size
        return found

    def end(self) -> bytes:
        """What :meth:`more` has not given: all of it, or its end after a line that says how much is left out."""
        found = self.more()
        size = os.fstat(self.fileno()).st_size
        start = max(0 if self._cut else self._read, size - TAIL)
        rest = (self._last + os.pread(self.fileno(), TAIL, start))[-TAIL:]
        left_out = self._cut + size - self._read - len(rest)
        return found + (b"\n[%d bytes are left out]\n" % left_out if left_out > 0 else b"") + rest

    def close(self) -> None:
        self._file.close()
