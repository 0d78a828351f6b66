"""The summary beside a journal: it saves time, and nothing that anybody does to it or to the journal makes it lie."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import pickle
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import optuna
import pytest
from depth import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from small_study import small_study

from hpo.cli import show, studies
from hpo.errors import HpoError, StorageUnusable
from hpo.ledger import snapshots, summary
from hpo.ledger.address import parse
from hpo.ledger.lines import decode_all
from hpo.ledger.record import Records
from hpo.ledger.repair import repair
from hpo.testing.ledgers import TrialWriter
from hpo.trial import State


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """A journal with a study of four trials, one of them running, and its summary."""
    path = tmp_path / "hpo.journal"
    trial_writer = TrialWriter(parse(str(path)), small_study())
    trial_writer.one_of_each()
    trial_writer.begin()
    trial_writer.ledger.close()
    return path


def by_optuna(path: Path) -> list[str]:
    """The trials as Optuna's own reader of journals gives them: no summary has a part in it. As text, for NaN."""
    storage = JournalStorage(JournalFileBackend(str(path)))
    records, study_id = Records(small_study()), storage.get_study_id_from_name("small")
    return [repr(records.to_trial(trial)) for trial in storage.get_all_trials(study_id)]


def by_hpo(path: Path) -> list[str]:
    return [repr(trial) for trial in snapshots.read(parse(str(path)), "small").trials]


def printed(path: Path, name: str = "small") -> str:
    """What list, best and show print, as text and as JSON."""
    storage, out = str(path), io.StringIO()
    commands: list[Callable[..., None]] = [
        studies.list_studies,
        partial(studies.best, name),
        partial(show.show, name),
    ]
    with redirect_stdout(out):
        for command in commands:
            for as_json in (False, True):
                try:
                    command(storage=storage, as_json=as_json)
                except HpoError as error:
                    print(error)
    return out.getvalue()


def without_summary(path: Path) -> str:
    """The same, from the lines of the journal alone."""
    kept = summary.path_of(path).read_bytes()
    summary.path_of(path).unlink()
    said = printed(path)
    summary.path_of(path).write_bytes(kept)
    return said


