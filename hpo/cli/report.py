"""``hpo report``: a study as figures and one HTML page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.options import AsJson, Name, Storage
from hpo.cli.text import print_json
from hpo.errors import InputError
from hpo.ledger.address import DEFAULT_STORAGE, parse
from hpo.ledger.storage import probe


def report(
    name: Name,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to write.", show_default="reports/NAME")
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Write a study's figures (PNG and SVG) and a page that shows it all; a study that runs is fine."""
    where = parse(storage)
    probe(where, create=False)
    from hpo.ledger import books

    book = books.read(where, name)
    folder = out if out is not None else Path("reports") / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out: cannot make the folder {folder}: {error.strerror}") from None
    from hpo.report.files import write

    try:
        written = write(book.study, book.trials, folder)
    except OSError as error:
        raise InputError(f"--out: cannot write {error.filename}: {error.strerror}") from None
    if as_json:
        print_json({"name": name, "page": str(written[0]), "files": [str(path) for path in written]})
        return
    figures = len({path.stem for path in written[1:]})
    sys.stdout.write(f"{written[0]}\n{folder}: {figures} figures, each as PNG and SVG\n")
