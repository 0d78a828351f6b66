"""Where the tests of this folder write, and what."""

from __future__ import annotations

import uuid

import pytest
from small_study import small_study

from hpo.study import Study


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A study's next life is the same with a server; test_mlflow_store.py writes to both almost all that there is."""
    for item in items:
        call = getattr(item, "callspec", None)
        again = item.path.name == "test_mlflow_next_life.py" or "test_five_hundred_long_parameters" in item.nodeid
        if call and call.params.get("uri") == "server" and again:
            item.add_marker("slow")


@pytest.fixture(params=["database", "server"])
def uri(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("mlflow_database" if request.param == "database" else "mlflow_server"))


@pytest.fixture
def study() -> Study:
    return small_study(name=f"s{uuid.uuid4().hex[:12]}", fixed={"epochs": 3, "dataset": "digits"})