@pytest.fixture
def no_replay(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Forbids to read the lines of a journal from now on."""

    def forbid() -> None:
        def fail(*_: object) -> None:
            raise AssertionError("the journal was read")

        monkeypatch.setattr("hpo.ledger.journal.Journal.__init__", fail)

    return forbid


# What it is good for -----------------------------------------------------------------------------------------------


def test_a_summary_answers_without_the_lines_of_the_journal(journal: Path, no_replay: Callable[[], None]) -> None:
    expected, trials = without_summary(journal), by_optuna(journal)

    no_replay()

    assert printed(journal) == expected
    assert "trial 0: score 0.5" in expected
    assert by_hpo(journal) == trials


def test_reading_goes_on_behind_what_is_covered(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    covered = summary.path_of(journal).read_bytes()
    trial_writer = TrialWriter(parse(str(journal)), small_study())
    trial_writer.finish(trial_writer.report(trial_writer.ledger.loaded[-1], {"score": 2.0}), State.COMPLETE)
    trial_writer.fill([0.75, 1.0])
    trial_writer.ledger.close()
    summary.path_of(journal).write_bytes(covered)

    found = summary.load(journal)

    assert found is not None
    assert not found.whole
    rest = journal.read_bytes()[found.size :].splitlines(keepends=True)
    parsed: list[bytes] = []

    def parse_lines(lines: list[bytes], *, checked: bool = True) -> Iterator[dict[str, Any]]:
        parsed.extend(lines)
        return decode_all(lines, checked=checked)

    monkeypatch.setattr("hpo.ledger.journal_file.decode_all", parse_lines)
    snapshots.names(parse(str(journal)))
    assert parsed == rest
    monkeypatch.undo()
    assert by_hpo(journal) == by_optuna(journal)
    assert printed(journal) == without_summary(journal)


def test_a_driver_that_starts_from_a_summary_writes_the_same_study(journal: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(journal, other / "hpo.journal")
    results = []
    for path in (journal, other / "hpo.journal"):
        trial_writer = TrialWriter(parse(str(path)), small_study())
        trial_writer.finish(
            trial_writer.report(trial_writer.ledger.loaded[-1], {"score": 2.0}), State.COMPLETE, started=1.0, ended=2.0
        )
        trial_writer.fill([0.75, 1.0])
        trial_writer.one_of_each()
        trial_writer.ledger.close()
        results.append(by_optuna(path))
        assert by_hpo(path) == results[-1]

    assert results[0] == results[1]
    assert len(results[0]) == 9


def test_little_that_is_new_does_not_write_it_again(tmp_path: Path) -> None:
    address = parse(str(tmp_path / "hpo.journal"))
    trial_writer = TrialWriter(address, small_study())
    trial_writer.fill([float(i) for i in range(60)])
    trial_writer.ledger.close()
    before = summary.path_of(tmp_path / "hpo.journal").read_bytes()

    trial_writer = TrialWriter(address, small_study())
    trial_writer.fill([100.0])
    trial_writer.ledger.close()

    assert summary.path_of(tmp_path / "hpo.journal").read_bytes() == before
    assert snapshots.head(address, "small")["best"][0]["value"] == 100.0


# What may happen to it ---------------------------------------------------------------------------------------------


def torn(data: bytes) -> Iterator[bytes]:
    yield b""
    yield from (data[:kept] for kept in range(1, len(data), 97))
    yield data[:-1]


def edited(data: bytes) -> Iterator[bytes]:
    yield from (data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in range(0, len(data), 61))
    yield data + b" "
    yield data.replace(b"0.5", b"9.5")


@pytest.mark.parametrize("change", [torn, edited])
def test_a_torn_or_edited_summary_is_not_used_and_made_anew(
    journal: Path, change: Callable[[bytes], Iterator[bytes]]
) -> None:
    path, trials = summary.path_of(journal), by_optuna(journal)
    sound = path.read_bytes()

    for bad in change(sound):
        path.write_bytes(bad)
        assert summary.load(journal) is None
    assert by_hpo(journal) == trials

    assert path.read_bytes() == sound


def test_a_summary_of_another_journal_is_not_used(journal: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "hpo.journal"
    other.parent.mkdir()
    trial_writer = TrialWriter(parse(str(other)), small_study())
    trial_writer.fill([0.125])
    trial_writer.ledger.close()
    shutil.copy(summary.path_of(other), summary.path_of(journal))

    assert by_hpo(journal) == by_optuna(journal)


def test_a_summary_of_another_version_is_not_used(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpo.__version__", "0.0.1")
    summary.writer.cache_clear()
    try:
        assert summary.load(journal) is None
        assert by_hpo(journal) == by_optuna(journal)
        assert summary.load(journal) is not None
    finally:
        summary.writer.cache_clear()


@pytest.mark.parametrize("module", [*summary.SOURCES, "study/budget.py"])
def test_a_summary_that_other_code_has_written_is_not_used(
    journal: Path, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed, read = Path(summary.__file__).parents[1] / module, Path.read_bytes
    assert changed.exists()
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + (b"#" if path == changed else b""))
    summary.writer.cache_clear()
    try:
        assert summary.load(journal) is None
    finally:
        summary.writer.cache_clear()


def test_it_is_known_on_what_code_a_summary_depends() -> None:
    package, known = Path(summary.__file__).parents[1], {Path(module) for module in summary.SOURCES}
    # How files are found, locked and named, and what is said of errors, changes nothing of what a summary says.
    others = {Path(name) for name in ("errors.py", "machine.py", "statistics.py", "text.py", "ledger/lock.py")}
    for module in known:
        text = (package / module).read_text(encoding="utf-8")
        for name in re.findall(r"^ *(?:from|import) hpo\.(\S+)", text, re.MULTILINE):
            path = Path(name.replace(".", "/"))
            wanted = path / "__init__.py" if (package / path).is_dir() else path.with_suffix(".py")
            assert wanted in known | others or wanted.parts[0] == "study", f"{module} needs {wanted}"


def one_digest(header: dict[str, Any], rows: bytes) -> bytes:
    rest = json.dumps(header, separators=(",", ":")).encode() + b"\n" + rows
    return hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest


def without(key: str) -> Callable[[dict[str, Any], list[bytes]], Any]:
    return lambda header, rows: ({name: value for name, value in header.items() if name != key}, rows)


def of_the_study(key: str, value: Any) -> Callable[[dict[str, Any], list[bytes]], Any]:
    def change(header: dict[str, Any], rows: list[bytes]) -> Any:
        header["studies"][0][key] = value
        return header, rows

    return change


def rows_left_out(header: dict[str, Any], rows: list[bytes]) -> Any:
    header["studies"][0]["bytes"] -= len(rows[-1])
    return header, rows[:-1]


def study_left_unnamed(header: dict[str, Any], rows: list[bytes]) -> Any:
    del header["studies"][0]["name"]
    return header, rows


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda header, rows: ([], rows), id="no header"),
        *(pytest.param(without(key), id=f"without {key}") for key in ("format", "size", "lines", "resume", "studies")),
        *(pytest.param(of_the_study("bytes", value), id=f"bytes {value}") for value in (None, "x", 0, 10**9)),
        pytest.param(of_the_study("ids", None), id="no ids"),
        pytest.param(lambda header, rows: (header | {"studies": [5]}, rows), id="no study"),
        pytest.param(lambda header, rows: (header | {"studies": []}, rows), id="no studies"),
        pytest.param(lambda header, rows: (header, rows[:-1]), id="rows fewer than their bytes"),
        rows_left_out,
        study_left_unnamed,
    ],
)
def test_a_summary_with_a_right_digest_of_wrong_content_is_not_used(
    journal: Path, change: Callable[[dict[str, Any], list[bytes]], Any]
) -> None:
    path, trials = summary.path_of(journal), by_optuna(journal)
    sound = path.read_bytes()
    _, head, *rows = sound.splitlines(keepends=True)
    assert one_digest(json.loads(head), b"".join(rows)) == sound
    header, rows = change(json.loads(head), rows)
    path.write_bytes(one_digest(header, b"".join(rows)))

    assert summary.load(journal) is None
    assert by_hpo(journal) == trials
    assert path.read_bytes() == sound


class Trap:
    """When it is unpickled, it leaves a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self._file),)


