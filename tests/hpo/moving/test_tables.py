"""Tables that people and spreadsheets make: what is read right, what is refused, what comes back as it was."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from command_line import QUICK, CommandLine
from hypothesis import given
from hypothesis import strategies as st

from hpo.ledger import snapshots
from hpo.ledger.address import parse
from hpo.moving.export import plain_text, to_csv
from hpo.trial import State, Trial

STUDY = """
    name = "mine"
    objective = "small_objectives:curve"
    metric = "loss"
    direction = "minimize"
    budget.trials = 10
    constraints.metrics = { mem = { max = 80 } }
    [space]
    lr = { low = 1e-4, high = 1.0, log = true, was = 0.5 }
    flag = { choice = ["", "--fast", "=1+1", "'-x"], was = "" }
    on = { choice = [true, false], was = true }
    mixed = { choice = [1, "b\\n"], was = "b\\n" }
"""


@pytest.fixture
def mine(hpo: CommandLine) -> CommandLine:
    """The command line, with the file of a study into which trials are imported."""
    Path("mine.toml").write_text(textwrap.dedent(STUDY))
    Path("free.toml").write_text(textwrap.dedent(STUDY).replace('"mine"', '"free"').replace("constraints", "# "))
    return hpo


def trials(name: str) -> list[Trial]:
    return snapshots.read(parse("hpo.journal"), name).trials


# What is read --------------------------------------------------------------------------------------------------------


def test_a_column_that_belongs_to_nothing_is_named(mine: CommandLine) -> None:
    """A wrong name must not pass: the parameter's `was` would stand in for every value."""
    Path("t.csv").write_text("learning_rate,loss,who,,\n0.01,1,Ann,,\n0.02,2,,,\n")
    done = mine("import", "free.toml", "--csv", "t.csv")
    assert done.err == "hpo: ignored, because free has no such parameter: learning_rate, who\n"
    assert mine("import", "free.toml", "--csv", "t.csv", "--json").json["ignored"] == ["learning_rate", "who"]


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("lr,params.lr,loss", "has two columns for lr, 'params.lr' and 'lr'; choose one with --map lr=COLUMN"),
        ("lr,loss,metrics.loss", "has two columns for loss, 'metrics.loss' and 'loss'; choose one with --map"),
        ("lr,loss,mem,metrics.mem", "has two columns for mem, 'metrics.mem' and 'mem'; choose one with --map"),
    ],
)
def test_two_columns_for_one_parameter_or_metric_are_refused(mine: CommandLine, head: str, said: str) -> None:
    Path("t.csv").write_text(f"{head}\n" + ",".join(["0.5"] * len(head.split(","))) + "\n")
    assert f"--csv: t.csv {said}" in mine("import", "mine.toml", "--csv", "t.csv", "--dry-run", code=2).err


def test_of_two_columns_the_one_that_is_not_chosen_is_named(mine: CommandLine) -> None:
    Path("t.csv").write_text("lr,params.lr,loss,metrics.loss,value,who\n0.1,0.2,0.5,0.6,0.7,Ann\n")
    words = ("import", "free.toml", "--csv", "t.csv", "--map", "lr=lr", "--map", "loss=metrics.loss")
    done = mine(*words, "--dry-run", "--json").json
    assert done["ignored"] == ["params.lr", "loss", "who"]  # as in a table that hpo exported, value is the study's own
    assert mine(*words).err == (
        "hpo: ignored, because free has no such parameter: who\n"
        "hpo: ignored, because another column is taken in its place: params.lr, loss\n"
    )
    (trial,) = trials("free")
    assert (trial.params["lr"], trial.value) == (0.1, 0.6)


def test_a_value_beside_the_metric_is_named(mine: CommandLine) -> None:
    Path("t.csv").write_text("lr,loss,metrics.loss,value\n0.1,0.5,0.6,0.7\n")
    done = mine("import", "free.toml", "--csv", "t.csv", "--map", "loss=loss")
    assert done.err == "hpo: ignored, because another column is taken in its place: metrics.loss, value\n"
    assert trials("free")[0].value == 0.5


