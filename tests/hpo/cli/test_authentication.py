"""A real MLflow server behind basic authentication: it works as any other, and nothing keeps the password."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from command_line import CommandLine
from mirrored import exactly_once
from own_server import OwnServer, Starter
from werkzeug.security import generate_password_hash

from hpo.ledger import snapshots as books
from hpo.ledger.address import parse

pytestmark = [
    pytest.mark.usefixtures("quick_report"),
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("authentication"),  # one server for all
]

PASSWORD = "Tr0ub4dor-and-3"
CONFIG = """[mlflow]
default_permission = NO_PERMISSIONS
database_uri = sqlite:///{folder}/users.db
admin_username = keeper
admin_password = {password}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


@pytest.fixture(scope="module")
def secured(
    tmp_path_factory: pytest.TempPathFactory, empty_mlflow_database: Path, mlflow_starter: Starter
) -> Iterator[OwnServer]:
    folder = tmp_path_factory.mktemp("secured")
    (folder / "auth.ini").write_text(CONFIG.format(folder=folder, password=PASSWORD))
    server = OwnServer(
        folder,
        empty_mlflow_database,
        mlflow_starter,
        "mlflow.server.auth:create_app",
        MLFLOW_AUTH_CONFIG_PATH=str(folder / "auth.ini"),
        MLFLOW_FLASK_SERVER_SECRET_KEY="for this test alone",
    )
    server.start()
    # The server hashes the password of every request, on purpose slowly; here its strength does not matter.
    cheap = generate_password_hash(PASSWORD, method="pbkdf2:sha256:1")
    with closing(sqlite3.connect(folder / "users.db")) as users, users:
        users.execute("UPDATE users SET password_hash = ? WHERE username = 'keeper'", (cheap,))
    yield server
    server.kill()


@pytest.mark.parametrize("how", ["environment", "address"])
def test_a_study_is_mirrored_and_the_password_is_nowhere(
    hpo: CommandLine, secured: OwnServer, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracking = secured.uri
    if how == "address":
        tracking = tracking.replace("//", f"//keeper:{PASSWORD}@")
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "keeper")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)

    ran = hpo("run", "s.toml", "--workers", "0", "--set", f"name={how}", "--tracking", tracking)
    synced = hpo("sync", how, "--tracking", tracking)

    exactly_once(tracking, books.read(parse(str(hpo.folder / "hpo.journal")), how))
    assert PASSWORD not in ran.out + ran.err + synced.out + synced.err
    kept = [path for folder in (hpo.folder, secured.folder) for path in folder.rglob("*") if path.is_file()]
    assert len(kept) > 10
    holders = [path.name for path in kept if PASSWORD.encode() in path.read_bytes()]
    assert holders == ["auth.ini"]


def test_a_wrong_password_is_told_once_and_not_repeated(hpo: CommandLine, secured: OwnServer) -> None:
    wrong = secured.uri.replace("//", "//keeper:wrong-word@")

    ended = hpo("run", "s.toml", "--workers", "0", "--tracking", wrong)

    assert ended.err.count("is slow or failing") == 1
    assert "5 trials are not in MLflow yet" in ended.err
    assert "wrong-word" not in ended.out + ended.err
    assert ended.out.startswith("small: 5 complete")
