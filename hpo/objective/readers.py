"""Where a program's metrics are read: its standard output, or a file that it writes.

A reader finds rows, each with a step (where there is one) and some metrics. :class:`Gather` makes reports of them.
"""

from __future__ import annotations

import csv
import json
import math
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from stat import S_ISREG
from typing import Any

from hpo.errors import MissingExtra
from hpo.text import printable, short

# What people write after a number, and what colours it, or moves it, on a terminal.
_AFTER = ",;%)]}"
_TERMINAL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
# How many values that are no numbers are remembered.
REFUSED = 5

Row = tuple[float | None, dict[str, float]]


class Reader:
    """Finds rows; it is asked after every line of standard output and every moment in between.

    Args:
        where: The file or folder that it reads, if it is none of standard output.
    """

    def __init__(self, where: str = "") -> None:
        self._where = where
        self._refused: dict[str, str] = {}

    def hear(self, line: str) -> Iterator[Row]:
        """The rows of a line of standard output."""
        return iter(())

    def look(self, *, ended: bool = False) -> Iterator[Row]:
        """The rows that were written since the last look; an unfinished line counts when the program has ended."""
        return iter(())

    def account(self, seen: Iterable[str]) -> str:
        """What was found instead of the study's metric, in words."""
        if self._where and not any(path.exists() for path in _found(self._where)):
            return f"there is no {printable(self._where)}"
        refused = [f"{name} = {short(text)!r}, which is no number" for name, text in self._refused.items()]
        return f"it found {', '.join([*sorted(seen), *refused]) or 'no metrics at all'}"

    def _row(self, found: Mapping[str, Any]) -> Row:
        """The step and the metrics among what was found; what is no number is left out."""
        values = {}
        for name, value in found.items():
            try:
                if name and value is not None and not isinstance(value, bool):
                    values[name] = float(value)
            except (TypeError, ValueError, OverflowError):  # text, a list, an empty cell
                if isinstance(value, str) and value.strip() and len(self._refused) < REFUSED:
                    self._refused[name] = value
        return values.pop("step", None), values


class Gather:
    """Makes one report of the rows that belong together.

    A report has an objective and everything that was found since the last one. It is complete when a row of another
    step, or a metric a second time, shows that the next one has begun, or when it has all names that the reports before
    it had.

    Args:
        metrics: The study's objectives; every report has one of them.
        names: What every report has, where it is known before the first.
    """

    def __init__(self, metrics: Iterable[str], names: frozenset[str] | None = None) -> None:
        self._metrics, self._names = frozenset(metrics), names
        self._pending: dict[str, float] = {}
        self._step: float | None = None
        self._last = dict.fromkeys(self._metrics, -math.inf)
        self.seen: set[str] = set()
        self.count = 0

    def add(self, row: Row) -> Iterator[dict[str, float]]:
        """Takes a row; yields the report that it completes, or begins the next one after."""
        step, values = row
        self.seen |= values.keys()
        reported = self._metrics & values.keys()
        if step is not None and any(step <= self._last[metric] for metric in reported):
            return  # reported before: the program was resumed
        if step != self._step or not values.keys().isdisjoint(self._pending):
            yield from self.flush()
        self._pending |= values
        if reported:
            self._step = step
            self._last |= {} if step is None else dict.fromkeys(reported, step)
            if self._names is not None and self._names <= self._pending.keys():
                yield from self.flush()

    def flush(self) -> Iterator[dict[str, float]]:
        """The report that is begun, if it has an objective."""
        if self._metrics.isdisjoint(self._pending):
            return
        report, self._pending = self._pending, {}
        self._names = report.keys() & (report.keys() if self._names is None else self._names)  # type: ignore[assignment]
        self.count += 1
        yield report


class Pattern(Reader):
    """Lines of standard output that match a regular expression.

    Args:
        pattern: Each named group is a metric, but ``step``; the groups ``name`` and ``value`` hold one of any name.
    """

    def __init__(self, pattern: str) -> None:
        super().__init__()
        self._pattern = re.compile(pattern)
        groups = frozenset(self._pattern.groupindex)
        self.names = None if "name" in groups else groups - {"step"}

    def hear(self, line: str) -> Iterator[Row]:
        for match in self._pattern.finditer(_TERMINAL.sub("", line)):
            found = {name: text.rstrip(_AFTER) for name, text in match.groupdict().items() if text is not None}
            if self.names is None:
                found[found.pop("name", "")] = found.pop("value", "")
            yield self._row(found)


class _Lines(Reader):
    """Whole lines that are added to the files of a name, which may hold ``*``.

    A file that is written anew (some loggers do that for a new column) is read anew; rows that were read are skipped.

    Attributes:
        headed: Whether the first line of a file is a heading.
    """

    headed = False

    def __init__(self, where: str) -> None:
        super().__init__(where)
        self._files: dict[Path, _File] = {}

    def look(self, *, ended: bool = False) -> Iterator[Row]:
        for path in _found(self._where):
            file = self._files.setdefault(path, _File(path, headed=self.headed))
            for head, line in file.lines(ended=ended):
                yield from self._parse(head, line)

    def account(self, seen: Iterable[str]) -> str:
        troubles = [
            f"{printable(str(path))} cannot be read: {file.trouble}"
            for path, file in self._files.items()
            if file.trouble
        ]
        return "; ".join([*troubles, super().account(seen)])

    def _parse(self, head: str, line: str) -> Iterator[Row]:
        raise NotImplementedError


