"""The summary beside a journal: what its lines say, so that not every line has to be read again.

It is derived. It says how many bytes of the journal it covers, and their SHA-256; reading continues after them. A
summary of other bytes, one that other code has written, or one that was torn or edited is not used, and is written
anew. Deleting it costs time, never data. It is JSON: a digest of the rest, a header, and a line per trial.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import hpo
from hpo.errors import HpoError
from hpo.ledger import STUDY_ATTR, marked
from hpo.ledger.rows import from_rows
from hpo.machine import write_whole
from hpo.trial import Trial

# The modules on which it depends what a summary says, besides those of `study/`.
SOURCES = (
    *("ledger/__init__.py", "ledger/heads.py", "ledger/journal.py", "ledger/journal_file.py", "ledger/lines.py"),
    *("ledger/record.py", "ledger/replay.py", "ledger/rows.py", "ledger/summary.py"),
    *("best.py", "fronts.py", "so_far.py", "trial.py"),
)
# What a header says of each study; see :class:`Entry`.
ABOUT = {"id", "name", "directions", "attrs", "system_attrs", "ids", "error", "head"}
# It is written again when this share of the journal came after it.
SHARE = 0.05
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """One study.

    Attributes:
        about: What the header says of it: ``id``, ``name``, ``directions``, ``attrs``, ``system_attrs``, ``ids`` (of
            its trials, as pairs of the first and how many), ``error`` (why its trials cannot be read, or None),
            ``head`` (what ``hpo list`` shows, or None).
        rows: A line per trial, in order of their numbers; none where they cannot be read, or are not hpo's.
        journal: Where it is.
    """

    about: dict[str, Any]
    rows: bytes
    journal: Path

    @property
    def name(self) -> str:
        return str(self.about["name"])

    @property
    def attrs(self) -> dict[str, Any]:
        """The study's user attributes."""
        return dict(self.about["attrs"])

    def trials(self) -> list[Trial]:
        """Its trials.

        Raises:
            HpoError: When they cannot be read.
        """
        if self.about["error"] is not None:
            raise HpoError(self.about["error"])
        return marked(from_rows(self.rows, self.journal), self.attrs)


@dataclass(frozen=True)
class Summary:
    """What the first ``size`` bytes of a journal say.

    Attributes:
        journal: The file.
        size: How many bytes are covered; whole lines.
        lines: How many lines they are.
        digest: The SHA-256 of these bytes, which can be continued.
        resume: What reading on needs to know.
        studies: Those that are not deleted.
        inode: Device and number of the file that was read.
    """

    journal: Path
    size: int
    lines: int
    digest: Any
    resume: dict[str, Any]
    studies: tuple[Entry, ...]
    inode: tuple[int, int]

    @property
    def whole(self) -> bool:
        """Whether it covers the journal as it is now."""
        return self.journal.stat().st_size == self.size


def path_of(journal: Path) -> Path:
    """Where a journal's summary is."""
    journal = journal.resolve()
    return journal.parent / ".hpo" / f"{journal.name}.summary"


def load(journal: Path) -> Summary | None:
    """The summary of a journal; None where there is none that fits it."""
    try:
        return _load(journal)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none, not ours to read, or no such header
        return None


def _load(journal: Path) -> Summary | None:
    data = path_of(journal).read_bytes()
    digest, _, rest = data.partition(b"\n")
    if hashlib.sha256(rest).hexdigest().encode() != digest:
        return None
    head, _, rows = rest.partition(b"\n")
    header = json.loads(head)
    if header["format"] != writer():
        return None
    studies = tuple(_entries(header["studies"], rows, journal))
    if sum(len(entry.rows) for entry in studies) != len(rows):
        return None
    with journal.open("rb") as file:
        read = _digest(file, header["size"])
        status = os.fstat(file.fileno())
    if read is None or read.hexdigest() != header["sha256"]:
        return None
    return Summary(
        journal,
        header["size"],
        header["lines"],
        read,
        header["resume"],
        studies,
        (status.st_dev, status.st_ino),
    )


@cache
def writer() -> list[Any]:
    """What hpo this is: its version, and the CRC-32 of the code on which a summary's content depends.

    A version alone is not enough: between two releases, that code changes.
    """
    package, crc = Path(__file__).parents[1], 0
    for path in [*(package / name for name in SOURCES), *sorted((package / "study").glob("*.py"))]:
        crc = zlib.crc32(path.read_bytes() if path.exists() else b"", crc)  # there may be compiled modules only
    return [hpo.__version__, crc]


def _entries(studies: list[dict[str, Any]], rows: bytes, journal: Path) -> Iterator[Entry]:
    start = 0
    for about in studies:
        size = about.pop("bytes")
        entry = Entry(about, rows[start : start + size], journal)
        readable = about["error"] is None and STUDY_ATTR in about["attrs"]
        expected = sum(count for _, count in about["ids"]) if readable else 0
        if about.keys() != ABOUT or len(entry.rows) != size or entry.rows.count(b"\n") != expected:
            raise ValueError("it is not what `save` writes")
        yield entry
        start += size


def _digest(file: Any, size: int) -> Any:
    """The SHA-256 of a file's first bytes; None where it has fewer."""
    digest, left = hashlib.sha256(), size
    while left:
        chunk = file.read(min(_CHUNK, left))
        if not chunk:
            return None
        digest.update(chunk)
        left -= len(chunk)
    return digest


def save(summary: Summary) -> None:
    """Writes a summary beside its journal, as far as that can be written to: all of it, or nothing."""
    path = path_of(summary.journal)
    with suppress(OSError):  # a folder of somebody else's, a full disk: the next reader takes longer
        header = {
            "format": writer(),
            "size": summary.size,
            "lines": summary.lines,
            "sha256": summary.digest.hexdigest(),
            "resume": summary.resume,
            "studies": [entry.about | {"bytes": len(entry.rows)} for entry in summary.studies],
        }
        rest = b"\n".join([json.dumps(header, separators=(",", ":")).encode(), _joined(summary.studies)])
        path.parent.mkdir(exist_ok=True)
        write_whole(path, hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest)


def _joined(entries: Sequence[Entry]) -> bytes:
    return b"".join(entry.rows for entry in entries)
