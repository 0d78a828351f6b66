"""Opens the ledger of a study for its driver: with the edits of ``hpo set``, and with what ``[from]`` asks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from hpo.ledger import EDITS_ATTR, FILE_ATTR
from hpo.ledger.address import Address
from hpo.ledger.ledger import Ledger
from hpo.moving.inherit import take_over
from hpo.study import Study
from hpo.study.edits import Edit, from_json, overlaid


def open_edited(where: Address, study: Study, notify: Callable[[str], None]) -> tuple[Ledger, list[Edit]]:
    """Opens a ledger, which records the study with its edits and with what it takes over from another one.

    Remarks name the edits that hold, and those that no longer do.

    Args:
        where: The ledger.
        study: The study, as its file is now.
        notify: Receives remarks for the user.

    Returns:
        The ledger, and all edits of the study.

    Raises:
        InputError: When the file and an edit contradict each other; else as :meth:`Ledger.open`.
    """
    before: list[Edit] = []
    after: list[Edit] = []

    def adapt(study: Study, attrs: Mapping[str, Any]) -> Study:
        before[:] = from_json(attrs.get(EDITS_ATTR, ()))
        adapted, after[:] = overlaid(study, before)
        return adapted

    ledger = Ledger.open(where, study, notify, adapt)
    try:
        take_over(ledger.study, where, ledger, notify=notify)
        if after != before:
            ledger.set(EDITS_ATTR, [asdict(edit) for edit in after])
        if ledger.get(FILE_ATTR, {}) != (unchanged := study.unchanged or {}):
            ledger.set(FILE_ATTR, unchanged)
    except BaseException:
        ledger.close()
        raise
    for old, new in zip(before, after, strict=True):
        if not new.ended:
            notify(f"{new.key} = {new.text}, as {new.by} has set it (hpo set); until {study.file} changes it")
        elif not old.ended:
            notify(f"{new.key} = {new.text} (hpo set, by {new.by}) no longer holds: {new.ended}")
    return ledger, after
