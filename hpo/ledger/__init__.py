"""The ledger: Optuna's study in durable storage, the only truth about a study, written by one driver.

:class:`Ledger` is what a search writes to: ``begin`` and ``finish``, a few durable writes per trial.
:mod:`hpo.ledger.books` reads studies for people. A storage address is a journal file (a plain path), ``sqlite:///PATH`` or ``postgresql://...``.
"""

from __future__ import annotations

from hpo.ledger.address import DEFAULT_STORAGE, redact
from hpo.ledger.ledger import Ledger
from hpo.ledger.storage import connect

__all__ = ["DEFAULT_STORAGE", "Ledger", "connect", "redact"]