def test_a_summary_is_never_unpickled(journal: Path, tmp_path: Path) -> None:
    summary.path_of(journal).write_bytes(pickle.dumps(Trap(tmp_path / "caught")))

    assert by_hpo(journal) == by_optuna(journal)

    assert not (tmp_path / "caught").exists()


def test_a_process_killed_while_it_writes_one_leaves_the_old_one(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = summary.path_of(journal).read_bytes()
    trial_writer = TrialWriter(parse(str(journal)), small_study())
    trial_writer.fill([0.75, 1.0])
    monkeypatch.setattr(Path, "replace", _die)
    with pytest.raises(KeyboardInterrupt):
        trial_writer.ledger.close()
    monkeypatch.undo()

    assert summary.path_of(journal).read_bytes() == before
    assert by_hpo(journal) == by_optuna(journal)
    TrialWriter(parse(str(journal)), small_study()).ledger.close()  # the lock was given back


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def test_where_no_summary_can_be_kept_everything_is_read(journal: Path) -> None:
    expected = printed(journal)
    shutil.rmtree(journal.parent / ".hpo")
    (journal.parent / ".hpo").touch()

    assert printed(journal) == expected


# What may happen to the journal ------------------------------------------------------------------------------------


def test_a_changed_line_is_noticed_though_a_summary_covers_it(journal: Path) -> None:
    data = journal.read_bytes()
    journal.write_bytes(data.replace(b'"step":1', b'"step":7', 1))

    with pytest.raises(StorageUnusable, match=r"line \d+: was changed: its checksum is wrong"):
        snapshots.read(parse(str(journal)), "small")


def test_a_journal_that_lost_its_end_has_lost_it(journal: Path) -> None:
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]))

    assert len(snapshots.read(parse(str(journal)), "small").trials) == 3
    assert by_hpo(journal) == by_optuna(journal)


def test_a_repaired_journal_is_read_anew(journal: Path) -> None:
    lines = journal.read_bytes().splitlines(keepends=True)
    begun = [number for number, line in enumerate(lines) if line.startswith(b'{"op_code":4')]
    lines[begun[0]] = lines[begun[0]][:-20] + b"\n"
    journal.write_bytes(b"".join(lines))
    with pytest.raises(StorageUnusable):
        snapshots.read(parse(str(journal)), "small")

    assert repair(journal).copy is not None

    trials = snapshots.read(parse(str(journal)), "small").trials
    assert trials[0].error == f"lost: line {begun[0] + 1} of the journal could not be read"
    assert by_hpo(journal) == by_optuna(journal)