REFUSED = {
    "0,5,1,complete": 'has 1 more cells than the head, such as "complete"; quote cells with a comma',
    "0.5,1,done": 'state: must be complete, pruned or infeasible, got "done"',
    "0.5,1,discarded": "state: must be complete or pruned, but somebody has discarded it",
    "0.5,1,pruned": "state: must be complete, because the pruned trial has no reports; "
    "give those of --csv with --reports FILE",
    '0.5,"1,5",complete': 'loss: must be a finite number, got "1,5"; write decimals with a point',
    '"0,5",1,complete': 'lr: must be a number in [0.0001, 1], got "0,5"; write decimals with a point',
    "0.5,inf,complete": 'loss: must be a finite number, got "inf"',
    "0.5,1e999,complete": 'loss: must be a finite number, got "1e999"',
    "0.5,2026-01-01,complete": 'loss: must be a finite number, got "2026-01-01"',
}


def test_what_cannot_be_told_is_refused_with_what_stands_there(mine: CommandLine) -> None:
    Path("t.csv").write_text("lr,loss,state\n" + "\n".join(REFUSED) + "\n")
    done = mine("import", "free.toml", "--csv", "t.csv", "--json", code=2)
    assert [entry["reason"] for entry in done.json["refused"]] == list(REFUSED.values())


def test_a_text_that_may_be_two_values_is_refused(mine: CommandLine) -> None:
    Path("t.csv").write_text("mixed,loss\n1,1\n")
    Path("free.toml").write_text(Path("free.toml").read_text().replace("[1,", '[1, "1",'))
    said = mine("import", "free.toml", "--csv", "t.csv", code=2).err
    assert 'row 1 is refused: mixed: may be "1" or 1, which a text cannot tell apart\n' in said


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("lr,loss\n0.5,1\n".encode("utf-16"), "is not in UTF-8; save it as CSV in UTF-8"),
        ("lr,loss,größe\n0.5,1,2\n".encode("latin-1"), "is not in UTF-8; save it as CSV in UTF-8"),
        (b'lr,loss\n"0.5,1\n', "cannot be read: unexpected end of data"),
        (b"lr,loss\n0.5,1\x00\n", r'row 1 is refused: loss: must be a finite number, got "1\u0000"'),
        (b"lr,loss\n0.5," + b"1" * 200_000 + b"\n", "cannot be read: field larger than field limit"),
    ],
)
def test_a_file_that_is_no_table_is_refused(mine: CommandLine, data: bytes, said: str) -> None:
    Path("t.csv").write_bytes(data)
    refused = mine("import", "free.toml", "--csv", "t.csv", code=2)
    assert said in refused.err
    assert "Traceback" not in refused.err


def test_what_a_spreadsheet_makes_of_values_and_moments_is_read(mine: CommandLine) -> None:
    Path("t.csv").write_bytes(
        b"\xef\xbb\xbfLR;on;loss;seed;started;ended\r\n"
        b"0.25;TRUE;1;7;2026-11-26T09:30:00Z;1e300\r\n"
        b"5.0E-1;false;2;" + b"9" * 5000 + b";yesterday;nan\r\n"
    )
    mine("import", "free.toml", "--csv", "t.csv", "--map", "lr=LR")
    first, second = trials("free")
    assert [(trial.params["lr"], trial.params["on"], trial.seed) for trial in (first, second)] == [
        (0.25, True, 7),
        (0.5, False, 0),
    ]
    assert (first.started, first.ended, second.started, second.ended) == (1795685400.0, None, None, None)
    assert mine("export", "free").out


def test_a_bounded_metric_may_have_a_column_of_its_own(mine: CommandLine) -> None:
    Path("t.csv").write_text("lr,loss,mem\n0.5,1,70\n0.25,2,90\n0.125,3,\n")
    done = mine("import", "mine.toml", "--csv", "t.csv", "--json").json
    assert [trial.violations for trial in trials("mine")] == [{}, {"mem": 10.0}]
    assert done["refused"] == [
        {"row": "row 3", "reason": "constraints.metrics: must have reported mem, which have bounds"}
    ]


