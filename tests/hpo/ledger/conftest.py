"""A place for a ledger of each kind."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from hpo.ledger.address import Address, parse
from hpo.testing import small_study
from hpo.testing.ledgers import TrialWriter

# Where what is tested lies above the storage.
ONE_DATABASE = ("test_ledger_studies.py", "test_requests.py", "test_telling.py")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Some tests of a storage take long, and sqlite's storage is the code of PostgreSQL's: one of them is enough."""
    for item in items:
        call = getattr(item, "callspec", None)
        if call and call.params.get("address") == "sqlite" and item.path.name in ONE_DATABASE:
            item.add_marker("slow")
        if "TestAsOptunasStorage" in item.nodeid and "[sqlite]" in item.nodeid:
            item.add_marker("slow")
        if "test_what_a_writer_did_before_it_died" in item.nodeid and "[journal" not in item.nodeid:
            item.add_marker("slow")


@pytest.fixture(params=["journal", "sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Address:
    """An empty place for a ledger, of each kind; a database has its tables."""
    if request.param == "journal":
        return parse(str(tmp_path / "hpo.journal"))
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_ledger"), tmp_path / "hpo.db")
        return parse(f"sqlite:///{tmp_path}/hpo.db")
    return parse(request.getfixturevalue("postgresql_url"))


@pytest.fixture
def trial_writer(address: Address) -> Iterator[TrialWriter]:
    trial_writer = TrialWriter(address, small_study())
    yield trial_writer
    trial_writer.ledger.close()


@pytest.fixture
def optunas_own(address: Address) -> Iterator[BaseStorage]:
    """The same storage as Optuna opens it, without hpo."""
    if address.kind == "journal":
        yield JournalStorage(JournalFileBackend(str(address.path)))
        return
    storage = RDBStorage(address.url.replace("postgresql://", "postgresql+psycopg://"))
    yield storage
    storage.engine.dispose()
