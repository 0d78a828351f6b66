"""Metrics of programs that know nothing of hpo: on standard output, in CSV and JSON files, in event files."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from hpo.errors import InputError
from hpo.objective import contract
from hpo.objective.contract import reports
from hpo.objective.readers import Csv, Gather, JsonLines, Pattern, Reader, Row
from hpo.study import load
from hpo.study.command import Command


def gathered(rows: Iterable[Row], metric: str = "loss") -> list[dict[str, float]]:
    gather = Gather([metric])
    return [report for row in rows for report in gather.add(row)] + list(gather.flush())


def heard(pattern: str, text: str) -> list[dict[str, float]]:
    reader = Pattern(pattern)
    gather = Gather(["loss"], reader.names)
    rows = [row for line in textwrap.dedent(text).splitlines() for row in reader.hear(line)]
    return [report for row in rows for report in gather.add(row)] + list(gather.flush())


def looked(reader: Reader, *, ended: bool = False) -> list[Row]:
    return list(reader.look(ended=ended))


# Rows and reports --------------------------------------------------------------------------------------------------


def test_rows_of_one_step_are_one_report() -> None:
    assert gathered([(1, {"loss": 3.0}), (1, {"acc": 0.1}), (2, {"acc": 0.2}), (2, {"loss": 2.0})]) == [
        {"loss": 3.0, "acc": 0.1},
        {"acc": 0.2, "loss": 2.0},
    ]


def test_without_steps_a_name_that_comes_again_begins_the_next_report() -> None:
    rows: list[Row] = [(None, {"acc": 0.1}), (None, {"loss": 3.0}), (None, {"acc": 0.2}), (None, {"loss": 2.0})]
    assert gathered(rows) == [{"acc": 0.1, "loss": 3.0}, {"acc": 0.2, "loss": 2.0}]


def test_once_its_names_are_known_a_report_is_complete_with_the_last_of_them() -> None:
    gather = Gather(["loss"])
    rows: list[Row] = [(1, {"acc": 0.1}), (1, {"loss": 3.0}), (2, {"acc": 0.2})]
    assert [list(gather.add(row)) for row in rows] == [[], [], [{"acc": 0.1, "loss": 3.0}]]
    assert list(gather.add((2, {"loss": 2.0}))) == [{"acc": 0.2, "loss": 2.0}]


def test_a_step_that_was_reported_before_is_not_reported_again() -> None:
    steps = {1: [3.0, 9.0], 2: [2.0, 9.0]}
    rows: list[Row] = [(step, {"loss": values[again]}) for again in (0, 1) for step, values in steps.items()]
    assert gathered([*rows, (3, {"loss": 1.0})]) == [{"loss": 3.0}, {"loss": 2.0}, {"loss": 1.0}]


def test_other_metrics_may_count_their_steps_in_another_way() -> None:
    rows: list[Row] = [
        (100, {"train": 5.0}),
        (200, {"train": 4.0}),
        (1, {"loss": 3.0}),
        (300, {"train": 3.0}),
        (2, {"loss": 2.0}),
    ]
    assert gathered(rows) == [{"train": 4.0, "loss": 3.0}, {"train": 3.0, "loss": 2.0}]


# Standard output ---------------------------------------------------------------------------------------------------


def test_a_patterns_groups_are_metrics() -> None:
    assert heard(
        r"epoch (?P<step>\d+).* loss=(?P<loss>\S+) acc=(?P<acc>\S+)",
        """
        epoch 1: loss=0.5, acc=0.25
        nothing here, loss=7
        epoch 2: loss=1e-3, acc=nan
        epoch 2: loss=9 acc=9
        """,
    ) == [{"loss": 0.5, "acc": 0.25}, pytest.approx({"loss": 1e-3, "acc": float("nan")}, nan_ok=True)]


def test_a_metric_may_be_named_value(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text(STUDY.format(r"reports.pattern = '(?P<value>\S+)'").replace('"loss"', '"value"'))
    assert load(file).metric == "value"
    assert list(Pattern(r"v=(?P<value>\S+)").hear("v=2")) == [(None, {"value": 2.0})]


def test_names_may_be_read_too() -> None:
    assert heard(r"(?P<name>\w+): (?P<value>\S+)", "acc: 0.1 loss: 3\nwhat: ever\nacc: 0.2\nloss: 2\n") == [
        {"acc": 0.1, "loss": 3.0},
        {"acc": 0.2, "loss": 2.0},
    ]


# Files -------------------------------------------------------------------------------------------------------------


def test_a_half_written_line_waits_for_its_end(tmp_path: Path) -> None:
    file = tmp_path / "m.csv"
    reader = Csv(str(file))
    assert looked(reader) == []  # it is not there yet
    file.write_text("step,loss\n1,0.5\n2,0.2")
    assert looked(reader) == [(1.0, {"loss": 0.5})]
    file.write_text("step,loss\n1,0.5\n2,0.25\n")
    assert looked(reader) == [(2.0, {"loss": 0.25})]
    with file.open("a") as more:
        more.write("3,0.125")
    assert looked(reader) == []
    assert looked(reader, ended=True) == [(3.0, {"loss": 0.125})]


def test_a_file_that_is_written_anew_with_another_column_is_read_on(tmp_path: Path) -> None:
    """As Lightning's logger does when a metric comes up for the first time."""
    file = tmp_path / "m.csv"
    reader = Csv(str(file))
    file.write_text("step,train\n1,0.5\n2,0.4\n")
    assert looked(reader) == [(1.0, {"train": 0.5}), (2.0, {"train": 0.4})]
    file.write_text("step,train,loss\n1,0.5,\n2,0.4,\n2,,0.7\n")
    assert looked(reader) == [(2.0, {"loss": 0.7})]
    file.write_text("")  # in the middle of being written
    assert looked(reader) == []
    file.write_text("step,train,loss\n1,0.5,\n2,0.4,\n2,,0.7\n3,0.3,\n")
    assert looked(reader) == [(3.0, {"train": 0.3})]


