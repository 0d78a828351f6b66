"""``hpo fetch``: a data set into the cache."""

from __future__ import annotations

import importlib
import sys
from typing import Annotated

import typer

from hpo.cli.options import AsJson
from hpo.cli.text import print_json
from hpo.errors import InputError
from hpo.fields import suggest

# Named as text, as a study names its objective: hpo imports nothing of the trainer.
DATASETS = {"mnist": "trainer.fetch:fetch_mnist"}


def fetch(
    dataset: Annotated[str, typer.Argument(help="The data set: mnist.", show_default=False)],
    mirror: Annotated[
        str | None, typer.Option(metavar="URL", help="A folder on the web that holds the original files.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Download a data set into the cache, and check it."""
    if dataset not in DATASETS:
        raise InputError(f"fetch: there is no data set {dataset!r}{suggest(dataset, DATASETS)}")
    module, _, name = DATASETS[dataset].partition(":")
    download = getattr(importlib.import_module(module), name)
    try:
        folder = download(mirror, progress=sys.stderr.isatty())
    except (ValueError, OSError) as error:
        raise InputError(f"fetch: {error}") from error
    if as_json:
        print_json({"dataset": dataset, "folder": str(folder)})
    else:
        sys.stdout.write(f"{dataset} is in {folder}, checked\n")
