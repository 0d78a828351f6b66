"""A new sqlite database for MLflow: a copy of the tables that MLflow's own migrations leave, made in a moment.

MLflow runs fifty migrations in every new database, which takes a second of computing beside the search.

    python -m hpo.tracking.mlflow.database     writes ``tables.sql`` anew, for another version of MLflow
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
import uuid
from pathlib import Path

from mlflow import MlflowClient
from mlflow.store.db import utils

from hpo.machine import sqlite_path, sqlite_uri, without_database

TABLES = Path(__file__).with_name("tables.sql")


def make(uri: str) -> None:
    """Makes an absent sqlite database beside its place and moves it there whole.

    MLflow makes its tables one by one; a process killed meanwhile leaves a file that no MLflow opens again.
    """
    if not without_database(uri):
        return
    path = sqlite_path(uri)
    draft = path.parent / ".hpo" / f"{path.name}.{uuid.uuid4().hex}"
    draft.parent.mkdir(exist_ok=True)
    try:
        tables = TABLES.read_text(encoding="utf-8")
        revision = utils._get_latest_schema_revision()  # type: ignore[no-untyped-call]
        if f"VALUES('{revision}')" in tables:
            with contextlib.closing(sqlite3.connect(draft)) as database:
                database.executescript(tables)
        else:  # another version of MLflow, with other tables
            MlflowClient(tracking_uri=sqlite_uri(draft)).search_experiments(max_results=1)
        with contextlib.suppress(FileExistsError):  # another driver was faster
            path.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)


def migrated() -> str:
    """The tables as MLflow makes them, as SQL."""
    with tempfile.TemporaryDirectory() as folder:
        engine = utils.create_sqlalchemy_engine(  # type: ignore[no-untyped-call]
            sqlite_uri(f"{folder}/mlflow.db")
        )
        utils._initialize_tables(engine)  # type: ignore[no-untyped-call]
        engine.dispose()
        with contextlib.closing(sqlite3.connect(f"{folder}/mlflow.db")) as database:
            return "\n".join(database.iterdump()) + "\n"


if __name__ == "__main__":
    TABLES.write_text(migrated(), encoding="utf-8")
