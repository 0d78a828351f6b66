"""Studies in a ledger as people and other programs see them: read, deleted, and their evaluations noted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hpo import text
from hpo.errors import HpoError, StorageError, StorageUnusable
from hpo.ledger import (
    CREATED_ATTR,
    EDITS_ATTR,
    EVALUATIONS_ATTR,
    FOLDER_ATTR,
    STUDY_ATTR,
    UID_ATTR,
    check_attributes,
    heads,
    lock,
    marked,
    summary,
)
from hpo.ledger.address import Address, not_found
from hpo.study import Study, parse
from hpo.study.edits import Edit, from_json
from hpo.trial import StudyState, Trial

if TYPE_CHECKING:
    from hpo.ledger.journal import Journal
    from hpo.ledger.sql import Sql

T = TypeVar("T")


@dataclass(frozen=True)
class Snapshot:
    """A study as the ledger has it.

    Attributes:
        study: What was searched, by the study file with which it was last run.
        trials: In order of their numbers.
        holder: Who is running it now; None when nobody is.
        uid: The study's own identity in the ledger.
        evaluations: Every access to the sealed test set, in order; see :func:`note_evaluation`.
        created: When the study was made, in seconds since the epoch.
        edits: What ``hpo set`` has changed, in order, also what no longer holds; see :class:`hpo.study.edits.Edit`.
    """

    study: Study
    trials: list[Trial]
    holder: str | None
    uid: str = ""
    evaluations: tuple[dict[str, Any], ...] = ()
    created: float = 0.0
    edits: tuple[Edit, ...] = ()

    @property
    def spent(self) -> bool:
        """Whether the budget is spent."""
        return heads.spent(self.study, self.trials)

    @property
    def state(self) -> StudyState:
        """How it stands."""
        return heads.state(self.study, self.trials, self.holder)

    def head(self, top: int = 5) -> dict[str, Any]:
        """The study as ``hpo show --json`` prints it, with the ``top`` best trials."""
        return heads.head(self.study, self.trials, self.holder, top)


def names(address: Address) -> list[str]:
    """The studies that hpo keeps in this ledger, also those that cannot be read."""
    return [stored.name for stored in _stored(address) if STUDY_ATTR in stored.attrs]


def read(address: Address, name: str) -> Snapshot:
    """One study with all its trials.

    Raises:
        StudyNotFound: When there is no such study.
        StorageUnusable: When it cannot be read.
    """
    return _one(address, name, _snapshot)


def head(address: Address, name: str) -> dict[str, Any]:
    """What ``hpo list`` shows of one study; errors are those of :func:`read`."""
    return _one(address, name, _head)


def _one(address: Address, name: str, read: Callable[[Address, Stored], T]) -> T:
    for _, found in _each(address, lambda other: other == name, read):
        if isinstance(found, str):
            raise _unreadable(address, name, found)
        return found
    raise not_found(address, name, names(address))


def read_all(address: Address, wanted: Callable[[str], bool]) -> dict[str, Snapshot]:
    """The studies whose names are wanted, by name, in one reading of the ledger.

    Raises:
        StorageUnusable: When one of them cannot be read.
    """
    readable, unreadable = read_each(address, wanted)
    for name, reason in unreadable.items():
        raise _unreadable(address, name, reason)
    return readable


def _unreadable(address: Address, name: str, reason: str) -> StorageUnusable:
    rule = f"study {name!r} in {address} cannot be read: {reason}\nto delete it: hpo delete {name}"
    return StorageUnusable(rule, key="name", rule=rule, value=name)


def read_each(
    address: Address, wanted: Callable[[str], bool] = lambda name: True
) -> tuple[dict[str, Snapshot], dict[str, str]]:
    """The studies whose names are wanted, in one reading of the ledger.

    Returns:
        Those that can be read, by name; and why others cannot, by name. One bad study hides no other.
    """
    readable, unreadable = {}, {}
    for name, found in _each(address, wanted, _snapshot):
        if isinstance(found, str):
            unreadable[name] = found
        else:
            readable[name] = found
    return readable, unreadable


def heads_of(address: Address) -> dict[str, dict[str, Any] | str]:
    """What ``hpo list`` shows of each study, by name; why it cannot be read, where that is so."""
    return dict(_each(address, lambda name: True, _head))


def _each(
    address: Address, wanted: Callable[[str], bool], read: Callable[[Address, Stored], T]
) -> Iterator[tuple[str, T | str]]:
    """What ``read`` makes of each study of hpo's whose name is wanted, or why it cannot be read, sorted by name."""
    for stored in _stored(address):
        if STUDY_ATTR in stored.attrs and wanted(stored.name):
            try:
                check_attributes(stored.attrs)
                found: T | str = read(address, stored)
            except StorageError:
                raise
            except Exception as error:  # whatever a damaged or foreign record leads to
                reason = str(error) if isinstance(error, HpoError) else f"{type(error).__name__}: {error}"
                found = " ".join(reason.split())[:300]
            yield stored.name, found


@dataclass(frozen=True)
class Stored:
    """A study as a storage holds it.

    Attributes:
        name: Its name.
        attrs: Its user attributes.
        trials: Reads its trials.
        head: What ``hpo list`` shows of it while no process runs it; None if not known yet.
    """

    name: str
    attrs: Mapping[str, Any]
    trials: Callable[[], list[Trial]]
    head: dict[str, Any] | None = None


