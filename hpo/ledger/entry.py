"""A study's entry in a ledger: found and compared with the study's file, or made."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hpo.errors import HpoError, StorageUnusable, StudyConflict
from hpo.ledger import CREATED_ATTR, FOLDER_ATTR, STUDY_ATTR, UID_ATTR, check_attributes
from hpo.ledger.record import DIRECTIONS
from hpo.study import Study
from hpo.study.fields import show
from hpo.study.markdown import searched
from hpo.study.study import identity
from hpo.study.values import as_stored, as_text

if TYPE_CHECKING:
    from hpo.ledger.journal import Journal
    from hpo.ledger.sql import Sql

# System attributes of Optuna and optuna-dashboard: the metrics' names, and the note.
METRICS_ATTR, NOTE_ATTR, NOTE_VERSION_ATTR = "study:metric_names", "dashboard:note_str:0", "dashboard:note_ver"


def attributes(store: Journal | Sql, name: str) -> dict[str, Any]:
    """What the ledger has of a study; nothing where it has no such study."""
    try:
        return store.get_study_user_attrs(store.get_study_id_from_name(name))
    except KeyError:
        return {}


def find(store: Journal | Sql, study: Study) -> int | None:
    """The study's id; None where the ledger does not have it.

    An entry that contradicts the file is deleted as long as no trial has a value, and so is one that is half made.

    Raises:
        StorageUnusable: When the entry is damaged.
        StudyConflict: When the file contradicts trials that have values, or the study is not hpo's.
    """
    try:
        study_id = store.get_study_id_from_name(study.name)
    except KeyError:
        return None
    attrs = store.get_study_user_attrs(study_id)
    try:
        check_attributes(attrs)
    except HpoError as error:
        rule = f"study {study.name!r} cannot be read: {error}\nto delete it: hpo delete {study.name}"
        raise StorageUnusable(rule, key="name", rule=rule, value=study.name) from None
    if STUDY_ATTR in attrs:
        stored, now = attrs[STUDY_ATTR], as_stored(study.identity())
        differences = list(_differences("", identity(stored), now))
        if not differences:
            if stored != as_stored(study.resolved):
                store.set_study_user_attr(study_id, STUDY_ATTR, as_stored(study.resolved))
            _introduce(store, study_id, study)
            return study_id
        if any(trial.values for trial in store.get_all_trials(study_id, deepcopy=False)):
            rule = (
                f"contradicts the ledger's study {study.name!r}; give it another name (and begin it with "
                f"these trials: `hpo fork {study.name} NEW.toml`), or `hpo delete {study.name}`:\n  "
                + "\n  ".join(differences)
            )
            raise StudyConflict(f"{study.file}: {rule}", file=study.file, key="name", rule=rule, value=study.name)
        # A file that was corrected before any trial had a value: nothing is lost, and nothing old may count.
    elif store.get_n_trials(study_id) or any(not key.startswith("hpo:") for key in attrs):
        rule = f"the ledger holds a study {study.name!r} that hpo did not make; choose another name"
        raise StudyConflict(rule, key="name", rule=rule, value=study.name)
    # Otherwise a driver died while it made the study.
    store.delete_study(study_id)
    return None


def make(store: Journal | Sql, study: Study, noted: Mapping[str, Any]) -> int:
    """Makes a study, with further attributes; returns its id."""
    study_id = store.create_new_study([DIRECTIONS[direction] for direction in study.objectives.values()], study.name)
    store.set_study_user_attr(study_id, UID_ATTR, uuid.uuid4().hex)
    store.set_study_user_attr(study_id, CREATED_ATTR, time.time())
    _introduce(store, study_id, study)
    for key, value in noted.items():
        store.set_study_user_attr(study_id, key, value)
    store.set_study_user_attr(study_id, STUDY_ATTR, as_stored(study.resolved))  # last: now the study is whole
    return study_id


def _introduce(store: Journal | Sql, study_id: int, study: Study) -> None:
    """Notes where the study's code is, the names of the metrics for Optuna's tools, and a text for its dashboard.

    A text that a person has written there stays.
    """
    if store.get_study_user_attrs(study_id).get(FOLDER_ATTR) != study.folder:
        store.set_study_user_attr(study_id, FOLDER_ATTR, study.folder)
    there = store.get_study_system_attrs(study_id)
    wanted: dict[str, Any] = {METRICS_ATTR: [*study.objectives], NOTE_ATTR: searched(study), NOTE_VERSION_ATTR: 1}
    for key, value in wanted.items():
        if key not in there:
            store.set_study_system_attr(study_id, key, value)


def _differences(key: str, old: Any, new: Any) -> list[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return [
            line
            for name in dict.fromkeys((*old, *new))
            for line in _differences(f"{key}.{name}" if key else name, old.get(name), new.get(name))
        ]
    if as_text(old) == as_text(new):
        return []
    was, now = ("absent" if value is None else show(value) for value in (old, new))
    return [f"{key}: {was} in the ledger, {now} in the file"]
