"""Opens the ledger of a study for its driver: with the edits of ``hpo set``, and with what ``[from]`` asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from hpo.ledger import EDITS_ATTR, FILE_ATTR, FROM_ATTR
from hpo.ledger.address import Address
from hpo.ledger.ledger import Ledger
from hpo.moving.take_over import take_over
from hpo.study import Study
from hpo.study.edits import Edit, from_json, overlaid
from hpo.study.file import WITH_SET


def open_edited(
    where: Address, study: Study, notify: Callable[[str], None], name: str | None = None
) -> tuple[Ledger, list[Edit]]:
    """Opens a ledger, which records the study with its edits and with what it takes over from another one.

    Remarks name the edits that hold, and those that no longer do.

    Args:
        where: The ledger.
        study: The study, as its file is now.
        notify: Receives remarks for the user.
        name: The study whose trials it takes over, where its file does not say so (``hpo fork``).

    Returns:
        The ledger, and all edits of the study.

    Raises:
        InputError: When the file and an edit contradict each other; else as :meth:`Ledger.open`.
    """
    before: list[Edit] = []
    after: list[Edit] = []
    forked: str | None = None

    def adapt(study: Study, attrs: Mapping[str, Any]) -> Study:
        nonlocal forked
        forked = attrs.get(FROM_ATTR, {}).get("study")
        before[:] = from_json(attrs.get(EDITS_ATTR, ()))
        adapted, after[:] = overlaid(study, before)
        return adapted

    ledger = Ledger.open(where, study, notify, adapt, {FROM_ATTR: {"study": name}} if name else {})
    try:
        if ledger.cleared and forked and not (name or study.inherits.study):
            notify(
                f"{study.name} was reset, because its file changed before any trial had a value. It no longer has "
                f"the trials of {forked}; to add them again: hpo fork {forked} {study.file.removesuffix(WITH_SET)}"
            )
        take_over(ledger.study, where, ledger, name, notify)
        if after != before:
            ledger.set(EDITS_ATTR, [asdict(edit) for edit in after])
        if ledger.get(FILE_ATTR, {}) != (unchanged := study.unchanged or {}):
            ledger.set(FILE_ATTR, unchanged)
    except BaseException:
        ledger.close()
        raise
    file = study.file.removesuffix(WITH_SET)
    for old, new in zip(before, after, strict=True):
        if not new.ended:
            notify(
                f"{new.key} = {new.text} (set by {new.by} with hpo set; overrides {file} until {file} changes this key)"
            )
        elif not old.ended:
            notify(f"{new.key} = {new.text} (set by {new.by} with hpo set) is no longer in effect: {new.ended}")
    return ledger, after


def reopen_edited(where: Address, name: str) -> Ledger:
    """Opens the ledger of a study as it is recorded, for a process that has no file of it.

    If a process died while the study took over the trials of another one, that is completed.

    Raises:
        InputError: When what was to be taken over is not there any more; else as :meth:`Ledger.reopen`.
    """
    ledger = Ledger.reopen(where, name)
    try:
        if not ledger.loaded:  # trials are taken over before the first one
            take_over(ledger.study, where, ledger)
    except BaseException:
        ledger.close()
        raise
    return ledger
