"""``hpo sync``: MLflow brought up to the ledger, without running anything."""

from __future__ import annotations

import math
import sys
from typing import Any

from hpo.cli.options import AsJson, Name, Storage, Tracking
from hpo.cli.text import print_json
from hpo.errors import HpoError, InputError
from hpo.ledger.address import DEFAULT_STORAGE, parse, redact
from hpo.ledger.storage import probe
from hpo.tracking import DEFAULT_TRACKING


def sync(
    name: Name,
    storage: Storage = DEFAULT_STORAGE,
    tracking: Tracking = DEFAULT_TRACKING,
    as_json: AsJson = False,
) -> None:
    """Bring MLflow up to the ledger: one run per trial, whatever was missing, doubled or wrong; report and model."""
    if tracking == "none":
        raise InputError("--tracking: must be a tracking store, got none")
    where = parse(storage)
    probe(where, create=True)  # its lock is taken, lest a search mirrors at the same time
    from hpo.cli import tracked
    from hpo.ledger import books

    with books.held(where, name) as book:
        mirror: Any = tracked.mirror(book.study, book.uid, book.created, book.trials, tracking)
        missing = mirror.close("FINISHED" if book.state == "complete" else "KILLED", math.inf)
        if missing:
            raise HpoError(f"{missing} of {len(book.trials)} trials of {name} are not in MLflow at {redact(tracking)}")
        failed = tracked.publish(book.study, book.uid, book.trials, tracking, whole=True)
    if as_json:
        print_json({"name": name, "trials": len(book.trials), "written": mirror.written, "failed": failed})
    else:
        written = f"{mirror.written} of them written now" if mirror.written else "as they were"
        sys.stdout.write(f"{name}: {len(book.trials)} trials in MLflow at {redact(tracking)}, {written}\n")
    if failed:
        raise HpoError(f"not in MLflow: {', '.join(failed)}")
