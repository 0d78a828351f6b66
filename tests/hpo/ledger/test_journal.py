"""What only files can suffer: torn lines, full disks, folders that cannot be written, children that inherit a lock."""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from small_study import small_study

from hpo.errors import HpoError, InputError
from hpo.ledger import ledger
from hpo.ledger import snapshots as books
from hpo.ledger.address import Address, parse, probe
from hpo.ledger.ledger import Ledger
from hpo.search.advisor import Advisor
from hpo.testing.ledgers import TrialWriter
from hpo.trial import State

HELPERS = Path(__file__).parents[1] / "helpers"
MAKE = """
import sys
from hpo.ledger.address import parse
from hpo.testing import small_study
from hpo.testing.ledgers import TrialWriter
TrialWriter(parse(sys.argv[1]), small_study()).ledger.close()
"""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")


@pytest.fixture
def journal(tmp_path: Path) -> Address:
    return parse(str(tmp_path / "hpo.journal"))


def path_of(address: Address) -> Path:
    assert address.path is not None
    return address.path


# Torn lines --------------------------------------------------------------------------------------------------------


def test_a_record_torn_at_any_byte_is_cut_off_and_the_study_goes_on(journal: Address) -> None:
    trial_writer = TrialWriter(journal, small_study())
    (first,) = trial_writer.fill([0.1])
    before = path_of(journal).read_bytes()
    trial = trial_writer.begin()
    trial_writer.ledger.close()
    begun = path_of(journal).read_bytes()[len(before) :]

    for kept in (1, 2, len(begun) // 2, len(begun) - 2, len(begun) - 1):
        path_of(journal).write_bytes(before + begun[:kept])
        assert books.read(journal, "small").trials == [first]  # a reader leaves the tail where it is
        again = TrialWriter(journal, small_study())
        second = again.begin()
        again.ledger.close()

        assert (second.number, second.params) == (1, trial.params)
        assert books.read(journal, "small").trials == [first, second]
        assert all(json.loads(line) for line in path_of(journal).read_text().splitlines())


def test_a_trial_whose_end_is_torn_still_runs(journal: Address) -> None:
    trial_writer = TrialWriter(journal, small_study())
    trial = trial_writer.begin()
    before = path_of(journal).stat().st_size
    trial = trial_writer.report(trial, {"score": 0.5})
    trial = trial_writer.finish(trial, State.COMPLETE)
    trial_writer.ledger.close()
    whole = path_of(journal).read_bytes()
    first_line = whole.index(b"\n", before) + 1

    for kept in range(before + 1, len(whole), 7):
        path_of(journal).write_bytes(whole[:kept])
        (found,) = books.read(journal, "small").trials
        assert not found.finished

    path_of(journal).write_bytes(whole[: first_line + 3])
    again = TrialWriter(journal, small_study())
    assert len(again.ledger.loaded) == 1
    again.advisor.report(0, 1, [0.75])
    trial = again.report(replace(trial, reports=()), {"score": 0.75})
    trial = again.finish(trial, State.COMPLETE)
    again.ledger.close()
    assert books.read(journal, "small").trials == [trial]


def test_an_empty_file_is_a_ledger_without_studies(journal: Address) -> None:
    path_of(journal).touch()
    probe(journal, create=True)
    assert books.names(journal) == []

    TrialWriter(journal, small_study()).ledger.close()
    assert books.names(journal) == ["small"]


def test_the_first_record_of_a_ledger_may_be_torn(journal: Address) -> None:
    TrialWriter(journal, small_study()).ledger.close()
    path_of(journal).write_bytes(path_of(journal).read_bytes()[:20])

    TrialWriter(journal, small_study()).ledger.close()

    assert books.names(journal) == ["small"]


# Full disks --------------------------------------------------------------------------------------------------------

FILL = """
import sys
from hpo.testing.ledgers import TrialWriter
from hpo.errors import HpoError
from hpo.ledger.address import parse
from small_study import small_study
trial_writer = TrialWriter(parse(sys.argv[1]), small_study())
finished = 0
try:
    while True:
        trial_writer.fill([float(finished)])
        finished += 1
except HpoError as error:
    print(finished)
    print(error)
"""


def fill_up(address: Address, limit: int | None) -> tuple[int, str]:
    """Completes trials in another process until the disk is full; returns how many, and what was said."""

    def no_more() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        [sys.executable, "-c", FILL, address.url],
        env=os.environ | {"PYTHONPATH": f"{HELPERS}:{os.environ.get('PYTHONPATH', '')}"},
        preexec_fn=no_more,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    count, _, message = done.stdout.partition("\n")
    return int(count), message


@pytest.mark.parametrize("scheme", ["", pytest.param("sqlite:///", marks=pytest.mark.slow)])
def test_a_full_disk_is_said_and_loses_nothing_that_was_finished(tmp_path: Path, scheme: str) -> None:
    address = parse(f"{scheme}{tmp_path}/ledger")

    count, message = fill_up(address, 600_000)

    assert count > 3
    assert message.startswith(f"the ledger {address} cannot be written: ")
    assert "run the same command again once the storage is available" in message
    finished = [trial for trial in books.read(address, "small").trials if trial.finished]
    assert [trial.value for trial in finished] == [float(i) for i in range(count)]
    again = TrialWriter(address, small_study())  # with room again
    assert len(again.ledger.loaded) in (count, count + 1)
    assert again.begin().number == len(again.ledger.loaded)
    again.ledger.close()


@needs_root
def test_a_full_file_system_leaves_no_half_record(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "hpo-test", disk], check=False).returncode:
        pytest.skip("cannot mount")
    try:
        address = parse(str(disk / "hpo.journal"))
        count, message = fill_up(address, None)
        assert "No space left on device" in message
        assert path_of(address).read_bytes().endswith(b"\n")
        assert sum(t.finished for t in books.read(address, "small").trials) == count
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


