"""The journal's file: Optuna's, made safe against writers that die, write at once, or leave bad lines.

Optuna's own file backend appends and syncs every single call, waits 30 s for the lock of a killed writer, and fuses the
next record with a torn last line. This one appends a trial's reports and its end in one write, and cuts what cannot be
read off the end before it appends. Every line has the number of its writer's line (``seq``) and a checksum (``crc``);
Optuna ignores both, so its own tools read the file. Lines without them, of Optuna and of older versions, are read too.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from io import FileIO
from itertools import takewhile
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend

from hpo.errors import StorageError, StorageUnusable
from hpo.ledger import lock
from hpo.ledger.lines import Sequence, decode_all, encode, pieces_of, rewritten
from hpo.ledger.replay import PLACE, NeedsFullJournal
from hpo.ledger.summary import Entry, Summary

# The byte that hpo's writers lock while they append; the studies' own bytes lie behind it.
_APPEND = (1 << 62) - 1
# Seconds to wait for another writer's append.
APPEND_TIMEOUT = 10.0
# About how many bytes of lines are parsed together.
_TOGETHER = 1 << 17
# Bytes of a writer's last line by which it knows its place in the file again.
_END = 256
# Seconds after which a lock of Optuna's that did not change belongs to a dead writer: a live one needs milliseconds.
OPTUNA_LOCK_TIMEOUT = 5.0


class LedgerBusy(StorageError, TimeoutError):
    """Another process has been appending to the journal for too long; perhaps it is stopped."""


class JournalFile(JournalFileBackend):
    """A journal file that batches appends, and checks what it reads.

    Args:
        path: The journal; created when absent.

    Attributes:
        path: Absolute.
        lines: How many were read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._batch: list[dict[str, Any]] | None = None
        self._written = 0  # lines by this writer
        self._sound_size = -1  # of the file, when its end was last known to be sound
        self._end = b""  # what this writer wrote there
        self.start_at(None)
        super().__init__(str(path))

    def __reduce__(self) -> tuple[Any, ...]:
        return JournalFile, (self.path,)  # a copy reads and writes on its own

    def start_at(self, summary: Summary | None) -> None:
        """Reads on behind what a summary covers; from the beginning without one."""
        self.lines = self._offset = 0
        self._digest, self._sequence, self._inode = hashlib.sha256(), Sequence(), None
        if summary is not None:
            self.lines, self._offset, self._inode = summary.lines, summary.size, summary.inode
            self._digest, self._sequence = summary.digest.copy(), Sequence(**summary.resume["sequence"])

    def summary(self, resume: dict[str, Any], studies: tuple[Entry, ...]) -> Summary:
        """A summary of what was read."""
        resume |= {"sequence": self._sequence.to_resume()}
        status = self.path.stat()
        inode = (status.st_dev, status.st_ino)
        return Summary(self.path, self._offset, self.lines, self._digest.copy(), resume, studies, inode)

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        if self._batch is not None:  # nothing of a batch is in the file yet, and nobody else writes this study
            return
        if log_number_from < self.lines:
            self.start_at(None)
        with self.path.open("rb") as file:
            status = os.fstat(file.fileno())
            if self._inode not in (None, (status.st_dev, status.st_ino)):
                raise NeedsFullJournal  # it was replaced
            checked = not rewritten(file.readline())
            file.seek(self._offset)
            while lines := file.readlines(_TOGETHER):
                # A line without an end is torn, or still being written; what is read after it may be its own rest.
                whole = list(takewhile(lambda line: line.endswith(b"\n"), lines))
                records = decode_all(whole, checked=checked)
                for line in whole:
                    try:
                        record = next(records)
                        self._sequence.follow(record, line)
                    except ValueError as error:
                        last = line is whole[-1] and b"\n" not in file.read()
                        if self.lines and last and not any(pieces_of(line, checked=checked)):
                            return  # the end of the file; the next writer cuts it off
                        raise self.damaged(self.lines + 1, error) from None
                    record[PLACE] = (self._offset, len(line))
                    self._digest.update(line)
                    self._offset += len(line)
                    self.lines += 1
                    if self.lines > log_number_from:
                        yield record
                if len(whole) < len(lines):
                    return

    def damaged(self, line: int, why: object) -> StorageUnusable:
        """The error for a line that cannot be read; lines count from 1."""
        rule = (
            f"{self.path}, line {line}: {why}; to keep what is sound, and a copy of the file as it is: "
            f"hpo doctor --repair {self.path}"
        )
        return StorageUnusable.about("storage", rule, str(self.path))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        if self._batch is not None:
            self._batch.extend(logs)
        else:
            self._append(logs)

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Collects appends; writes and syncs them together when the block ends without an error."""
        logs = self._batch = []
        try:
            yield
        finally:
            self._batch = None
        self._append(logs)

    def _append(self, logs: list[dict[str, Any]]) -> None:
        data = memoryview(b"".join(encode(log, self._written + i) for i, log in enumerate(logs, start=1)))
        with appending(self.path) as file:
            size = file.seek(0, os.SEEK_END)
            end = os.pread(file.fileno(), len(self._end), max(0, self._sound_size - len(self._end)))
            if end != self._end:
                raise StorageError(
                    f"the ledger {self.path} was shortened or overwritten by another program during the search; to "
                    f"keep what is sound: hpo doctor --repair {self.path}"
                )
            if size != self._sound_size:
                size = _cut_unreadable_end(file)
            written = 0
            try:
                while written < len(data):
                    written += os.write(file.fileno(), data[written:])
                os.fsync(file.fileno())
            except OSError:  # a full disk, say: leave no half record behind
                file.truncate(size)
                raise
        self._sound_size, self._end = size + len(data), bytes(data[-_END:])
        self._written += len(logs)


# Locking -----------------------------------------------------------------------------------------------------------


@contextmanager
def appending(path: Path) -> Iterator[FileIO]:
    """The file, open for appending, while no other writer appends: neither hpo nor Optuna's own tools.

    Raises:
        LedgerBusy: When another process appends for longer than :data:`APPEND_TIMEOUT`.
    """
    with FileIO(os.open(path, os.O_RDWR | os.O_APPEND), "r+") as file:
        deadline = time.monotonic() + APPEND_TIMEOUT
        while not lock.lock_range(file, _APPEND):
            if time.monotonic() > deadline:
                raise LedgerBusy(f"another process has been writing to {path} for {APPEND_TIMEOUT:g} s; is it stopped?")
            time.sleep(0.001)
        if not os.path.samestat(path.stat(), os.fstat(file.fileno())):
            raise LedgerBusy(f"{path} was replaced by another file")
        link, target = Path(f"{path.resolve()}.lock"), f"/./{path.resolve()}"
        _take_optunas_lock(link, target)
        try:
            yield file
        finally:
            if _target(link) == target:
                link.unlink(missing_ok=True)


def _take_optunas_lock(link: Path, target: str) -> None:
    """Makes the symbolic link that locks a journal for Optuna.

    Called by one hpo process at a time. So a link with our target was left by a dead one, and is removed at once.
    Optuna's own link tells nothing about its maker; it is removed when it did not change for a while.
    """
    seen, since = None, 0.0
    deadline = time.monotonic() + APPEND_TIMEOUT + OPTUNA_LOCK_TIMEOUT
    while True:
        try:
            link.symlink_to(target)
            return
        except FileExistsError:
            found = _identity(link)
        if found != seen:
            seen, since = found, time.monotonic()
        if found and (_target(link) == target or time.monotonic() - since > OPTUNA_LOCK_TIMEOUT):
            if _identity(link) == seen:
                link.unlink(missing_ok=True)
        elif time.monotonic() > deadline:
            raise LedgerBusy(f"other processes hold the lock {link} all the time")
        else:
            time.sleep(0.001)


def _identity(link: Path) -> tuple[int, int] | None:
    try:
        status = link.lstat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_ctime_ns


def _target(link: Path) -> str | None:
    try:
        return str(os.readlink(link))  # noqa: PTH115 - Path would normalize our mark away
    except OSError:  # gone, or a plain file: Optuna's other kind of lock
        return None


def _cut_unreadable_end(file: FileIO) -> int:
    """Cuts off a torn line, and a whole last line that holds no record; returns the size.

    More is never cut: that is for :func:`hpo.ledger.repair.repair`, which keeps a copy.
    """
    size = file.seek(0, os.SEEK_END)
    end = _newline_before(file, size)
    before = _newline_before(file, end - 1) if end else 0
    checked = not rewritten(os.pread(file.fileno(), 1 << 16, 0).partition(b"\n")[0])
    if before > 0 and not any(pieces_of(os.pread(file.fileno(), end - before, before), checked=checked)):
        end = before
    if end < size:
        file.truncate(end)
    return end


def _newline_before(file: FileIO, end: int) -> int:
    """Where the last line that begins before ``end`` begins; ``end`` itself behind a newline."""
    while end > 0:
        start = max(0, end - 65536)
        newline = os.pread(file.fileno(), end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
