"""``hpo export``: all that the ledger has of the trials, in three formats."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import pty
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from command_line import CommandLine

from hpo.ledger import snapshots
from hpo.ledger.address import parse
from hpo.moving.export import columns, heading, report_rows, to_csv, to_json, to_parquet, trial_rows
from hpo.study import parse as parse_study
from hpo.trial import Report, State, Trial

# Names that collide without a prefix, values of all kinds, what CSV must quote, what JSON does not know.
TRIALS = [
    Trial(
        0,
        {"value": 0.1 + 0.2, "layers": [8, 8], "mixed": True, "big": 2**70},
        7,
        State.COMPLETE,
        (1 / 3,),
        started=1795529234.8125,
        ended=1795529235.3,
        worker="node/1",
        reports=(Report(1, 1795529235.0, {"value": math.nan}), Report(2, 1795529235.25, {"state": -math.inf})),
    ),
    Trial(1, {"value": 1e-300, "mixed": 'a "b",\n=1'}, 8, State.FAILED, error="line 1\nline 2, ünïcode"),
    Trial(2, {"value": 2.0, "mixed": 3}, 2**32 - 1),
]


def test_a_row_has_all_that_a_trial_has_and_no_two_columns_share_a_name() -> None:
    rows = trial_rows(TRIALS)
    names = columns(rows)
    own = [
        "number",
        "state",
        "value",
        "seconds",
        "seed",
        "attempt",
        "worker",
        "started",
        "ended",
        "error",
        "from",
        "reports",
    ]
    params = ["params.value", "params.layers", "params.mixed", "params.big"]
    assert names == [*own, *params, "metrics.value", "metrics.state"]
    assert rows[0]["metrics.state"] == -math.inf
    assert rows[1]["error"] == TRIALS[1].error
    assert [row["params.value"] for row in rows] == [trial.params["value"] for trial in TRIALS]


def test_csv_keeps_every_digit_and_every_character() -> None:
    read = list(csv.DictReader(io.StringIO(to_csv(trial_rows(TRIALS)).decode())))
    for row, trial in zip(read, TRIALS, strict=True):
        assert float(row["params.value"]) == trial.params["value"]
        assert row["error"] == (trial.error or "")
    assert read[1]["params.mixed"] == TRIALS[1].params["mixed"]
    assert json.loads(read[0]["params.layers"]) == [8, 8]
    assert (read[0]["params.mixed"], read[0]["metrics.value"]) == ("true", "nan")
    assert datetime.fromisoformat(read[0]["started"]).timestamp() == TRIALS[0].started


def test_json_is_strict_and_keeps_every_digit() -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    read = json.loads(to_json(trial_rows(TRIALS)), parse_constant=refuse)
    assert read[0]["value"] == TRIALS[0].value
    assert read[0]["started"] == TRIALS[0].started
    assert read[0]["params.big"] == 2**70
    assert read[0]["metrics.value"] is None
    assert "params.layers" not in read[1]
    assert json.loads(to_json([])) == []


def test_parquet_has_types() -> None:
    from pyarrow import parquet

    table = parquet.read_table(io.BytesIO(to_parquet(trial_rows(TRIALS))))
    types = {field.name: str(field.type) for field in table.schema}
    assert (types["number"], types["value"], types["seed"], types["error"]) == ("int64", "double", "int64", "string")
    assert types["started"] == "timestamp[us, tz=UTC]"
    read = table.to_pylist()
    assert [row["params.value"] for row in read] == [trial.params["value"] for trial in TRIALS]
    assert read[0]["started"].timestamp() == TRIALS[0].started
    assert [json.loads(row["params.mixed"]) for row in read] == [True, TRIALS[1].params["mixed"], 3]
    assert (json.loads(read[0]["params.layers"]), json.loads(read[0]["params.big"])) == ([8, 8], 2**70)


def test_each_of_several_objectives_has_a_column() -> None:
    trials = [Trial(0, {"lr": 0.5}, 1, State.COMPLETE, (0.25, 3.0)), Trial(1, {"lr": 0.1}, 2, State.FAILED)]
    rows = trial_rows(trials, ("loss", "time"))
    assert [(row["values.loss"], row["values.time"]) for row in rows] == [(0.25, 3.0), (None, None)]
    assert columns(rows)[:5] == ["number", "state", "values.loss", "values.time", "seconds"]


def test_reports_are_one_row_each() -> None:
    rows = report_rows(TRIALS)
    assert [(row["number"], row["step"], row["time"]) for row in rows] == [(0, 1, 1795529235.0), (0, 2, 1795529235.25)]
    assert columns(rows) == ["number", "step", "time", "metrics.value", "metrics.state"]


def test_a_table_without_trials_has_its_columns_with_their_types() -> None:
    from pyarrow import parquet

    raw = {"name": "new", "objective": "a:b", "metric": "loss", "direction": "minimize", "budget": {"trials": 5}}
    space = {"lr": {"low": 0.1, "high": 0.9}, "n": {"low": 1, "high": 9}, "net": {"choice": ["wide", "deep"]}}
    bounds = {"constraints": {"metrics": {"memory": {"max": 512}}}}
    head = heading(parse_study({**raw, "space": space, **bounds}, file="new.toml"))
    own = "number,state,value,feasible,seconds,seed,attempt,worker,started,ended,error,from,reports"
    assert to_csv([], head).decode() == f"{own},params.lr,params.n,params.net,metrics.loss,metrics.memory\n"
    assert to_json([], head) == b"[]\n"
    types = {field.name: str(field.type) for field in parquet.read_table(io.BytesIO(to_parquet([], head))).schema}
    assert types["number"] == types["seed"] == types["params.n"] == "int64"
    assert types["value"] == types["params.lr"] == types["metrics.memory"] == "double"
    assert types["state"] == types["params.net"] == "string"
    assert (types["feasible"], types["started"]) == ("bool", "timestamp[us, tz=UTC]")

    several = {**raw, "metric": None, "direction": None, "objectives": {"loss": "minimize", "acc": "maximize"}}
    study = parse_study({**{k: v for k, v in several.items() if v is not None}, "space": space}, file="new.toml")
    assert list(heading(study))[:5] == ["number", "state", "values.loss", "values.acc", "seconds"]
    reports = heading(study, reports=True)
    assert to_csv([], reports).decode() == "number,step,time,metrics.loss,metrics.acc\n"


# The command ------------------------------------------------------------------------------------------------------


def test_a_study_is_exported_to_standard_output_or_to_a_file(hpo: CommandLine) -> None:
    hpo.run()
    trials = snapshots.read(parse("hpo.journal"), "small").trials
    assert list(csv.DictReader(io.StringIO(hpo("export", "small").out)))[4]["number"] == "4"
    assert hpo("export", "small", "--csv").out == hpo("export", "s.toml").out
    assert [row["params.lr"] for row in hpo("export", "small", "--json").json] == [t.params["lr"] for t in trials]
    assert len(hpo("export", "small", "--json", "--reports").json) == sum(len(t.reports) for t in trials)

    Path("t.parquet").write_text("an older file")
    assert hpo("export", "small", "--parquet", "--out", "t.parquet").out == "t.parquet: 5 trials of small\n"
    from pyarrow import parquet

    assert parquet.read_table("t.parquet").column("params.lr").to_pylist() == [t.params["lr"] for t in trials]
    assert not [path for path in Path().iterdir() if path.name.startswith(".t.parquet")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--csv", "--json"), "--json: must come without --csv: a table has one format"),
        (
            ("--csv", "--out", "t.parquet"),
            "--out: t.parquet is no name for csv; leave out --csv to write parquet, or give the file another ending",
        ),
        (
            ("--out", "t.JSON.gz"),
            "--out: t.JSON.gz would hold a plain table under that name; end it in",
        ),
        (("--out", "t.xlsx"), "--out: t.xlsx would hold a plain table under that name; end it in"),
        (("--out", "no/folder/t.csv"), "--out: cannot write no/folder/t.csv: No such file or directory"),
        (("--out", "folder"), "--out: cannot write folder: Is a directory"),
        (("--storage", "absent.journal"), "storage: there is no ledger at absent.journal"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_message(hpo: CommandLine, words: tuple[str, ...], said: str) -> None:
    hpo.run()
    Path("folder").mkdir()
    before = sorted(Path().iterdir())
    assert said in hpo("export", "small", *words, code=2).err
    assert "there is no study 'smal' in hpo.journal; did you mean" in hpo("export", "smal", code=2).err
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize(
    ("file", "words", "begins"),
    [
        ("t.parquet", (), b"PAR1"),
        ("t.JSON", (), b"[\n"),
        ("t.csv", (), b"number,"),
        ("t.txt", (), b"number,"),
        ("t", (), b"number,"),
        ("t.txt", ("--json",), b"[\n"),
        ("of.json.csv", (), b"number,"),
        ("t.parquet", ("--parquet",), b"PAR1"),
    ],
)
def test_a_known_ending_says_the_format(hpo: CommandLine, file: str, words: tuple[str, ...], begins: bytes) -> None:
    hpo.run()
    hpo("export", "small", *words, "--out", file)
    assert Path(file).read_bytes().startswith(begins)


@pytest.mark.processes
def test_parquet_does_not_go_to_a_terminal(hpo: CommandLine) -> None:
    hpo.run()
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "hpo", "export", "small", "--parquet"]
    ended = subprocess.run(command, stdout=follower, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(follower)
    os.close(leader)
    assert ended.returncode == 2
    assert ended.stderr == "hpo: --parquet: is not for terminals; name a file with --out, or use a pipe\n"
    piped = subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert piped.stdout[:4] == piped.stdout[-4:] == b"PAR1"


def test_what_is_exported_of_a_study_without_trials_can_be_imported(hpo: CommandLine) -> None:
    hpo("ask", "s.toml", "--json")
    hpo("export", "small", "--out", "t.csv")
    running = Path("t.csv").read_text()
    Path("t.csv").write_text(running.partition("\n")[0] + "\n")
    assert hpo("import", "small", "--csv", "t.csv").out.startswith("small: 0 trials imported, 0 refused")
    assert hpo("export", "small", "--reports").out == "number,step,time,metrics.loss\n"
