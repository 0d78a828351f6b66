"""Opens the storage behind an address, with every vendor's failure said as one clear message."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import InputError
from hpo.ledger.address import Address, redact

if TYPE_CHECKING:
    import psycopg

    from hpo.ledger.journal import Journal
    from hpo.ledger.sql import Sql

# Seconds to wait for a database that does not answer.
CONNECT_TIMEOUT = 5


def probe(address: Address, *, create: bool) -> None:
    """Checks, without importing Optuna, that the storage can be reached.

    Args:
        address: Where the ledger is.
        create: Whether it will be written, and made when absent.

    Raises:
        InputError: When it cannot.
    """
    if address.path is not None:
        _probe_file(address, address.path, create=create)
    else:
        connect_postgresql(address).close()


def _probe_file(address: Address, path: Path, *, create: bool) -> None:
    if not path.exists():
        if not create:
            raise InputError(f"storage: there is no ledger at {path}; `hpo run STUDY.toml` makes one")
        if not path.parent.is_dir():
            raise InputError(f"storage: cannot make {path}: there is no folder {path.parent}")
        if not os.access(path.parent, os.W_OK):
            raise InputError(f"storage: cannot make {path}: the folder {path.parent} is read-only")
        return
    if not path.is_file():
        raise InputError(f"storage: {path} is not a file")
    if not os.access(path, os.R_OK | os.W_OK if create else os.R_OK):
        raise InputError(f"storage: {path} is {'read-only' if create else 'not readable'}")
    with path.open("rb") as file:
        head = file.read(16)
    if address.kind == "journal" and head and not head.startswith(b'{"'):
        raise InputError(f"storage: {path} is not an Optuna journal file")
    if address.kind == "sqlite" and head and not head.startswith(b"SQLite format 3"):
        raise InputError(f"storage: {path} is not a SQLite database")


def connect_postgresql(address: Address) -> psycopg.Connection[Any]:
    """A connection of our own, beside Optuna's.

    Raises:
        InputError: When the server cannot be reached.
    """
    import psycopg

    try:
        return psycopg.connect(address.url, connect_timeout=CONNECT_TIMEOUT)
    except psycopg.Error as error:
        reason = redact(" ".join(str(error).split()))
        raise InputError(f"storage: cannot reach {address}: {reason}") from None


def connect(address: Address) -> Journal | Sql:
    """Opens the storage; makes it when absent.

    Raises:
        InputError: When the storage cannot be reached or is not Optuna's.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if address.kind == "journal":
        from hpo.ledger.journal import Journal

        assert address.path is not None
        try:
            return Journal(address.path)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"storage: {address} cannot be read: {error}") from error
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    from hpo.ledger.sql import Sql

    options: dict[str, Any]
    if address.path is not None:
        url = _sqlite_url(address.path)
        options = {"connect_args": {"timeout": 30}}
    else:
        url = address.url.replace("postgresql://", "postgresql+psycopg://", 1)
        options = {"pool_pre_ping": True, "connect_args": {"connect_timeout": CONNECT_TIMEOUT}}
    try:
        if address.path is not None and _writable(address.path):
            _use_write_ahead_log(address.path)
        return Sql(url, engine_kwargs=options)
    except (SQLAlchemyError, StorageInternalError, RuntimeError, sqlite3.Error) as error:
        raise InputError(f"storage: {address} cannot be opened: {redact(str(error))}") from error


def _writable(path: Path) -> bool:
    return os.access(path if path.exists() else path.parent, os.W_OK) and os.access(path.parent, os.W_OK)


def _sqlite_url(path: Path) -> str:
    if _writable(path):
        return f"sqlite:///{path}"
    # A reader without write permission; the log is there exactly while somebody writes.
    being_written = path.with_name(path.name + "-wal").exists()
    return f"sqlite:///file:{path}?uri=true&{'mode=ro' if being_written else 'immutable=1'}"


def _use_write_ahead_log(path: Path) -> None:
    # Readers (hpo show, optuna-dashboard) then never block the writer.
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def failures() -> tuple[type[Exception], ...]:
    """What a storage raises when it cannot write."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    return (StorageInternalError, SQLAlchemyError, OSError)


def is_passing(error: BaseException) -> bool:
    """Whether waiting may help: a database that restarts, not a full disk or a broken record."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import DBAPIError, OperationalError

    if isinstance(error, StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, ConnectionError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.Error):
        return "locked" in str(error.orig)
    return error.connection_invalidated or isinstance(error, OperationalError)
