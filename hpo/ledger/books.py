"""Reads studies from a ledger, for people and for other programs; writes nothing but :func:`delete`."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from hpo.budget import Meter
from hpo.errors import InputError
from hpo.fields import suggest
from hpo.ledger import lock, storage
from hpo.ledger.address import Address
from hpo.ledger.ledger import STUDY_ATTR
from hpo.ledger.record import to_trial
from hpo.study import Study, parse
from hpo.trial import Trial, best_first, counts


@dataclass(frozen=True)
class Book:
    """A study as the ledger has it.

    Attributes:
        study: As its file said when it was last run.
        trials: In order of their numbers.
        holder: Who is running it now; None when nobody is.
    """

    study: Study
    trials: list[Trial]
    holder: str | None

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
    with closing(storage.connect(address)) as store:
        studies = {s.study_name: s for s in store.get_all_studies() if STUDY_ATTR in s.user_attrs}
        if name not in studies:
            raise InputError(f"there is no study {name!r} in {address}{suggest(name, studies)}")
        frozen = store.get_all_trials(studies[name]._study_id)
    study = parse(studies[name].user_attrs[STUDY_ATTR], file=f"{address}, study {name}")
    return Book(study, [to_trial(trial, study.space) for trial in frozen], lock.holder(address, name))


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
