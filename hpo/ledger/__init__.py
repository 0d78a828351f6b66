"""The ledger: Optuna's study in durable storage, the only truth about a study, written by one driver.

- :mod:`hpo.ledger.address`: what kind of ledger a storage address names
- :mod:`hpo.ledger.ledger`: one study as its writer holds it; ``begin`` and ``finish`` are durable when they return
- :mod:`hpo.ledger.entry`: a study's own entry: found, compared with its file, or made
- :mod:`hpo.ledger.snapshots`: studies as readers see them
- :mod:`hpo.ledger.journal`, :mod:`hpo.ledger.sql`: the two kinds of storage; :mod:`hpo.ledger.lock`: one writer
- :mod:`hpo.ledger.journal_file`: the journal's file, in which several programs may write at once
- :mod:`hpo.ledger.sqlite_file`: a sqlite ledger's file, which other programs may cut or replace
- :mod:`hpo.ledger.summary`: what a journal's lines say, so that not all are read again; :mod:`hpo.ledger.replay`: how
  they are read
- :mod:`hpo.ledger.inbox`: what other processes ask of a study's writer
- :mod:`hpo.ledger.repair`: keeps what is sound of a damaged journal

This file imports none of them, because Optuna takes half a second.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeGuard

from hpo.errors import HpoError
from hpo.trial import State, Trial

# The study attribute that holds the resolved study file.
STUDY_ATTR = "hpo:study"
UID_ATTR = "hpo:uid"
CREATED_ATTR = "hpo:created"
# The one that holds the folder of its file, where its code lies; older ledgers have none.
FOLDER_ATTR = "hpo:folder"
# The one that lists every access to the sealed test set.
EVALUATIONS_ATTR = "hpo:evaluations"
# The one that holds the study file as it is without `--set` and `--trials`; empty where it was run without them.
FILE_ATTR = "hpo:file"
# The one that lists the edits of a study by `hpo set`, also those that no longer hold.
EDITS_ATTR = "hpo:edits"
# The one that says which trials a person has discarded, by number: why, when and by whom; and whether that was undone.
DISCARDED_ATTR = "hpo:discarded"
# What the attributes with requests to a study's writer begin with; the request's id follows.
REQUEST = "hpo:request:"
# The one that says what it takes over from another study, noted before it does.
FROM_ATTR = "hpo:from"

_TYPES = {
    STUDY_ATTR: dict,
    UID_ATTR: str,
    CREATED_ATTR: float | int,
    EVALUATIONS_ATTR: list,
    FILE_ATTR: dict,
    EDITS_ATTR: list,
    DISCARDED_ATTR: dict,
    FROM_ATTR: dict,
}


def check_attributes(attrs: Mapping[str, Any]) -> None:
    """Checks that the attributes of a study are what hpo writes.

    Raises:
        HpoError: With the first one that is not.
    """
    for key, kind in _TYPES.items():
        if key in attrs and not isinstance(attrs[key], kind):
            raise HpoError(f"its attribute {key!r} is damaged")


def discards(mark: Mapping[str, Any] | None) -> TypeGuard[Mapping[str, Any]]:
    """Whether a mark of ``DISCARDED_ATTR`` still holds."""
    return mark is not None and "undone" not in mark


def marked(trials: Iterable[Trial], attrs: Mapping[str, Any]) -> list[Trial]:
    """The trials of a study, with those as discarded that its attributes name; their records stay as they are."""
    discarded = attrs.get(DISCARDED_ATTR, {})
    return [
        replace(trial, state=State.DISCARDED, notes={**trial.notes, DISCARDED_ATTR: mark})
        if discards(mark := discarded.get(str(trial.number))) and trial.finished
        else trial
        for trial in trials
    ]
