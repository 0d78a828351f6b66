"""A journal that Optuna's own tools write too, whose writers are killed, or whose lines were damaged."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from hpo.cli.machine import doctor
from hpo.errors import HpoError, InputError, StorageUnusable
from hpo.ledger import journal_file
from hpo.ledger import snapshots as books
from hpo.ledger.address import Address, parse
from hpo.ledger.repair import repair
from hpo.testing import small_study
from hpo.testing.ledgers import TrialWriter, holding, wait_until_done
from hpo.trial import State, Trial

VALUES = [0.125, 0.25, 0.5]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hpo.journal"


@pytest.fixture
def address(path: Path) -> Address:
    return parse(str(path))


@pytest.fixture
def trials(address: Address) -> list[Trial]:
    """Three finished trials in a journal that nobody writes any more."""
    trial_writer = TrialWriter(address, small_study())
    written = trial_writer.fill(VALUES)
    trial_writer.ledger.close()
    return written


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def line_of(path: Path, operation: int, nth: int = 0) -> int:
    """The index of the nth line with this operation of Optuna's."""
    return [i for i, line in enumerate(lines_of(path)) if json.loads(line)["op_code"] == operation][nth]


def optunas_values(path: Path) -> list[float | None]:
    study = optuna.load_study(study_name="small", storage=JournalStorage(JournalFileBackend(str(path))))
    return [trial.values[0] if trial.values else None for trial in study.trials]


# Optuna writes too -------------------------------------------------------------------------------------------------

APPEND = """
import sys
from optuna.storages.journal import JournalFileBackend
backend = JournalFileBackend(sys.argv[1])
print("ready", flush=True)
for i in range(int(sys.argv[2])):
    note = {"op_code": 2, "worker_id": "dashboard-1", "study_id": 0, "user_attr": {"note": "x" * (i * 97 % 20000)}}
    backend.append_logs([note])
"""


