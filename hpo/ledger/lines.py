"""The lines of a journal: written with a checksum and their writer's number, and checked when they are read."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import pairwise
from types import MappingProxyType
from typing import Any
from zlib import crc32

from hpo.text import how_many

# What a line begins with, and the operation that begins a trial.
_RECORD, _CREATE_TRIAL = b'{"op_code":', 4
_ENCODER = json.JSONEncoder(separators=(",", ":"))


def encode(record: dict[str, Any], seq: int) -> bytes:
    text = _ENCODER.encode(record | {"seq": seq})[:-1].encode()
    return b'%s,"crc":%d}\n' % (text, crc32(text))


def rewritten(first: bytes) -> bool:
    """Whether another program has rewritten a whole journal and copied the checksums; its first line shows it."""
    with suppress(ValueError):
        record = json.loads(first)
        return isinstance(record, dict) and "crc" in record and not _sound(record, first)
    return False


def decode(line: bytes, *, checked: bool = True) -> dict[str, Any]:
    """A line's record; ``ValueError`` for one that cannot be read, or was changed.

    Args:
        line: The line.
        checked: Whether the numbers and checksums of this journal's lines mean anything; else they are dropped.
    """
    try:
        record = json.loads(line)
    except ValueError:
        raise ValueError("cannot be read") from None
    return _checked(record, line, checked=checked)


def decode_all(lines: list[bytes], *, checked: bool = True) -> Iterator[dict[str, Any]]:
    """What :func:`decode` makes of each line, in half the time: they are parsed together."""
    try:
        records = json.loads(b"[%s]" % b",".join(lines))
    except ValueError:
        records = []
    if len(records) != len(lines):
        yield from (decode(line, checked=checked) for line in lines)
    else:
        yield from (_checked(record, line, checked=checked) for record, line in zip(records, lines, strict=True))


def _sound(record: Mapping[str, Any], line: bytes) -> bool:
    end = line.rfind(b',"crc":')
    return end > 0 and crc32(line[:end]) == record["crc"]


def _checked(record: Any, line: bytes, *, checked: bool) -> dict[str, Any]:
    if not isinstance(record, dict) or not isinstance(record.get("worker_id"), str) or "op_code" not in record:
        raise ValueError("is no record of Optuna's")
    if not checked:
        return {key: value for key, value in record.items() if key not in ("seq", "crc")}
    if "crc" in record and not _sound(record, line):
        raise ValueError("was changed: its checksum is wrong")
    return record


class Sequence:
    """Notices lines that are there twice, or missing.

    Args:
        last: The number of every writer's last line.
        begun: Digests of the lines without a number that began a trial.
    """

    def __init__(self, last: Mapping[str, int] = MappingProxyType({}), begun: Iterable[str] = ()) -> None:
        self._last = dict(last)
        self._begun = set(begun)

    def to_resume(self) -> dict[str, Any]:
        """What another one needs to continue."""
        return {"last": dict(self._last), "begun": sorted(self._begun)}

    def missing(self, record: dict[str, Any]) -> int:
        """How many lines of its writer are missing before it; -1 when it is there for the second time."""
        if "seq" in record:
            return max(-1, int(record["seq"]) - self._last.get(writer_of(record), 0) - 1)
        return 0

    def follow(self, record: dict[str, Any], line: bytes) -> None:
        """Takes the next line; ``ValueError`` when it is not the next."""
        writer = record["worker_id"][:36]
        if "seq" in record and record["seq"] == self._last.get(writer, 0) + 1 and record["op_code"] != _CREATE_TRIAL:
            self._last[writer] = record["seq"]
            return
        missing = self.missing(record)
        # A trial begins at a moment, so not even lines without a number are the same by chance.
        begins = record["op_code"] == _CREATE_TRIAL and bool(record.get("datetime_start"))
        unnumbered = hashlib.blake2b(line, digest_size=16).hexdigest() if begins and "seq" not in record else ""
        if missing < 0 or unnumbered in self._begun:
            raise ValueError("is there for the second time")
        if missing:
            raise ValueError(f"{how_many(missing, 'line')} of the same writer before it are missing")
        self.accept(record)
        if unnumbered:
            self._begun.add(unnumbered)

    def accept(self, record: dict[str, Any]) -> None:
        if "seq" in record:
            self._last[writer_of(record)] = record["seq"]


def writer_of(record: dict[str, Any]) -> str:
    return str(record["worker_id"][:36])  # what follows is the thread


def pieces_of(line: bytes, *, checked: bool = True) -> Iterator[tuple[dict[str, Any], bytes]]:
    """The sound records in a line, into which a torn one and the next were fused."""
    starts = [match.start() for match in re.finditer(re.escape(_RECORD), line)]
    for start, end in pairwise([*starts, len(line)]):
        with suppress(ValueError):
            yield decode(line[start:end], checked=checked), line[start:end]
