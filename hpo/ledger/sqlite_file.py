"""The file of a sqlite ledger, as its one writer holds it: whole after every write, and changed by nobody else.

SQLite keeps what is new in a log beside the file, and copies it into the file when there is much of it, or at the end.
If another program has cut or replaced the file by then, that copy would destroy both. So the log is emptied after every
write, and before every write the writer looks whether the file is still what it was.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from urllib.parse import quote

from hpo.errors import StorageError

# How often a changed file is looked at before it counts as damaged, and the seconds between: another study's driver may
# just be copying its log.
LOOKS, BETWEEN = 20, 0.05
_WRITER = "SELECT value_json FROM study_user_attributes WHERE study_id = ? AND key = ?"


class SqliteFile:
    """The file of a database.

    Args:
        path: Where it is.
        study_id: The study that is written.
        key: The name of one of its attributes, which nobody else changes.
        value: The attribute, as the database holds it.
    """

    def __init__(self, path: Path, study_id: int, key: str, value: str) -> None:
        self._path, self._mark = path, (study_id, key, value)
        self._connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        self.truncate_log()

    def truncate_log(self) -> None:
        """Empties the log into the file, as far as no reader needs it; called after every write."""
        with suppress(sqlite3.Error):  # the next write fails, and says why
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._known = self._status()

    def check(self) -> None:
        """Checks that nobody has cut or overwritten the file; called before every write.

        Raises:
            StorageError: When somebody has.
        """
        for look in range(LOOKS):
            time.sleep(BETWEEN * min(look, 1))
            if (found := self._status()) == self._known:
                return
            if self._is_sound():
                self._known = found
                return
        raise StorageError(
            f"the ledger {self._path} was cut or overwritten by another program during the search, and is left as it "
            "is now; to continue, put back a copy of it, or choose another ledger (--storage)"
        )

    def _status(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:  # gone, which the lock reports
            return self._known
        return status.st_size, status.st_mtime_ns

    def _is_sound(self) -> bool:
        """Whether the file alone, without the log, is a database of its full length with the study in it."""
        study_id, key, value = self._mark
        name = f"file:{quote(os.fsencode(self._path))}?immutable=1"
        try:
            with closing(sqlite3.connect(name, uri=True)) as connection:
                return bool(connection.execute(_WRITER, (study_id, key)).fetchone() == (value,))
        except sqlite3.Error:
            return False

    def close(self) -> None:
        self._connection.close()


def opening(path: Path, mode: str | None = None) -> Callable[[], sqlite3.Connection]:
    """What connects to a sqlite file, whatever its name.

    Args:
        path: The file.
        mode: A parameter of SQLite's for a file that is only read; None for one that is written, and made when absent.
    """
    name = str(path) if mode is None else f"file:{quote(os.fsencode(path))}?{mode}"
    return partial(sqlite3.connect, name, uri=mode is not None, timeout=30, check_same_thread=False)


def writable(path: Path) -> bool:
    return os.access(path if path.exists() else path.parent, os.W_OK) and os.access(path.parent, os.W_OK)


def use_write_ahead_log(path: Path) -> None:
    # Readers (hpo show, optuna-dashboard) then never block the writer.
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