def test_a_file_that_is_begun_again_is_read_from_its_beginning(tmp_path: Path) -> None:
    """As by a program with two phases, or one that rotates its files; rows that were read are skipped."""
    file = tmp_path / "m.csv"
    reader = Csv(str(file))
    file.write_text("loss\n5\n4\n3\n")
    assert looked(reader) == [(None, {"loss": value}) for value in (5.0, 4.0, 3.0)]
    file.write_text("")
    assert looked(reader) == []
    file.write_text("loss\n5\n")  # written anew
    assert looked(reader) == []
    file.write_text("loss\n9\n")  # another one
    assert looked(reader) == [(None, {"loss": 9.0})]
    file.rename(tmp_path / "m.csv.1")
    file.write_text("loss\n8\n7\n6\n5\n4\n")
    assert looked(reader) == [(None, {"loss": value}) for value in (8.0, 7.0, 6.0, 5.0, 4.0)]


def test_lines_without_a_heading_may_be_another_files(tmp_path: Path) -> None:
    file = tmp_path / "m.jsonl"
    reader = JsonLines(str(file))
    file.write_text('{"loss": 3}\n{"loss": 2}\n')
    assert len(looked(reader)) == 2
    file.write_text('{"loss": 1}\n{"loss": 0}\n')
    assert looked(reader) == [(None, {"loss": 1.0}), (None, {"loss": 0.0})]


