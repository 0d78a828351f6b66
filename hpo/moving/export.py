"""A study's trials as tables: one row per trial, or one per report; as CSV, JSON or Parquet."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from hpo.study import Study
from hpo.text import for_json
from hpo.trial import CONSTRAINTS, Trial

Row = dict[str, Any]
# The columns that hold times, in seconds since the epoch.
MOMENTS = ("started", "ended", "time")
# The trial's own columns that do not hold text.
OWN_TYPES = {"number": int, "seed": int, "attempt": int, "reports": int, "feasible": bool, "seconds": float}
NO_HEAD: Mapping[str, type] = MappingProxyType({})
# What a spreadsheet would run as a formula if it were a cell's text (OWASP, "CSV Injection"), perhaps behind our mark.
_FORMULA, _MARK = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]"), "'"


def trial_rows(trials: Iterable[Trial], objectives: Collection[str] = ()) -> list[Row]:
    """One row per trial; no two columns have the same name, because those of parameters and metrics have a prefix.

    Args:
        trials: The trials.
        objectives: The names of the study's objectives; of several, each value has a column of its own.

    Returns:
        Rows with the trial's own facts, ``value`` or ``values.NAME``, ``reports`` (how many), ``params.NAME``, and each
        metric's last reported value as ``metrics.NAME``.
    """
    several = len(objectives) > 1
    return [
        {
            "number": trial.number,
            "state": str(trial.state),
            **(_prefixed("values.", trial.named(objectives)) if several else {"value": trial.value}),
            **({} if trial.feasible is None else {"feasible": trial.feasible}),
            "seconds": trial.seconds,
            "seed": trial.seed,
            "attempt": trial.attempt,
            "worker": trial.worker,
            "started": trial.started,
            "ended": trial.ended,
            "error": trial.error,
            "from": trial.place if trial.origin else None,
            "reports": len(trial.reports),
            **_prefixed("params.", trial.params),
            **_prefixed(
                "metrics.", {name: value for report in trial.reports for name, value in report.metrics.items()}
            ),
        }
        for trial in trials
    ]


def report_rows(trials: Iterable[Trial]) -> list[Row]:
    """One row per report: the trial's ``number``, ``step``, ``time``, and every metric as ``metrics.NAME``."""
    return [
        {
            "number": trial.number,
            "step": report.step,
            "time": report.time,
            **_prefixed("metrics.", report.metrics),
        }
        for trial in trials
        for report in trial.reports
    ]


def _prefixed(prefix: str, values: Mapping[str, Any]) -> Row:
    return {prefix + name: value for name, value in values.items()}


def heading(study: Study, *, reports: bool = False) -> dict[str, type]:
    """The columns that a table of a study has in any case, also without trials, each with the type of its values."""
    metrics = dict.fromkeys((f"metrics.{name}" for name in {**study.objectives, **study.bounds}), float)
    if reports:
        return {"number": int, "step": int, "time": float, **metrics}
    judged = {CONSTRAINTS: ()} if study.bounds else {}
    sample = Trial(0, {}, 0, values=(0.0,) * len(study.objectives), notes=judged)
    (row,) = trial_rows([sample], study.objectives)
    own = {name: OWN_TYPES.get(name, float if name.startswith("value") else str) for name in row}
    params = {f"params.{one.name}": type(one.from_unit(0.5)) for one in study.space.parameters}
    return own | params | metrics


def columns(rows: Sequence[Row], head: Iterable[str] = ()) -> list[str]:
    """The names of all columns: the trial's own facts, then parameters, then metrics; first those of the ``head``."""
    names = dict.fromkeys((*head, *(name for row in rows for name in row)))  # a set that keeps its order
    return sorted(names, key=lambda name: name.startswith("params.") or 2 * name.startswith("metrics."))


# Formats -----------------------------------------------------------------------------------------------------------


def to_csv(rows: Sequence[Row], head: Mapping[str, type] = NO_HEAD) -> bytes:
    """A table with a head, in UTF-8; a value that is absent is an empty cell, and a list or table is JSON.

    A text that a spreadsheet would take for a formula has a quote in front, which :func:`plain_text` takes away.
    """
    names = columns(rows, head)
    lines = [_line(names), *(_line([_cell(_dated(name, row.get(name))) for name in names]) for row in rows)]
    return "".join(lines).encode(errors="backslashreplace")  # halves of characters


def _line(cells: Sequence[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)  # so that a cell with either of them is quoted
    return text.getvalue().removesuffix("\r\n") + "\n"


def _cell(value: Any) -> Any:
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False)
    return _MARK + value if isinstance(value, str) and _FORMULA.match(value) else value


def plain_text(cell: str) -> str:
    """The text of a cell of :func:`to_csv`."""
    return cell.removeprefix(_MARK) if _FORMULA.match(cell) else cell


def to_json(rows: Sequence[Row], head: Mapping[str, type] = NO_HEAD) -> bytes:
    """A list of objects, one per line. As in all JSON of hpo, times are numbers, and NaN and infinities are null."""
    lines = [json.dumps(for_json(row)) for row in rows]
    return ("[\n  " + ",\n  ".join(lines) + "\n]\n" if lines else "[]\n").encode()


def to_parquet(rows: Sequence[Row], head: Mapping[str, type] = NO_HEAD) -> bytes:
    """The rows as typed columns: numbers are numbers, and times are timestamps in UTC.

    A column with values of several kinds, as a choice may have them, holds JSON. One without values has the type that
    ``head`` says.
    """
    import pyarrow
    from pyarrow import parquet

    buffer = io.BytesIO()
    names = columns(rows, head)
    table = pyarrow.table({name: _array(name, [row.get(name) for row in rows], head.get(name, str)) for name in names})
    parquet.write_table(table, buffer)
    return buffer.getvalue()


def _array(name: str, values: Sequence[Any], otherwise: type) -> Any:
    import pyarrow

    if name in MOMENTS:
        moments = [None if value is None else datetime.fromtimestamp(value, UTC) for value in values]
        return pyarrow.array(moments, pyarrow.timestamp("us", "UTC"))
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        kinds = {float}
    large = kinds == {int} and any(abs(value) >= 2**63 for value in values if value is not None)
    if large or len(kinds) > 1 or kinds & {list, dict}:
        return pyarrow.array([None if value is None else json.dumps(value) for value in values], pyarrow.string())
    values = [
        value.encode(errors="backslashreplace").decode() if kinds == {str} and value else value for value in values
    ]
    types = {bool: pyarrow.bool_(), int: pyarrow.int64(), float: pyarrow.float64()}
    return pyarrow.array(values, types.get(next(iter(kinds), otherwise), pyarrow.string()))


def _dated(name: str, value: Any) -> Any:
    if value is None or name not in MOMENTS:
        return value
    return datetime.fromtimestamp(value, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


FORMATS = {"csv": to_csv, "json": to_json, "parquet": to_parquet}
