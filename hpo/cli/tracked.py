"""A study's mirror in MLflow, as the commands open and close it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import Any

from hpo.ledger.address import redact
from hpo.study import Study
from hpo.tracking import NoTracker, Tracker
from hpo.trial import Trial

# Seconds that the mirror may take when the search is over.
DRAIN = 30.0
# The same when a person has said twice that it should stop.
QUICK_DRAIN = 5.0
# Seconds after which a person is told what it is that takes so long.
NOTICE = 5.0


def mirror(study: Study, uid: str, created: float, trials: Sequence[Trial], tracking: str) -> Tracker:
    """Starts to bring MLflow up to a study's ledger, in the background.

    Args:
        study: What is searched.
        uid: The ledger's identity of the study.
        created: Seconds since the epoch; when the study was first run.
        trials: What the ledger holds.
        tracking: The tracking store, or ``"none"``.
    """
    if tracking == "none":
        return NoTracker()
    from hpo.tracking.mirror import Mirror

    def make_store() -> Any:
        from hpo.tracking.mlflow import MlflowStore

        return MlflowStore(tracking, study, uid, created)

    def warn(reason: str) -> None:
        sys.stderr.write(
            f"hpo: MLflow at {redact(tracking)} does not keep up, the search goes on without it: {reason}\n"
        )

    return Mirror(make_store, trials, warn)


def drain(tracker: Tracker, status: str, name: str) -> int:
    """Lets the tracker write what is left, and says so where that takes a while; returns how many are missing."""
    text = f"hpo: writing what is left to MLflow, for up to {DRAIN:g} s; Ctrl-C leaves it to `hpo sync {name}`\n"
    notice = threading.Timer(NOTICE, sys.stderr.write, [text])
    notice.daemon = True
    try:
        notice.start()
        return tracker.close(status, DRAIN)
    finally:
        notice.cancel()