@pytest.mark.parametrize(
    ("where", "why"), [("folder", "it is no file"), ("pipe", "it is no file"), ("file/m.csv", "Not a directory")]
)
def test_what_cannot_be_read_is_said_when_the_metric_never_comes(where: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    reader = Csv(str(tmp_path / where))
    assert looked(reader) == []
    assert reader.account([]).startswith(f"{tmp_path / where} cannot be read: {why}; ")


def test_cells_that_hold_no_number_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "m.csv"
    file.write_text('\ufeffstep,phase,loss,"a,b"\r\n1,"val, best",0.5,\r\nnoise\r\n2,,NaN,4\r\n', encoding="utf-8")
    first, second = looked(Csv(str(file)))
    assert first == (1.0, {"loss": 0.5})
    assert second[1] == pytest.approx({"loss": float("nan"), "a,b": 4.0}, nan_ok=True)


@pytest.mark.parametrize("odd", ["x" * 200_000, "\0"], ids=["huge", "nul"])
def test_a_line_that_is_no_csv_is_left_out(odd: str, tmp_path: Path) -> None:
    file = tmp_path / "m.csv"
    file.write_text(f"loss\n3\n{odd}\n2\n", newline="")
    assert [row for row in looked(Csv(str(file))) if row[1]] == [(None, {"loss": 3.0}), (None, {"loss": 2.0})]
    file.write_text("loss\r3\r2\r", newline="")  # line ends of an old Mac
    assert looked(Csv(str(file)), ended=True) == []


def test_files_may_be_named_by_a_star_and_folders_may_have_odd_names(tmp_path: Path) -> None:
    for version in ("[0]", "1"):
        folder = tmp_path / "a[b]?" / version
        folder.mkdir(parents=True)
        (folder / "m.jsonl").write_text(f'{{"step": {version.strip("[]")}, "loss": 1, "t": "x"}}\nno\n[1]\n')
    rows = looked(JsonLines(str(tmp_path / "a[b]?" / "*" / "m.jsonl")))
    assert sorted(rows) == [(0.0, {"loss": 1.0}), (1.0, {"loss": 1.0})]


def test_scalars_of_event_files_are_read_while_they_are_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    from hpo.objective.readers import TensorBoard

    def record(step: int, **values: float) -> bytes:
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
        return bytes(Event(step=step, summary=summary).SerializeToString())

    reader = TensorBoard(str(tmp_path))
    assert looked(reader) == []
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "events.out.tfevents.1.host"
    with path.open("wb") as file:
        writer = RecordWriter(file)
        writer.write(record(1, loss=0.5, acc=0.25))
        whole = file.tell()
        writer.write(record(2, loss=0.25))
        writer.flush()
        end = file.tell()
    data = path.read_bytes()
    path.write_bytes(data[: (whole + end) // 2])
    assert looked(reader) == [(1.0, {"loss": 0.5}), (1.0, {"acc": 0.25})]
    assert looked(reader) == []
    path.write_bytes(data)
    assert looked(reader, ended=True) == [(2.0, {"loss": 0.25})]


# With a program ----------------------------------------------------------------------------------------------------


def run(script: str, folder: Path, **command: Any) -> list[dict[str, float]]:
    given = Command(
        (sys.executable, "-c", textwrap.dedent(script).replace("{", "{{").replace("}", "}}")),
        metrics=("loss",),
        **command,
    )
    return list(reports(contract.resolve(given), {}, 0, "loss", folder=str(folder), trial=3))


def test_a_csv_file_in_the_trials_own_folder_is_read_while_the_program_runs(tmp_path: Path) -> None:
    script = """
        import pathlib, time
        with open("metrics.csv", "w") as file:
            for step in range(3):
                print("epoch,loss" if not step else f"{step},{1 / step}", file=file, flush=True)
                time.sleep(0.2)
            file.write("3,0.125")
    """
    own = tmp_path / "own"
    assert run(script, own, source="csv", where="metrics.csv", workdir="own") == [
        {"epoch": 1.0, "loss": 1.0},
        {"epoch": 2.0, "loss": 0.5},
        {"epoch": 3.0, "loss": 0.125},
    ]
    assert [path.name for path in own.iterdir()] == ["metrics.csv"]


def test_pythons_own_logging_is_read_from_standard_error(tmp_path: Path) -> None:
    script = "import logging; logging.warning('step 1 loss 0.5'); logging.warning('step 2 loss 0.25')"
    assert run(script, tmp_path, source="pattern", where=r"step (?P<step>\d+) loss (?P<loss>\S+)") == [
        {"loss": 0.5},
        {"loss": 0.25},
    ]


def test_a_program_whose_metric_never_comes_fails_and_says_what_came(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"\[reports\] pattern = .* never found 'loss'; it found acc, step_time"):
        run("print('acc=1 step_time=2')", tmp_path, source="pattern", where=r"(?P<name>\w+)=(?P<value>\S+)")


# In a study file ---------------------------------------------------------------------------------------------------

STUDY = """
name = "s"
objective = ["python", "train.py", "{{args}}"]
metric = "loss"
direction = "minimize"
space.lr = {{ low = 0.1, high = 1.0 }}
budget.trials = 3
{0}
"""


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("reports.csv = 'm.csv'", r'reports.csv: must lie in \{folder\}, or trial.workdir must be "own"'),
        ("reports.pattern = 'loss'", "reports.pattern: must have a named group for every metric"),
        (
            r"reports.pattern = '(?P<accuracy>\d+)'",
            "reports.pattern: must have a group for the study's metric 'loss', or",
        ),
        ("reports.pattern = '(?P<loss>'", "reports.pattern: must be a regular expression"),
        ("reports = { csv = '{folder}/a', jsonl = '{folder}/b' }", "reports: must have exactly one of"),
        ("reports.cvs = 'm.csv'", "reports.cvs: unknown key; did you mean 'csv'"),
        ("arguments.l = '--l'", "arguments.l: must be a parameter of"),
        ("arguments.lr = '--a={}{}'", "arguments.lr: must have at most one pair of braces"),
        ("arguments.lr = '--a/--b/--c'", "arguments.lr: must be one flag, or two"),
        ("reports.csv = '{folder}/**.csv'", r"reports.csv: must have \*\* alone between two slashes"),
        ("trial.env = { A = 1 }", "trial.env: must hold variables with text"),
        ("trial.env = { HPO_SEED = '1' }", "trial.env: must not hold HPO_SEED, which hpo sets"),
        ("trial.workdir = 'mine'", "trial.workdir: must be one of shared, own"),
    ],
)
def test_a_wrong_table_is_refused(more: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text(STUDY.format(more))
    with pytest.raises(InputError, match=message):
        load(file)


def test_patterns_that_nobody_would_read_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text(STUDY.format("arguments.lr = '-l {}'").replace('"{args}"', '"{overrides}"'))
    with pytest.raises(InputError, match=r"arguments: says how \{args\} writes parameters, but no word"):
        load(file)


def test_a_metric_named_step_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text(STUDY.format("reports.jsonl = '{folder}/m'").replace('"loss"', '"step"'))
    with pytest.raises(InputError, match=r"reports.jsonl: cannot read the study's metric 'step'"):
        load(file)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("{foldr}/m.csv", r"reports.csv names \{foldr\}, which is not .*; did you mean 'folder'"),
        ("{args}", r"reports.csv must name one file or folder in every trial, so it cannot have \{args\}"),
        ("m-{momentum}.csv", r"so it cannot have \{momentum\}"),
    ],
)
def test_a_file_that_not_every_trial_has_is_refused(where: str, message: str) -> None:
    command = Command(("sh",), source="csv", where=where, workdir="own", conditional=frozenset({"momentum"}))
    with pytest.raises(InputError, match=message):
        contract.check(contract.resolve(command), [{"lr": 0.1, "momentum": 0.9}])


