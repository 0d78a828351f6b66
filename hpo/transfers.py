"""Trials on their way between studies and ledgers: forked, imported and copied."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from hpo.errors import InputError
from hpo.ledger.address import Address
from hpo.progress import to_stderr
from hpo.study import Study
from hpo.trial import Trial

if TYPE_CHECKING:
    from hpo.ledger.copy import Copied
    from hpo.moving.importing import Import
    from hpo.moving.take_over import Plan


def fork(study: Study, where: Address, name: str) -> Plan:
    """Makes a study that begins with the trials of another one in the same ledger; :func:`run` continues it.

    Returns:
        What it takes over; nothing where it has done so before.

    Raises:
        InputError: When nothing can be taken over, or the study's file names another study.
        StudyNotFound: When there is no other study.
        StudyConflict: When the study has trials already.
    """
    from hpo.ledger import snapshots
    from hpo.moving import take_over
    from hpo.search.opening import open_edited
    from hpo.study.from_table import ENQUEUE

    if study.inherits.study not in (None, name):
        rule = f"must be {name}, the study that is forked"
        raise InputError(f"{study.file}: from.study: {rule}, got {study.inherits.study}", key="from.study", rule=rule)
    planned = take_over.plan(study, where, name)  # before the ledger has the study: a mistake leaves nothing behind
    before = snapshots.read(where, study.name) if study.name in snapshots.names(where) else None
    known = before and before.study.inherits.study == name and (before.trials or planned.how == ENQUEUE)
    open_edited(where, study, lambda remark: None, name)[0].close()
    return dataclasses.replace(planned, trials=(), left=(), again=True) if known else planned


def import_trials(
    study: Study,
    where: Address,
    found: Sequence[Trial],
    names: Mapping[str, str],
    *,
    word: str,
    strict: bool,
    dry_run: bool = False,
) -> Import:
    """Imports trials into a study that is not being run, which is made when absent; arguments as for ``prepare``.

    Args:
        study: The study.
        where: Its ledger.
        found: What a source has.
        names: The source's names by the study's, where they differ.
        word: What a row of the source is called.
        strict: A parameter that the study does not have makes a row invalid.
        dry_run: Only find out.

    Raises:
        StudyLocked: When the study is being run.
        StudyConflict: When its file contradicts the ledger.
    """
    from hpo.ledger import snapshots
    from hpo.moving.importing import prepare
    from hpo.search.opening import open_edited, reopen_edited

    there = where.path is None or where.path.exists()
    known = snapshots.read(where, study.name) if there and study.name in snapshots.names(where) else None
    chosen = prepare(study, found, known.trials if known else [], names, word=word, strict=strict)
    if dry_run or not chosen.trials:
        return chosen
    if known and known.study.resolved == study.resolved:  # as edited, which must not look like a changed file
        ledger = reopen_edited(where, study.name)
    else:
        ledger, _ = open_edited(where, study, to_stderr)
    with closing(ledger):
        if ledger.loaded != (known.trials if known else []):  # another process was faster
            chosen = prepare(study, found, ledger.loaded, names, word=word, strict=strict)
        first = len(ledger.loaded)
        ledger.take([dataclasses.replace(trial, number=first + trial.number) for trial in chosen.trials])
    return chosen


def copy(where: Address, name: str, target: Address) -> Copied:
    """Copies a study to another ledger; see :func:`hpo.ledger.copy.copy`.

    The other ledger may lack the study that this one has forked, so what a fork that died left to do is done first.
    """
    from hpo.ledger import snapshots
    from hpo.ledger.copy import copy
    from hpo.search.opening import reopen_edited

    if not snapshots.read(where, name).trials:
        reopen_edited(where, name).close()
    return copy(where, name, target)
