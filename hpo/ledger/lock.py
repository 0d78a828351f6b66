"""One writer per study: a lock that ends with its process, so that nothing waits for a dead one.

A journal or sqlite file is locked itself, at an offset that belongs to the study, far behind its end. So two links to
one file are one ledger, and whatever happens to the files beside it does not matter. The kernel keeps such a lock as
long as the process lives, also while it is stopped: it cannot be lost, and no second check is needed when writing.

PostgreSQL has an advisory lock of the session. It is lost with the connection, and therefore the ledger checks its mark
in every transaction as well (:meth:`hpo.ledger.sql.Sql.claim`).
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from hashlib import blake2b
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hpo.errors import StorageError, StorageUnusable, StudyLocked
from hpo.ledger.address import Address, connect_postgresql
from hpo.text import reason

if TYPE_CHECKING:
    import psycopg

# Seconds for which a taken lock is tried again: the server drops the connection of a killed holder sooner.
LOCK_TIMEOUT = 0.3

_HOLDER = """
    SELECT application_name, pid FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (classid::bigint << 32 | objid::bigint) = hashtextextended(%s, 0)
"""


class LedgerGone(StorageError):
    """The ledger's file is no longer where it was; perhaps it is only open, here.

    Args:
        what: What became of it.
        path: Where it was.
        file: The file, still open.
    """

    def __init__(self, what: str, path: Path, file: FileIO) -> None:
        super().__init__(f"the ledger {path} was {what} during the search")
        self.path, self.file = path, file


class Lock(Protocol):
    """Held from its creation to :meth:`release`."""

    def ensure(self) -> None:
        """Takes the lock again if it was lost with its connection.

        Raises:
            ConnectionError: While that cannot be done.
            StudyLocked: When another process has it now.
            LedgerGone: When the ledger's file is no longer the one that was locked.
        """

    def disconnect(self) -> None:
        """Ends the connection to a server that does not answer; :meth:`ensure` then makes another."""

    def release(self) -> None: ...


def acquire(address: Address, study: str) -> Lock:
    """Takes the right to write ``study``.

    Raises:
        StudyLocked: When another process holds it, naming its host, pid and start.
        StorageUnusable: When the storage cannot be used.
    """
    if address.path is None:
        import psycopg

        try:
            return PostgresLock(address, study)
        except psycopg.Error as error:  # the server ended in the middle
            rule = f"cannot lock {address}: {reason(error)}; run the same command again"
            raise StorageUnusable.about("storage", rule, str(address)) from None
    try:
        return FileLock(address.path, study)
    except OSError as error:
        rule = f"cannot lock {address}: {error.strerror}; it must be a file that you may write, where locks work"
        raise StorageUnusable.about("storage", rule, str(address)) from None


def holder(address: Address, study: str) -> str | None:
    """Who is running ``study``; None when nobody is."""
    if address.path is None:
        with connect_postgresql(address) as connection:
            row = connection.execute(_HOLDER, (f"hpo:{study}",)).fetchone()
            return str(row[0]).removeprefix("hpo ") if row else None
    try:
        file = _open(address.path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return _describe(address.path, study) if is_range_locked(file, _offset(study)) else None
    finally:
        _close(file)


def _persist(take: Callable[[], bool]) -> bool:
    """Whether ``take`` succeeds within :data:`LOCK_TIMEOUT`."""
    end = time.monotonic() + LOCK_TIMEOUT
    while not take():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _me() -> dict[str, Any]:
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    return {"host": platform.node(), "pid": os.getpid(), "since": since}


def _refusal(study: str, holder: str) -> StudyLocked:
    return StudyLocked(f"study {study!r} is being run by {holder}; follow it with: hpo show {study} --watch")


# Files -------------------------------------------------------------------------------------------------------------


# A child that the driver forks shares the lock, and would keep it after the driver's death.
_locked: set[FileIO] = set()


def _close_all() -> None:
    for file in list(_locked):
        file.close()


os.register_at_fork(after_in_child=_close_all)


class FileLock:
    """A lock on one byte of the ledger's own file; a note in ``.hpo`` names its holder."""

    def __init__(self, path: Path, study: str) -> None:
        self._path = path.absolute()
        self._file = _open(path, os.O_RDWR | os.O_CREAT)
        _locked.add(self._file)
        if not _persist(lambda: lock_range(self._file, _offset(study))):
            _close(self._file)
            raise _refusal(study, _describe(path, study))
        self._offset = _offset(study)
        note = _note(path, study)
        note.parent.mkdir(exist_ok=True)
        note.write_text(json.dumps(_me()))

    def disconnect(self) -> None:
        pass

    def ensure(self) -> None:
        try:
            found = self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise LedgerGone("deleted or moved", self._path, self._file) from None
        if not os.path.samestat(found, os.fstat(self._file.fileno())):
            raise LedgerGone("replaced by another file", self._path, self._file)

    def release(self) -> None:
        if not self._file.closed:
            unlock_range(self._file, self._offset)
            _close(self._file)