def test_optunas_own_tools_may_write_at_the_same_time(address: Address, path: Path) -> None:
    trial_writer = TrialWriter(address, small_study())
    values = [float(i) for i in range(40)]
    with subprocess.Popen([sys.executable, "-c", APPEND, str(path), "150"], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        trial_writer.fill(values)
        assert other.wait(120) == 0
    trial_writer.ledger.close()

    records = [json.loads(line) for line in lines_of(path)]
    assert sum(record["worker_id"] == "dashboard-1" for record in records) == 150
    assert [trial.value for trial in books.read(address, "small").trials] == values
    assert optunas_values(path) == values


def test_a_line_whose_rest_is_written_while_it_is_read_is_read_next_time(
    path: Path, trials: list[Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = path.read_bytes()
    cut = len(data) - len(lines_of(path)[-1]) // 2
    path.write_bytes(data[:cut])
    rest = [data[cut:]]

    class Growing(io.FileIO):
        def readinto(self, buffer: Any) -> int | None:
            read = super().readinto(buffer)
            if not read and rest:
                with io.FileIO(path, "ab") as file:
                    file.write(rest.pop())
            return read

    def growing(path: Path, mode: str) -> io.BufferedIOBase:
        return io.BufferedReader(Growing(path, mode))

    journal = journal_file.JournalFile(path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", growing)
        read = list(journal.read_logs(0))
    assert not rest
    assert len(read) == data.count(b"\n") - 1

    assert len(list(journal.read_logs(len(read)))) == 1


def test_a_lock_that_a_killed_writer_of_optuna_left_is_waited_for_a_few_seconds(
    address: Address, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "OPTUNA_LOCK_TIMEOUT", 0.5)
    trial_writer = TrialWriter(address, small_study())
    code = "import os, signal, sys; from optuna.storages.journal import JournalFileSymlinkLock as Lock\n"
    code += "Lock(sys.argv[1]).acquire(); os.kill(os.getpid(), signal.SIGKILL)"
    killed = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    link = Path(f"{path}.lock")
    assert link.is_symlink()
    began = time.monotonic()

    trial_writer.fill([0.5])

    assert time.monotonic() - began >= 0.5
    assert not link.is_symlink()
    trial_writer.ledger.close()


DIE_WHILE_APPENDING = """
import os, signal, sys
from pathlib import Path
from hpo.ledger.journal_file import appending
with appending(Path(sys.argv[1])) as file:
    if len(sys.argv) > 2:
        print("appending", flush=True)
        sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_lock_that_a_killed_writer_of_hpo_left_is_removed_at_once(address: Address, path: Path) -> None:
    trial_writer = TrialWriter(address, small_study())
    subprocess.run([sys.executable, "-c", DIE_WHILE_APPENDING, str(path)], check=False)
    assert Path(f"{path}.lock").is_symlink()
    began = time.monotonic()

    trial_writer.begin()

    assert time.monotonic() - began < journal_file.OPTUNA_LOCK_TIMEOUT
    assert not Path(f"{path}.lock").is_symlink()
    trial_writer.ledger.close()


def test_a_writer_that_is_stopped_while_it_appends_is_waited_for_with_a_bound(
    address: Address, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "APPEND_TIMEOUT", 0.2)
    monkeypatch.setattr("hpo.ledger.ledger.WRITE_TIMEOUT", 0.3)
    trial_writer = TrialWriter(address, small_study())
    command = [sys.executable, "-c", DIE_WHILE_APPENDING, str(path), "wait"]
    stopped = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert stopped.stdout is not None
    stopped.stdout.readline()
    os.kill(stopped.pid, signal.SIGSTOP)
    try:
        with pytest.raises(HpoError, match=r"cannot be written: another process has been writing .* is it stopped\?"):
            trial_writer.begin()
    finally:
        stopped.kill()
        stopped.communicate()
    trial_writer.ledger.close()


# The end of the file -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tail",
    [b"\0" * 300, b"\0" * 300 + b"\n", b'{"op_code":6,"wor\0\0\0\0ues":[0.1]}\n', b'{"op_code":6,"trial', b"x\n\0\0"],
    ids=["zeros", "zeros and a newline", "zeros in a record", "torn", "a bad line and a torn one"],
)
def test_an_end_that_cannot_be_read_is_ignored_by_readers_and_cut_by_the_next_writer(
    address: Address, path: Path, trials: list[Trial], tail: bytes
) -> None:
    sound = path.read_bytes()
    path.write_bytes(sound + tail)
    assert books.read(address, "small").trials == trials
    assert path.read_bytes() == sound + tail

    again = TrialWriter(address, small_study())
    again.fill([0.75])
    again.ledger.close()

    assert [trial.value for trial in books.read(address, "small").trials] == [*VALUES, 0.75]
    assert path.read_bytes().startswith(sound)
    assert optunas_values(path) == [*VALUES, 0.75]


# Lines in the middle -----------------------------------------------------------------------------------------------


def test_every_doubled_missing_or_changed_line_is_named(address: Address, path: Path, trials: list[Trial]) -> None:
    lines = lines_of(path)
    for index in range(len(lines) - 1):
        for bad, named in (
            ([lines[index], lines[index]], index + 2),
            ([], index + 1),
            ([lines[index].replace(b'"worker_id"', b'"worker-id"')], index + 1),
            ([lines[index][:-3] + b"\0\0\n"], index + 1),
        ):
            path.write_bytes(b"".join([*lines[:index], *bad, *lines[index + 1 :]]))
            with pytest.raises(StorageUnusable, match=rf"hpo\.journal, line {named}: .*hpo doctor --repair .*journal"):
                books.read(address, "small")


def test_a_value_that_was_changed_is_noticed(address: Address, path: Path, trials: list[Trial]) -> None:
    path.write_bytes(path.read_bytes().replace(b'"values":[0.25]', b'"values":[0.95]'))

    with pytest.raises(StorageUnusable, match="was changed: its checksum is wrong"):
        books.read(address, "small")


def test_a_journal_of_an_older_version_is_read_and_a_doubled_trial_in_it_is_noticed(
    address: Address, path: Path, trials: list[Trial]
) -> None:
    records = [json.loads(line) for line in lines_of(path)]
    bare = [json.dumps({k: v for k, v in r.items() if k not in ("seq", "crc")}) + "\n" for r in records]
    path.write_text("".join(bare))
    assert books.read(address, "small").trials == trials
    again = TrialWriter(address, small_study())
    again.fill([0.75])
    again.ledger.close()
    assert [trial.value for trial in books.read(address, "small").trials] == [*VALUES, 0.75]

    begins = next(line for line in bare if json.loads(line)["op_code"] == 4)
    path.write_text("".join(bare).replace(begins, begins * 2, 1))
    with pytest.raises(StorageUnusable, match="is there for the second time"):
        books.read(address, "small")


# Repair ------------------------------------------------------------------------------------------------------------


def test_a_sound_journal_needs_no_repair(path: Path, trials: list[Trial]) -> None:
    before = path.read_bytes()

    done = repair(path)

    assert (done.studies, done.trials, done.changes, done.copy) == (1, 3, [], None)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir() if p.name != ".hpo"] == ["hpo.journal"]


def test_a_doubled_line_is_left_out_and_the_original_kept(address: Address, path: Path, trials: list[Trial]) -> None:
    lines, begins = lines_of(path), line_of(path, 4, 1)
    damaged = b"".join([*lines[:begins], lines[begins], *lines[begins:]])
    path.write_bytes(damaged)

    done = repair(path)

    assert done.copy is not None
    assert done.copy.read_bytes() == damaged
    assert done.changes == [f"line {begins + 2}: is there for the second time; left out"]
    assert books.read(address, "small").trials == trials
    assert optunas_values(path) == VALUES


def test_a_lost_beginning_of_a_trial_shifts_no_value_to_another(
    address: Address, path: Path, trials: list[Trial]
) -> None:
    lines, begins = lines_of(path), line_of(path, 4, 1)
    lines[begins] = lines[begins][:-30] + b"\0" * 29 + b"\n"
    path.write_bytes(b"".join(lines))

    done = repair(path)

    assert done.changes == [f"line {begins + 1}: cannot be read; it began a trial, which now counts as failed"]
    first, lost, third = books.read(address, "small").trials
    assert [first, third] == [trials[0], trials[2]]
    assert (lost.number, lost.state) == (1, State.FAILED)
    again = TrialWriter(address, small_study())
    assert again.begin().number == 3
    again.ledger.close()


def test_what_follows_a_loss_of_unknown_kind_is_left_out(address: Address, path: Path, trials: list[Trial]) -> None:
    lines, begins = lines_of(path), line_of(path, 4, 1)
    path.write_bytes(b"".join([*lines[:begins], *lines[begins + 1 :]]))

    done = repair(path)

    assert "1 lines of the same writer before it are missing" in done.changes[0]
    assert books.read(address, "small").trials == trials[:1]


def test_records_that_were_fused_with_a_torn_one_are_kept(address: Address, path: Path, trials: list[Trial]) -> None:
    lines, begins = lines_of(path), line_of(path, 4, 2)
    lines[begins] = b'{"op_code":2,"worker_id":"dashboard","study_' + b"\0" * 10 + lines[begins]
    path.write_bytes(b"".join(lines))
    with pytest.raises(StorageUnusable, match=f"line {begins + 1}: cannot be read"):
        books.read(address, "small")

    assert repair(path).changes == [f"line {begins + 1}: a part cannot be read; left out"]
    assert books.read(address, "small").trials == trials


def test_a_journal_that_is_being_written_is_not_repaired(address: Address, path: Path) -> None:
    with holding(address, "fill", "1") as process:
        wait_until_done(process)
        with pytest.raises(InputError, match=f"is being run by pid {process.pid}.*stop it before the repair"):
            repair(path)


def test_a_file_that_is_no_journal_is_not_repaired(path: Path) -> None:
    path.write_text("lr = 0.1 was best\n")

    with pytest.raises(InputError, match="has no sound line of an Optuna journal; it is left as it is"):
        repair(path)

    assert path.read_text() == "lr = 0.1 was best\n"


def test_doctor_repairs_a_journal_and_says_what_it_left_out(
    address: Address, path: Path, trials: list[Trial], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = lines_of(path)
    path.write_bytes(b"".join([*lines, lines[-1]]))

    doctor(repair=str(path))

    said = capsys.readouterr().out
    assert f"line {len(lines) + 1}: is there for the second time; left out" in said
    assert f"{path}: kept {len(lines)} lines with 1 studies and 3 trials; the original is {path}.damaged-" in said
    assert books.read(address, "small").trials == trials


def test_a_journal_that_a_program_has_written_anew_is_read_without_its_old_checksums(
    address: Address, path: Path, trials: list[Trial]
) -> None:
    """Studies renamed, numbers shifted, several files merged: the numbers and checksums of lines came along as text."""
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    name = lines[0]["study_name"]
    lines[0]["study_name"] = f"{name}-copy"
    for line in lines:
        if "hpo:study" in line.get("user_attr", {}):
            line["user_attr"]["hpo:study"]["name"] = f"{name}-copy"
    path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    assert [t.params for t in books.read(address, f"{name}-copy").trials] == [t.params for t in trials]
    assert not repair(path).changes
