"""How results look on a terminal. Rich is imported when something is printed."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from hpo.ledger.address import redact
from hpo.trial import Trial


def browsed(server: str) -> str:
    """A tracking server's address for a person: inside a cluster it may have a name that no browser outside knows."""
    outside = os.environ.get("HPO_MLFLOW_URL") if server == os.environ.get("MLFLOW_TRACKING_URI") else None
    return redact(outside or server)


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, words: bool = False) -> None:
    """A plain table.

    Args:
        columns: Their heads.
        rows: One text per column.
        words: The columns hold words; without it, they hold numbers, except for the first.
    """
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index and not words else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    console = Console(highlight=False)
    if not console.is_terminal:  # a pipe or a file has no width to fit into
        console = Console(
            highlight=False, width=console.measure(table, options=console.options.update(width=9999)).maximum
        )
    console.print(table)


def print_best(trials: Sequence[Trial], metric: str) -> None:
    """The best trials, best first."""
    if not trials:
        sys.stdout.write("no trial is complete yet\n")
        return
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    rows = [
        [
            f"Best-{rank}",
            str(trial.number),
            number(trial.value),
            *(value(trial.params.get(name, "")) for name in names),
            seconds(trial.seconds),
        ]
        for rank, trial in enumerate(trials, start=1)
    ]
    print_table(["", "trial", metric, *names, "time"], rows)


def toml_lines(table: Mapping[str, Any]) -> list[str]:
    """The body of a TOML table, one key a line."""
    return [f"{_toml_key(key)} = {_toml(value)}" for key, value in table.items()]


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml(key)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(toml_lines(value)) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    # JSON's scalars are TOML's, but for surrogate pairs and one control character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.6g}"


def value(value: Any) -> str:
    return number(value) if isinstance(value, float) else str(value)


def seconds(value: float | None) -> str:
    """A duration for people."""
    if value is None:
        return "-"
    if value < 60:
        return f"{value:.2f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
