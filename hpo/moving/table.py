"""The rows of a CSV file as trials: one that hpo exported, or a person's."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from hpo.errors import InputError
from hpo.ledger.foreign import identity
from hpo.study import Study
from hpo.trial import FROM, Origin, Report, State, Trial

# The columns of `hpo export` that belong to the trial, not to a parameter or metric.
OWN = (
    "number",
    "state",
    "value",
    "feasible",
    "seconds",
    "seed",
    "attempt",
    "worker",
    "started",
    "ended",
    "error",
    "from",
    "reports",
)


def csv_trials(file: Path, study: Study, names: Mapping[str, str]) -> list[Trial]:
    """A file's rows as trials, with parameters as text; the row below the head is number 1.

    Args:
        file: The file, in UTF-8, with a head.
        study: What takes them.
        names: The columns of parameters, of the metric and of metrics with bounds, where they have other names.

    Raises:
        InputError: When the file cannot be read, or has no column for the metric.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            head = lines.readline()
            lines.seek(0)
            reader = csv.DictReader(lines, delimiter=max(",;\t", key=head.count), strict=True)
            rows, known = list(reader), list(reader.fieldnames or ())
    except (OSError, ValueError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"--csv: {file} cannot be read: {reason}", key="--csv", value=str(file)) from None
    if doubles := [column for column, count in Counter(known).items() if count > 1]:
        raise InputError(f"--csv: {file} has several columns {doubles[0]!r}", key="--csv", value=str(file))
    for name, column in names.items():
        if column not in known:
            raise InputError(f"--map: {name}={column}: {file} has no column {column!r}", key="--map", value=column)
    metrics = {}
    for objective in study.objectives:
        place = _valued(objective, names, known, alone=len(study.objectives) == 1)
        if place is None:
            rule = f"has no column {objective!r}; name it with --map {objective}=COLUMN"
            raise InputError(f"--csv: {file} {rule}", key="--csv", rule=rule, value=str(file))
        metrics[objective] = place
    bounded = {name: place for name in study.bounds if (place := _column(name, "metrics", names, known))}
    wanted = {name: _column(name, "params", names, known) for name in (*study.space.names, *study.fixed)}
    found, seen = [], Counter[str]()
    for number, row in enumerate(rows, start=1):
        given = {name: text for name, column in wanted.items() if column and (text := (row[column] or "").strip())}
        own = identity("csv", given, *(row[column] for column in metrics.values()))
        seen[own] += 1
        origin = Origin(identity(own, seen[own]), file.name, number)
        found.append(_read(row, number, given, metrics, bounded, origin))
    return found


def _valued(objective: str, names: Mapping[str, str], known: list[str], *, alone: bool) -> str | None:
    """The column of an objective; a table that hpo exported has the values, also of trials without reports."""
    plain = "value" if alone and "value" in known else None
    if objective in names or not any(column.startswith("params.") for column in known):
        return _column(objective, "metrics", names, known) or plain
    return plain or _column(objective, "values", names, known) or _column(objective, "metrics", names, known)


def _column(name: str, kind: str, names: Mapping[str, str], known: list[str]) -> str | None:
    """The column of a parameter or metric: the mapped one, that of an export, or the one of its name."""
    candidates = [names[name]] if name in names else [f"{kind}.{name}", *([] if name in OWN else [name])]
    return next((column for column in candidates if column in known), None)


def _read(
    row: dict[str, str],
    number: int,
    given: dict[str, Any],
    objectives: Mapping[str, str],
    bounded: Mapping[str, str],
    origin: Origin,
) -> Trial:
    columns = {column.removeprefix("metrics."): column for column in row if column and column.startswith("metrics.")}
    values = {name: _number(row, column) for name, column in {**columns, **bounded}.items()}
    metrics = {name: value for name, value in values.items() if value is not None}
    own = {name: value for name, column in objectives.items() if (value := _number(row, column)) is not None}
    words = (row.get("state") or "complete").strip().lower()
    state = {"fail": State.FAILED}.get(words) or (State(words) if words in list(State) else State.RUNNING)
    ended = _moment(row.get("ended"))
    reports = (Report(1, ended or 0.0, {**metrics, **own}),) if own else ()
    seed = row.get("seed") or ""
    return Trial(
        number,
        given,
        int(seed) if seed.isdecimal() else 0,
        state,
        tuple(own.values()) if len(own) == len(objectives) else (),
        _moment(row.get("started")),
        ended,
        reports=reports,
        notes={FROM: list(origin)},
    )


def _number(row: Mapping[str, str | None], column: str) -> float | None:
    with suppress(ValueError, TypeError):
        value = float(row[column])  # type: ignore[arg-type]
        return value if math.isfinite(value) else None
    return None


def _moment(text: str | None) -> float | None:
    """Seconds since the epoch, from such a number or from ISO 8601; None where it is neither."""
    with suppress(ValueError):
        return float(text or "")
    with suppress(ValueError):
        return datetime.fromisoformat(text or "").timestamp()
    return None
