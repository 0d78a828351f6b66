"""``hpo fetch`` and ``hpo doctor``: the data sets and the state of this machine."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hpo.cli.options import AsJson, Storage, Tracking
from hpo.cli.table import print_table
from hpo.cli.text import print_json, write, write_lines
from hpo.errors import InputError
from hpo.ledger.address import DEFAULT_STORAGE, parse
from hpo.tracking import DEFAULT_TRACKING


def fetch(
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET", help="Its name; `hpo doctor` lists those that there are.", show_default=False
        ),
    ],
    mirror: Annotated[
        str | None, typer.Option(metavar="URL", help="A folder on the web that holds the original files.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Download a data set into the cache, and check it."""
    from hpo import datasets

    folder = datasets.fetch(dataset, mirror, progress=sys.stderr.isatty())
    if as_json:
        print_json({"dataset": dataset, "folder": str(folder)})
    else:
        write(f"{dataset} is in {folder}, checked\n")


def doctor(
    storage: Storage = DEFAULT_STORAGE,
    tracking: Tracking = DEFAULT_TRACKING,
    repair: Annotated[
        str | None,
        typer.Option(metavar="LEDGER", help="Repair this journal: leave out bad lines, keep a copy of the original."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what this machine has: cores, BLAS kernel, versions, storage, data sets."""
    if repair is not None:
        _repair(repair, as_json=as_json)
        return
    from hpo import diagnosis

    facts = diagnosis.facts(storage, tracking)
    if as_json:
        print_json(facts)
        return
    print_table(["", "here"], [[key, _line(value)] for key, value in facts.items() if key != "warnings"], words=True)
    write_lines(f"warning: {warning}" for warning in facts["warnings"])


def _repair(ledger: str, *, as_json: bool) -> None:
    from hpo.ledger.repair import repair

    where = parse(ledger)
    if where.kind != "journal" or where.path is None:
        rule = f"must be a journal; a database is repaired by its own tools (sqlite3 FILE .recover), got {where}"
        raise InputError(f"--repair: {rule}", key="--repair", rule=rule, value=str(where))
    path = Path(ledger) if where.relative else where.path
    done = repair(path)
    if as_json:
        print_json(dataclasses.asdict(done) | {"copy": str(done.copy) if done.copy else None})
        return
    write("".join(f"{change}\n" for change in done.changes))
    what = f"{path}: kept {done.kept} lines with {done.studies} studies and {done.trials} trials"
    write(f"{what}; the original is {done.copy}\n" if done.copy else f"{what}; nothing to repair\n")


def _line(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_line(part)}" for key, part in value.items())
    if isinstance(value, list):
        return "; ".join(map(_line, value)) or "none found"
    return str(value)
