"""``hpo import``: trials from tables, from plain Optuna and from MLflow, as if the study had run them."""

from __future__ import annotations

import csv
import hashlib
import io
import pickle
import textwrap
from pathlib import Path
from typing import Any

import optuna
import pytest
from command_line import QUICK, CommandLine
from histories import record, study_of, suggestions

from hpo import transfers
from hpo.ledger import snapshots
from hpo.ledger.address import parse
from hpo.ledger.foreign import optuna_trials
from hpo.study import parse as parse_study
from hpo.trial import Direction, Report, State, Trial

STUDY = """
    name = "mine"
    objective = "small_objectives:curve"
    metric = "loss"
    direction = "minimize"
    fixed.depth = 3
    budget.trials = 10
    [space]
    lr = { low = 1e-4, high = 1.0, log = true }
    net = { choice = [[8, 8], "wide", true] }
    n = { low = 1, high = 9, was = 2 }
"""


@pytest.fixture
def mine(hpo: CommandLine) -> CommandLine:
    """The command line, with the file of a study into which trials are imported."""
    Path("mine.toml").write_text(textwrap.dedent(STUDY))
    return hpo


def trials(name: str = "mine") -> list[Trial]:
    return snapshots.read(parse("hpo.journal"), name).trials


# Tables --------------------------------------------------------------------------------------------------------------


def test_a_table_of_a_person(mine: CommandLine) -> None:
    Path("sheet.csv").write_text(
        "\ufeffwho,learning rate,net,loss,n,depth\n"
        'Ann,0.01,"[8, 8]",0.5,4,3\nBob,1e-3,wide,.25,,\nCid,0.1,True,1,9.0,3.0\n',
        encoding="utf-8",
    )
    imported = mine("import", "mine.toml", "--csv", "sheet.csv", "--map", "lr=learning rate")
    assert imported.out == "mine: 3 trials imported, 0 refused, 0 were there already\n"
    assert [trial.params for trial in trials()] == [
        {"lr": 0.01, "net": [8, 8], "n": 4},
        {"lr": 0.001, "net": "wide", "n": 2},  # by its `was`
        {"lr": 0.1, "net": True, "n": 9},
    ]
    assert [trial.value for trial in trials()] == [0.5, 0.25, 1.0]
    assert [trial.origin and trial.origin[1:] for trial in trials()] == [("sheet.csv", n) for n in (1, 2, 3)]
    head = mine("show", "mine", "--json").json
    assert (head["inherited"], head["counted"], head["state"], head["best"][0]["number"]) == (3, 0, "stopped", 1)


def test_importing_again_adds_only_what_is_new_also_when_the_table_was_sorted(mine: CommandLine) -> None:
    head, rows = "lr,net,loss\n", [f"{lr},wide,{lr}\n" for lr in (0.1, 0.2, 0.2, 0.3)]  # one row is there twice
    Path("a.csv").write_text(head + "".join(rows))
    mine("import", "mine.toml", "--csv", "a.csv")
    before = trials()
    Path("b.csv").write_text(head + "".join([*reversed(rows), "0.4,wide,0.4\n"]))
    again = mine("import", "mine", "--csv", "b.csv", "--json").json
    assert (again["imported"], again["known"], again["refused"]) == (1, 4, [])
    assert trials()[:4] == before
    assert [trial.params["lr"] for trial in trials()] == [0.1, 0.2, 0.2, 0.3, 0.4]


BAD = {
    "2,wide,0.5,4,3,complete": "lr: must be a number in [0.0001, 1], got 2",
    "x,wide,0.5,4,3,complete": 'lr: must be a number in [0.0001, 1], got "x"',
    ",wide,0.5,4,3,complete": "lr: is missing; if it implicitly had a value, write that as `was` in [space]",
    "0.1,tall,0.5,4,3,complete": 'net: must be one of [[8, 8], "wide", true], got "tall"',
    "0.1,wide,,4,3,complete": "loss: must be a finite number, got nothing",
    "0.1,wide,nan,4,3,complete": 'loss: must be a finite number, got "nan"',
    "0.1,wide,0.5,4.5,3,complete": "n: must be a whole number in [1, 9], got 4.5",
    "0.1,wide,0.5,4,4,complete": "depth: must be 3, as in [fixed], got 4",
    "0.1,wide,0.5,4,3,failed": "state: must be complete or pruned, but it failed",
    "0.1,wide,0.5,4,3,discarded": "state: must be complete or pruned, but somebody has discarded it",
    "0.1,wide,0.5,4,3,running": "state: must be complete or pruned, but it has not finished",
}


