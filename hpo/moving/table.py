"""The rows of a CSV file as trials: one that hpo exported, or a person's."""

from __future__ import annotations

import csv
import io
import math
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hpo.errors import InputError
from hpo.ledger.foreign import identity
from hpo.moving.export import plain_text
from hpo.study import Study
from hpo.study.fields import label, show
from hpo.trial import FROM, LARGEST_STEP, Origin, Report, State, Trial

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
# Digits of a seed, and seconds since 1970 of a moment, that are believed.
SEED_DIGITS, LATEST = 18, datetime(9999, 1, 1, tzinfo=UTC).timestamp()
_WITH_COMMA = re.compile(r"\s*[+-]?\d+,\d+\s*")


@dataclass(frozen=True)
class Table:
    """A CSV file.

    Attributes:
        option: The option that names it, for messages.
        file: Its name.
        columns: Their names.
        rows: Cells by column, without those that are empty; under ``None`` those beyond the last column.
    """

    option: str
    file: str
    columns: list[str]
    rows: list[dict[str | None, Any]]

    def error(self, rule: str) -> InputError:
        return InputError(f"{self.option}: {self.file} {rule}", key=self.option, rule=rule, value=self.file)


def read_table(option: str, file: Path) -> Table:
    """A file with a head, in UTF-8; ``-`` is standard input.

    Raises:
        InputError: When it cannot be read, or has several columns of one name.
    """
    name = "standard input" if str(file) == "-" else str(file)
    table = Table(option, name, [], [])
    try:
        data = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
        text = data.decode("utf-8-sig")
        head = text.partition("\n")[0]
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count), strict=True)
        rows = [{key: cell for key, cell in row.items() if cell not in ("", None)} for row in reader]
        table = Table(option, name, list(reader.fieldnames or ()), rows)
    except UnicodeDecodeError:
        raise table.error("cannot be read: it is not in UTF-8; save it as CSV in UTF-8") from None
    except (OSError, csv.Error) as error:
        raise table.error(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if doubles := [column for column, count in Counter(table.columns).items() if column and count > 1]:
        raise table.error(f"has several columns {doubles[0]!r}")
    return table


def csv_trials(
    file: Path, study: Study, names: Mapping[str, str], curves: Path | None = None
) -> tuple[list[Trial], list[str]]:
    """A file's rows as trials, with parameters as text; the row below the head is number 1.

    What cannot be told of a row is its trial's ``error``; such a trial has not finished.

    Args:
        file: The file, in UTF-8, with a head.
        study: What takes them.
        names: The columns of parameters, of the metric and of metrics with bounds, where they have other names.
        curves: The reports of the same trials, as ``hpo export --reports`` writes them.

    Returns:
        The trials, and the columns of which nothing is used.

    Raises:
        InputError: When a file cannot be read, has no column for the metric, or has two for a parameter or metric.
    """
    table = read_table("--csv", file)
    known = table.columns
    for name, column in names.items():
        if column not in known:
            raise InputError(
                f"--map: {name}={column}: {table.file} has no column {column!r}", key="--map", value=column
            )
    metrics = {}
    for objective in study.objectives:
        place = _valued(objective, names, known, alone=len(study.objectives) == 1)
        if place is None:
            raise table.error(f"has no column {objective!r}; name it with --map {objective}=COLUMN")
        metrics[objective] = place
    bounded = _columns([name for name in study.bounds if name not in metrics], "metrics", names, known)
    wanted = _columns([*study.space.names, *study.fixed], "params", names, known)
    unused = _unused(table, {**metrics, **bounded}, wanted, names)
    empty = {name for name in study.space.names if study.space[name].contains("") and not study.space[name].when}
    reports = _curves(read_table("--reports", curves), metrics, table) if curves else {}
    found, seen = [], Counter[str]()
    for number, row in enumerate(table.rows, start=1):
        given = {name: plain_text(row[column]) for name, column in wanted.items() if (row.get(column) or "").strip()}
        given |= {name: "" for name in empty if name not in given and name in wanted}
        own = identity("csv", given, *(row.get(column, "") for column in metrics.values()))
        seen[own] += 1
        exported = _whole(row.get("number") or "")
        origin = Origin(identity(own, seen[own]), Path(table.file).name, number if exported is None else exported)
        found.append(_read(row, number, given, metrics, bounded, origin, reports.get(row.get("number", ""))))
    return found, unused


def _unused(
    table: Table, metrics: Mapping[str, str], parameters: Mapping[str, str], names: Mapping[str, str]
) -> list[str]:
    """The columns of which nothing is used; of a table that hpo exported, only those that were added to it.

    Raises:
        InputError: When two columns hold the same parameter or metric, and ``names`` chooses none of them.
    """
    used = {"", *OWN, *metrics.values(), *parameters.values()}
    twice: set[str | None] = {None}
    if not _exported(table.columns):  # where the value, and what was reported last, belong together
        used -= {"value"} - {*metrics.values()}
        twice |= {*metrics}
    unused = [column for column in table.columns if column not in used and _metric(column) in twice]
    for name, column in (*metrics.items(), *parameters.items()):
        if name in unused and name not in names and column.endswith(f".{name}"):
            raise table.error(
                f"has two columns for {name}, {column!r} and {name!r}; choose one with --map {name}=COLUMN"
            )
    return unused


def _exported(columns: list[str]) -> bool:
    return any(column.startswith("params.") for column in columns)


def _valued(objective: str, names: Mapping[str, str], known: list[str], *, alone: bool) -> str | None:
    """The column of an objective; a table that hpo exported has the values, also of trials without reports."""
    plain = "value" if alone and "value" in known else None
    if objective in names or not _exported(known):
        return _column(objective, "metrics", names, known) or plain
    return plain or _column(objective, "values", names, known) or _column(objective, "metrics", names, known)


def _columns(wanted: list[str], kind: str, names: Mapping[str, str], known: list[str]) -> dict[str, str]:
    """The columns of those parameters or metrics that have one."""
    found = ((name, _column(name, kind, names, known)) for name in wanted)
    return {name: column for name, column in found if column is not None}


def _column(name: str, kind: str, names: Mapping[str, str], known: list[str]) -> str | None:
    """The column of a parameter or metric: the mapped one, that of an export, or the one of its name."""
    candidates = [names[name]] if name in names else [f"{kind}.{name}", *([] if name in OWN else [name])]
    return next((column for column in candidates if column in known), None)


def _metric(column: str) -> str | None:
    """The metric of a column that hpo exported; None for another column."""
    name = column.removeprefix("metrics.")
    if name == column:
        return None
    with suppress(ValueError):
        return label(name)
    return None


def _curves(table: Table, metrics: Mapping[str, str], trials: Table) -> dict[str, tuple[Report, ...]]:
    """The reports of a table, by what it has as the number of their trial."""
    for of, column in ((table, "number"), (table, "step"), (trials, "number")):
        if column not in of.columns:
            raise of.error(f"has no column {column!r}, by which reports are found; hpo export writes it")
    mine = {column: name for name, column in metrics.items()}
    names = {column: name for column in table.columns if (name := mine.get(column) or _metric(column))}
    found: defaultdict[str, list[Report]] = defaultdict(list)
    for place, row in enumerate(table.rows, start=1):
        reports, step = found[row.get("number", "")], _whole(row.get("step", ""))
        least = reports[-1].step + 1 if reports else 1
        if step is None or step < least:
            got = show(row.get("step", ""))
            raise table.error(f"row {place}: step: must be a whole number from {least}, got {got}")
        values = {}
        for column, name in names.items():
            if column in row:
                try:
                    values[name] = float(row[column])
                except ValueError:
                    raise table.error(f"row {place}: {column}: must be a number, got {show(row[column])}") from None
        reports.append(Report(step, _moment(row.get("time")) or 0.0, values))
    return {number: tuple(reports) for number, reports in found.items()}


def _read(
    row: Mapping[str | None, Any],
    number: int,
    given: Mapping[str, Any],
    objectives: Mapping[str, str],
    bounded: Mapping[str, str],
    origin: Origin,
    curve: tuple[Report, ...] | None,
) -> Trial:
    columns = {column: name for column in row if column and (name := _metric(column))}
    columns |= {column: name for name, column in bounded.items()}
    metrics = {name: value for column, name in columns.items() if (value := _number(row.get(column))) is not None}
    own = {
        name: value for name, column in objectives.items() if math.isfinite(value := _number(row.get(column), math.nan))
    }
    words = row.get("state", "").strip().lower() or "complete"
    state = {"fail": State.FAILED}.get(words) or (State(words) if words in list(State) else None)
    ended, seed = _moment(row.get("ended")), row.get("seed", "").strip()
    if curve is None and own and (count := _whole(row.get("reports", ""))):
        curve = (Report(count, ended or 0.0, {**metrics, **own}),)
    elif curve is None:  # after which step that was is not known, and pruners must not take it for the first one
        metrics = {name: value for name, value in metrics.items() if name not in objectives}
        curve = (Report(1, ended or 0.0, metrics),) if metrics else ()
    trial = Trial(
        number,
        given,
        int(seed) if seed.isdecimal() and len(seed) <= SEED_DIGITS else 0,
        state or State.RUNNING,
        tuple(own.values()) if len(own) == len(objectives) else (),
        _moment(row.get("started")),
        ended,
        reports=curve,
        notes={FROM: list(origin)},
    )
    wrong = next(_wrong(row, trial, objectives, own), None)
    return trial if wrong is None else replace(trial, state=State.RUNNING, error=wrong)


def _wrong(
    row: Mapping[str | None, Any], trial: Trial, objectives: Mapping[str, str], own: Mapping[str, float]
) -> Iterator[str]:
    """What cannot be told of a row."""
    if any(row.get(None, ())):
        yield f"has {len(row[None])} more cells than the head, such as {show(row[None][0])}; quote cells with a comma"
    if trial.state is State.RUNNING and (words := row["state"].strip().lower()) != State.RUNNING:
        yield f"state: must be complete, pruned or infeasible, got {show(words)}"
    if trial.state is not State.COMPLETE:
        return
    for name, column in objectives.items():
        if name not in own and (text := row.get(column)):
            hint = "; write decimals with a point" if _WITH_COMMA.fullmatch(text) else ""
            yield f"{name}: must be a finite number, got {show(text)}{hint}"
        last = trial.last(name)
        if name in own and last not in (None, own[name]):
            yield f"{name}: is {own[name]}, but {last} in its last report"


def _number(text: str | None, otherwise: Any = None) -> Any:
    with suppress(ValueError, TypeError):
        return float(text)  # type: ignore[arg-type]
    return otherwise


def _whole(text: str) -> int | None:
    """A number of steps; None where it is none."""
    return int(text) if text.isdecimal() and len(text) <= 10 and int(text) <= LARGEST_STEP else None


def _moment(text: str | None) -> float | None:
    """Seconds since the epoch, from such a number or from ISO 8601; None where it is neither."""
    with suppress(ValueError, OverflowError):
        try:
            seconds = float(text or "")
        except ValueError:
            seconds = datetime.fromisoformat(text or "").timestamp()
        return seconds if 0 <= seconds < LATEST else None
    return None
