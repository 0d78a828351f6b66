"""Starts the mirror of a study's trials in MLflow, and ends it."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.machine import absolute_uri
from hpo.progress import Notify, announced, to_stderr
from hpo.study import Study
from hpo.text import redact
from hpo.tracking import NoTracker, Tracker
from hpo.trial import StudyState, Trial

if TYPE_CHECKING:
    from hpo.search.loop import Search

# Seconds for which the mirror may write when the search is over.
DRAIN = 60.0
# The same after a first Ctrl-C or SIGTERM, since a scheduler kills half a minute after it; and after a second one.
INTERRUPTED_DRAIN, QUICK_DRAIN = 15.0, 5.0


def start_mirror(
    study: Study,
    uid: str,
    created: float,
    trials: Sequence[Trial],
    tracking: str,
    notify: Notify = to_stderr,
    *,
    meanwhile: str = "the search continues and will retry",
) -> Tracker:
    """Starts to write a study's trials to MLflow, in the background.

    Args:
        study: What is searched.
        uid: The ledger's identity of the study.
        created: Seconds since the epoch; when the study was first run.
        trials: What the ledger holds.
        tracking: The tracking store, or ``"none"``.
        notify: Receives one warning when MLflow is slow or failing.
        meanwhile: What that warning says of what goes on.
    """
    if tracking == "none":
        return NoTracker()
    from hpo.tracking.mirror import Mirror

    # It takes two seconds of a core: while Ray starts, which waits most of the time, rather than beside the trials.
    threading.Thread(target=_import_ahead, name="import of MLflow", daemon=True).start()
    # Absolute: the store is made in a thread, when an objective may have changed the working folder.
    uri, artifacts, since = absolute_uri(tracking), Path("mlruns").absolute(), time.time()

    def make_store() -> Any:
        from hpo.tracking.mlflow import MlflowStore

        return MlflowStore(uri, study, uid, created, since, notify, artifacts)

    def warn(reason: str) -> None:
        notify(f"MLflow at {redact(tracking)} is slow or failing; {meanwhile}: {reason}")

    return Mirror(make_store, trials, warn)


def _import_ahead() -> None:
    with suppress(Exception):  # the mirror imports it too, and says what is wrong
        importlib.import_module("hpo.tracking.mlflow")


@contextmanager
def mirrored(search: Search, uid: str, created: float, tracking: str, notify: Notify) -> Iterator[Tracker]:
    """Writes a search's trials (:func:`start_mirror`); when it fails or is cut off, closes the study's run."""
    mirror = start_mirror(search.study, uid, created, search.trials, tracking, notify)
    try:
        yield mirror
    except KeyboardInterrupt:
        mirror.close(StudyState.STOPPED, QUICK_DRAIN)
        raise
    except BaseException:
        drain(mirror, StudyState.FAILED, search.study.name, notify, interrupted=search.interrupted)
        raise


def drain(
    tracker: Tracker, state: StudyState, name: str, notify: Notify = to_stderr, *, interrupted: bool = False
) -> int:
    """Lets the mirror write the remaining trials, for some seconds; returns how many are missing then."""
    limit = INTERRUPTED_DRAIN if interrupted else DRAIN
    notice = f"writing the remaining trials to MLflow, for up to {limit:g} s; to skip this, press Ctrl-C and later run"
    with announced(f"{notice}: hpo sync {name}", notify):
        return tracker.close(state, limit)
