"""Saves a ledger whose file was deleted while it was written: an open file lives on without a name."""

from __future__ import annotations

import os
import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hpo.ledger.lock import LedgerGone

if TYPE_CHECKING:
    from hpo.ledger.journal import Journal
    from hpo.ledger.sql import Sql


def rescue(gone: LedgerGone, store: Journal | Sql) -> str:
    """Saves what the ledger holds, unless its file still has a name.

    The copy lies where the ledger was, or in the nearest folder above that is still there; where nothing can be written
    there, in the folder for temporary files.

    Returns:
        What a person can do, as the end of a sentence.
    """
    if os.fstat(gone.file.fileno()).st_nlink > 0:
        return "it still exists under another name: put it back, and run the same command again"
    why: OSError | None = None
    above = next(folder for folder in gone.path.parents if folder.exists())
    for folder in (above, Path(tempfile.gettempdir())):
        copy = folder / f"{gone.path.name}.saved-{datetime.now():%Y%m%d-%H%M%S}"
        try:
            store.save(gone.file, copy)
            return f"what it held is saved in {copy}: move that to {gone.path}, and run the same command again"
        except OSError as error:
            why = error
    return f"what it held could not be saved: {why}; put a copy back, or begin anew with the same command"
