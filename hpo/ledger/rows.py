"""A trial as one row of JSON, and its reports, which are read only when they are needed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, overload

from hpo.errors import StorageUnusable
from hpo.trial import Report, State, Trial

_FIELDS = tuple(field.name for field in fields(Trial))
_STATES = {str(state): state for state in State}
# Where in a journal the line with a trial's reports is, and how many they are: count, first byte, bytes.
Place = tuple[int, int, int]


# The system attribute with a trial's reports. Optuna's tools show user attributes as text; it once was one of those.
REPORTS, REPORTS_BEFORE = "hpo:reports", "reports"


class StoredReports(Sequence[Report]):
    """The reports of a finished trial, read from its journal when the first of them is asked for.

    Args:
        journal: The file.
        place: Where in it they are.
    """

    def __init__(self, journal: Path, place: Place) -> None:
        self._journal, self._place = journal, place
        self._read: tuple[Report, ...] | None = None

    @property
    def _reports(self) -> tuple[Report, ...]:
        if self._read is None:
            count, start, size = self._place
            try:
                with self._journal.open("rb") as file:
                    file.seek(start)
                    line = json.loads(file.read(size))
                attrs = [
                    {**line.get(f"{kind}_attrs", {}), **line.get(f"{kind}_attr", {})} for kind in ("user", "system")
                ]
                self._read = unpack(packed(*attrs))
                if len(self._read) != count:
                    raise ValueError
            except (OSError, ValueError, KeyError, TypeError):
                rule = f"{self._journal} was changed while it was read; try again"
                raise StorageUnusable.about("storage", rule, str(self._journal)) from None
        return self._read

    def __len__(self) -> int:
        return self._place[0]

    @overload
    def __getitem__(self, index: int) -> Report: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Report, ...]: ...
    def __getitem__(self, index: int | slice) -> Report | tuple[Report, ...]:
        return self._reports[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._reports == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self._reports)


def packed(user_attrs: Mapping[str, Any], system_attrs: Mapping[str, Any]) -> Any:
    """The attribute with a trial's reports, wherever it is kept; None without any."""
    return system_attrs.get(REPORTS, user_attrs.get(REPORTS_BEFORE))


def pack(reports: Sequence[Report]) -> dict[str, Any]:
    """Reports in columns, as JSON takes them."""
    names = {name: None for report in reports for name in report.metrics}  # a set that keeps its order
    steps = [report.step for report in reports]
    return {
        **({} if steps == list(range(1, len(steps) + 1)) else {"step": steps}),
        "time": [round(report.time, 3) for report in reports],
        "metrics": {name: [_to_json(report.metrics.get(name)) for report in reports] for name in names},
    }


def unpack(packed: Mapping[str, Any]) -> tuple[Report, ...]:
    """What :func:`pack` packed."""
    columns, steps = packed["metrics"], packed.get("step")
    return tuple(
        Report(
            index + 1 if steps is None else steps[index],
            time,
            {name: float(column[index]) for name, column in columns.items() if column[index] is not None},
        )
        for index, time in enumerate(packed["time"])
    )


def _to_json(value: float | None) -> float | str | None:
    # JSON has no NaN, and other tools read this text too.
    return value if value is None or math.isfinite(value) else str(value)


def to_row(trial: Trial) -> bytes:
    """A trial as one line; reports that are in a journal by their place."""
    row = {name: getattr(trial, name) for name in _FIELDS}
    reports = trial.reports
    row["reports"] = reports._place if isinstance(reports, StoredReports) else pack(reports) if reports else None
    return json.dumps(list(row.values()), separators=(",", ":")).encode() + b"\n"


def from_rows(rows: bytes, journal: Path) -> list[Trial]:
    """The trials of lines that :func:`to_row` made.

    Args:
        rows: Such lines.
        journal: Where their reports are.
    """
    trials = []
    for row in json.loads(b"[%s]" % rows.replace(b"\n", b",")[:-1]):
        # A frozen dataclass takes ten times as long to be made in the usual way, and there may be 100,000.
        trial = object.__new__(Trial)
        values = trial.__dict__
        values.update(zip(_FIELDS, row, strict=True))
        values["state"], values["values"] = _STATES[values["state"]], tuple(values["values"])
        reports = values["reports"]
        if reports is None:
            values["reports"] = ()
        else:
            values["reports"] = unpack(reports) if isinstance(reports, dict) else StoredReports(journal, tuple(reports))
        trials.append(trial)
    return trials
