"""The journal ledger: Optuna's journal storage on a safe file, read on from a summary where there is one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from io import FileIO
from pathlib import Path
from typing import Any, ClassVar

from optuna.storages import JournalStorage
from optuna.storages.journal._storage import JournalOperation
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial

from hpo.errors import HpoError, InputError, StorageError, StorageUnusable
from hpo.ledger import REQUEST, STUDY_ATTR
from hpo.ledger.heads import head
from hpo.ledger.journal_file import JournalFile, LedgerBusy
from hpo.ledger.record import Records
from hpo.ledger.replay import FINISHED, NeedsFullJournal, Replay, created, shortened
from hpo.ledger.rows import StoredReports, from_rows, to_row
from hpo.ledger.summary import SHARE, Entry, Summary, save
from hpo.study import parse
from hpo.trial import Trial


class Journal(JournalStorage):
    """Optuna's journal storage with a whole trial's end in one durable write.

    It reads the lines that follow the journal's summary; all lines when it needs a trial that only the summary has.

    Raises:
        StorageUnusable: When the file cannot be read, naming the line.
    """

    #: What it raises when it cannot be written.
    failures: ClassVar[tuple[type[Exception], ...]] = (OSError,)

    def __init__(self, path: Path, known: Summary | None = None) -> None:
        self._known = known
        try:
            self._file = JournalFile(path)
            super().__init__(self._file)
        except InputError:
            raise
        except OSError as error:
            raise StorageUnusable.about("storage", f"{path} cannot be read: {error}", str(path)) from error
        except Exception as error:  # Optuna checks no record before it applies it
            raise self._file.damaged(self._file.lines, f"does not fit what is before it: {error!r}") from error

    def __getstate__(self) -> dict[Any, Any]:
        return super().__getstate__() | {"_known": None}

    @staticmethod
    def is_passing(error: BaseException) -> bool:
        """Whether waiting may help."""
        return isinstance(error, LedgerBusy)

    def claim(self, study_id: int) -> None:
        """Nothing is needed: the lock on the file lasts as long as this process."""

    # Reading -------------------------------------------------------------------------------------------------------

    def _sync_with_backend(self) -> None:
        if not isinstance(self._replay_result, Replay):
            self._start_at(self._known)
        try:
            super()._sync_with_backend()
        except NeedsFullJournal:
            self._start_at(None)
            super()._sync_with_backend()

    def _start_at(self, known: Summary | None) -> None:
        self._known = known
        self._file.start_at(known)
        self._replay_result: Replay = Replay(self._worker_id_prefix, known)

    def _read_all(self) -> None:
        """Forgets the summary, where there is one."""
        if self._known is not None:
            with self._thread_lock:
                self._start_at(None)
                self._sync_with_backend()

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """One trial."""
        if (trial := super().get_trial(trial_id)) is not FINISHED:
            return trial
        self._read_all()
        return super().get_trial(trial_id)

    def get_all_trials(self, study_id: int, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        """All trials of a study."""
        self._read_all()
        return super().get_all_trials(study_id, deepcopy, states)

    def get_n_trials(self, study_id: int, state: Any = None) -> int:
        """How many trials a study has."""
        if state is not None:
            return super().get_n_trials(study_id, state)
        self.get_study_name_from_id(study_id)  # KeyError when there is none
        return len(self._replay_result.ids(study_id))

    def trials(self, study_id: int, records: Records) -> list[Trial]:
        """The trials of a study as hpo sees them."""
        with self._thread_lock:
            self._sync_with_backend()
        try:
            return from_rows(b"".join(self._rows(study_id, records)), self._file.path)
        except NeedsFullJournal:
            self._read_all()
            return self.trials(study_id, records)

    def requests(self, study_id: int) -> dict[str, Any]:
        """Those of a study's attributes that hold requests."""
        attrs = self.get_study_user_attrs(study_id)
        return {key: value for key, value in attrs.items() if key.startswith(REQUEST)}

    def summarize(self) -> Summary:
        """The summary of the journal as it is now; written beside it, unless only little is new."""
        with self._thread_lock:
            self._sync_with_backend()
        known, replay = self._known, self._replay_result
        old = {} if known is None else {entry.about["id"]: entry for entry in known.studies}
        try:
            entries = tuple(
                old[study._study_id] if study._study_id in old.keys() - replay.touched else self._entry(study)
                for study in replay.get_all_studies()
            )
        except NeedsFullJournal:
            self._read_all()
            return self.summarize()
        summary = self._file.summary(replay.to_resume(), entries)
        if known is None or summary.size - known.size > SHARE * summary.size:
            save(summary)
        return summary

    def _entry(self, study: FrozenStudy) -> Entry:
        """One study's part of the summary."""
        study_id, name, attrs = study._study_id, study.study_name, study.user_attrs
        ids = self._replay_result.ids(study_id)
        about: dict[str, Any] = {
            "id": study_id,
            "name": name,
            "directions": [int(direction) for direction in study.directions],
            "attrs": attrs,
            "system_attrs": study.system_attrs,
            "ids": shortened(ids),
            "error": None,
            "head": None,
        }
        if STUDY_ATTR not in attrs:
            return Entry(about, b"", self._file.path)
        try:
            parsed = parse({**attrs[STUDY_ATTR], "name": name}, file=name)
            rows = b"".join(self._rows(study_id, Records(parsed)))
            entry = Entry(about, rows, self._file.path)
            about["head"] = head(parsed, entry.trials())
        except (StorageError, NeedsFullJournal):
            raise
        except Exception as error:  # whatever a damaged or foreign record leads to
            about["error"] = str(error) if isinstance(error, HpoError) else f"{type(error).__name__}: {error}"
            return Entry(about, b"", self._file.path)
        return entry

    def _rows(self, study_id: int, records: Records) -> Iterator[bytes]:
        """A row for each trial of a study; those of finished ones may come from the summary."""
        replay = self._replay_result
        old: list[bytes] = []
        if self._known is not None:
            entry = next((entry for entry in self._known.studies if entry.about["id"] == study_id), None)
            old = [] if entry is None else entry.rows.splitlines(keepends=True)
            space = replay.get_study(study_id).user_attrs[STUDY_ATTR].get("space")
            if entry is not None and space != entry.attrs.get(STUDY_ATTR, {}).get("space"):
                old = []
        for number, trial_id in enumerate(replay.ids(study_id)):
            trial = replay.trial(trial_id)
            if trial is not FINISHED:
                place = replay.places.get(trial_id)
                reports = None if place is None else StoredReports(self._file.path, place)
                yield to_row(records.to_trial(trial, reports))
            elif number < len(old):
                yield old[number]
            else:
                raise NeedsFullJournal

    # Writing -------------------------------------------------------------------------------------------------------

    def create_trials(self, study_id: int, trials: Sequence[FrozenTrial]) -> None:
        """Writes trials, whatever their state, in order of their numbers: all of them or none."""
        with self._file.batch():
            for trial in trials:
                self._write_log(JournalOperation.CREATE_TRIAL, created(study_id, trial))

    def finish_trial(self, trial_id: int, trial: FrozenTrial) -> None:
        """Writes reports, attributes, state and value of a finished trial, all of them or none."""
        stored = self.get_trial(trial_id)
        self.check_trial_is_updatable(trial_id, stored.state)
        with self._file.batch():
            for step, value in trial.intermediate_values.items():
                report = {"trial_id": trial_id, "step": step, "intermediate_value": value}
                self._write_log(JournalOperation.SET_TRIAL_INTERMEDIATE_VALUE, report)
            for key, value in trial.system_attrs.items():
                self.set_trial_system_attr(trial_id, key, value)
            for key, value in trial.user_attrs.items():
                if stored.user_attrs.get(key) != value:
                    self.set_trial_user_attr(trial_id, key, value)
            self.set_trial_state_values(trial_id, trial.state, trial.values)

    def check(self) -> None:
        """Nothing is needed: every append checks what is there."""

    def after_write(self) -> None:
        """Nothing is needed: an append is whole when it returns."""

    def forget(self, study_id: int, key: str) -> None:
        """Removes a study's attribute with a request: those who read the journal drop it at this line."""
        self.set_study_user_attr(study_id, key, None)

    def save(self, file: FileIO, into: Path) -> None:
        """Copies the journal, which may have lost its name.

        Args:
            file: The journal, open.
            into: The copy.
        """
        file.seek(0)
        with into.open("wb") as copy:
            shutil.copyfileobj(file, copy)

    def disconnect(self) -> None:
        """Nothing is needed: every wait for a file has its own time limit."""

    def close(self) -> None:
        """Nothing stays open between two calls."""
