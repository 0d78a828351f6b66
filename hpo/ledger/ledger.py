"""The ledger of one study, as its one writer holds it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial

from hpo.errors import HpoError, StorageError, StorageUnusable
from hpo.ledger import CREATED_ATTR, FOLDER_ATTR, STUDY_ATTR, UID_ATTR, check_attributes, entry, lock, marked, summary
from hpo.ledger.address import Address, not_found
from hpo.ledger.inbox import Inbox
from hpo.ledger.record import Records
from hpo.ledger.rescue import rescue
from hpo.study import Study, parse
from hpo.study.values import as_stored
from hpo.text import reason
from hpo.trial import Trial

if TYPE_CHECKING:
    from hpo.ledger.journal import Journal
    from hpo.ledger.sql import Sql

_SILENT = "it does not answer; perhaps it, its disk or this machine is only slow"
# Seconds to wait for a storage that is not available: in all; between two tries; before a remark; in all after Ctrl-C.
WRITE_TIMEOUT, RETRY_SECONDS, REMARK_SECONDS, INTERRUPTED_TIMEOUT = 60.0, 0.5, 3.0, 3.0

T = TypeVar("T")
Notify = Callable[[str], None]


class Ledger:
    """Durable record of one study; what ``begin`` and ``finish`` wrote has survived when they return.

    Attributes:
        uid: The study's own identity: a study that is deleted and made again under its name gets another one.
        created: When it was made, in seconds since the epoch.
        study: The study, with the edits that were made to it.
        loaded: The trials that were there when it was opened, also those that a dead driver left running.
        inbox: What other processes ask of its writer.
        cleared: The identity of an earlier study of this name, which had no value yet and was cleared away by opening.
    """

    cleared: str | None = None

    def __init__(
        self, address: Address, store: Journal | Sql, study_id: int, study: Study, held: lock.Lock, notify: Notify
    ) -> None:
        self._address = address
        self._store = store
        self._study_id = study_id
        self.study = study
        self._records = Records(study)
        self._held = held
        self._notify = notify
        self._short_waits = False
        self._reason = ""
        self._since: float | None = None  # when the write began that is under way
        self._watch: threading.Thread | None = None
        self._closed = threading.Event()
        store.claim(study_id)
        self._ids: dict[int, int] = {}
        attrs = store.get_study_user_attrs(study_id)
        self.loaded = marked(store.trials(study_id, self._records), attrs)
        self.inbox = Inbox(address, store, study_id)
        self.uid: str = attrs[UID_ATTR]
        self.created: float = attrs[CREATED_ATTR]

    @classmethod
    def open(
        cls,
        address: Address,
        study: Study,
        notify: Notify = lambda text: None,
        adapt: Callable[[Study, Mapping[str, Any]], Study] = lambda study, attrs: study,
        noted: Mapping[str, Any] = MappingProxyType({}),
    ) -> Ledger:
        """Locks and opens the ledger of ``study``, and makes it when absent.

        Args:
            address: Where it is.
            study: The study.
            notify: Receives remarks while the storage is not available.
            adapt: Turns the study's file and its attributes in the ledger into the study to record.
            noted: Further attributes of a study that is made: it has them from its first moment.

        Raises:
            StudyLocked: When another process runs the study.
            StorageUnusable: When the storage cannot be used.
            StudyConflict: When the study file contradicts the trials that are there.
        """
        cleared: str | None = None

        def found(store: Journal | Sql) -> tuple[int, Study]:
            nonlocal cleared
            attrs = entry.attributes(store, study.name)
            adapted = adapt(study, attrs)
            study_id = entry.find(store, adapted)
            if study_id is not None:
                return study_id, adapted
            cleared = attrs.get(UID_ATTR)
            return entry.make(store, study, noted), study

        ledger = cls._open(address, study.name, notify, found)
        ledger.cleared = cleared
        return ledger

    @classmethod
    def reopen(cls, address: Address, name: str) -> Ledger:
        """Locks and opens a study as the ledger has it.

        Raises:
            StudyNotFound: When there is no such study.
            StudyLocked: As :meth:`open`.
            StorageUnusable: As :meth:`open`.
        """

        def found(store: Journal | Sql) -> tuple[int, Study]:
            attrs = entry.attributes(store, name)
            if STUDY_ATTR not in attrs:
                raise not_found(address, name, [study.study_name for study in store.get_all_studies()])
            check_attributes(attrs)
            raw = {**attrs[STUDY_ATTR], "name": name}  # optuna-dashboard may have renamed it
            study = parse(raw, file=f"{address}, study {name}", folder=attrs.get(FOLDER_ATTR))
            return store.get_study_id_from_name(name), study

        return cls._open(address, name, lambda text: None, found)

    @classmethod
    def _open(
        cls, address: Address, name: str, notify: Notify, find: Callable[[Journal | Sql], tuple[int, Study]]
    ) -> Ledger:
        held = lock.acquire(address, name)
        try:
            store = connect(address)
            try:
                study_id, study = find(store)
                return cls(address, store, study_id, study, held, notify)
            except BaseException as error:
                store.close()
                if isinstance(error, store.failures) and store.is_passing(error):
                    why = reason(error.__cause__ or error)
                    rule = f"{address} went away while it was opened: {why}; run the same command again"
                    raise StorageUnusable.about("storage", rule, str(address)) from error
                raise
        except BaseException:
            held.release()
            raise

    def begin(self, trial: Trial) -> None:
        """Writes a trial that is about to run, under its number.

        Raises:
            StorageError: When the storage does not take it.
        """
        record = self._records.to_optuna(trial)
        self._ids[trial.number] = self._durably(lambda again: self._create(record, again=again))

    def take(self, trials: Sequence[Trial]) -> None:
        """Writes trials that have finished elsewhere, under their numbers, which are the next ones: all or none.

        Raises:
            StorageError: When the storage does not take them.
        """
        records, count = [self._records.to_optuna(trial) for trial in trials], len(self.loaded)

        def write(again: bool) -> None:
            # The first write may have succeeded although its answer was lost.
            if not (again and self._store.get_n_trials(self._study_id) > count):
                self._store.create_trials(self._study_id, records)

        self._durably(write)
        self.loaded += trials

    def finish(self, trial: Trial) -> None:
        """Writes a trial's reports, state and value at once.

        Raises:
            StorageError: When the storage does not take it.
        """
        record = self._records.to_optuna(trial)

        def write(again: bool) -> None:
            trial_id = self._id(trial.number)
            # The first write may have succeeded although its answer was lost.
            if not (again and self._store.get_trial(trial_id).state.is_finished()):
                self._store.finish_trial(trial_id, record)

        self._durably(write)

    def _id(self, number: int) -> int:
        if (trial_id := self._ids.get(number, -1)) < 0:  # it was begun by another driver
            trial_id = self._store.get_trial_id_from_study_id_trial_number(self._study_id, number)
        return trial_id

    def note(self, number: int, key: str, value: Any) -> None:
        """Writes a note of a trial that has not finished."""
        self._durably(lambda again: self._store.set_trial_system_attr(self._id(number), key, value))

    def get(self, key: str, default: Any = None) -> Any:
        """An attribute of the study."""
        return self._durably(lambda again: self._store.get_study_user_attrs(self._study_id)).get(key, default)

    def set(self, key: str, value: Any) -> None:
        """Writes an attribute of the study."""
        self._durably(lambda again: self._store.set_study_user_attr(self._study_id, key, as_stored(value)))

    def forget(self, key: str) -> None:
        """Removes an attribute that holds a request."""
        self._durably(lambda again: self._store.forget(self._study_id, key))

    def adopt(self, study: Study) -> None:
        """Records the study as it is from now on; its identity must be the same."""
        self.study = study
        self.set(STUDY_ATTR, study.resolved)

    def _create(self, record: FrozenTrial, *, again: bool) -> int:
        known = self._store.get_n_trials(self._study_id) if again else record.number
        if known == record.number:
            trial_id = self._store.create_new_trial(self._study_id, template_trial=record)
        else:
            trial_id = self._store.get_trial_id_from_study_id_trial_number(self._study_id, record.number)
        number = self._store.get_trial_number_from_id(trial_id)
        if number != record.number:
            raise StorageError(
                f"trial {record.number} got the number {number}: something else writes to this study; stop that, and "
                "run the same command again"
            )
        return trial_id

    def _durably(self, write: Callable[[bool], T]) -> T:
        """Calls ``write(again)`` until it succeeds, or :data:`WRITE_TIMEOUT` seconds have passed."""
        began, again = time.monotonic(), False
        failures: tuple[type[Exception], ...] = (KeyError, UpdateFinishedTrialError, *self._store.failures)
        with self._watched():
            while True:
                try:
                    self._held.ensure()
                    self._store.check()
                    written = write(again)
                    self._store.after_write()
                    return written
                except lock.LedgerGone as gone:
                    raise StorageError(f"{gone}; {rescue(gone, self._store)}") from gone
                except failures as error:
                    if (change := self._changed_elsewhere(error)) is not None:
                        raise StorageError(change) from error
                    if isinstance(error, KeyError):
                        raise
                    self._reason = reason(error.__cause__ or error)
                    if not self._store.is_passing(error) or time.monotonic() - began > self._write_timeout:
                        raise StorageError(
                            f"the ledger {self._address} cannot be written: {self._reason}\n"
                            "Finished trials are saved; run the same command again once the storage is available"
                        ) from error
                again = True
                time.sleep(RETRY_SECONDS)

    def _changed_elsewhere(self, error: Exception) -> str | None:
        """What another program has done to the study, which this lock does not keep from it; None for nothing."""
        who = "another program (optuna-dashboard, say)"
        if isinstance(error, UpdateFinishedTrialError):
            return (
                f"{who} has ended a trial of {self.study.name} that was running here: {reason(error)} Run the same "
                "command again to continue with the trials as the ledger has them"
            )
        try:
            self._store.get_study_name_from_id(self._study_id)
        except KeyError:
            return f"{who} has deleted the study {self.study.name} from {self._address}, or renamed it"
        except self._store.failures:
            pass  # it does not answer
        return None

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Has another thread remark on a storage that does not answer, and at last close the connection to it."""
        if self._address.kind == "sqlite":  # its own timeout is shorter
            yield
            return
        if self._watch is None:
            self._watch = threading.Thread(target=self._look, name="ledger", daemon=True)
            self._watch.start()
        self._reason, self._since = _SILENT, time.monotonic()
        try:
            yield
        finally:
            self._since = None

    def _look(self) -> None:
        """Checks now and then whether a write takes long; a thread for each write would cost more than the write."""
        last, remark_at = 0.0, REMARK_SECONDS
        while not self._closed.wait(min(REMARK_SECONDS, 0.5)):
            if (since := self._since) is None:
                continue
            if since != last:
                last, remark_at = since, REMARK_SECONDS
            waited = time.monotonic() - since
            if waited > self._write_timeout:
                self._held.disconnect()
                self._store.disconnect()
            elif waited > remark_at:
                remark_at *= 3
                self._notify(
                    f"waiting for the ledger {self._address}: {waited:.0f} s so far, at most {WRITE_TIMEOUT:.0f} s; "
                    f"Ctrl-C ends the wait: {self._reason}"
                )

    @property
    def _write_timeout(self) -> float:
        return INTERRUPTED_TIMEOUT if self._short_waits else WRITE_TIMEOUT

    def shorten_waits(self) -> None:
        """From now on waits only :data:`INTERRUPTED_TIMEOUT` seconds for the storage: the user wants to end."""
        self._short_waits = True

    def close(self) -> None:
        self._closed.set()
        with ExitStack() as last:  # also after Ctrl-C
            last.callback(self._held.release)
            last.callback(self._store.close)
            self.inbox.close()
            with suppress(HpoError, OSError):  # if it fails, the next reader reports it
                self._store.summarize()


def connect(address: Address) -> Journal | Sql:
    """Opens the storage behind an address; makes it when absent.

    Raises:
        StorageUnusable: When it cannot be reached, cannot be read, or is not Optuna's.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if address.kind == "journal":
        from hpo.ledger.journal import Journal

        assert address.path is not None
        return Journal(address.path, summary.load(address.path))
    from hpo.ledger import sql

    return sql.connect(address)
