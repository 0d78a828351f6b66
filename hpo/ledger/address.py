"""Storage addresses: what kind of ledger one names, and how it is shown without its password."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hpo.errors import InputError

DEFAULT_STORAGE = "hpo.journal"


@dataclass(frozen=True)
class Address:
    """Where a ledger is.

    Attributes:
        kind: ``"journal"``, ``"sqlite"`` or ``"postgresql"``.
        url: As given (with its password: never print it, print ``str(address)``).
        path: The file of a journal or a sqlite ledger.
    """

    kind: str
    url: str
    path: Path | None

    @property
    def folder(self) -> Path:
        """Where hpo keeps what belongs to the ledger but not in it: locks and checkpoints."""
        return (self.path.parent if self.path else Path()) / ".hpo"

    def __str__(self) -> str:
        return redact(self.url)


def parse(url: str) -> Address:
    """Reads a storage address.

    Raises:
        InputError: For a scheme that is no ledger.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return Address("journal", url, Path(url))
    if scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        return Address("sqlite", url, Path(rest[1:]))
    if scheme in ("postgresql", "postgres"):
        return Address("postgresql", "postgresql://" + rest, None)
    raise InputError(
        f"storage: must be the path of a journal file, sqlite:///PATH or postgresql://USER@HOST/DATABASE, "
        f"got {redact(url)}"
    )


def redact(url: str) -> str:
    """The address without its password, in the authority or among the options."""
    url = re.sub(r"(?<=//)([^/?#@:]*):[^/?#]*@", r"\1:***@", url)
    return re.sub(r"(?i)([?&]password=)[^&]*", r"\1***", url)
