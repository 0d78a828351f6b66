"""A study's mirror in MLflow, as the commands open and close it."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import hpo
from hpo.ledger.address import redact
from hpo.objective import Data, data, resolve
from hpo.study import Study
from hpo.tracking import NoTracker, Tracker
from hpo.trial import Trial, best_first

if TYPE_CHECKING:
    from hpo.tracking.mlflow.page import Page

# What a study's `model` takes.
MODEL_ARGUMENTS = ("params", "seed", "folder")

# Seconds that the mirror may take when the search is over.
DRAIN = 60.0
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
        sys.stderr.write(f"hpo: MLflow at {redact(tracking)} does not keep up, and nothing waits for it: {reason}\n")

    return Mirror(make_store, trials, warn)


def drain(tracker: Tracker, status: str, name: str) -> int:
    """Lets the tracker write what is left, and says so where that takes a while; returns how many are missing."""
    with _told(f"hpo: writing what is left to MLflow, for up to {DRAIN:g} s; Ctrl-C leaves it to `hpo sync {name}`\n"):
        return tracker.close(status, DRAIN)


def publish(study: Study, uid: str, trials: Sequence[Trial], tracking: str, *, whole: bool) -> list[str]:
    """Completes the page of a study whose runs are all in MLflow; what fails is told, and breaks nothing.

    Args:
        study: What was searched.
        uid: The ledger's identity of the study.
        trials: Those that the runs are of.
        tracking: The tracking store.
        whole: Not only the description, but also data sets, report and model.

    Returns:
        What is not there.
    """
    from hpo.tracking.mlflow.page import Page

    steps: dict[str, Callable[[Page], None]] = {"description": lambda page: page.describe(trials)}
    if whole:
        steps["data sets"] = lambda page: page.log_data(_data(study, trials))
        steps["report"] = lambda page: _report(study, trials, page)
        steps["model"] = lambda page: _model(study, trials, page)
    failed = []
    for name, step in steps.items():
        try:
            step(Page(tracking, study, uid))
        except Exception as error:  # of MLflow, of matplotlib, of the study's own functions: the search is done
            reason = redact(" ".join(f"{type(error).__name__}: {error}".split()))[:300]
            sys.stderr.write(f"hpo: the {name} of {study.name} is not in MLflow: {reason}\n")
            failed.append(name)
    return failed


def _data(study: Study, trials: Sequence[Trial]) -> list[Data]:
    ranked = best_first(list(trials), study.direction)
    params = ranked[0].params if ranked else next(iter(study.space.corners()))
    return data(resolve(study.objective), {**study.fixed, **params})


def _report(study: Study, trials: Sequence[Trial], page: Page) -> None:
    content = [(t.number, t.state, t.value, t.ended) for t in trials], study.resolved, hpo.__version__
    of = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]
    if page.has_report(of):
        return
    from hpo.report.files import write

    with _told("hpo: drawing the report for MLflow; Ctrl-C leaves it out\n"), TemporaryDirectory() as folder:
        write(study, trials, Path(folder))
        page.attach(Path(folder), of)


def _model(study: Study, trials: Sequence[Trial], page: Page) -> None:
    """Trains the chosen trial again, as its worker did, unless its model is the champion already."""
    ranked = best_first(list(trials), study.direction)
    if study.model is None or not ranked or page.is_champion(ranked[0]):
        return
    from threadpoolctl import threadpool_limits

    from hpo.tracking.mlflow.page import MODEL_KEYS

    chosen, make = ranked[0], resolve(study.model, MODEL_ARGUMENTS)
    notice = f"hpo: training trial {chosen.number} again, for its model in MLflow; Ctrl-C leaves it out\n"
    with _told(notice), TemporaryDirectory() as folder:
        with threadpool_limits(study.workers.threads):
            made = make({**study.fixed, **chosen.params}, chosen.seed, folder)
        if not isinstance(made, Mapping) or set(made) != set(MODEL_KEYS):
            raise TypeError(f"{study.model} must return a mapping of {', '.join(MODEL_KEYS)}, got {made!r:.200}")
        page.crown(chosen, made)


@contextmanager
def _told(text: str) -> Iterator[None]:
    """Says what it is that takes so long, when it does."""
    notice = threading.Timer(NOTICE, sys.stderr.write, [text])
    notice.daemon = True
    try:
        notice.start()
        yield
    finally:
        notice.cancel()