# Folders and files that cannot be used -----------------------------------------------------------------------------


@needs_root
def test_a_read_only_folder_is_said(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "hpo-test", disk], check=False).returncode:
        pytest.skip("cannot mount")
    try:
        address, other = parse(str(disk / "hpo.journal")), parse(f"sqlite:///{disk}/hpo.db")
        for ledger in (address, other):  # in processes of their own, which leave no file open
            subprocess.run([sys.executable, "-c", MAKE, str(ledger)], check=True)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)

        for ledger in (address, other):
            with pytest.raises(InputError, match="read-only"):
                probe(ledger, create=True)
            with pytest.raises(InputError, match=r"Read-only|read-only|readonly"):
                Ledger.open(ledger, small_study())
            assert books.read(ledger, "small").trials == []
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    with pytest.raises(InputError, match="is read-only"):
        probe(parse(str(tmp_path / "hpo.journal")), create=True)


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    address = parse(str(tmp_path / "nowhere" / "hpo.journal"))

    with pytest.raises(InputError, match="there is no folder"):
        probe(address, create=True)
    with pytest.raises(InputError, match="No such file or directory"):
        Ledger.open(address, small_study())


@pytest.mark.parametrize("scheme", ["", "sqlite:///"])
def test_a_file_that_is_no_ledger_is_said_and_left_as_it_is(tmp_path: Path, scheme: str) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("lr = 0.1 was best\n" * 100)

    with pytest.raises(InputError, match=r"is not an Optuna journal file|is not a SQLite database"):
        probe(parse(f"{scheme}{file}"), create=True)
    with pytest.raises(InputError, match="storage: "):
        Ledger.open(parse(f"{scheme}{file}"), small_study())

    assert file.read_text() == "lr = 0.1 was best\n" * 100


def test_a_sqlite_database_of_something_else_keeps_its_tables(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE mine (x INTEGER)")

    TrialWriter(parse(f"sqlite:///{tmp_path}/other.db"), small_study()).ledger.close()

    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        assert connection.execute("SELECT count(*) FROM mine").fetchone() == (0,)


# The lock ----------------------------------------------------------------------------------------------------------

FORK = """
import os, sys, time
from hpo.ledger import lock
from hpo.ledger.address import parse
held = lock.acquire(parse(sys.argv[1]), "small")
child = os.fork()
if child == 0:
    time.sleep(600)
print(child, flush=True)
time.sleep(600)
"""


def test_a_forked_child_that_outlives_its_driver_does_not_keep_the_lock(journal: Address) -> None:
    driver = subprocess.Popen([sys.executable, "-c", FORK, journal.url], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    child = int(driver.stdout.readline())
    try:
        with pytest.raises(InputError, match="is being run by"):
            Ledger.open(journal, small_study())
        driver.kill()
        driver.wait()
        os.kill(child, 0)  # still there
        Ledger.open(journal, small_study()).close()
    finally:
        os.kill(child, signal.SIGKILL)
        driver.kill()
        driver.communicate()


def test_writing_after_somebody_emptied_the_disk_is_an_error_for_people(journal: Address) -> None:
    trial_writer = TrialWriter(journal, small_study())
    path_of(journal).unlink()

    with pytest.raises(HpoError, match="was deleted or moved during the search; what it held is saved in "):
        trial_writer.begin()

    trial_writer.ledger.close()


# Slow disks --------------------------------------------------------------------------------------------------------


def test_a_disk_that_is_slow_may_be_only_slow(journal: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "REMARK_SECONDS", 0.1)
    remarks: list[str] = []
    with closing(Ledger.open(journal, small_study(), remarks.append)) as held:
        monkeypatch.setattr(os, "fsync", lambda _: time.sleep(0.5))
        held.begin(Advisor(small_study(), []).ask())
    assert "it does not answer; perhaps it, its disk or this machine is only slow" in remarks[0]
