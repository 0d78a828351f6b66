"""A writer of a ledger that dies before one of its writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hpo.ledger.ledger import Ledger
from hpo.testing.fakes import Died


def dies(monkeypatch: pytest.MonkeyPatch, at: int, work: Callable[[], object]) -> bool:
    """Does some work, in which write number ``at`` to a ledger is death; whether it died."""
    writes, durably = 0, Ledger._durably

    def count(ledger: Ledger, write: Any) -> Any:
        nonlocal writes
        writes += 1
        if writes == at:
            raise Died
        return durably(ledger, write)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "_durably", count)
        try:
            work()
        except Died:
            return True
    return False
