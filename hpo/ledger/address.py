"""Storage addresses: what kind of ledger one names, how it is shown without its password, whether it can be reached."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hpo.errors import StorageUnusable, StudyNotFound
from hpo.machine import absolute, expand
from hpo.text import printable, reason, redact, suggest

if TYPE_CHECKING:
    import psycopg

DEFAULT_STORAGE = "hpo.journal"
# How every SQLite file begins.
_SQLITE = b"SQLite format 3\0"
# Seconds to wait for a database that does not answer.
CONNECT_TIMEOUT = 5
# A connection string of libpq, which is no file's name.
_DSN = re.compile(r"(?i)(?:^|\s)(?:host|hostaddr|port|dbname|user|password|service|passfile)\s*=")
# What no name of a file can hold; the halves left out stand for a name's bytes that are no UTF-8.
_UNWRITABLE = re.compile("[\0\ud800-\udc7f\udd00-\udfff]")
# What stays as it is in a password; % because a quoted password must stay as it is.
_PASSWORD = "%!$&'()*+,;=:~"


@dataclass(frozen=True)
class Address:
    """Where a ledger is.

    Attributes:
        kind: ``"journal"``, ``"sqlite"`` or ``"postgresql"``.
        url: As given (with its password: never print it, print ``str(address)``).
        path: The file of a journal or a sqlite ledger, absolute.
        home: The working folder when the address was read.
    """

    kind: str
    url: str
    path: Path | None
    home: Path = field(default_factory=Path.cwd, compare=False)

    @property
    def folder(self) -> Path:
        """Where hpo keeps what belongs to the ledger but not in it: locks and checkpoints."""
        return (self.path.parent if self.path else self.home) / ".hpo"

    @property
    def relative(self) -> bool:
        """Whether its file was named relative to the working folder."""
        return self.path is not None and not Path(expand(self.url.removeprefix("sqlite:///"))).is_absolute()

    def __str__(self) -> str:
        return redact(self.url)


def parse(url: str) -> Address:
    """Reads a storage address.

    Raises:
        StorageUnusable: For a scheme that is no ledger, and for what no path and no address can hold.
    """
    if _UNWRITABLE.search(url):
        raise _unusable("must not hold a NUL character or half a character", printable(redact(url)), got=True)
    scheme, separator, rest = url.partition("://")
    if not separator:
        if _DSN.search(url):
            raise _unusable("write it as postgresql://USER@HOST/DATABASE", redact(url), got=True)
        return Address("journal", url, absolute(url))
    if scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        return Address("sqlite", url, absolute(rest[1:]))
    if scheme in ("postgresql", "postgres"):
        return Address("postgresql", "postgresql://" + _quoted(rest), None)
    rule = "must be the path of a journal file, sqlite:///PATH or postgresql://USER@HOST/DATABASE"
    raise _unusable(rule, redact(url), got=True)


def _quoted(rest: str) -> str:
    """What follows ``postgresql://``, with a ``/``, ``#``, ``?`` or ``@`` in the password quoted as a URL needs it."""
    user, colon, tail = rest.partition(":")
    password, at, host = tail.rpartition("@")
    port = re.match(r"\d+(?=[/?#])", tail)  # then the last @ belongs to the options
    if not (colon and at) or re.search(r"[/?#@]", user) or port:
        return rest
    return f"{user}:{quote(password, safe=_PASSWORD)}@{host}"


def probe(address: Address, *, create: bool) -> None:
    """Checks, without importing Optuna, that the storage can be reached.

    Args:
        address: Where the ledger is.
        create: Whether it will be written, and made when absent.

    Raises:
        StorageUnusable: When it cannot.
    """
    if address.path is not None:
        _probe_file(address, address.path, create=create)
    else:
        connect_postgresql(address).close()


def _probe_file(address: Address, path: Path, *, create: bool) -> None:
    name = Path(address.url.removeprefix("sqlite:///"))  # as the user wrote it
    if (rule := _broken_rule(address.kind, path, name, create=create)) is not None:
        raise _unusable(rule, str(address))


def _broken_rule(kind: str, path: Path, name: Path, *, create: bool) -> str | None:
    """What is wrong with a ledger's file, and what to do; None where nothing is."""
    if not path.exists():
        if not create:
            return f"there is no ledger at {name}; create one with: hpo run STUDY.toml"
        if not path.parent.is_dir():
            return f"cannot make {name}: there is no folder {name.parent}; make the folder, or name another file"
        if not os.access(path.parent, os.W_OK):
            return f"cannot make {name}: the folder {name.parent} is read-only; name a file in another folder"
        return None
    if not path.is_file():
        return f"{name} is not a file; name a file"
    if not os.access(path, os.R_OK | os.W_OK if create else os.R_OK):
        why = "read-only" if create else "not readable"
        return f"{name} is {why}; change its permissions, or name another ledger"
    if kind == "journal":
        with path.open("rb") as file:
            head = file.read(len(_SQLITE))
        if head and not head.startswith(b'{"'):
            hint = f"it is a SQLite file: write sqlite:///{name}" if head == _SQLITE else "name another file"
            return f"{name} is not an Optuna journal file; {hint}"
        return None
    # SQLite opens it: if this process closed the file itself, the locks that SQLite has on it would be lost.
    try:
        with closing(sqlite3.connect(f"file:{quote(os.fsencode(path))}?immutable=1", uri=True)) as connection:
            connection.execute("PRAGMA schema_version")
    except sqlite3.DatabaseError:
        return f"{name} is not a SQLite database; name another file"
    return None


def connect_postgresql(address: Address, **options: Any) -> psycopg.Connection[Any]:
    """A connection of our own, beside Optuna's.

    Raises:
        StorageUnusable: When the server cannot be reached.
    """
    import psycopg

    try:
        return psycopg.connect(address.url, connect_timeout=CONNECT_TIMEOUT, **options)
    except psycopg.Error as error:
        rule = f"cannot reach {address}: {reason(error)}; check the address, and that the server runs"
        raise _unusable(rule, str(address)) from None


def _unusable(rule: str, value: str, *, got: bool = False) -> StorageUnusable:
    return StorageUnusable.about("storage", rule, value, got=got)


def not_found(where: Address, name: str, known: Iterable[str], option: str = "") -> StudyNotFound:
    """The error that a ledger has no study of a name; it suggests one that it has.

    Args:
        where: The ledger.
        name: The name.
        known: The names of its studies.
        option: The option that gave the name, for the message.
    """
    rule = f"there is no study {name!r} in {where}{suggest(name, known)}"
    return StudyNotFound(f"{option}: {rule}" if option else rule, key=option or "name", rule=rule, value=name)