def test_a_study_deleted_and_made_again_has_only_its_own_trials(journal: Path) -> None:
    address = parse(str(journal))
    for values in ([0.25], [0.5, 0.75], []):
        covered = summary.path_of(journal).read_bytes()
        snapshots.delete(address, "small")
        trial_writer = TrialWriter(address, small_study())
        trial_writer.fill(values)
        trial_writer.ledger.close()
        for kept in (covered, summary.path_of(journal).read_bytes()):
            summary.path_of(journal).write_bytes(kept)
            assert [trial.value for trial in snapshots.read(address, "small").trials] == values
            assert printed(journal) == without_summary(journal)


def test_what_other_programs_write_is_seen(journal: Path) -> None:
    storage = JournalStorage(JournalFileBackend(str(journal)))
    foreign = optuna.create_study(study_name="foreign", storage=storage)
    foreign.optimize(lambda trial: trial.suggest_float("x", 0, 1), 3)
    ours = optuna.load_study(study_name="small", storage=storage)
    ours.set_user_attr("note", "by the dashboard")
    ours.enqueue_trial({"lr": 1e-4})
    trial = ours.ask()  # its parameters come one by one
    trial.suggest_float("lr", 1e-6, 1e-2, log=True)
    trial.suggest_int("layers", 1, 4)
    trial.suggest_categorical("activation", ["relu", "tanh"])
    ours.tell(trial, 2.0)

    trials = snapshots.read(parse(str(journal)), "small").trials

    assert by_hpo(journal) == by_optuna(journal)
    assert trials[-1].value == 2.0
    assert trials[-1].params == {"lr": 1e-4, **{key: trials[-1].params[key] for key in ("layers", "activation")}}
    assert printed(journal) == without_summary(journal)
    assert snapshots.names(parse(str(journal))) == ["small"]


def test_optuna_reads_on_what_hpo_writes_behind_a_summary(journal: Path) -> None:
    storage = JournalStorage(JournalFileBackend(str(journal)))
    trial_writer = TrialWriter(parse(str(journal)), small_study())
    trial_writer.fill([3.0])
    trial_writer.ledger.close()

    assert optuna.load_study(study_name="small", storage=storage).best_value == 3.0


def test_reports_of_a_journal_that_was_replaced_meanwhile_are_an_error(journal: Path) -> None:
    (trial, *_) = snapshots.read(parse(str(journal)), "small").trials
    journal.write_bytes(b"{}\n" * 500)

    with pytest.raises(StorageUnusable, match="was changed while it was read; try again"):
        trial.reports[0]


def test_a_study_that_cannot_be_read_is_named_with_and_without_a_summary(journal: Path) -> None:
    storage = JournalStorage(JournalFileBackend(str(journal)))
    study_id = storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "bad")
    storage.set_study_user_attr(study_id, "hpo:study", {"name": "bad"})

    first, second = printed(journal, "bad"), printed(journal, "bad")

    assert first == second
    assert "bad cannot be read: " in first
    assert str(journal) in first


# What is always the same -------------------------------------------------------------------------------------------

numbers = st.floats(-1e6, 1e6, allow_nan=False) | st.sampled_from([float("nan"), float("inf"), -0.0, 1e-300])
deeds = st.lists(
    st.tuples(st.sampled_from(["complete", "prune", "fail", "begin", "look", "reopen", "forget"]), numbers),
    min_size=1,
    max_size=14,
)


@settings(max_examples=examples(100), deadline=None)
@given(deeds)
def test_list_best_and_show_print_the_same_with_and_without_a_summary(deeds: list[tuple[str, float]]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "hpo.journal"
        study = small_study(budget={"trials": 5})
        trial_writer = TrialWriter(parse(str(path)), study)
        for deed, value in deeds:
            if deed == "look":
                printed(path)
            elif deed == "reopen":
                trial_writer.ledger.close()
                trial_writer = TrialWriter(parse(str(path)), study)
            elif deed == "forget":
                summary.path_of(path).unlink(missing_ok=True)
            else:
                trial = trial_writer.report(trial_writer.begin(), {"loss": value}, {"score": value})
                if deed == "prune":
                    trial_writer.finish(trial, State.PRUNED)
                elif deed == "complete" and math.isfinite(value):
                    trial_writer.finish(trial, State.COMPLETE)
                elif deed == "fail":
                    trial_writer.finish(trial, State.FAILED, error=f"Traceback\nValueError: {value} ü\x00\ud800")
        with_summary = printed(path)
        assert by_hpo(path) == by_optuna(path)
        assert without_summary(path) == with_summary
        trial_writer.ledger.close()
        assert without_summary(path) == printed(path)
