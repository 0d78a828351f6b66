"""A place for a ledger of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from clerk import Clerk
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from small_study import small_study

from hpo.ledger.address import Address, parse


@pytest.fixture(params=["journal", "sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Address:
    """An empty place for a ledger, of each kind."""
    if request.param == "journal":
        return parse(str(tmp_path / "hpo.journal"))
    if request.param == "sqlite":
        return parse(f"sqlite:///{tmp_path}/hpo.db")
    return parse(request.getfixturevalue("postgresql_url"))


@pytest.fixture
def clerk(address: Address) -> Iterator[Clerk]:
    clerk = Clerk(address, small_study())
    yield clerk
    clerk.ledger.close()


@pytest.fixture
def optunas_own(address: Address) -> Iterator[BaseStorage]:
    """The same storage as Optuna opens it, without hpo."""
    if address.kind == "journal":
        yield JournalStorage(JournalFileBackend(str(address.path)))
        return
    storage = RDBStorage(address.url.replace("postgresql://", "postgresql+psycopg://"))
    yield storage
    storage.engine.dispose()