class _File:
    """How far a file has been read: its first line, the bytes, and the lines.

    Args:
        path: The file.
        headed: Whether the first line is a heading. Under another one, lines that were read may have other columns:
            their places alone tell them from new ones.

    Attributes:
        trouble: Why it cannot be read; None where it can, or is not there.
    """

    def __init__(self, path: Path, *, headed: bool) -> None:
        self._path, self._headed = path, headed
        self._head = self._last = b""
        self._offset = self._line = self._same = 0
        self._read = array("q")  # a hash per line
        self._state: tuple[int, int, int] | None = None
        self.trouble: str | None = None

    def lines(self, *, ended: bool) -> Iterator[tuple[str, str]]:
        """Pairs of the first line and a new one; the first itself comes as a pair with itself."""
        try:
            stat = self._path.stat()
            if not S_ISREG(stat.st_mode):  # reading a pipe would wait for its writer
                raise OSError("it is no file")
            state = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
            if state == self._state and not ended:
                return
            with self._path.open("rb") as file:
                head = file.readline()
                if not (ended or head.endswith(b"\n")):
                    return  # it is being written anew
                file.seek(self._offset - len(self._last))
                if head != self._head or file.read(len(self._last)) != self._last:  # it was written anew
                    if self._line >= self._same:  # all lines have been read under the heading before
                        self._same = len(self._read) if self._headed and head != self._head else 0
                    self._head, self._last, self._offset, self._line = head, b"", 0, 0
                    file.seek(0)
                added = file.read()
        except OSError as error:
            self.trouble = None if isinstance(error, FileNotFoundError) else error.strerror or str(error)
            return
        self._state, self.trouble = state, None
        if not ended:
            added = added[: added.rfind(b"\n") + 1]
        for raw in added.splitlines(keepends=True):
            self._offset += len(raw)
            self._last = raw
            if self._is_new(hash(raw.rstrip(b"\r\n"))):
                yield _decode(self._head), _decode(raw)

    def _is_new(self, line: int) -> bool:
        """Whether the next line was not read before; the first that is new begins another file."""
        place = self._line
        self._line += 1
        if place < len(self._read) and (place < self._same or self._read[place] == line):
            self._read[place] = line
            return False
        del self._read[place:]
        self._read.append(line)
        return True


class Csv(_Lines):
    """Rows of a CSV file with a heading, separated by commas, semicolons or tabs.

    A column ``step`` is the step; cells that hold no number are left out.
    """

    headed = True

    def _parse(self, head: str, line: str) -> Iterator[Row]:
        between = next((character for character in ",;\t" if character in head), ",")
        try:
            names, cells = (
                next(csv.reader([text], delimiter=between, skipinitialspace=True), []) for text in (head, line)
            )
        except csv.Error:
            return  # no CSV: a huge cell, or a carriage return in one
        if line != head and len(cells) == len(names):
            yield self._row(dict(zip(names, cells, strict=True)))


class JsonLines(_Lines):
    """Lines of a file that are JSON objects; a key ``step`` is the step, values that are no numbers are left out."""

    def _parse(self, head: str, line: str) -> Iterator[Row]:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return  # no JSON
        if isinstance(found, dict):
            yield self._row(found)


class TensorBoard(Reader):
    """Scalars in TensorBoard's event files, in a folder and the folders in it."""

    def __init__(self, where: str) -> None:
        try:
            from tensorboard.backend.event_processing import event_file_loader
        except ImportError as missing:
            what = "reading event files"
            raise MissingExtra.of("reports.tensorboard", what, "tensorboard", "tensorboard") from missing
        super().__init__(where)
        self._open: Any = event_file_loader.EventFileLoader
        self._loaders: dict[str, Any] = {}

    def look(self, *, ended: bool = False) -> Iterator[Row]:
        from tensorboard.util import tensor_util

        for folder in _found(self._where):
            for path in sorted(map(str, folder.rglob("*tfevents*"))):
                if path not in self._loaders:
                    self._loaders[path] = self._open(path)
                for event in self._loaders[path].Load():  # whole records only; the next look begins after them
                    for value in event.summary.value:
                        if value.HasField("tensor") and not value.tensor.tensor_shape.dim:
                            number = tensor_util.make_ndarray(value.tensor).item()
                            yield self._row({"step": event.step, value.tag: number})


def _found(where: str) -> list[Path]:
    """The paths of a name in which ``*`` stands for anything; other special characters are themselves."""
    if "*" not in where:
        return [Path(where)]
    path = Path(where.replace("[", "[[]"))
    return sorted(Path(path.anchor or ".").glob(str(path.relative_to(path.anchor))))


def _decode(line: bytes) -> str:
    return line.decode(errors="replace").strip("\r\n\ufeff")


FILES: Mapping[str, type[Csv | JsonLines | TensorBoard]] = {
    "csv": Csv,
    "jsonl": JsonLines,
    "tensorboard": TensorBoard,
}
