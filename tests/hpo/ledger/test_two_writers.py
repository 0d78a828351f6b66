"""Two writers of one ledger, under whatever name each knows it; and studies that cannot be read."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from subprocess import PIPE

import optuna
import pytest
from optuna.storages import BaseStorage
from sqlalchemy import Engine, event

from hpo import service
from hpo.cli.studies import list_studies
from hpo.errors import HpoError, InputError, StorageError, StudyLocked
from hpo.ledger import lock
from hpo.ledger import snapshots as books
from hpo.ledger.address import Address, parse
from hpo.ledger.foreign import optuna_trials
from hpo.ledger.ledger import Ledger, connect
from hpo.testing import small_study
from hpo.testing.ledgers import TrialWriter, holding, wait_until_done


@pytest.fixture(params=["journal", "sqlite"])
def file_address(request: pytest.FixtureRequest, tmp_path: Path) -> Address:
    return parse(f"{'sqlite:///' if request.param == 'sqlite' else ''}{tmp_path}/ledger")


def other_name(address: Address, path: Path) -> Address:
    return parse(f"{'sqlite:///' if address.kind == 'sqlite' else ''}{path}")


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_two_links_to_one_file_are_one_ledger(file_address: Address, tmp_path: Path, link: object) -> None:
    assert file_address.path is not None
    TrialWriter(file_address, small_study()).ledger.close()
    (tmp_path / "elsewhere").mkdir()
    alias = tmp_path / "elsewhere" / "alias"
    assert callable(link)
    link(file_address.path, alias)

    with holding(file_address, "begin") as process:
        wait_until_done(process)
        with pytest.raises(StudyLocked, match="is being run by"):
            Ledger.open(other_name(file_address, alias), small_study())


def test_removing_what_lies_beside_the_ledger_admits_no_second_writer(file_address: Address) -> None:
    with holding(file_address, "begin") as process:
        wait_until_done(process)
        shutil.rmtree(file_address.folder)

        with pytest.raises(StudyLocked, match="is being run by another process"):
            Ledger.open(file_address, small_study())
        with pytest.raises(StudyLocked):
            books.delete(file_address, "small")
        assert books.read(file_address, "small").holder


def test_a_stopped_writer_keeps_its_lock(file_address: Address) -> None:
    with holding(file_address, "begin") as process:
        wait_until_done(process)
        os.kill(process.pid, signal.SIGSTOP)

        with pytest.raises(StudyLocked, match=f"is being run by pid {process.pid}"):
            Ledger.open(file_address, small_study())


def test_a_ledger_that_was_replaced_is_not_written(file_address: Address, tmp_path: Path) -> None:
    assert file_address.path is not None
    trial_writer = TrialWriter(file_address, small_study())
    trial_writer.fill([0.5])
    copy = tmp_path / "copy"
    shutil.copy(file_address.path, copy)
    before = copy.read_bytes()
    copy.replace(file_address.path)

    with pytest.raises(StorageError, match="was replaced by another file"):
        trial_writer.begin()

    assert file_address.path.read_bytes() == before
    trial_writer.ledger.close()


def test_looking_at_a_sqlite_ledger_drops_none_of_its_locks(tmp_path: Path) -> None:
    address = parse(f"sqlite:///{tmp_path}/ledger")
    trial_writer = TrialWriter(address, small_study())
    trial_writer.fill([0.5])
    books.read(address, "small")  # opens the file and lets it go in this process
    other = f"import sqlite3; c = sqlite3.connect({str(address.path)!r}); c.execute('SELECT 1 FROM trials'); c.close()"
    os.spawnlp(os.P_WAIT, "python3", "python3", "-c", other)

    assert Path(f"{address.path}-wal").exists()  # the last connection would have removed it
    trial_writer.fill([0.75])
    trial_writer.ledger.close()
    assert [trial.value for trial in books.read(address, "small").trials] == [0.5, 0.75]


# Studies that cannot be read ---------------------------------------------------------------------------------------


def test_a_study_that_cannot_be_read_hides_no_other_and_can_be_deleted(
    address: Address, optunas_own: BaseStorage
) -> None:
    for name in ("a", "bad", "c"):
        trial_writer = TrialWriter(address, small_study(name=name))
        trial_writer.fill([0.5])
        trial_writer.ledger.close()
    study = optuna.load_study(study_name="bad", storage=optunas_own)
    study.set_user_attr("hpo:study", {"name": "bad", "from": "a later version"})

    readable, unreadable = books.read_each(address)

    assert list(readable) == ["a", "c"]
    assert list(unreadable) == ["bad"]
    assert "bad" in unreadable["bad"]
    with pytest.raises(InputError, match=r"study 'bad' in .* cannot be read: .*\nto delete it: hpo delete bad"):
        books.read(address, "bad")
    assert len(books.uid(address, "bad")) == 32  # by which its runs in MLflow are found
    assert books.delete(address, "bad") == 1
    assert books.names(address) == ["a", "c"]


def two_studies(folder: Path) -> Address:
    """A database with the studies "a" and "bad", of one trial each."""
    address = parse(f"sqlite:///{folder}/ledger")
    for name in ("a", "bad"):
        trial_writer = TrialWriter(address, small_study(name=name))
        trial_writer.fill([0.5])
        trial_writer.ledger.close()
    return address


def test_a_trial_that_cannot_be_read_hides_no_other_study(tmp_path: Path) -> None:
    address = two_studies(tmp_path)
    with closing(sqlite3.connect(str(address.path))) as connection:
        connection.execute(
            "UPDATE trial_system_attributes SET value_json = '{' WHERE trial_id = (SELECT max(trial_id) FROM trials)"
        )
        connection.commit()

    readable, unreadable = books.read_each(address)

    assert (list(readable), list(unreadable)) == (["a"], ["bad"])
    with pytest.raises(HpoError, match="cannot be read"):
        books.read(address, "bad")
    assert books.delete(address, "bad") == 1


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("hpo:study", "{"),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in (("hpo:uid", "{"), ("hpo:created", '"soon"'))),
        ("hpo:evaluations", "3"),
    ],
)
def test_a_damaged_attribute_of_a_study_in_a_database_hides_no_other(tmp_path: Path, key: str, text: str) -> None:
    address = two_studies(tmp_path)
    with closing(sqlite3.connect(str(address.path))) as connection:
        row = (text, key)
        connection.execute("DELETE FROM study_user_attributes WHERE study_id = 2 AND key = ?", row[1:])
        connection.execute("INSERT INTO study_user_attributes (study_id, value_json, key) VALUES (2, ?, ?)", row)
        connection.execute("INSERT INTO study_system_attributes (study_id, value_json, key) VALUES (1, '{', 'x')")
        connection.commit()

    heads = books.heads_of(address)
    assert isinstance(heads["a"], dict)
    assert heads["bad"] == f"its attribute '{key}' is damaged"
    with pytest.raises(InputError, match=r"cannot be read: .*\nto delete it: hpo delete bad"):
        TrialWriter(address, small_study(name="bad"))
    assert service.delete(address, "bad", tracking="none") == (1, False)
    assert books.names(address) == ["a"]
    TrialWriter(address, small_study(name="a")).ledger.close()


def test_hpo_list_names_what_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "hpo.journal"
    for name in ("a", "bad"):
        TrialWriter(parse(str(path)), small_study(name=name)).ledger.close()
    store = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    optuna.load_study(study_name="bad", storage=store).set_user_attr("hpo:study", {"name": "bad"})

    list_studies(storage=str(path))
    said = capsys.readouterr().out
    list_studies(storage=str(path), as_json=True)
    heads = json.loads(capsys.readouterr().out)

    assert "bad cannot be read: " in said
    assert "to delete it: hpo delete bad" in said
    assert [(head["name"], head["state"]) for head in heads] == [("a", "stopped"), ("bad", "unreadable")]
    assert heads[0].keys() < heads[1].keys()


def test_reading_a_study_of_optuna_drops_no_lock_that_is_taken_afterwards(tmp_path: Path) -> None:
    address = parse(f"sqlite:///{tmp_path}/ledger")
    TrialWriter(address, small_study()).ledger.close()

    optuna_trials(address.url, "small", small_study().objectives)

    assert lock._connected == 0
    with closing(connect(address)):
        assert lock._connected == 1
    assert lock._connected == 0


@pytest.mark.parametrize("failing", [False, True])
def test_a_database_that_cannot_be_opened_is_not_counted(tmp_path: Path, failing: bool) -> None:
    file = tmp_path / "other.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE version_info (version_info_id INTEGER)" if failing else "CREATE TABLE mine (x)")

    with suppress(StorageError):
        connect(parse(f"sqlite:///{file}")).close()

    assert lock._connected == 0


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE studies",
        "CREATE TABLE trial_values",
        "INSERT INTO version_info",
        "CREATE TABLE alembic_version",
        "INSERT INTO alembic_version",
    ],
)
def test_a_rival_may_make_a_files_tables_between_any_look_and_what_follows(tmp_path: Path, statement: str) -> None:
    open_with_a_rival(parse(f"sqlite:///{tmp_path}/hpo.db"), statement)


@pytest.mark.servers
@pytest.mark.parametrize("statement", ["INSERT INTO version_info", "CREATE TABLE alembic_version"])
def test_a_rival_may_make_a_servers_tables_between_two_transactions(bare_postgresql_url: str, statement: str) -> None:
    open_with_a_rival(parse(bare_postgresql_url), statement)


def open_with_a_rival(address: Address, statement: str) -> None:
    """Opens a new database for a study; right before that statement, another study opens it and makes its tables."""
    rivals: list[list[Ledger]] = []

    def rival(connection: object, cursor: object, text: str, *_: object) -> None:
        if text.strip().startswith(statement) and not rivals:
            rivals.append([])  # its own statements pass
            rivals[0].append(Ledger.open(address, small_study(name="rival")))

    event.listen(Engine, "before_cursor_execute", rival)
    try:
        ledger = Ledger.open(address, small_study(name="late"))
    finally:
        event.remove(Engine, "before_cursor_execute", rival)
        for ledgers in rivals:
            ledgers[0].close()
    ledger.close()
    assert len(rivals) == 1
    assert [len(books.read(address, name).trials) for name in ("late", "rival")] == [0, 0]


@pytest.mark.slow
def test_drivers_of_several_studies_may_make_and_write_one_database_at_once(tmp_path: Path) -> None:
    """Each sees the file change, since the others empty the log, and takes none of them for a stranger."""
    program = (
        "import sys\nfrom hpo.ledger.address import parse\nfrom hpo.testing import small_study\n"
        "from hpo.testing.ledgers import TrialWriter\n"
        "print('ready', flush=True)\nsys.stdin.readline()\n"
        "trial_writer = TrialWriter(parse(sys.argv[1]), small_study(name=sys.argv[2]))\n"
        "trial_writer.fill([number / 100 for number in range(100)])\ntrial_writer.ledger.close()\n"
    )
    address, names = f"sqlite:///{tmp_path}/hpo.db", ("one", "two", "three")
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", program, address, name], stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True
        )
        for name in names
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    said = []
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        said.append(writer.communicate(timeout=120)[1])
    assert said == [""] * 3
    assert [len(books.read(parse(address), name).trials) for name in names] == [100] * 3
