"""The ledger of one study, as its one writer holds it."""

from __future__ import annotations

import copy
import json
import time
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from optuna.trial import FrozenTrial

from hpo.errors import HpoError, InputError
from hpo.fields import show
from hpo.ledger import lock, storage
from hpo.ledger.address import Address
from hpo.ledger.record import DIRECTIONS, attributes
from hpo.study import Study
from hpo.trial import Trial

if TYPE_CHECKING:
    from hpo.ledger.journal import Journal
    from hpo.ledger.sql import Sql

# The study attribute that holds the resolved study file.
STUDY_ATTR = "hpo:study"
UID_ATTR = "hpo:uid"
CREATED_ATTR = "hpo:created"
# Seconds for which a database that went away is waited for, and between two tries.
PATIENCE, RETRY = 60.0, 0.5

T = TypeVar("T")


class Ledger:
    """Durable record of one study; what ``begin`` and ``finish`` wrote has survived when they return.

    Attributes:
        uid: The study's own identity: a study deleted and made again under its name is another one.
        created: When it was made, in seconds since the epoch.
        loaded: The trials that were there when it was opened, running ones of a dead driver included.
    """

    def __init__(
        self, address: Address, store: Journal | Sql, study_id: int, loaded: list[FrozenTrial], held: lock.Lock
    ) -> None:
        self._address = address
        self._store = store
        self._study_id = study_id
        self._ids = {trial.number: trial._trial_id for trial in loaded}
        self._held = held
        self.loaded = loaded
        attrs = store.get_study_user_attrs(study_id)
        self.uid: str = attrs[UID_ATTR]
        self.created: float = attrs[CREATED_ATTR]

    @classmethod
    def open(cls, address: Address, study: Study) -> Ledger:
        """Locks and opens the ledger of ``study``, and makes it when absent.

        Raises:
            InputError: When another process runs the study, when the storage cannot be used, or when the study file
                contradicts the trials that are there.
        """
        held = lock.acquire(address, study.name)
        try:
            store = storage.connect(address)
            try:
                study_id = _find(store, study)
                if study_id is None:
                    study_id = _make(store, study)
                return cls(address, store, study_id, store.get_all_trials(study_id), held)
            except BaseException:
                store.close()
                raise
        except BaseException:
            held.release()
            raise

    def begin(self, frozen: FrozenTrial, trial: Trial) -> None:
        """Writes a trial that is about to run, under its number.

        Raises:
            HpoError: When the storage does not take it.
        """
        record = copy.copy(frozen)
        record.user_attrs = attributes(trial)
        self._ids[frozen.number] = self._durably(lambda again: self._create(record, again=again))

    def finish(self, frozen: FrozenTrial, trial: Trial) -> None:
        """Writes a trial's reports, state and value at once.

        Raises:
            HpoError: When the storage does not take it.
        """
        trial_id, attrs = self._ids[frozen.number], attributes(trial)

        def write(again: bool) -> None:
            # An answer that was lost on its way is no reason to write twice.
            if not (again and self._store.get_trial(trial_id).state.is_finished()):
                self._store.finish_trial(trial_id, frozen, attrs)

        self._durably(write)

    def _create(self, record: FrozenTrial, *, again: bool) -> int:
        known = self._store.get_n_trials(self._study_id) if again else record.number
        if known == record.number:
            trial_id = self._store.create_new_trial(self._study_id, template_trial=record)
        else:
            trial_id = self._store.get_trial_id_from_study_id_trial_number(self._study_id, record.number)
        number = self._store.get_trial_number_from_id(trial_id)
        if number != record.number:
            raise HpoError(f"trial {record.number} got the number {number}: something else writes to this study")
        return trial_id

    def _durably(self, write: Callable[[bool], T]) -> T:
        """Calls ``write(again)`` until the storage takes it, or has been away for :data:`PATIENCE` seconds."""
        deadline = time.monotonic() + PATIENCE
        again = False
        while True:
            try:
                self._held.ensure()
                return write(again)
            except storage.failures() as error:
                if not storage.is_passing(error) or time.monotonic() > deadline:
                    reason = " ".join(str(error.__cause__ or error).split())[:300]
                    raise HpoError(
                        f"the ledger {self._address} cannot be written: {reason}\n"
                        "What is finished is kept; run the study again when the storage is well, and it goes on"
                    ) from error
            again = True
            time.sleep(RETRY)

    def close(self) -> None:
        self._store.close()
        self._held.release()


def _find(store: Journal | Sql, study: Study) -> int | None:
    """The study's id, when the ledger has it; one without any result that cannot go on is cleared away."""
    try:
        study_id = store.get_study_id_from_name(study.name)
    except KeyError:
        return None
    attrs, trials = store.get_study_user_attrs(study_id), store.get_all_trials(study_id)
    if STUDY_ATTR in attrs:
        stored, now = attrs[STUDY_ATTR], _plain(study.identity())
        differences = list(_differences("", {key: stored.get(key) for key in now}, now))
        if not differences:
            if stored != _plain(study.resolved):
                store.set_study_user_attr(study_id, STUDY_ATTR, _plain(study.resolved))
            return study_id
        if any(trial.values for trial in trials):
            raise InputError(
                f"{study.file}: contradicts the ledger's study {study.name!r}; choose another name, or "
                f"`hpo delete {study.name}`:\n  " + "\n  ".join(differences)
            )
        # A file that was corrected before any trial had a value: nothing is lost, and nothing old may count.
    elif trials or any(not key.startswith("hpo:") for key in attrs):
        raise InputError(f"the ledger holds a study {study.name!r} that hpo did not make; choose another name")
    # Otherwise a driver died while it made the study.
    store.delete_study(study_id)
    return None


def _make(store: Journal | Sql, study: Study) -> int:
    study_id = store.create_new_study([DIRECTIONS[study.direction]], study.name)
    store.set_study_user_attr(study_id, UID_ATTR, uuid.uuid4().hex)
    store.set_study_user_attr(study_id, CREATED_ATTR, time.time())
    store.set_study_user_attr(study_id, STUDY_ATTR, _plain(study.resolved))  # last: now the study is whole
    return study_id


def _plain(value: Any) -> Any:
    """A value as the storage gives it back."""
    return json.loads(json.dumps(value))


def _differences(key: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return [
            line
            for name in dict.fromkeys((*old, *new))
            for line in _differences(f"{key}.{name}" if key else name, old.get(name), new.get(name))
        ]
    if old == new:
        return []
    was, now = ("absent" if value is None else show(value) for value in (old, new))
    return [f"{key}: {was} in the ledger, {now} in the file"]
