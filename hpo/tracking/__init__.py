"""The seam between a search and the place where people look at its runs.

The mirror (:mod:`hpo.tracking.mirror`) follows trials in the background and writes them to a :class:`Store`; MLflow
(:mod:`hpo.tracking.mlflow`) is one. Nothing here is the truth about a study: that is the ledger.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Protocol

from hpo.errors import InputError
from hpo.machine import scheme_of
from hpo.text import redact, suggest
from hpo.trial import StudyState, Trial

DEFAULT_TRACKING = "sqlite:///mlflow.db"
# Set to true, MLflow still writes to a folder.
FOLDERS = "MLFLOW_ALLOW_FILE_STORE"


# The kinds of stores that MLflow knows itself; plugins add others, and a database may name its driver.
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
KINDS = (*DATABASES, "http", "https", "databricks")


def check(tracking: str, key: str = "--tracking") -> None:
    """Refuses a store that MLflow would refuse at every call.

    Args:
        tracking: The store.
        key: What names it in messages.

    Raises:
        InputError: For a folder, unless MLflow's own variable allows it; and for a kind of store that neither MLflow
            nor a plugin of MLflow has, and for a database in memory, which no other process can read.
    """
    scheme = scheme_of(tracking)
    kind = scheme.partition("+")[0] if scheme.startswith(DATABASES) else scheme
    if kind not in ("", "file", *KINDS) and scheme not in _of_plugins():
        written = f"{scheme}://" if "://" in tracking else f"{scheme}:"
        rule = f"MLflow has no store for {written}{suggest(kind, KINDS)}"
        raise InputError.about(key, rule, redact(tracking), got=True)
    path, _, options = tracking.partition("://")[2].partition("?")
    if kind == "sqlite" and (not path.strip("/") or path.endswith(":memory:") or "mode=memory" in options):
        rule = f"must be a file, such as {DEFAULT_TRACKING}: no other process can read a database in memory"
        raise InputError.about(key, rule, tracking, got=True)
    is_folder = kind == "file" or (not kind and tracking not in ("none", "databricks"))
    if is_folder and os.environ.get(FOLDERS, "").lower() not in ("true", "1"):
        rule = f"MLflow no longer writes to folders by default, got {tracking!r}; use {DEFAULT_TRACKING}, "
        raise InputError.about(key, f"{rule}or set {FOLDERS}=true", tracking)


def _of_plugins() -> set[str]:
    """The kinds of stores that other packages add to MLflow."""
    from importlib.metadata import entry_points

    return {found.name.lower() for found in entry_points(group="mlflow.tracking_store")}


class Store(Protocol):
    """Where a mirror writes. Any call may fail, also after the store has obeyed it; then ``open`` comes first again.

    Attributes:
        batch: How many trials ``write`` takes at once.
    """

    batch: int

    def open(self, trials: Iterable[Trial]) -> set[int]:
        """Finds or makes the study's parent run, and clears away what is half written or there twice.

        Returns:
            The numbers of the trials that are mirrored in full.
        """

    def write(self, trials: Sequence[Trial]) -> None:
        """Brings the runs of some trials up to their records."""

    def progress(self, trials: list[Trial]) -> None:
        """Notes on the parent that these trials have finished, in this order."""

    def end(self, state: StudyState, unfinished: Sequence[Trial]) -> None:
        """Closes the parent run of a study that stands so, and the runs of unfinished trials."""


class Tracker(Protocol):
    """A :class:`hpo.search.loop.Watcher` that must be closed."""

    def update(self, trial: Trial) -> None: ...

    def close(self, state: StudyState, limit: float) -> int:
        """Writes what is left, for at most ``limit`` seconds.

        Returns:
            How many trials are still missing.
        """


class NoTracker:
    """Tracks nothing."""

    def update(self, trial: Trial) -> None:
        pass

    def close(self, state: StudyState, limit: float) -> int:
        return 0
