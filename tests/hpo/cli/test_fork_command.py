"""``hpo fork`` as a person types it, and where a trial of another study is shown as such."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from command_line import QUICK, CommandLine

from hpo.ledger import snapshots
from hpo.ledger.address import parse
from hpo.trial import Direction, best_first

NEW = """
    name = "new"
    objective = "small_objectives:curve"
    metric = "loss"
    direction = "minimize"
    evaluate = "small_objectives:curve"
    space.lr = { low = 1e-4, high = 2.0, log = true }
    space.drop = { low = 0.0, high = 0.5, was = 0.0 }
    budget.trials = 4
"""


def test_a_fork_on_the_command_line_runs_only_what_is_new(hpo: CommandLine) -> None:
    Path("new.toml").write_text(textwrap.dedent(NEW))
    hpo.run()
    assert hpo("fork", "small", "new.toml").out == (
        "new starts with 5 finished trials of small; they are not run again\nto run it: hpo run new.toml\n"
    )
    assert hpo("show", "new").out.startswith("new: stopped, 0 of 4 trials (5 complete,")
    assert "5 from small; they were not run again\n" in hpo("show", "new").out
    hpo("run", "new.toml", *QUICK, "-q")
    assert hpo.calls == 9
    head = hpo("show", "new", "--json").json
    assert (head["state"], head["inherited"], head["counted"]) == ("complete", 5, 4)
    assert hpo("list").out.splitlines()[2].split()[:3] == ["new", "complete", "4/4"]
    hpo("run", "new.toml", *QUICK, "-q")
    assert hpo.calls == 9


def test_a_fork_is_made_once_however_the_old_study_goes_on(hpo: CommandLine) -> None:
    Path("new.toml").write_text(textwrap.dedent(NEW))
    hpo.run("--trials", "3")
    hpo("fork", "small", "new.toml")
    hpo("set", "new", "budget.trials=6")
    hpo.run("--trials", "5")
    again = hpo("fork", "small", "new.toml")
    assert again.out.startswith("new already has the trials of small; nothing was changed\n")
    assert hpo("fork", "small", "new.toml", "--json").json["trials"] == 0
    head = hpo("show", "new", "--json").json
    assert (head["inherited"], head["budget"]) == (3, {"trials": 6})


def test_a_study_file_that_names_another_study_takes_over_its_trials(hpo: CommandLine) -> None:
    Path("new.toml").write_text(textwrap.dedent(NEW) + 'from = { study = "small", count = true }\n')
    assert "there is no ledger at hpo.journal" in hpo("run", "new.toml", *QUICK, code=2).err
    hpo.run("--trials", "3")
    ran = hpo("run", "new.toml", *QUICK)
    assert "new starts with 3 finished trials of small; they are not run again\n" in ran.err
    assert hpo.calls == 4
    hpo("delete", "small", "--yes", "--tracking", "none")
    hpo("run", "new.toml", *QUICK, "--trials", "5")  # it has what it needs
    assert hpo.calls == 5
    assert "new.toml: from.study: nothing can be taken" not in hpo("show", "new").err


def test_the_json_of_a_fork_names_every_trial_that_is_left_behind(hpo: CommandLine) -> None:
    Path("new.toml").write_text(textwrap.dedent(NEW.replace("1e-4", "0.01")))
    hpo.run()
    low = [t for t in snapshots.read(parse("hpo.journal"), "small").trials if t.params["lr"] < 0.01]
    found = hpo("fork", "small", "new.toml", "--json").json
    assert (found["name"], found["from"], found["as"], found["changed"]) == ("new", "small", "observations", [])
    assert (found["trials"], [entry["number"] for entry in found["left"]]) == (5 - len(low), [t.number for t in low])


@pytest.mark.usefixtures("quick_report")
def test_the_best_trial_may_be_another_studys_and_is_shown_as_such(hpo: CommandLine, mlflow_database: str) -> None:
    from mlflow import MlflowClient

    Path("new.toml").write_text(textwrap.dedent(NEW.replace("1e-4", "0.00001")))
    hpo.run()
    best = best_first(snapshots.read(parse("hpo.journal"), "small").trials, Direction.MINIMIZE)[0]
    hpo("fork", "small", "new.toml")
    hpo(
        "run",
        "new.toml",
        "--workers",
        "0",
        "--tracking",
        mlflow_database,
        "--trials",
        "1",
        "--set",
        "enqueue=[{lr=2.0}]",
    )
    shown = hpo("best", "new", "--json").json
    assert shown["value"] == best.value
    assert f"small, trial {best.number}" in hpo("show", "new").out
    assert f"small, trial {best.number}" in hpo("show", "new", "--trial", str(shown["number"])).out
    assert hpo("show", "new", "--json").json["best"][0]["from"]["number"] == best.number
    assert hpo("evaluate", "new", "--json", "--tracking", "none").json["trial"] == shown["number"]

    client = MlflowClient(mlflow_database)
    experiment = client.get_experiment_by_name("new")
    assert experiment is not None
    runs = {run.data.tags.get("hpo.trial"): run.data.tags for run in client.search_runs([experiment.experiment_id])}
    assert [runs[str(n)].get("hpo.from") for n in range(6)] == [*(f"small, trial {n}" for n in range(5)), None]
    assert runs[None]["hpo.from"] == "small"
    assert runs[str(shown["number"])]["hpo.best"] == "best"
