"""Where the tests of this folder write, and what."""

from __future__ import annotations

import uuid

import pytest
from small_study import small_study

from hpo.study import Study


@pytest.fixture(params=["database", "server"])
def uri(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("mlflow_database" if request.param == "database" else "mlflow_server"))


@pytest.fixture
def study() -> Study:
    return small_study(name=f"s{uuid.uuid4().hex[:12]}", fixed={"epochs": 3, "dataset": "digits"})
