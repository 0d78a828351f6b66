"""Studies in a ledger as people and other programs see them: read, deleted, and their evaluations noted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from hpo.budget import Meter
from hpo.errors import InputError
from hpo.fields import suggest
from hpo.ledger import lock, storage
from hpo.ledger.address import Address
from hpo.ledger.ledger import CREATED_ATTR, STUDY_ATTR, UID_ATTR
from hpo.ledger.record import to_trial
from hpo.study import Study, parse
from hpo.trial import Trial, best_first, counts

# The study attribute that lists every access to the sealed test set.
EVALUATIONS_ATTR = "hpo:evaluations"


@dataclass(frozen=True)
class Book:
    """A study as the ledger has it.

    Attributes:
        study: As its file said when it was last run.
        trials: In order of their numbers.
        holder: Who is running it now; None when nobody is.
        uid: The study's own identity in the ledger.
        evaluations: Every access to the sealed test set, in order; see :func:`note_evaluation`.
        created: When the study was made, in seconds since the epoch.
    """

    study: Study
    trials: list[Trial]
    holder: str | None
    uid: str = ""
    evaluations: tuple[dict[str, Any], ...] = ()
    created: float = 0.0

    @property
    def state(self) -> str:
        """``"running"``, ``"complete"`` (the budget is spent) or ``"stopped"`` (it can go on)."""
        if self.holder:
            return "running"
        spent = Meter(self.study.budget, self.study.direction, self.trials).spent(time.time())
        return "complete" if spent else "stopped"

    def head(self, top: int = 5) -> dict[str, Any]:
        """The study as ``hpo show --json`` prints it, with the ``top`` best trials."""
        return {
            "name": self.study.name,
            "state": self.state,
            "direction": self.study.direction,
            "metric": self.study.metric,
            "budget": dict(self.study.resolved["budget"]),
            "trials": counts(self.trials),
            "best": [trial.head() for trial in best_first(self.trials, self.study.direction)[:top]],
        }


def names(address: Address) -> list[str]:
    """The studies that hpo keeps in this ledger."""
    with closing(storage.connect(address)) as store:
        return sorted(s.study_name for s in store.get_all_studies() if STUDY_ATTR in s.user_attrs)


def read(address: Address, name: str) -> Book:
    """One study with all its trials.

    Raises:
        InputError: When there is no such study.
    """
    known = read_all(address, lambda other: other == name)
    if name not in known:
        raise InputError(f"there is no study {name!r} in {address}{suggest(name, names(address))}")
    return known[name]


def read_all(address: Address, wanted: Callable[[str], bool]) -> dict[str, Book]:
    """The studies whose names are wanted, by name, in one reading of the ledger."""
    with closing(storage.connect(address)) as store:
        studies = [s for s in store.get_all_studies() if STUDY_ATTR in s.user_attrs and wanted(s.study_name)]
        frozen = {s.study_name: store.get_all_trials(s._study_id) for s in studies}
    found = {}
    for stored in sorted(studies, key=lambda s: s.study_name):
        name, attrs = stored.study_name, stored.user_attrs
        study = parse(attrs[STUDY_ATTR], file=f"{address}, study {name}")
        found[name] = Book(
            study,
            [to_trial(trial, study.space) for trial in frozen[name]],
            lock.holder(address, name),
            attrs.get(UID_ATTR, ""),
            tuple(attrs.get(EVALUATIONS_ATTR, ())),
            attrs.get(CREATED_ATTR, 0.0),
        )
    return found


@contextmanager
def note_evaluation(address: Address, name: str, number: int) -> Iterator[dict[str, Any]]:
    """Notes an access to the sealed test set before it happens, and the ``metrics`` that the block fills in after it.

    Yields:
        The entry: ``time`` (seconds since the epoch), ``trial`` and ``metrics``, empty until the block fills it.

    Raises:
        InputError: When the study is being run, or evaluated, by another process.
    """
    held = lock.acquire(address, name)
    try:
        with closing(storage.connect(address)) as store:
            study_id = store.get_study_id_from_name(name)
            before = store.get_study_user_attrs(study_id).get(EVALUATIONS_ATTR, [])
            entry: dict[str, Any] = {"time": time.time(), "trial": number, "metrics": {}}
            store.set_study_user_attr(study_id, EVALUATIONS_ATTR, [*before, entry])
            yield entry
            store.set_study_user_attr(study_id, EVALUATIONS_ATTR, [*before, entry])
    finally:
        held.release()


@contextmanager
def held(address: Address, name: str) -> Iterator[Book]:
    """A study that nobody runs, and nobody can run while the block lasts.

    Raises:
        InputError: When there is no such study, or it is being run.
    """
    taken = lock.acquire(address, name)
    try:
        yield replace(read(address, name), holder=None)  # who holds it is we
    finally:
        taken.release()


def delete(address: Address, name: str) -> int:
    """Deletes a study and its trials from the ledger; returns how many trials it had.

    Raises:
        InputError: When there is no such study, or it is being run.
    """
    held = lock.acquire(address, name)
    try:
        count = len(read(address, name).trials)
        with closing(storage.connect(address)) as store:
            store.delete_study(store.get_study_id_from_name(name))
        return count
    finally:
        held.release()
