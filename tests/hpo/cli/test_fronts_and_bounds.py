"""Studies with several objectives, bounds and infeasible trials, as the command line shows them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import QUICK, CommandLine

OBJECTIVE = """
import sys

class Diverged(Exception):
    pass

class Far(Diverged):
    pass

no_exception = 3

def objective(params, seed):
    yield {"loss": 1 - params["x"], "time": 100 * params["x"], "memory": 1000 * params["x"]}

def evaluate(params, seed):
    return 0.5

def diverging(params, seed):
    yield {"loss": 0.5, "time": 1.0, "memory": 1.0}
    if params["x"] > 0.5:
        raise Far("beyond")

def leaving(params, seed):
    sys.exit(3)
"""
STUDY = """
name = "bounded"
objective = "bounds_of:objective"
evaluate = "bounds_of:evaluate"
sampler.name = "grid"
sampler.points = 5
budget.trials = 5
[objectives]
loss = "minimize"
time = "minimize"
[space]
x = { low = 0.0, high = 1.0 }
[constraints]
metrics = { memory = { max = 600 } }
"""


@pytest.fixture
def bounded(hpo: CommandLine) -> Iterator[CommandLine]:
    (hpo.folder / "bounds_of.py").write_text(OBJECTIVE)
    (hpo.folder / "bounded.toml").write_text(STUDY)
    yield hpo
    sys.modules.pop("bounds_of", None)


def test_a_trial_s_objective_may_have_the_name_of_a_fact(bounded: CommandLine) -> None:
    bounded("run", "bounded.toml", *QUICK, "-q")
    best = bounded("best", "bounded", "--json").json[0]

    shown = [line.split() for line in bounded("show", "bounded", "--trial", str(best["number"])).out.splitlines()]

    assert ["time", str(round(best["values"]["time"]))] in shown
    assert len([line for line in shown if line[:1] == ["time"]]) == 3  # the objective, the fact, the last report


def test_what_is_beyond_a_bound_is_not_evaluated_by_its_number_either(bounded: CommandLine) -> None:
    bounded("run", "bounded.toml", *QUICK, "-q")
    trials = [bounded("show", "bounded", "--trial", str(number), "--json").json for number in range(5)]
    beyond = next(trial["number"] for trial in trials if not trial["feasible"])

    said = bounded("evaluate", "bounded", "--trial", str(beyond), "--tracking", "none", code=2).err
    assert f"--trial: bounded has no complete trial {beyond} within the bounds of memory" in said
    assert "--trial: bounded has no complete trial 9\n" in bounded("evaluate", "bounded", "--trial", "9", code=2).err


def test_without_a_feasible_trial_every_command_says_so_and_names_the_nearest(bounded: CommandLine) -> None:
    strict = ("--set", "constraints.metrics.memory.max=-1.0")
    why = "no trial satisfies memory <= -1; the nearest is trial "
    assert why in bounded("run", "bounded.toml", *QUICK, "-q", *strict).out
    assert why in bounded("show", "bounded").out
    assert bounded("show", "bounded", "--json").json["nearest"]["violations"] == {"memory": 1.0}
    for words in (("best", "bounded"), ("best", "bounded", "--json"), ("evaluate", "bounded", "--tracking", "none")):
        assert why in bounded(*words, code=1).err
    assert bounded("list").out.splitlines()[2].split()[3] == "-"


def test_a_comparison_remarks_on_other_constraints(bounded: CommandLine) -> None:
    text = STUDY.replace("max = 600", "max = 900").replace('"bounded"', '"looser"')
    (bounded.folder / "looser.toml").write_text(text)
    ended = bounded("compare", "bounded.toml", "looser.toml", "--repeats", "1", "--workers", "0", "--quiet", "--json")
    assert ended.err == "hpo: bounded and looser also differ in constraints\n"


# Infeasible parameters ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("bounds_of.Divergd", "bounds_of has no exception 'Divergd'; did you mean 'Diverged'?"),
        ("bounds_of.no_exception", "bounds_of has no exception 'no_exception'"),
        ("bounds_of.objective", "bounds_of has no exception 'objective'"),
    ],
)
def test_an_exception_that_its_module_does_not_have_is_refused(bounded: CommandLine, named: str, said: str) -> None:
    ended = bounded("run", "bounded.toml", *QUICK, "--set", f"trial.infeasible=['{named}']", code=2)
    assert f"bounded.toml with --set: trial.infeasible: {said}" in ended.err
    assert not Path("hpo.journal").exists()


def test_a_study_says_why_its_trials_are_infeasible(bounded: CommandLine) -> None:
    words = ("--set", "objective=bounds_of:diverging", "--set", "trial.infeasible=['bounds_of.Diverged']")
    bounded("run", "bounded.toml", *QUICK, "-q", *words)
    last = bounded("show", "bounded").out.splitlines()[-1]
    assert last.startswith("2 of 5 trials are infeasible: bounds_of.Far: beyond (2); to see a traceback: hpo show ")
    assert "Far: beyond" in bounded(*last.rpartition("hpo ")[2].split()).out


@pytest.mark.parametrize(
    "named", ["bounds_of.Diverged", "bounds_of.Far", "not_imported.by_now", "ArithmeticError", "bounds_of.Far.Nested"]
)
def test_an_exception_that_may_be_raised_is_not_refused(bounded: CommandLine, named: str) -> None:
    words = ("--set", "objective=bounds_of:diverging", "--set", f"trial.infeasible=['{named}', 'bounds_of.Diverged']")
    ended = bounded("run", "bounded.toml", *QUICK, "-q", *words, "--json").json
    assert (ended["trials"]["complete"], ended["trials"]["infeasible"], ended["trials"]["failed"]) == (3, 2, 0)


def test_the_exceptions_of_a_command_are_its_exit_codes(bounded: CommandLine) -> None:
    command = ("--set", "objective=['python', 'x.py']", "--set", "constraints={}")
    ended = bounded("run", "bounded.toml", *QUICK, *command, "--set", "trial.infeasible=['MemoryError']", code=2)
    assert "trial.infeasible: the objective is a command, which raises nothing here: name its exit code" in ended.err


def test_a_program_that_runs_trials_itself_says_that_parameters_do_not_work(hpo: CommandLine) -> None:
    first = hpo("ask", "s.toml", "--json").json["number"]
    told = hpo("tell", "small", str(first), "--infeasible", "no memory")
    assert told.out == f"small: trial {first} is infeasible\n"
    assert hpo("tell", "small", str(first), "--infeasible", "no memory").out == told.out
    for words in (("--failed", "no memory"), ("--value", "0.5"), ("--value", "loss=0.5")):
        said = hpo("tell", "small", str(first), *words, code=2).err
        assert f"trial {first} has already ended as infeasible; " in said
        assert "is refused because it differs" in said
    trial = hpo("show", "small", "--trial", str(first), "--json").json
    assert (trial["state"], trial["error"], trial["value"]) == ("infeasible", "no memory", None)
    assert hpo("list", "--json").json[0]["trials"]["infeasible"] == 1
