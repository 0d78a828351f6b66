"""Trials' folders on the nodes of a cluster: those to keep are fetched in the background, one after another.

Before the ledger has the end of a trial, a file where its folder will be names the node that has it. When a driver dies
before the folder has arrived, the file stays, and the next run fetches the folder if it is still there.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from hpo.execution import ARRIVING, Nodes

# The file with a folder's place.
PLACE = "place"
# Seconds after which a remark tells the user what the driver waits for.
NOTICE = 3.0


class RemoteFolders:
    """What a driver knows of folders that are on nodes.

    Args:
        own: Holds a folder per trial.
        notify: Receives remarks.

    Attributes:
        places: Where the folders are, by trial.
        uid: The ledger's identity of the study; empty while this process is not connected to a cluster.
    """

    def __init__(self, own: Path, notify: Callable[[str], object]) -> None:
        self._own, self._notify = own, notify
        self.places = {int(path.parent.name): path.read_text() for path in own.glob(f"[0-9]*/{PLACE}")}
        for half in own.glob(f"[0-9]*/*{ARRIVING}"):  # its driver has died
            shutil.rmtree(half, ignore_errors=True)
        self.uid = ""
        self._nodes: Nodes | None = None
        self._transfer: _Transfer | None = None
        self._later: set[int] = set()  # could not be fetched in this run
        self._has_leftovers = False

    def connect(self, nodes: Nodes | None, uid: str, *, has_leftovers: bool) -> None:
        """Begins to work with the nodes, if there are any.

        Args:
            nodes: The nodes; None without a cluster.
            uid: The ledger's identity of the study.
            has_leftovers: Whether earlier runs may have left folders on them.
        """
        self._nodes, self.uid, self._has_leftovers = nodes, uid if nodes else "", has_leftovers
        if self.places and nodes is None:
            self._notify(
                f"the folders of {len(self.places)} trials are still on the nodes of a cluster; to fetch them, run the "
                "study on it"
            )

    def begin(self, number: int, attempt: int) -> None:
        """An attempt begins: what an earlier one has left no longer belongs to the trial."""
        self._forget(number)
        self._has_leftovers = self._has_leftovers or attempt > 1

    def add(self, number: int, place: str) -> None:
        """The trial has ended with its folder on a node."""
        self.places[number], self._has_leftovers = place, True
        file = self._own / str(number) / PLACE
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(place)
        except OSError as error:
            self._notify(f"trial {number}: a later run will not find its folder: {error}")

    def discard(self, numbers: Collection[int]) -> None:
        """Removes folders on nodes, but not one that is on its way."""
        coming = self._transfer.number if self._transfer else None
        if self._nodes is not None and (places := [self._forget(number) for number in numbers if number != coming]):
            self._nodes.discard(self.uid, places)

    def arrived(self) -> set[int]:
        """Trials whose folders have come here since the last call."""
        transfer = self._transfer
        if transfer is None or transfer.is_alive():
            return set()
        self._transfer, number, error = None, transfer.number, transfer.error
        if error is None:
            self.discard([number])
            return {number}
        if isinstance(error, FileNotFoundError):
            self._forget(number)
            self._notify(f"trial {number}: its folder is lost: {error}")
        else:
            self._later.add(number)
            self._notify(f"trial {number}: its folder could not be fetched, the next run tries again: {error}")
        return set()

    def fetch(self, wanted: Mapping[int, Path]) -> None:
        """Begins to fetch the first of these folders, unless one is on its way."""
        if self._nodes is None or self._transfer is not None:
            return
        for number, into in wanted.items():
            if number in self.places and number not in self._later:
                self._transfer = _Transfer(self._nodes, self.uid, number, self.places[number], into)
                self._transfer.start()
                return

    def wait(self) -> bool:
        """Waits for the folder that is on its way; returns whether there was one."""
        if self._transfer is None:
            return False
        self._transfer.join(NOTICE)
        if self._transfer.is_alive():
            number = self._transfer.number
            self._notify(f"fetching the folder of trial {number}; interrupt to leave it to the next run")
            self._transfer.join()
        return True

    def sweep(self) -> None:
        """Removes, from all nodes, what lost attempts and earlier drivers have left."""
        if self._nodes is not None and self._has_leftovers:
            self._nodes.sweep(self.uid, self.places.values())

    def _forget(self, number: int) -> str:
        file = self._own / str(number) / PLACE
        try:
            with suppress(NotADirectoryError):  # a file is where the folder was: nothing is left to forget
                file.unlink(missing_ok=True)
        except OSError as error:
            self._notify(f"could not delete the file {file}: {error.strerror or error}; delete it yourself")
        return self.places.pop(number, "")


class _Transfer(threading.Thread):
    """Fetches one folder."""

    def __init__(self, nodes: Nodes, uid: str, number: int, place: str, into: Path) -> None:
        super().__init__(daemon=True)
        self.number = number
        self.error: Exception | None = None
        self._fetch = partial(nodes.fetch, uid, place, into)

    def run(self) -> None:
        try:
            self._fetch()
        except Exception as error:  # the thread that reads it decides what to do
            self.error = error
