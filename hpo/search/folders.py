"""The folders of a study's trials: what is made for each, and how long it stays."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from hpo.best import front_of, ranked
from hpo.errors import StorageUnusable
from hpo.execution import MARKER, Nodes
from hpo.search.remote_folders import RemoteFolders
from hpo.text import printable
from hpo.trial import Direction, Trial

# The file, in a trial's own folder, with all that it prints.
LOG = "output.log"
# The folder beside it with what the trial writes itself.
FILES = "files"


def own_folder(beside: Path, name: str, uid: str) -> Path:
    """Where the folders of a study's trials are: ``trials/NAME``, or another name where another ledger's study has it.

    Args:
        beside: The ledger's own folder.
        name: The study's name.
        uid: Its identity.

    Raises:
        StorageUnusable: When there can be no such folder.
    """
    folder = beside / "trials" / name
    marker = folder / MARKER
    try:
        if not folder.exists():
            folder.mkdir(parents=True)
            marker.write_text(uid)
        elif not marker.exists() or marker.read_text() != uid:
            return own_folder(beside, f"{name}-{uid[:8]}", uid)
    except OSError as error:
        rule = f"cannot use {folder} for what trials write: {error.strerror or error}"
        raise StorageUnusable.about("storage", rule, str(folder)) from None
    return folder


def found_folder(beside: Path, name: str, uid: str, number: int | None = None) -> Path | None:
    """Where the logs and files of a trial are, or those of all; None where there are none.

    Args:
        beside: The ledger's own folder.
        name: The study's name.
        uid: Its identity.
        number: The trial's number; None for all trials.
    """
    for folder in (beside / "trials" / name, beside / "trials" / f"{name}-{uid[:8]}"):
        marker, own = folder / MARKER, folder if number is None else folder / str(number)
        if own.exists() and marker.exists() and marker.read_text() == uid:
            return own
    return None


def forget(beside: Path, name: str, uid: str, notify: Callable[[str], object]) -> None:
    """Removes the folders of a study that the ledger has no longer; arguments as for :func:`found_folder`."""
    for folder in (found_folder(beside, name, uid), beside / "checkpoints" / uid):
        if folder is not None:
            remove(folder, notify)


def links(own: Path | None, page: Path) -> dict[int, dict[str, str]]:
    """Relative addresses of logs and kept folders, by trial: ``{"log": ..., "files": ...}``, as far as they are there.

    Args:
        own: The folder of all trials, from :func:`found_folder`.
        page: The folder of the page with the links.
    """
    found: dict[int, dict[str, str]] = {}
    for folder in own.iterdir() if own else ():
        for words, path in (("log", folder / LOG), ("files", folder / FILES)):
            if folder.name.isdecimal() and path.exists():
                relative = os.path.relpath(path.resolve(), page.resolve())
                found.setdefault(int(folder.name), {})[words] = quote(os.fsencode(relative))
    return found


class TrialFolders:
    """Two folders per trial: a checkpoint, until the trial has finished, and one of its own, as long as it is kept.

    Workers make the folders for which objectives ask; this class names them and removes old ones.

    Args:
        checkpoints: Holds a checkpoint per trial, which survives a retry.
        own: Holds a folder per trial, ``N/files``.
        keep: How many of the best complete trials keep theirs; None for all trials.
        objectives: Which trials are the best; of several objectives, ``keep = 1`` stands for the whole front.
        notify: Receives remarks about what could not be removed.
        echo: Receives each line that a trial prints, after the trial's number.

    Attributes:
        remote: The folders that are on nodes of a cluster.
    """

    def __init__(
        self,
        checkpoints: Path,
        own: Path,
        keep: int | None,
        objectives: Mapping[str, Direction],
        notify: Callable[[str], object],
        echo: Callable[[str], object] | None = None,
    ) -> None:
        self._checkpoints, self._own, self._keep = checkpoints, own, keep
        self._objectives, self._notify, self._echo = objectives, notify, echo
        self._begun: dict[int, bytes] = {}  # lines whose end has not been printed yet
        self._lost = False  # whether output could not be written
        self.remote = RemoteFolders(own, notify)
        self._there = {int(path.parent.name) for path in own.glob(f"*/{FILES}") if path.parent.name.isdecimal()}

    def checkpoint(self, number: int) -> Path:
        """The folder of a trial for its checkpoint."""
        return self._checkpoints / str(number)

    def own(self, number: int) -> Path:
        """The folder of a trial for all that it writes."""
        return self._own / str(number) / FILES

    def log(self, number: int) -> Path:
        """The file with all that a trial has printed."""
        return self._own / str(number) / LOG

    def begin(self, number: int, attempt: int) -> None:
        """An attempt is about to begin: the first one with an empty log."""
        self._end_line(number)
        self.remote.begin(number, attempt)
        remove(self.own(number), self._notify)
        self._there.discard(number)
        if attempt == 1:
            with suppress(OSError):  # then nothing can be added to it either, and `printed` tells the user
                self.log(number).unlink(missing_ok=True)
        elif self.log(number).exists():
            self.printed(number, f"[attempt {attempt}]\n".encode())

    def printed(self, number: int, text: bytes) -> None:
        """Adds to a trial's log."""
        try:
            self.log(number).parent.mkdir(parents=True, exist_ok=True)
            with self.log(number).open("ab") as file:
                file.write(text)
        except OSError as error:
            if not self._lost:
                why = error.strerror or error
                self._notify(f"trial {number}: its output cannot be written to {self.log(number)}: {why}")
            self._lost = True
        self._show(number, text)

    def _show(self, number: int, text: bytes) -> None:
        """Echoes what a trial prints, in whole lines: several trials print at once."""
        if self._echo is not None:
            *lines, self._begun[number] = re.split(rb"\r\n|\r|\n", self._begun.get(number, b"") + text)
            for line in lines:
                self._echo(f"trial {number} | {printable(line.decode(errors='replace'))}")

    def _end_line(self, number: int) -> None:
        if self._begun.get(number):
            self._show(number, b"\n")

    @contextmanager
    def gathering(self, nodes: Nodes | None, trials: Sequence[Trial], uid: str) -> Iterator[None]:
        """During the block, fetches kept folders from the nodes of a cluster; at its end, waits for the rest.

        Args:
            nodes: The nodes; None without a cluster.
            trials: All trials of the study, now and at the end of the block.
            uid: The ledger's identity of the study.
        """
        self.remote.connect(nodes, uid, has_leftovers=bool(trials))
        self.tidy(trials)
        yield
        while self.remote.wait():
            self.tidy(trials)
        self.remote.sweep()

    def tidy(self, trials: Sequence[Trial], finished: Trial | None = None) -> None:
        """Removes the folders that are not kept, each only when the folder of the better trial is here and complete.

        Args:
            trials: All trials of the study.
            finished: The one that has just finished.
        """
        if finished is not None:
            self._end_line(finished.number)
            remove(self.checkpoint(finished.number), self._notify)
            if os.path.lexists(self.own(finished.number)):
                self._there.add(finished.number)
        away = self.remote
        self._there |= away.arrived()
        away.discard(away.places.keys() & self._there)  # a driver died while it did
        there = [trials[number] for number in self._there if number < len(trials)]
        kept = {trial.number for trial in self._kept(there)}
        for trial in there:
            if trial.finished and trial.number not in kept:
                remove(self.own(trial.number), self._notify)
                self._there.discard(trial.number)
        coming = [trials[number] for number in away.places if number < len(trials) and trials[number].finished]
        away.discard([trial.number for trial in coming if trial not in self._kept([*there, trial])])
        away.fetch({trial.number: self.own(trial.number) for trial in self._kept([*there, *coming])})

    def _kept(self, trials: Iterable[Trial]) -> Sequence[Trial]:
        """The trials whose folders are kept when there are only these."""
        if self._keep is None:
            return list(trials)
        if self._keep == 1 and len(self._objectives) > 1:
            return front_of(trials, self._objectives)
        return ranked(trials, self._objectives)[: self._keep]


def remove(folder: Path, notify: Callable[[str], object]) -> None:
    """Removes a folder, or the file or link in its place; what a link points to stays.

    A remark names what could not be deleted.
    """
    try:
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)
        else:
            with suppress(NotADirectoryError):  # a file is where the folder above was
                folder.unlink(missing_ok=True)
    except (OSError, RecursionError) as error:
        why = getattr(error, "strerror", None) or error
        notify(f"could not delete the folder {folder}: {why}; delete it yourself")
