"""A new database has the tables that MLflow itself would have made."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from hpo.tracking.mlflow import database


def test_the_prepared_tables_are_those_of_mlflow() -> None:
    again = "MLflow's tables have changed: python -m hpo.tracking.mlflow.database"
    # MLflow makes indexes in no particular order.
    prepared, made = database.TABLES.read_text(encoding="utf-8"), database.migrated()
    assert sorted(prepared.splitlines()) == sorted(made.splitlines()), again


def test_a_version_of_mlflow_with_other_tables_makes_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "tables.sql"
    other.write_text("CREATE TABLE alembic_version (version_num VARCHAR(32)); CREATE TABLE ours (a INTEGER);")
    monkeypatch.setattr(database, "TABLES", other)
    database.make(f"sqlite:///{tmp_path}/mlflow.db")

    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as made:
        assert not made.execute("SELECT name FROM sqlite_master WHERE name = 'ours'").fetchall()
    assert MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").create_experiment("a") == "1"


def test_a_new_database_is_there_whole_and_alone(tmp_path: Path) -> None:
    database.make(f"sqlite:///{tmp_path}/mlflow.db")
    assert [path.name for path in (tmp_path / ".hpo").iterdir()] == []
    assert MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").create_experiment("a") == "1"