def test_the_tables_of_commands_are_refused_for_functions(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text(STUDY.format("arguments.lr = '--lr'"))
    with pytest.raises(InputError, match="arguments: is for commands, but the objective is a function"):
        load(file, ["objective=a:b"])


def test_how_a_program_is_called_and_read_belongs_to_the_studys_identity(tmp_path: Path) -> None:
    file = tmp_path / "s.toml"
    file.write_text(STUDY.format(""))
    plain = load(file)
    changed = load(file, ["arguments.lr=-l {}"])
    assert plain.identity() != changed.identity()
    assert "arguments" not in plain.resolved


# What programs really print and write ------------------------------------------------------------------------------

ODD = {
    "a bar that is drawn anew": (["\rEpoch 1 loss=2", "\rEpoch 2 loss=1", "\n"], [2.0, 1.0]),
    "a return after each": (["loss=2\r", "loss=1\r"], [2.0, 1.0]),
    "line ends of Windows": (["loss=2\r", "\nloss=1\r\n"], [2.0, 1.0]),
    "colours": (["\x1b[32mloss=\x1b[0m\x1b[1m2\x1b[0m\n"], [2.0]),
    "a line that is cleared": (["\x1b[2K\x1b[1Aloss=2\x1b[K\n"], [2.0]),
    "per cent": (["loss=85.5%, "], [85.5]),
    "in brackets": (["[loss=2]"], [2.0]),
}


@pytest.mark.parametrize("case", ODD)
def test_numbers_are_read_as_people_print_them(case: str) -> None:
    parts, found = ODD[case]
    script = f"import os, time\nfor part in {parts!r}: os.write(1, part.encode()); time.sleep(0.1)"
    command = Command((sys.executable, "-c", script), metrics=("loss",), source="pattern", where=r"loss=(?P<loss>\S+)")
    assert [report["loss"] for report in reports(contract.resolve(command), {}, 0, "loss")] == found


@pytest.mark.parametrize("text", ["epoch, loss\n1, 0.5\n", "epoch;loss\n1;0.5\n", "epoch\tloss\n1\t0.5\n"])
def test_a_table_may_have_spaces_semicolons_or_tabs(text: str, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(text)
    assert looked(Csv(str(tmp_path / "m.csv"))) == [(None, {"epoch": 1.0, "loss": 0.5})]


def test_what_was_found_instead_of_the_metric_is_said(tmp_path: Path) -> None:
    reader = Pattern(r"loss=(?P<loss>\S+)")
    assert reader.account([]) == "it found no metrics at all"
    assert list(reader.hear("loss=1,234.5")) == [(None, {})]
    assert reader.account(["acc"]) == "it found acc, loss = '1,234.5', which is no number"
    missing = str(tmp_path / "m.csv")
    assert Csv(missing).account([]) == f"there is no {missing}"
    (tmp_path / "m.csv").touch()
    assert Csv(missing).account([]) == "it found no metrics at all"


def test_words_of_a_trial_in_its_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of the program's name is not the program; an empty word and one longer than any name stay."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sh").mkdir()
    (tmp_path / "data").mkdir()
    script = 'test -z "$0" && test -d "$1" && echo "loss=1" # ' + "long " * 100
    command = Command(
        ("sh", "-c", script, "", "data"),
        metrics=("loss",),
        source="pattern",
        where=r"loss=(?P<loss>\S+)",
        workdir="own",
    )
    found = reports(contract.resolve(command), {}, 0, "loss", folder=str(tmp_path / "own"))
    assert list(found) == [{"loss": 1.0}]


def test_an_options_value_that_names_a_file_is_made_absolute_in_the_trials_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not one that names a folder, and braces of the folder's own path are no placeholders."""
    study = tmp_path / "a {study}"
    (study / "train").mkdir(parents=True)
    (study / "conf.yaml").touch()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    script = """printf '%s\\n' "$@"; echo loss=1"""
    words = ("sh", "-c", script, "sh", "--config=conf.yaml", "conf.yaml", "--mode=train", "conf=conf.yaml", ".")
    command = Command(
        words, metrics=("loss",), source="pattern", where=r"loss=(?P<loss>\S+)", workdir="own", folder=str(study)
    )
    found = reports(contract.resolve(command), {}, 0, "loss", folder=str(tmp_path / "own"))
    assert list(found) == [{"loss": 1.0}]
    given = capfd.readouterr().err.split("\n")
    assert given[:5] == [f"--config={study}/conf.yaml", f"{study}/conf.yaml", "--mode=train", "conf=conf.yaml", "."]