@pytest.mark.processes
def test_standard_input_may_be_a_pipe(mine: CommandLine) -> None:
    table = "lr,loss\n0.5,1\n"
    for file in ("-", "/dev/stdin"):
        command = [sys.executable, "-m", "hpo", "import", "free.toml", "--csv", file]
        done = subprocess.run(command, input=table, capture_output=True, text=True, timeout=60, check=True)
        table = table.replace("0.5", "0.25")
        assert "free: 1 trials imported" in done.stdout
    assert [trial.origin and trial.origin.name for trial in trials("free")] == ["standard input", "stdin"]


def test_an_import_into_a_study_by_its_name_leaves_its_edits(mine: CommandLine) -> None:
    Path("a.csv").write_text("lr,loss\n0.1,1\n")
    mine("import", "free.toml", "--csv", "a.csv")
    mine("set", "free", "budget.trials=12")
    Path("a.csv").write_text("lr,loss\n0.1,2\n")
    mine("import", "free", "--csv", "a.csv")
    head = mine("show", "free", "--json").json
    assert [edit["ended"] for edit in head["edits"]] == [None]
    assert head["budget"] == {"trials": 12}
    mine("run", "free.toml", *QUICK, "-q")
    assert mine("show", "free", "--json").json["trials"]["complete"] == 14


# What comes back -----------------------------------------------------------------------------------------------------


def test_an_export_with_its_reports_comes_back_as_it_was(mine: CommandLine) -> None:
    mine("run", "free.toml", *QUICK, "-q")
    mine("discard", "free", "3", "--why", "=HYPERLINK(1)")
    before = trials("free")
    Path("other.toml").write_text(Path("free.toml").read_text().replace('"free"', '"other"'))
    page = (Path(__file__).parents[3] / "docs" / "evolving-studies.md").read_text(encoding="utf-8")
    (block,) = (text for text in page.split("```") if "--reports curves.csv" in text)
    for line in block.splitlines()[1:]:
        mine(*line.replace("wider", "free").split()[1:])
    kept = [trial for trial in before if trial.state is State.COMPLETE]
    for there, here in zip(trials("other"), kept, strict=True):
        for name in ("params", "values", "seed", "state"):
            assert getattr(there, name) == getattr(here, name)
        assert [(r.step, r.metrics) for r in there.reports] == [(r.step, r.metrics) for r in here.reports]
        assert [r.time for r in there.reports] == pytest.approx([r.time for r in here.reports], abs=1e-3)
    assert len(kept) == 9


def test_a_row_without_a_curve_is_no_measure_for_pruners(mine: CommandLine) -> None:
    """Its value is the last of an unknown number of steps: as the first step's it would end every new trial."""
    Path("t.csv").write_text("lr,loss\n" + "".join(f"0.{n},0.0000{n}\n" for n in range(1, 9)))
    mine("import", "free.toml", "--csv", "t.csv")
    mine("run", "free.toml", *QUICK, "-q", "--set", "pruner.name=median", "--trials", "1")
    assert mine("show", "free", "--json").json["trials"]["pruned"] == 0


def test_the_step_of_the_last_report_is_kept(mine: CommandLine) -> None:
    Path("t.csv").write_text("lr,loss,state,reports\n0.5,1,pruned,7\n0.25,2,complete,9\n0.125,3,complete,0\n")
    mine("import", "free.toml", "--csv", "t.csv")
    assert [[report.step for report in trial.reports] for trial in trials("free")] == [[7], [9], []]


