"""Copies studies from one ledger to another: as they are, trial by trial, under the same identity."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial

from hpo.errors import InputError, StorageError, StudyConflict
from hpo.ledger import (
    DISCARDED_ATTR,
    EDITS_ATTR,
    EVALUATIONS_ATTR,
    REQUEST,
    STUDY_ATTR,
    UID_ATTR,
    discards,
    lock,
    snapshots,
)
from hpo.ledger.address import Address
from hpo.ledger.ledger import connect
from hpo.ledger.replay import created
from hpo.ledger.sql import WRITER_ATTR
from hpo.text import reason

if TYPE_CHECKING:
    from hpo.ledger.journal import Journal
    from hpo.ledger.sql import Sql


@dataclass(frozen=True)
class Copied:
    """What :func:`copy` did.

    Attributes:
        trials: How many trials the study has.
        written: How many of them were written now.
    """

    trials: int
    written: int


@dataclass(frozen=True)
class _Content:
    """A study as Optuna's storage has it."""

    id: int
    directions: list[Any]
    user: dict[str, Any]
    system: dict[str, Any]
    trials: list[FrozenTrial]


def copy(source: Address, name: str, target: Address) -> Copied:
    """Copies a study with all it has; a copy that is older is brought up to the original.

    Args:
        source: The ledger that has the study.
        name: The study.
        target: The ledger that gets it; created when absent.

    Raises:
        StudyNotFound: When there is no such study.
        StudyLocked: When it is being run, here or there.
        StudyConflict: When the target has another study of this name, or one that is not older than this.
        StorageError: When a ledger fails on the way; the next call completes the copy.
    """
    if _file(source) == _file(target):
        raise InputError(f"--to: must be another ledger, got {target}", key="--to", value=str(target))
    snapshots.uid(source, name)
    with ExitStack() as opened:
        for address in (source, target):
            opened.callback(lock.acquire(address, name).release)
        here, there = (opened.enter_context(closing(connect(address))) for address in (source, target))
        try:
            original, older = _content(here, name), _content(there, name)
            return _copied(name, original, older, there, target)
        except (*here.failures, *there.failures) as error:
            raise StorageError(
                f"the copy of {name} from {source} to {target} was cut off: {reason(error.__cause__ or error)}\n"
                "Nothing is lost; run the same command again once both ledgers are available"
            ) from error


def _file(address: Address) -> Path | str:
    return address.path.resolve() if address.path else address.url


def _content(store: Journal | Sql, name: str) -> _Content | None:
    try:
        study_id = store.get_study_id_from_name(name)
    except KeyError:
        return None
    attributes = store.get_study_user_attrs(study_id)
    user = {key: v for key, v in attributes.items() if key != WRITER_ATTR and not key.startswith(REQUEST)}
    trials = store.get_all_trials(study_id, deepcopy=False)
    return _Content(
        study_id, store.get_study_directions(study_id), user, dict(store.get_study_system_attrs(study_id)), trials
    )


def _copied(name: str, original: _Content | None, older: _Content | None, store: Journal | Sql, to: Address) -> Copied:
    assert original is not None
    if older is not None:
        begun = UID_ATTR in older.user or not (older.user or older.trials)
        died = begun and STUDY_ATTR not in older.user  # the process that made the copy
        if died or _began_anew(name, original, older, to):
            store.delete_study(older.id)
            older = None
    if older is None:
        older = _Content(store.create_new_study(original.directions, name), [], {}, {}, [])
    store.claim(older.id)
    for key, value in original.system.items():
        if older.system.get(key) != value:
            store.set_study_system_attr(older.id, key, value)
    # The identity comes first, and what makes the study whole comes last, behind the trials.
    order = {UID_ATTR: -1, STUDY_ATTR: 1}
    written = original.trials[len(older.trials) :]
    for key, value in sorted(original.user.items(), key=lambda pair: order.get(pair[0], 0)):
        if key == STUDY_ATTR and written:
            store.create_trials(older.id, written)
        if older.user.get(key) != value:
            store.set_study_user_attr(older.id, key, value)
    store.summarize()
    return Copied(len(original.trials), len(written))


def _began_anew(name: str, original: _Content, older: _Content, to: Address) -> bool:
    """Whether trials that were unfinished in the copy have changed since; nothing else may have changed.

    Raises:
        StudyConflict: When bringing the copy up to the original would lose something.
    """

    def refuse(how: str) -> StudyConflict:
        return StudyConflict(f"--to: {to} has a study {name!r} {how}")

    if older.user.get(UID_ATTR) != original.user.get(UID_ATTR):
        raise refuse("that is another one; delete it there first, or fork yours under another name")
    if len(older.trials) > len(original.trials):
        raise refuse(
            f"with {len(older.trials)} trials, and only {len(original.trials)} are here; copy it the other way"
        )
    pairs = zip(original.trials, older.trials, strict=False)
    changed = [(mine, theirs) for mine, theirs in pairs if _text(mine) != _text(theirs)]
    for mine, theirs in changed:
        if theirs.state.is_finished() or mine.params != theirs.params:
            raise refuse(f"that has diverged: trial {mine.number} differs; delete one of the two")
    evaluations = older.user.get(EVALUATIONS_ATTR, [])
    if original.user.get(EVALUATIONS_ATTR, [])[: len(evaluations)] != evaluations:
        raise refuse("that was evaluated on its test set, which is not recorded here; copy it the other way")
    if lost := _changed_by_people(older.user, original.user):
        raise refuse(
            f"that has a newer change: {lost} there but not here; make the same change here, undo it there, or delete "
            "that copy"
        )
    return bool(changed)


def _changed_by_people(there: Mapping[str, Any], here: Mapping[str, Any]) -> str | None:
    """What a person has changed in the copy alone, in words."""
    marks = here.get(DISCARDED_ATTR, {})
    for number, theirs in there.get(DISCARDED_ATTR, {}).items():
        mine = marks.get(number)
        if discards(theirs) != discards(mine) and (mine is None or _decided(mine) < _decided(theirs)):
            return f"trial {number} was {'discarded' if discards(theirs) else 'made to count again'}"
    known = {(edit["key"], edit["text"]) for edit in here.get(EDITS_ATTR, ())}
    edits = [edit for edit in there.get(EDITS_ATTR, ()) if not edit["ended"]]
    edit = next((edit for edit in edits if (edit["key"], edit["text"]) not in known), None)
    return edit and f"{edit['key']} = {edit['text']} was set"


def _decided(mark: Mapping[str, Any]) -> float:
    """When a trial was discarded, or made to count again."""
    return float(mark.get("undone", mark)["time"])


def _text(trial: FrozenTrial) -> str:
    """All that a trial is, without its place in a storage; NaN equals NaN."""
    return json.dumps(created(0, trial), sort_keys=True)
