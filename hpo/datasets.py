"""The data sets that installed packages offer, by their entry points: for ``hpo fetch`` and ``hpo doctor``."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Protocol

from hpo.errors import InputError
from hpo.text import suggest

# The group of these entry points.
GROUP = "hpo.datasets"


class Dataset(Protocol):
    """What an entry point of :data:`GROUP` refers to."""

    def fetch(self, mirror: str | None = None, *, progress: bool = True) -> Path:
        """Downloads what is missing, checks it, and returns the folder; ``ValueError`` or ``OSError`` if it cannot."""

    def check(self) -> None:
        """Raises ``ValueError`` or ``OSError``, saying what to do, when the data is missing or damaged."""


def datasets() -> dict[str, EntryPoint]:
    """The data sets of all installed packages, by name."""
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}


def fetch(name: str, mirror: str | None = None, *, progress: bool = True) -> Path:
    """Downloads a data set into the cache, and checks it.

    Args:
        name: The entry point's name.
        mirror: A folder on the web that holds the original files; None for the data set's own.
        progress: Show a progress bar on standard error.

    Returns:
        The folder of the files.

    Raises:
        InputError: When there is no such data set, or it cannot be fetched.
    """
    known = datasets()
    if name not in known:
        hint = suggest(name, known) or f"; no installed package offers any (entry points of {GROUP!r})"
        raise InputError(f"fetch: there is no data set {name!r}{hint}", key="fetch", value=name)
    dataset: Dataset = known[name].load()
    try:
        return dataset.fetch(mirror, progress=progress)
    except (ValueError, OSError) as error:
        raise InputError(f"fetch: {error}", key="fetch", value=name) from error


def states() -> dict[str, str]:
    """For each data set ``"there"``, or what is wrong and what to do."""
    found = {}
    for name, entry in datasets().items():
        try:
            entry.load().check()
        except Exception as error:  # another package's code: one that is broken must not hide the others
            found[name] = str(error)
        else:
            found[name] = "there"
    return found