def test_every_row_that_is_refused_is_named_with_its_reason(mine: CommandLine) -> None:
    Path("t.csv").write_text("lr,net,loss,n,depth,state\n0.1,wide,0.5,4,3,COMPLETE\n" + "\n".join(BAD) + "\n")
    dry = mine("import", "mine.toml", "--csv", "t.csv", "--dry-run")
    assert dry.out == f"mine: 1 trials would be imported, {len(BAD)} refused, 0 were there already\n"
    assert not Path("hpo.journal").exists()
    said = mine("import", "mine.toml", "--csv", "t.csv").err.splitlines()
    assert said == [f"hpo: row {number} is refused: {reason}" for number, reason in enumerate(BAD.values(), start=2)]
    assert len(trials()) == 1


@pytest.mark.parametrize(
    ("table", "words", "said"),
    [
        ("lr,net\n0.1,wide\n", (), "--csv: t.csv has no column 'loss'; name it with --map loss=COLUMN"),
        ("lr,lr,loss\n0.1,0.1,1\n", (), "--csv: t.csv has several columns 'lr'"),
        ("", (), "--csv: t.csv has no column 'loss'"),
        ("lr,loss\n0.1,1\n", ("--map", "lr=rate"), "--map: lr=rate: t.csv has no column 'rate'"),
        (
            "lr,loss\n0.1,1\n",
            ("--map", "rate=lr"),
            "--map: must be NAME=THEIRS, with a parameter or the metric of mine",
        ),
        ("lr,loss\n0.1,1\n", ("--map", "lr"), "got 'lr'"),
        ("lr,loss\n5,1\n", (), "import: none of 1 rows can be imported into mine; see above"),
        (
            "lr,loss\n0.1,1\n",
            ("--optuna", "x", "y"),
            "import: needs one of --csv, --optuna and --mlflow, got --csv, --optuna",
        ),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(
    mine: CommandLine, table: str, words: tuple[str, ...], said: str
) -> None:
    Path("t.csv").write_text(table)
    err = mine("import", "mine.toml", "--csv", "t.csv", *words, code=2).err
    assert said in err
    assert "Traceback" not in err
    assert not Path("hpo.journal").exists()


def test_what_is_not_there_is_named(mine: CommandLine) -> None:
    assert (
        "--csv: none.csv cannot be read: No such file" in mine("import", "mine.toml", "--csv", "none.csv", code=2).err
    )
    assert "there is no ledger at" in mine("import", "mine.toml", "--optuna", "x.db", "s", code=2).err
    assert "there is no ledger at hpo.journal" in mine("import", "mine", "--csv", "none.csv", code=2).err
    mine.run("--set", "name=other")
    assert "there is no study 'mine'" in mine("import", "mine", "--csv", "none.csv", code=2).err
    absent = mine("import", "mine.toml", "--mlflow", "sqlite:///none.db", "e", code=2).err
    assert "--mlflow: there is no database at" in absent
    assert not Path("none.db").exists()
    assert (
        "there is no study 'othr' in hpo.journal; did you mean 'other'"
        in mine("import", "mine.toml", "--optuna", "hpo.journal", "othr", code=2).err
    )


def test_what_hpo_exported_can_be_imported(mine: CommandLine) -> None:
    Path("copy.toml").write_text(textwrap.dedent(STUDY).replace('"mine"', '"copied"'))
    mine("run", "mine.toml", *QUICK, "-q")
    mine("export", "mine", "--out", "t.csv")
    mine("import", "copy.toml", "--csv", "t.csv")
    for there, here in zip(trials("copied"), trials("mine"), strict=True):
        for name in ("params", "value", "seed", "state"):
            assert getattr(there, name) == getattr(here, name)
        assert there.ended == pytest.approx(here.ended, abs=1e-6)
        assert there.reports[-1].metrics == here.reports[-1].metrics
    mine("run", "copy.toml", *QUICK, "-q", "--trials", "2")  # and the study goes on
    assert [trial.origin is None for trial in trials("copied")] == [False] * 10 + [True] * 2


# Optuna --------------------------------------------------------------------------------------------------------------

SPACE = {"lr": {"low": 1e-4, "high": 1.0, "log": True}, "n": {"low": 1, "high": 9}, "net": {"choice": ["a", "b"]}}


def optunas(storage: Any, sampler: optuna.samplers.BaseSampler, count: int = 50) -> None:
    """A study that plain Optuna makes, with curves, pruned and failed trials."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=storage, study_name="theirs", sampler=sampler)

    def objective(trial: optuna.Trial) -> float:
        lr, n = trial.suggest_float("lr", 1e-4, 1.0, log=True), trial.suggest_int("n", 1, 9)
        value = lr * n + (trial.suggest_categorical("net", ["a", "b"]) == "a")
        for step in range(0, 30, 10):
            trial.report(value + 1 / (step + 1), step)
        if trial.number % 7 == 6:
            raise optuna.TrialPruned
        if trial.number == 19:
            raise ArithmeticError
        return value

    study.optimize(objective, n_trials=count, catch=(ArithmeticError,))
    study.ask()


def state_of(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_a_study_of_plain_optuna_is_read_whole_and_left_as_it_is(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/o.db" if kind == "sqlite" else str(tmp_path / "o.journal")
    backend = optuna.storages.journal.JournalFileBackend
    storage = optuna.storages.RDBStorage(url) if kind == "sqlite" else optuna.storages.JournalStorage(backend(url))
    optunas(storage, optuna.samplers.CmaEsSampler(seed=1), count=24)  # keeps pickled state in attributes
    before = state_of(tmp_path)

    def refuse(*_: Any) -> None:
        raise AssertionError("unpickled")

    monkeypatch.setattr(pickle, "loads", refuse)
    monkeypatch.setattr(pickle, "load", refuse)
    found = optuna_trials(url, "theirs", {"loss": Direction.MINIMIZE})
    monkeypatch.undo()

    assert state_of(tmp_path) == before
    originals = optuna.load_study(study_name="theirs", storage=storage).trials
    for trial, original in zip(found, originals, strict=True):
        assert trial.params == original.params
        assert [report.metrics["loss"] for report in trial.reports] == list(original.intermediate_values.values())
        assert [report.step for report in trial.reports] == list(range(1, len(trial.reports) + 1))
        if original.state.is_finished() and trial.state is not State.FAILED:
            assert (trial.value, trial.state) == (original.value, original.state.name.lower())
    chosen = transfers.import_trials(
        study_of("mine", space=SPACE), parse(str(tmp_path / "l")), found, {}, word="trial", strict=True
    )
    assert chosen.refused == [
        ("trial 19", "state: must be complete or pruned, but it failed"),
        ("trial 24", "state: must be complete or pruned, but it has not finished"),
    ]


SAMPLERS = [
    "tpe",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("narrowing", "cmaes")),
    pytest.param("gp", marks=pytest.mark.torch),
]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_imported_equals_native(tmp_path: Path, sampler: str) -> None:
    """With the same 50 trials, imported or run by the study itself, the next 20 suggestions are the same bits."""
    url = f"sqlite:///{tmp_path}/o.db"
    optunas(url, optuna.samplers.TPESampler(seed=3))
    where = parse(str(tmp_path / "hpo.journal"))
    named = {"name": sampler} | ({"round": 16} if sampler == "narrowing" else {})
    mine = study_of("mine", space=SPACE, sampler=named)
    found = optuna_trials(url, "theirs", {"loss": Direction.MINIMIZE})
    assert len(transfers.import_trials(mine, where, found, {}, word="trial", strict=True).trials) == 49

    imported = snapshots.read(where, "mine").trials

    own = [Trial(**{**vars(trial), "notes": {}}) for trial in imported]
    native = study_of("native", space=SPACE, sampler=named)
    record(where, native, own)
    asked = suggestions(mine, imported)
    assert asked == suggestions(native, snapshots.read(where, "native").trials)
    if sampler != "cmaes":  # which learns only from what it has asked for
        assert asked != suggestions(native, [])


def test_a_pruned_trial_of_optuna_without_reports_gets_no_advice_for_tables(mine: CommandLine) -> None:
    theirs = optuna.create_study(storage="sqlite:///o.db", study_name="theirs")
    theirs.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.PRUNED))
    refused = mine("import", "mine.toml", "--optuna", "sqlite:///o.db", "theirs", code=2).err
    assert "trial 0 is refused: state: must be complete, because the pruned trial has no reports\n" in refused


def test_an_optuna_study_of_another_direction_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/o.db"
    optuna.create_study(storage=url, study_name="up", direction="maximize")
    optuna.create_study(storage=url, study_name="two", directions=["minimize", "maximize"])
    for name, found in (("up", "maximize"), ("two", "minimize, maximize")):
        with pytest.raises(Exception, match=f"--optuna: {name}: its direction must be minimize, got {found}"):
            optuna_trials(url, name, {"loss": Direction.MINIMIZE})


def test_an_optuna_study_of_two_objectives(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/o.db"
    theirs = optuna.create_study(storage=url, study_name="two", directions=["minimize", "maximize"])
    theirs.optimize(lambda trial: (lr := trial.suggest_float("lr", 0.1, 0.9), -lr), n_trials=5)
    raw = {key: v for key, v in study_of("mine").resolved.items() if key not in ("metric", "direction")}
    mine = parse_study({**raw, "objectives": {"loss": "minimize", "acc": "maximize"}}, file="mine.toml")
    found = optuna_trials(url, "two", mine.objectives)
    where = parse(str(tmp_path / "l"))
    assert transfers.import_trials(mine, where, found, {}, word="trial", strict=True).refused == []
    assert [t.values for t in snapshots.read(where, "mine").trials] == [tuple(t.values) for t in theirs.trials]


def test_a_table_that_hpo_exported_has_values_also_where_trials_have_no_reports(mine: CommandLine) -> None:
    from hpo.moving.export import to_csv, trial_rows

    done = [Trial(n, {"lr": 0.5, "net": "wide", "n": 1}, 1, State.COMPLETE, (0.1 + n,)) for n in range(2)]
    done[0] = Trial(**{**vars(done[0]), "reports": (Report(1, 1.0, {"loss": 0.1}),)})
    Path("t.csv").write_bytes(to_csv(trial_rows(done)))
    mine("import", "mine.toml", "--csv", "t.csv")
    assert [trial.value for trial in trials()] == [0.1, 1.1]


# MLflow --------------------------------------------------------------------------------------------------------------


def log_by_hand(uri: str) -> list[str]:
    """An experiment as people make one: parameters as text, metrics with and without steps, all endings.

    Returns:
        The ids of its runs.
    """
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment, ids = client.create_experiment("by hand"), []
    for number, (lr, net, status) in enumerate(
        [
            (0.1, "[8, 8]", "FINISHED"),
            (0.01, "wide", "FINISHED"),
            (0.3, "True", "FAILED"),
            (0.5, "wide", "RUNNING"),
            (7, "wide", "FINISHED"),
        ]
    ):
        run = client.create_run(experiment, start_time=1_700_000_000_000 + number * 1000)
        ids.append(str(run.info.run_id))
        for name, value in {"learning_rate": lr, "net": net, "depth": 3, "notes": "x"}.items():
            client.log_param(run.info.run_id, name, value)
        for step in range(3):
            at = 1_700_000_000_100 + number * 1000 + step
            client.log_metric(run.info.run_id, "val_loss", lr / (step + 1), at, step * 10)
            client.log_metric(run.info.run_id, "no steps", step, at)
        if status != "RUNNING":
            client.set_terminated(run.info.run_id, status)
    return ids


def check_by_hand(hpo: CommandLine, uri: str) -> None:
    ids = log_by_hand(uri)
    words = ("import", "mine.toml", "--mlflow", uri, "by hand", "--map", "lr=learning_rate", "--map", "loss=val_loss")
    done = hpo(*words)
    assert done.out == "mine: 2 trials imported, 3 refused, 0 were there already\n"
    assert done.err.splitlines() == [
        f"hpo: run 2 ({ids[2]}) is refused: state: must be complete or pruned, but it failed",
        f"hpo: run 3 ({ids[3]}) is refused: state: must be complete or pruned, but it has not finished",
        f"hpo: run 4 ({ids[4]}) is refused: lr: must be a number in [0.0001, 1], got 7",
        "hpo: ignored, because mine has no such parameter: notes",
    ]
    first, second = trials()
    assert (first.params, second.params) == (
        {"lr": 0.1, "net": [8, 8], "n": 2},
        {"lr": 0.01, "net": "wide", "n": 2},
    )
    assert (first.value, second.value) == (0.1 / 3, 0.01 / 3)
    assert [report.metrics["loss"] for report in first.reports if "loss" in report.metrics] == [0.1, 0.1 / 2, 0.1 / 3]
    assert [report.metrics["no steps"] for report in first.reports if "no steps" in report.metrics] == [0, 1, 2]
    assert first.started == 1_700_000_000.0
    assert hpo(*words).out == "mine: 0 trials imported, 3 refused, 2 were there already\n"
    assert "there is no experiment 'hand'" in hpo("import", "mine.toml", "--mlflow", uri, "hand", code=2).err


def test_an_experiment_made_by_hand_in_mlflow(mine: CommandLine, mlflow_database: str) -> None:
    check_by_hand(mine, mlflow_database)


def test_nested_runs_are_trials_and_deleted_ones_are_not(mine: CommandLine, mlflow_database: str) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(mlflow_database)
    experiment = client.create_experiment("nested")
    parent = client.create_run(experiment, start_time=1_700_000_000_000, run_name="sweep")
    client.set_terminated(parent.info.run_id)
    children = []
    for number in range(3):
        tags = {"mlflow.parentRunId": parent.info.run_id}
        run = client.create_run(experiment, start_time=1_700_000_001_000 + number, tags=tags)
        for name, value in {"lr": 0.1 * (number + 1), "net": "wide", "n": 2}.items():
            client.log_param(run.info.run_id, name, value)
        client.log_metric(run.info.run_id, "loss", number)
        client.set_terminated(run.info.run_id)
        children.append(run.info.run_id)
    client.delete_run(children[1])
    words = ("import", "mine.toml", "--mlflow", mlflow_database, "nested")

    done = mine(*words)

    assert done.out == "mine: 2 trials imported, 1 refused, 0 were there already\n"
    assert f"run 0 ({parent.info.run_id}) is refused: loss: must be a finite number, got nothing" in done.err
    assert [trial.value for trial in trials()] == [0.0, 2.0]
    client.restore_run(children[1])
    client.delete_run(children[0])
    assert mine(*words).out == "mine: 1 trials imported, 1 refused, 1 were there already\n"
    assert [trial.value for trial in trials()] == [0.0, 2.0, 1.0]
    client.delete_experiment(experiment)
    assert f"is deleted; to restore it: mlflow experiments restore -x {experiment}" in mine(*words, code=2).err


def test_the_option_that_is_wrong_is_named(mine: CommandLine) -> None:
    Path("t.csv").write_text("lr;net;loss\n0,5;wide;1\n")
    cases = {
        ("--optuna", "sqlite:///none.db", "theirs"): "--optuna: there is no ledger at none.db",
        ("--optuna", "mysql://x", "theirs"): "--optuna: must be the path of a journal file, sqlite:///PATH or",
        ("--mlflow", "folder", "theirs"): "--mlflow: MLflow no longer writes to folders by default",
        ("--csv", "t.csv", "--map", "lr"): "--map: must be NAME=THEIRS, with a parameter or the metric of mine as NAME",
        ("--csv", "t.csv"): 'lr: must be a number in [0.0001, 1], got "0,5"; write decimals with a point',
    }
    for words, said in cases.items():
        refused = mine("import", "mine.toml", *words, code=2).err
        assert said in refused
        assert "hpo run" not in refused
        assert "did you mean" not in refused


def test_a_study_of_hpos_own_in_mlflow_or_as_optuna_sees_it(mine: CommandLine, mlflow_database: str) -> None:
    """The run of the study itself is no trial, and what did not count there does not count here."""
    mine("ask", "mine.toml")
    mine("tell", "mine", "0", "--report", "loss=1", "--json")
    mine("tell", "mine", "0", "--infeasible", "it diverged")
    for number in (1, 2):
        mine("ask", "mine")
        mine("tell", "mine", str(number), "--value", "0.5")
    mine("discard", "mine", "2", "--why", "a wrong disk")
    mine("sync", "mine", "--tracking", mlflow_database)
    for number, words in enumerate([("--mlflow", mlflow_database), ("--optuna", "hpo.journal")]):
        name = f"copy-{number}"
        Path("copy.toml").write_text(Path("mine.toml").read_text().replace('"mine"', f'"{name}"'))

        done = mine("import", "copy.toml", *words, "mine", "--json").json

        reasons = [entry["reason"] for entry in done["refused"]]
        assert reasons == ["state: must be complete or pruned, but somebody has discarded it"]
        assert [trial.state for trial in trials(name)] == [State.INFEASIBLE, State.COMPLETE]
        assert [trial.params for trial in trials(name)] == [trial.params for trial in trials("mine")[:2]]


def test_an_experiment_on_a_server(mine: CommandLine, mlflow_server: str) -> None:
    check_by_hand(mine, mlflow_server)


def test_a_semicolon_or_a_tab_may_stand_between_cells(mine: CommandLine) -> None:
    for separator in ";\t":
        text = io.StringIO()
        csv.writer(text, delimiter=separator).writerows([["lr", "net", "loss"], [0.5, "[8, 8]", ord(separator)]])
        Path("t.csv").write_text(text.getvalue())
        mine("import", "mine.toml", "--csv", "t.csv")
    assert [trial.value for trial in trials()] == [ord(";"), ord("\t")]