def lock_range(file: FileIO, offset: int) -> bool:
    """Locks one byte of a file, until the file is closed; False when another open file has it."""
    try:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, _range(fcntl.F_WRLCK, offset))
    except (BlockingIOError, PermissionError):
        return False
    return True


def unlock_range(file: FileIO, offset: int) -> None:
    """Gives back what :func:`lock_range` took."""
    fcntl.fcntl(file, fcntl.F_OFD_SETLK, _range(fcntl.F_UNLCK, offset))


def is_range_locked(file: FileIO, offset: int) -> bool:
    """Whether another open file has this byte."""
    answer = fcntl.fcntl(file, fcntl.F_OFD_GETLK, _range(fcntl.F_WRLCK, offset))
    return answer != _range(fcntl.F_UNLCK, offset)


def _range(kind: int, offset: int) -> bytes:
    """C's ``struct flock`` for one byte, padded to its full size."""
    if sys.platform == "linux":
        return struct.pack("hhqqi4x", kind, os.SEEK_SET, offset, 1, 0)
    return struct.pack("qqihh", offset, 1, 0, kind, os.SEEK_SET)


def _offset(study: str) -> int:
    """Where a study's byte is: behind the end of every file, and behind the bytes that sqlite locks."""
    return (1 << 62) + int.from_bytes(blake2b(study.encode(), digest_size=7).digest())


def _open(path: Path, flags: int) -> FileIO:
    return FileIO(os.open(path, flags, 0o666), "r" if flags == os.O_RDONLY else "r+")


# SQLite loses its own locks when its process closes any descriptor of the database. So files of databases are closed
# when this process has no connection to any.
_closing = threading.Lock()
_connected = 0
_to_close: list[FileIO] = []


def _close(file: FileIO) -> None:
    _locked.discard(file)
    with _closing:
        if _connected and os.pread(file.fileno(), 6, 0) == b"SQLite":
            _to_close.append(file)
        else:
            file.close()


def sqlite_connected(change: int) -> None:
    """Counts this process's stores that are connected to a sqlite file: +1 before one connects, -1 after it ends."""
    global _connected
    with _closing:
        _connected += change
        while _to_close and not _connected:
            _to_close.pop().close()


def _note(path: Path, study: str) -> Path:
    path = path.resolve()
    return path.parent / ".hpo" / f"{path.name}.{study}.lock"


def _describe(path: Path, study: str) -> str:
    try:
        me = json.loads(_note(path, study).read_text())
        return f"pid {me['pid']} on {me['host']} since {me['since']}"
    except (OSError, ValueError, KeyError):
        return "another process"


# PostgreSQL --------------------------------------------------------------------------------------------------------


class PostgresLock:
    """A session's advisory lock; it goes with the connection."""

    def __init__(self, address: Address, study: str) -> None:
        self._address = address
        self._study = study
        self._backend = 0  # the server's process that holds the lock
        self._connection = self._take()

    def _take(self) -> psycopg.Connection[Any]:
        me = _me()
        name = f"hpo pid {me['pid']} on {me['host'][:20]} since {me['since'][:19]}"[:63]
        connection = connect_postgresql(self._address, autocommit=True, application_name=name)
        try:
            return self._locked(connection)
        except BaseException:
            connection.close()
            raise

    def _locked(self, connection: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
        """The connection, when it has the lock."""
        key = (f"hpo:{self._study}",)
        # The server notices within half a minute that the holder's machine is gone.
        for setting in ("idle = 10", "interval = 5", "count = 4"):
            connection.execute(f"SET tcp_keepalives_{setting}")

        def take() -> bool:
            row = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", key).fetchone()
            return row is not None and bool(row[0])

        if not _persist(take):
            other = connection.execute(_HOLDER, key).fetchone()
            if other and other[1] == self._backend:
                raise ConnectionError("the server still keeps the lock of this process's lost connection")
            raise _refusal(self._study, str(other[0]).removeprefix("hpo ") if other else "another process")
        self._backend = connection.info.backend_pid
        return connection

    def ensure(self) -> None:
        import psycopg

        try:
            self._connection.execute("SELECT 1")
        except psycopg.Error:
            self._connection.close()
            try:
                self._connection = self._take()
            except (psycopg.Error, StorageUnusable) as error:
                raise ConnectionError(str(error)) from error

    def disconnect(self) -> None:
        disconnect(self._connection)

    def release(self) -> None:
        self._connection.close()


def disconnect(connection: Any) -> None:
    """Ends a connection from another thread, so that the call that waits for the server fails."""
    import psycopg

    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)