@pytest.mark.parametrize(
    ("curves", "said"),
    [
        ("number,loss\n1,1\n", "--reports: c.csv has no column 'step', by which reports are found"),
        ("number,step,metrics.loss\n0,1,2\n0,1,1\n", 'row 2: step: must be a whole number from 2, got "1"'),
        ("number,step,metrics.loss\n0,x,2\n", 'row 1: step: must be a whole number from 1, got "x"'),
        ("number,step,metrics.loss\n0,99999999999,2\n", "row 1: step: must be a whole number from 1"),
        ("number,step,metrics.loss\n0,1,x\n", 'row 1: metrics.loss: must be a number, got "x"'),
        ("number,step,metrics.loss\n0,1,2\n", "row 1 is refused: loss: is 1.0, but 2.0 in its last report"),
    ],
)
def test_curves_that_do_not_fit_are_refused(mine: CommandLine, curves: str, said: str) -> None:
    Path("t.csv").write_text("number,lr,loss\n0,0.5,1\n")
    Path("c.csv").write_text(curves)
    assert said in mine("import", "free.toml", "--csv", "t.csv", "--reports", "c.csv", code=2).err
    Path("t.csv").write_text("lr,loss\n0.5,1\n")
    Path("c.csv").write_text("number,step,metrics.loss\n0,1,1\n")
    said = "--csv: t.csv has no column 'number'"
    assert said in mine("import", "free.toml", "--csv", "t.csv", "--reports", "c.csv", code=2).err
    said = "--reports: must come with --csv, got --optuna"
    assert said in mine("import", "free.toml", "--optuna", "a", "b", "--reports", "c.csv", code=2).err


def test_a_row_is_named_by_the_number_that_its_table_gives_it(mine: CommandLine) -> None:
    for name, table in (
        ("numbered.csv", "number,lr,loss\n7,0.1,0.5\n,0.2,0.25\n"),
        ("plain.csv", "lr,loss\n0.3,0.125\n"),
    ):
        (mine.folder / name).write_text(table)
        mine("import", "free.toml", "--csv", name)
    assert [trial.place for trial in trials("free")] == [
        "numbered.csv, trial 7",
        "numbered.csv, trial 2",
        "plain.csv, trial 1",
    ]


def test_a_study_knows_its_own_export_and_that_of_the_study_it_was_forked_from(mine: CommandLine) -> None:
    mine("run", "free.toml", *QUICK, "-q")
    mine("export", "free", "--out", "t.csv")
    again = mine("import", "free.toml", "--csv", "t.csv", "--json").json
    assert (again["imported"], again["known"]) == (0, 10)
    Path("other.toml").write_text(Path("free.toml").read_text().replace('"free"', '"other"'))
    mine("fork", "free", "other.toml")
    again = mine("import", "other.toml", "--csv", "t.csv", "--json").json
    assert (again["imported"], again["known"]) == (0, 10)


# Formulas ------------------------------------------------------------------------------------------------------------


@given(st.text(st.characters(codec="utf-8") | st.sampled_from("='+-@\t\r\n,;\"＝")))
def test_no_text_is_a_formula_for_a_spreadsheet_and_every_text_comes_back(text: str) -> None:
    rows: list[dict[str, Any]] = [{"params.x": text, "params.n": -1.5}]
    (_, (cell, number)) = csv.reader(io.StringIO(to_csv(rows).decode(), newline=""))
    assert cell[:1] not in {"=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"} or not cell
    assert plain_text(cell) == text
    assert number == "-1.5"


def test_half_a_character_can_be_exported(hpo: CommandLine) -> None:
    hpo("ask", "s.toml")
    hpo("tell", "small", "0", "--failed", "no \udcff")  # what a byte becomes that is no UTF-8
    for kind in ("--csv", "--json", "--parquet"):
        hpo("export", "small", kind, "--out", "t")
        assert b"\\udcff" in Path("t").read_bytes()


# Where an export goes ------------------------------------------------------------------------------------------------


def test_an_export_into_a_pipe_leaves_the_pipe(hpo: CommandLine) -> None:
    hpo.run()
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        hpo("export", "small", "--out", "pipe")
        assert os.read(reader, 1 << 16).decode() == hpo("export", "small").out
    finally:
        os.close(reader)
    assert Path("pipe").is_fifo()
