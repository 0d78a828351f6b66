"""One writer per study: a lock that dies with its holder, so that nobody waits for the dead.

Files are locked with ``flock``, PostgreSQL with an advisory lock of the session. Both tell who holds them.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from hpo.errors import InputError
from hpo.ledger.address import Address
from hpo.ledger.storage import CONNECT_TIMEOUT, connect_postgresql

if TYPE_CHECKING:
    import psycopg

# Seconds for which a taken lock is tried again: a reader's glance at it, and the connection of a holder that has just
# been killed, are gone sooner.
PATIENCE = 0.3

_HOLDER = """
    SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (classid::bigint << 32 | objid::bigint) = hashtextextended(%s, 0)
"""


class Lock(Protocol):
    """Held from its creation to :meth:`release`."""

    def ensure(self) -> None:
        """Takes the lock again where it went with a lost connection; ``ConnectionError`` while that cannot be done."""

    def release(self) -> None: ...


def acquire(address: Address, study: str) -> Lock:
    """Takes the right to write ``study``.

    Raises:
        InputError: When another process holds it, naming its host, pid and start, or when the storage cannot be used.
    """
    if address.path is None:
        connect_postgresql(address).close()
        return PostgresLock(address, study)
    path = _lock_file(address, study)
    try:
        path.parent.mkdir(exist_ok=True)
        return FileLock(path, study)
    except OSError as error:
        raise InputError(f"storage: cannot lock {address} in {path.parent}: {error.strerror}") from None


def holder(address: Address, study: str) -> str | None:
    """Who is running ``study``; None when nobody is."""
    if address.path is None:
        with connect_postgresql(address) as connection:
            row = connection.execute(_HOLDER, (f"hpo:{study}",)).fetchone()
            return str(row[0]).removeprefix("hpo ") if row else None
    try:
        with _lock_file(address, study).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _describe(file.read())
            return None
    except FileNotFoundError:
        return None


def _lock_file(address: Address, study: str) -> Path:
    assert address.path is not None
    return address.folder / f"{address.path.name}.{study}.lock"


def _me() -> dict[str, Any]:
    return {
        "host": platform.node(),
        "pid": os.getpid(),
        "since": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def _persist(take: Callable[[], bool]) -> bool:
    """Whether ``take`` succeeds within :data:`PATIENCE`."""
    end = time.monotonic() + PATIENCE
    while not take():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _refusal(study: str, holder: str) -> InputError:
    return InputError(f"study {study!r} is being run by {holder}; `hpo show {study}` follows it")


class FileLock:
    """An ``flock`` on a file beside the ledger; the file tells who holds it."""

    def __init__(self, path: Path, study: str) -> None:
        self._file: IO[str] = path.open("a+")
        # A child that the driver forks shares the lock, and would keep it after the driver's death.
        os.register_at_fork(after_in_child=self._file.close)
        if not _persist(self._take):
            self._file.seek(0)
            holder = self._file.read()
            self._file.close()
            raise _refusal(study, _describe(holder))
        self._file.truncate(0)
        self._file.write(json.dumps(_me()))
        self._file.flush()

    def _take(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def ensure(self) -> None:
        pass  # the kernel holds it as long as this process lives

    def release(self) -> None:
        self._file.close()


def _describe(holder: str) -> str:
    try:
        me = json.loads(holder)
        return f"pid {me['pid']} on {me['host']} since {me['since']}"
    except (ValueError, KeyError):
        return "another process that is just starting"


class PostgresLock:
    """A session's advisory lock; it goes with the connection."""

    def __init__(self, address: Address, study: str) -> None:
        self._address = address
        self._study = study
        self._connection = self._take()

    def _take(self) -> psycopg.Connection[Any]:
        import psycopg

        me = _me()
        connection = psycopg.connect(
            self._address.url,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT,
            application_name=f"hpo pid {me['pid']} on {me['host'][:20]} since {me['since'][:19]}"[:63],
        )
        key = (f"hpo:{self._study}",)
        # The server notices within half a minute that the holder's machine is gone.
        for setting in ("idle = 10", "interval = 5", "count = 4"):
            connection.execute(f"SET tcp_keepalives_{setting}")

        def take() -> bool:
            row = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", key).fetchone()
            return row is not None and bool(row[0])

        if not _persist(take):
            other = connection.execute(_HOLDER, key).fetchone()
            connection.close()
            raise _refusal(self._study, str(other[0]).removeprefix("hpo ") if other else "another process")
        return connection

    def ensure(self) -> None:
        import psycopg

        try:
            self._connection.execute("SELECT 1")
        except psycopg.Error:
            self._connection.close()
            try:
                self._connection = self._take()
            except psycopg.Error as error:
                raise ConnectionError(str(error)) from error

    def release(self) -> None:
        self._connection.close()