def _stored(address: Address) -> Iterator[Stored]:
    """The studies of a ledger, sorted by name."""
    if address.kind == "journal":
        assert address.path is not None
        known = summary.load(address.path)
        if known is None or not known.whole:
            from hpo.ledger.journal import Journal

            known = Journal(address.path, known).summarize()
        for entry in sorted(known.studies, key=lambda entry: entry.name):
            yield Stored(entry.name, entry.attrs, entry.trials, entry.about["head"])
        return
    from hpo.ledger import sql

    with closing(sql.connect(address)) as store, _failures_named(address, store):
        for name, study_id in sorted(store.study_ids().items()):
            attrs = store.get_study_user_attrs(study_id)
            yield Stored(name, attrs, partial(_trials, address, store, study_id, name, attrs))


def _trials(address: Address, store: Sql, study_id: int, name: str, attrs: Mapping[str, Any]) -> list[Trial]:
    from hpo.ledger.record import Records

    records = Records(parse(attrs[STUDY_ATTR], file=name))
    with _failures_named(address, store):
        return marked(store.trials(study_id, records), attrs)


@contextmanager
def _failures_named(address: Address, store: Journal | Sql) -> Iterator[None]:
    """Within it, a storage that fails, a server that ends for example, is an error that names it."""
    try:
        yield
    except store.failures as error:
        why = text.reason(error.__cause__ or error)
        raise StorageError(f"{address} failed: {why}; once it is available, run the same command again") from error


def _snapshot(address: Address, stored: Stored) -> Snapshot:
    name, attrs = stored.name, stored.attrs
    folder = attrs.get(FOLDER_ATTR)
    there = isinstance(folder, str) and Path(folder).is_dir()
    raw = {**attrs[STUDY_ATTR], "name": name}  # optuna-dashboard may have renamed it
    study = parse(raw, file=f"{address}, study {name}", folder=folder if there else None)
    return Snapshot(
        study,
        stored.trials(),
        lock.holder(address, name),
        attrs.get(UID_ATTR, ""),
        tuple(attrs.get(EVALUATIONS_ATTR, ())),
        attrs.get(CREATED_ATTR, 0.0),
        tuple(from_json(attrs.get(EDITS_ATTR, ()))),
    )


def _head(address: Address, stored: Stored) -> dict[str, Any]:
    if stored.head is None:
        head = _snapshot(address, stored).head()
    else:
        head = stored.head | ({"state": StudyState.RUNNING} if lock.holder(address, stored.name) else {})
    return head | {"created": stored.attrs.get(CREATED_ATTR) or None}


@contextmanager
def _opened(address: Address, name: str) -> Iterator[tuple[Journal | Sql, int]]:
    """The storage of a study, also of one that cannot be read, and the study's id there.

    Raises:
        StudyNotFound: When there is no such study.
        StorageError: When the ledger fails on the way.
    """
    from hpo.ledger.ledger import connect  # and Optuna, which takes half a second: a summary does without

    if name not in names(address):
        raise not_found(address, name, names(address))
    with closing(connect(address)) as store, _failures_named(address, store):
        yield store, store.get_study_id_from_name(name)


@contextmanager
def note_evaluation(address: Address, name: str, number: int) -> Iterator[dict[str, Any]]:
    """Notes an access to the sealed test set before it happens, and the ``metrics`` that the block fills in after it.

    Yields:
        The entry: ``time`` (seconds since the epoch), ``trial`` and ``metrics``, empty until the block fills it.

    Raises:
        StudyNotFound: When there is no such study.
        StudyLocked: When it is being run, or evaluated, by another process.
    """
    with _locked(address, name), _opened(address, name) as (store, study_id):
        before = store.get_study_user_attrs(study_id).get(EVALUATIONS_ATTR, [])
        entry: dict[str, Any] = {"time": time.time(), "trial": number, "metrics": {}}
        store.set_study_user_attr(study_id, EVALUATIONS_ATTR, [*before, entry])
        yield entry
        store.set_study_user_attr(study_id, EVALUATIONS_ATTR, [*before, entry])


@contextmanager
def _locked(address: Address, name: str) -> Iterator[None]:
    held = lock.acquire(address, name)
    try:
        yield
    finally:
        held.release()


@contextmanager
def held(address: Address, name: str) -> Iterator[Snapshot]:
    """A study that is not being run, and that cannot be run while the block lasts.

    Raises:
        StudyNotFound: When there is no such study.
        StudyLocked: When it is being run.
    """
    with _locked(address, name):
        yield replace(read(address, name), holder=None)  # this process holds the lock


def trial_count(address: Address, name: str) -> int:
    """How many trials a study has, also one that cannot be read.

    Raises:
        StudyNotFound: When there is no such study.
    """
    with _opened(address, name) as (store, study_id):
        return store.get_n_trials(study_id)


def uid(address: Address, name: str) -> str:
    """A study's own identity in the ledger, also of one that cannot be read.

    Raises:
        StudyNotFound: When there is no such study.
    """
    with _opened(address, name) as (store, study_id):
        return str(store.get_study_user_attrs(study_id).get(UID_ATTR) or "")


def delete(address: Address, name: str) -> int:
    """Deletes a study and its trials from the ledger, also one that cannot be read; returns how many trials it had.

    Raises:
        StudyNotFound: When there is no such study.
        StudyLocked: When it is being run.
    """
    with _locked(address, name), _opened(address, name) as (store, study_id):
        count = store.get_n_trials(study_id)
        store.delete_study(study_id)
    return count
