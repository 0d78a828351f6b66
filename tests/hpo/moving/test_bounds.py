"""Trials from elsewhere in a study whose metrics have bounds."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from command_line import CommandLine
from histories import drawn, record, study_of

from hpo import transfers
from hpo.errors import InputError
from hpo.ledger import snapshots
from hpo.ledger.address import Address, parse
from hpo.trial import State, Trial

STUDY = """
name = "bounded"
objective = "small_objectives:curve"
metric = "loss"
direction = "minimize"
budget.trials = 10
space.lr = { low = 1e-4, high = 1.0, log = true }
constraints.metrics = { memory_mb = { max = 512 }, loss = { min = 0.1 } }
"""


@pytest.fixture
def bounded(hpo: CommandLine) -> CommandLine:
    Path("bounded.toml").write_text(STUDY)
    return hpo


def trials() -> list[Trial]:
    return snapshots.read(parse("hpo.journal"), "bounded").trials


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ("lr,loss,memory_mb", ()),
        ("params.lr,metrics.loss,metrics.memory_mb", ()),
        ("lr,loss,MB", ("--map", "memory_mb=MB")),
    ],
)
def test_a_table_s_column_of_a_metric_with_bounds_is_read(
    bounded: CommandLine, head: str, words: tuple[str, ...]
) -> None:
    Path("sheet.csv").write_text(f"{head}\n0.01,0.5,300\n0.02,0.25,612\n0.03,0.05,100\n0.04,0.5,\n")

    said = bounded("import", "bounded.toml", "--csv", "sheet.csv", *words)

    assert said.out == "bounded: 3 trials imported, 1 refused, 0 were there already\n"
    assert "row 4 is refused: constraints.metrics: must have reported memory_mb, loss" in said.err
    assert [dict(trial.violations) for trial in trials()] == [{}, {"memory_mb": 100.0}, {"loss": 0.05}]


def test_a_value_is_judged_also_where_it_was_not_reported(hpo: CommandLine) -> None:
    """A study of plain Optuna has values, and no metrics."""
    Path("bounded.toml").write_text(STUDY.replace("memory_mb = { max = 512 }, ", ""))
    source = optuna.create_study(storage="sqlite:///theirs.db", study_name="theirs", direction="minimize")
    for value in (0.5, 0.05):
        asked = source.ask()
        asked.suggest_float("lr", 1e-4, 1.0, log=True)
        source.tell(asked, value)

    hpo("import", "bounded.toml", "--optuna", "sqlite:///theirs.db", "theirs")

    assert [trial.feasible for trial in trials()] == [True, False]


MINE = """
class Diverged(Exception):
    pass

def objective(params, seed):
    yield {"loss": params["lr"]}
    if params["lr"] > 0.01:
        raise Diverged
"""


def test_an_infeasible_run_of_hpo_is_infeasible_in_the_study_that_imports_it(
    hpo: CommandLine, mlflow_database: str
) -> None:
    Path("mine.py").write_text(MINE)
    text = Path("s.toml").read_text().replace("small_objectives:curve", "mine:objective")
    Path("mine.toml").write_text(text + "\n[trial]\ninfeasible = ['mine.Diverged']\n")
    hpo("run", "mine.toml", "--workers", "0", "--tracking", mlflow_database, "-q", "--wait")
    ran = snapshots.read(parse("hpo.journal"), "small").trials
    assert {trial.state for trial in ran} == {State.COMPLETE, State.INFEASIBLE}

    Path("bounded.toml").write_text(STUDY.partition("constraints")[0])
    hpo("import", "bounded.toml", "--mlflow", mlflow_database, "small")

    assert [(t.params, t.state, t.values) for t in trials()] == [(t.params, t.state, t.values) for t in ran]


# A fork ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def where(tmp_path: Path) -> Address:
    return parse(str(tmp_path / "hpo.journal"))


def test_points_to_try_again_need_not_have_reported_what_has_bounds_now(where: Address) -> None:
    old = study_of("old")
    record(where, old, drawn(old, 8, lambda params: float(params["lr"]), pruned=99))
    memory = {"metrics": {"memory": {"max": 512}}}

    with pytest.raises(InputError, match="must have reported memory, which have bounds"):
        transfers.fork(study_of("new", constraints=memory), where, "old")
    planned = transfers.fork(study_of("new", constraints=memory, **{"from": {"trials": "enqueue"}}), where, "old")

    assert len(planned.trials) == 5
    assert not planned.left
