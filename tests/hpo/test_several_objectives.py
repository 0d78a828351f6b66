"""A study with several objectives, from its file to what the command line says of its front."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import optuna
import pytest
from command_line import CommandLine
from scripted_search import say, search, written
from small_study import small_study

import hpo
from hpo.best import front_of
from hpo.errors import HpoError, InputError, ObjectiveError, StudyConflict
from hpo.execution import Outcome
from hpo.insight.front import front_insight, prefer
from hpo.ledger.address import Address, parse
from hpo.ledger.ledger import Ledger
from hpo.search.advisor import Advisor
from hpo.study import Study
from hpo.study import parse as parse_study
from hpo.testing.fakes import Move, ScriptedExecutor
from hpo.trial import Direction, Report, State, Trial

TWO = {"score": "maximize", "size": "minimize"}


def two(**changes: Any) -> Study:
    return small_study(objectives=TWO, **changes)


def both(score: float, size: float) -> Move:
    return {"score": score, "size": size}


@pytest.fixture(params=["journal", "sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Address:
    path = tmp_path / f"hpo.{request.param}"
    if request.param == "postgresql":
        return parse(request.getfixturevalue("postgresql_url"))
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_ledger"), path)
    return parse(f"sqlite:///{path}" if request.param == "sqlite" else str(path))


# The file ----------------------------------------------------------------------------------------------------------


def test_objectives_are_read_in_their_order_and_come_back_from_the_ledgers_copy() -> None:
    study = two()
    assert study.objectives == {"score": Direction.MAXIMIZE, "size": Direction.MINIMIZE}
    assert (study.metric, study.direction) == ("score", Direction.MAXIMIZE)
    assert "metric" not in study.resolved
    assert parse_study(study.resolved, file="ledger").objectives == study.objectives


def test_one_objective_is_a_metric_and_its_direction() -> None:
    assert small_study().objectives == {"score": Direction.MAXIMIZE}


@pytest.mark.parametrize(
    ("changes", "key", "rule"),
    [
        ({"objectives": {"score": "maximize"}}, "objectives", "two metrics or more"),
        ({"objectives": {"score": "up", "size": "minimize"}}, "objectives.score", "minimize, maximize"),
        ({"objectives": {"": "maximize", "size": "minimize"}}, "objectives.", "letters"),
        ({"objectives": TWO, "metric": "score"}, "metric", "either metric and direction"),
        ({"objectives": TWO, "direction": "maximize"}, "direction", "either metric and direction"),
        ({"objectives": TWO, "pruner": {"name": "patience", "patience": 2}}, "pruner.name", "none, median, asha"),
        ({"objectives": TWO, "pruner": {"name": "patience"}}, "pruner.name", "one objective only"),  # not its options
        ({"objectives": TWO, "sampler": {"name": "cmaes", "sigma": 1}}, "sampler.name", "one objective only"),
        ({"objectives": TWO, "pruner": {"name": "optuna.pruners:MedianPruner"}}, "pruner.name", "one objective only"),
        ({"objectives": TWO, "budget": {"target": 0.5}}, "budget.target", "values of objectives"),
        ({"objectives": TWO, "budget": {"target": {"scor": 0.5}}}, "budget.target.scor", "did you mean 'score'"),
        ({"objectives": TWO, "budget": {"target": {"score": "x"}}}, "budget.target.score", "a number"),
        ({"budget": {"target": {"score": 0.5}}}, "budget.target", "a number"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], key: str, rule: str) -> None:
    with pytest.raises(InputError, match=rule) as refusal:
        small_study(**changes)
    assert refusal.value.key == key


# A search ----------------------------------------------------------------------------------------------------------


def test_a_trial_is_complete_when_all_objectives_were_reported_as_numbers(address: Address) -> None:
    scripts: dict[int, list[Move]] = {
        0: [both(0.5, 5.0), {"score": 0.6}],
        1: [{"score": 0.5}, {"size": 3.0}],
        2: [{"score": 0.5, "other": 1.0}],
        3: [both(0.5, math.nan)],
        4: [{"size": 1.0}, both(math.inf, 1.0)],
        5: [both(0.7, 4.0), (Outcome.RAISED, "no")],
    }

    run = search(address, two(), ScriptedExecutor(lambda task: scripts[task.number]))

    assert [trial.values for trial in run.trials] == [(0.6, 5.0), (0.5, 3.0), (), (), (), ()]
    assert [trial.state for trial in run.trials] == [State.COMPLETE] * 2 + [State.FAILED] * 4
    assert [trial.error for trial in run.trials[2:]] == [
        "ended without reporting 'size'",
        "reported size = nan at its last step",
        "reported score = inf at its last step",
        "no",
    ]
    assert [(t.values, t.state, t.error) for t in written(address)] == [
        (t.values, t.state, t.error) for t in run.trials
    ]


def test_reports_without_any_objective_end_the_search(address: Address) -> None:
    with pytest.raises(ObjectiveError, match="reports loss, but not 'score' or 'size'") as failure:
        search(address, two(), ScriptedExecutor(say({"loss": 0.5})))
    assert failure.value.key == "objectives"


def test_optuna_reads_the_study(address: Address, tmp_path: Path) -> None:
    search(address, two(budget={"trials": 3}), ScriptedExecutor(lambda task: [both(task.number, abs(task.number - 1))]))

    storage: Any
    if address.kind == "journal":
        backend = optuna.storages.journal.JournalFileBackend(str(address.path))
        storage = optuna.storages.JournalStorage(backend)
    else:
        storage = optuna.storages.RDBStorage(address.url.replace("postgresql://", "postgresql+psycopg://"))
    study = optuna.load_study(study_name="small", storage=storage)
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert study.metric_names == ["score", "size"]
    assert sorted(trial.number for trial in study.best_trials) == [1, 2]
    if address.kind != "journal":
        storage.engine.dispose()


def test_optuna_s_best_trials_are_those_within_the_bounds_that_work(tmp_path: Path) -> None:
    reported = [(0.5, 5.0, 3.0), (0.9, 1.0, 9.0), (0.7, 7.0, 1.0), (0.4, 4.0, 2.0), (0.3, 6.0, 2.0)]

    def script(task: Any) -> list[Move]:
        report = dict(zip((*TWO, "memory"), reported[task.number], strict=True))
        return [report, (Outcome.INFEASIBLE, "Diverged")] if task.number == 2 else [report]

    address = parse(str(tmp_path / "hpo.journal"))
    bounded = two(constraints={"metrics": {"memory": {"max": 5.0}}}, budget={"trials": 5})
    run = search(address, bounded, ScriptedExecutor(script))

    backend = optuna.storages.journal.JournalFileBackend(str(address.path))
    study = optuna.load_study(study_name="small", storage=optuna.storages.JournalStorage(backend))
    assert [trial.number for trial in study.best_trials] == [0, 3]
    assert sorted(trial.number for trial in front_of(run.trials, bounded.objectives)) == [0, 3]


def test_bounds_infeasible_trials_and_a_front_are_the_same_when_they_are_read_again(address: Address) -> None:
    reported = [(0.5, 5.0, 3.0), (0.9, 1.0, 9.0), (0.7, 7.0, 1.0), (-1e308, 1e308, 5.0), (0.6, 5.5, 4.0)]

    def script(task: Any) -> list[Move]:
        report = dict(zip((*TWO, "memory"), reported[task.number], strict=True))
        return [report, (Outcome.INFEASIBLE, "Diverged")] if task.number == 2 else [report]

    bounds = {"metrics": {"memory": {"min": 2.0, "max": 5.0}}}
    study = two(constraints=bounds, budget={"trials": 5}, sampler={"name": "nsga2", "population_size": 2})

    run = search(address, study, ScriptedExecutor(script))

    states = [State.COMPLETE, State.COMPLETE, State.INFEASIBLE, State.COMPLETE, State.COMPLETE]
    assert [trial.state for trial in run.trials] == states
    assert [dict(trial.violations) for trial in run.trials] == [{}, {"memory": 4.0}, {}, {}, {}]
    assert [trial.number for trial in front_of(run.trials, study.objectives)] == [4, 0]
    assert written(address) == run.trials
    again = search(address, study, ScriptedExecutor(say(both(1.0, 1.0))))  # the budget is spent
    assert again.trials == run.trials


def test_other_objectives_or_another_order_of_them_contradict_the_ledger(address: Address) -> None:
    search(address, two(budget={"trials": 1}), ScriptedExecutor(say(both(0.5, 1.0))))

    for objectives in (dict(reversed(TWO.items())), TWO | {"size": "maximize"}, TWO | {"time": "minimize"}):
        with pytest.raises(StudyConflict, match="objectives: "):
            Ledger.open(address, small_study(objectives=objectives))
    with pytest.raises(StudyConflict, match="objectives: "):
        Ledger.open(address, small_study())


@pytest.mark.parametrize(
    ("target", "trials"), [({"score": 2, "size": 3}, 4), ({"size": 2}, 5), ({"score": 5, "size": 6}, 6)]
)
def test_a_target_is_reached_by_one_trial_in_all_its_values(
    address: Address, target: dict[str, int], trials: int
) -> None:
    study = two(budget={"target": target})

    run = search(address, study, ScriptedExecutor(lambda task: [both(task.number, 6 - task.number)]))

    assert len(run.trials) == trials


def test_no_improvement_counts_from_the_latest_trial_on_the_front(address: Address) -> None:
    values = [(1.0, 5.0), (0.5, 5.0), (0.5, 4.0), (1.0, 5.0), (0.4, 6.0)]
    study = two(budget={"trials": 99, "no_improvement": 2})

    run = search(address, study, ScriptedExecutor(lambda task: [both(*values[task.number])]))

    assert len(run.trials) == 5


def test_an_enqueued_trial_and_one_that_runs_again_belong_to_a_generation() -> None:
    """Otherwise no child would learn from them."""
    point = {"lr": 1e-3, "layers": 2, "activation": "tanh", "hidden": [50]}
    study = two(enqueue=[point], sampler={"name": "nsga2", "population_size": 2})
    advisor = Advisor(study)

    asked = [advisor.ask(), advisor.ask()]
    told = [advisor.tell(replace(t, state=State.COMPLETE, values=(1.0, float(t.number)))) for t in asked]
    third = advisor.ask()

    assert told[0].params == point
    assert [t.notes["NSGAIISampler:generation"] for t in (*told, third)] == [0, 0, 1]
    assert advisor.ask_again(told[0]).notes["NSGAIISampler:generation"] == 1


def test_a_resumed_search_of_very_many_generations_needs_no_deep_recursion() -> None:
    study = two(sampler={"name": "nsga2", "population_size": 2}, space={"x": {"low": 0.0, "high": 1.0}})
    trials = [
        Trial(n, {"x": n / 5000}, 0, State.COMPLETE, (float(n), 1.0), notes={"NSGAIISampler:generation": n // 2})
        for n in range(2500)
    ]
    assert Advisor(study, trials).ask().notes["NSGAIISampler:generation"] == 1250


def test_an_imported_sampler_that_knows_one_objective_only_is_named_with_what_it_says() -> None:
    study = two(sampler={"name": "optuna.samplers:CmaEsSampler"})
    with pytest.raises(HpoError, match=r"sampler.name: optuna.samplers:CmaEsSampler failed at .*multi-objective"):
        Advisor(study).ask()


# Pruning -----------------------------------------------------------------------------------------------------------

ASHA = {"name": "asha", "min_resource": 1, "max_resource": 3, "reduction_factor": 3}
MEDIAN = {"name": "median", "n_startup_trials": 1}


def judged(pruner: dict[str, Any], earlier: list[tuple[float, float]], *own: tuple[float, float]) -> list[bool]:
    """Whether the pruner would end a trial after each of its reports, beside complete ones with these values."""
    advisor = Advisor(two(pruner=pruner))
    for values in earlier:
        trial = advisor.ask()
        for step in (1, 2, 3):
            advisor.report(trial.number, step, values)
        advisor.tell(replace(trial, state=State.COMPLETE, values=values))
    number = advisor.ask().number
    decisions = []
    for step, values in enumerate(own, start=1):
        advisor.report(number, step, values)
        decisions.append(advisor.should_prune(number))
    return decisions


FRONT = [(0.9, 9.0), (0.8, 8.0), (0.5, 5.0), (0.2, 2.0), (0.1, 1.0)]


@pytest.mark.parametrize("pruner", [ASHA, MEDIAN])
@pytest.mark.parametrize(
    ("own", "ends"),
    [
        ((0.95, 99.0), False),  # best in one objective
        ((-9.0, 0.5), False),  # best in the other
        ((0.99, 0.1), False),  # best in both
        ((0.0, 9.5), True),  # beaten in both
        ((0.1, 8.5), True),  # beaten, best in none
        ((0.9, 9.5), True),  # as good as the best in one, but beaten by it in the other
        ((math.nan, 0.1), True),
        ((0.95, math.inf), True),
    ],
)
def test_a_trial_ends_by_rank_and_survives_where_it_is_best(
    pruner: dict[str, Any], own: tuple[float, float], ends: bool
) -> None:
    assert judged(pruner, FRONT, own) == [ends]


def test_of_trials_that_do_not_beat_each_other_the_crowded_ones_end_first() -> None:
    front = [(0.9, 9.0), (0.85, 8.5), (0.8, 8.0), (0.2, 2.0), (0.1, 1.0)]
    half = ASHA | {"reduction_factor": 2}
    assert judged(half, front, (0.5, 5.0)) == [False]
    assert judged(half, front, (0.84, 8.4)) == [True]


def test_a_report_without_all_objectives_does_not_count_for_pruning(address: Address) -> None:
    def script(task: Any) -> list[Move]:
        if task.number < 3:
            return [both(1.0, 1.0)] * 3
        return [{"score": 0.0}, {"score": 0.0}, both(0.0, 9.0), both(0.0, 9.0)]

    study = two(pruner={"name": "asha", "min_resource": 1, "reduction_factor": 2}, budget={"trials": 4})
    run = search(address, study, ScriptedExecutor(script))

    assert [trial.state for trial in run.trials] == [State.COMPLETE] * 3 + [State.PRUNED]
    assert len(run.trials[3].reports) == 3
    assert run.trials[3].values == (0.0, 9.0)
    assert written(address) == run.trials


def test_hyperband_prunes_in_brackets_of_trials_with_several_objectives(address: Address) -> None:
    def script(task: Any) -> list[Move]:
        x = (task.number * 7 % 30) / 30
        return [both(x, 1 + (x - 0.5) ** 2 + task.number % 2) for _ in range(9)]

    pruner = {"name": "hyperband", "min_resource": 1, "max_resource": 9}
    run = search(address, two(pruner=pruner, budget={"trials": 30}), ScriptedExecutor(script, 3))

    assert {trial.state for trial in run.trials} == {State.COMPLETE, State.PRUNED}
    unpruned = [replace(t, state=State.COMPLETE) for t in run.trials]
    best = {max(unpruned, key=lambda t: t.values[0]).number}
    assert best <= {t.number for t in run.trials if t.state is State.COMPLETE}


# The one trial that is taken ---------------------------------------------------------------------------------------


def made(*values: tuple[float, float]) -> list[Trial]:
    return [Trial(n, {"x": n}, 0, State.COMPLETE, pair, started=0.0, ended=1.0) for n, pair in enumerate(values)]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (None, 0),
        ("size <= 8", 1),
        ("size<=5,score >= 0.1", 2),
        ("score=1", 0),
        ("size = 1", 4),
        ("score=1, size=1", 2),
        ("score=1, size=1, size<=2.5", 3),
        ("size <= 8.5, size >= 2.5", 1),
        ("size >= 1.5, score <= 0.75, size <= 2.5", 3),
        ("score=1e308, size=1e308", 2),
    ],
)
def test_a_preference_takes_one_trial_of_the_front(text: str | None, number: int) -> None:
    objectives = two().objectives
    front = front_of(made((0.9, 9.0), (0.8, 8.0), (0.7, 3.0), (0.2, 2.0), (0.1, 1.0)), objectives)
    assert prefer(front, objectives, text).number == number


def test_a_diverged_trial_on_the_front_does_not_take_the_weight_from_an_objective() -> None:
    objectives = two().objectives
    values = (0.9, 9.0), (0.8, 8.0), (0.7, 3.0), (0.2, 2.0), (0.1, 1.0)
    front = front_of(made(*values, (0.95, 1e30)), objectives)
    assert len(front) == 6
    assert prefer(front, objectives, "score=1, size=1").number == 2  # as without it


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("size < 8", "bounds such as"),
        ("size", "bounds such as"),
        ("size <= small", "bounds such as"),
        ("size <= nan", "bounds such as"),
        ("", "bounds such as"),
        ("sise <= 8", "did you mean 'size'"),
        ("size = -1", "must be above 0"),
        ("size <= 0.5", "size from 1 to 9"),
        ("size <= 2, size >= 8", "size from 1 to 9, got 'size <= 2"),
        ("score=1, size=1, score=2", "score has two weights"),
    ],
)
def test_a_preference_that_says_nothing_is_refused(text: str, rule: str) -> None:
    objectives = two().objectives
    with pytest.raises(InputError, match=rule) as refusal:
        prefer(front_of(made(*FRONT), objectives), objectives, text)
    assert refusal.value.key == "--prefer"


def test_a_front_says_which_of_its_places_are_noise() -> None:
    """100 examples: an accuracy near 0.9 has a standard error of 0.03, so that 0.91 and 0.9 are a tie."""
    trials = made((0.91, 9.0), (0.90, 5.0), (0.50, 1.0), (0.89, 5.5), (0.40, 1.0), (0.3, 9.0))
    trials = [replace(t, reports=(Report(1, 0.0, dict(zip(TWO, t.values, strict=True))),)) for t in trials]
    found = front_insight(two(examples=100), trials)

    assert found is not None
    assert found.errors == {"score": pytest.approx(0.05)}
    assert (found.unsure, found.near) == ((0,), (3, 4))
    assert found.exact == ("size",)
    assert "1 of the 3 trials" in " ".join(found.lines(3))
    assert front_insight(two(), trials) is None
    assert front_insight(two(examples=97), trials) is None  # no multiples of 1/97: nothing is known of their error


# The command line --------------------------------------------------------------------------------------------------

STUDY = """
name = "two"
objective = "fronts:objective"
evaluate = "fronts:objective"

[objectives]
score = "maximize"
size = "minimize"

[space]
x = { low = 0.0, high = 1.0 }
wrong = { low = 0.0, high = 1.0 }

[budget]
trials = 12
"""
OBJECTIVE = """
def objective(params, seed):
    for epoch in (1, 2):
        yield {"score": params["x"] * epoch - params["wrong"], "size": 1 + params["x"]}
"""


@pytest.fixture
def ran(hpo: CommandLine) -> CommandLine:
    (hpo.folder / "two.toml").write_text(STUDY)
    (hpo.folder / "fronts.py").write_text(OBJECTIVE)
    hpo("run", "two.toml", "--workers", "0", "--tracking", "none", "-q")
    return hpo


def test_best_prints_the_front_and_one_trial_of_it(ran: CommandLine) -> None:
    front = ran("best", "two", "--json").json
    assert all(trial.keys() == {"number", "values", "params"} for trial in front)
    assert all(one["values"]["score"] > other["values"]["score"] for one, other in pairwise(front))
    assert all(one["values"]["size"] > other["values"]["size"] for one, other in pairwise(front))
    assert ran("best", "two").out.count("Front-") == len(front) > 1

    bound = front[1]["values"]["size"]
    chosen = ran("best", "two", "--prefer", f"size <= {bound}", "--json").json
    assert chosen == front[1]
    assert ran("best", "two", "--prefer", "size=1").out.startswith(f"trial {front[-1]['number']}: score ")
    assert ran("best", "two", "--toml", "--prefer", "size=1").out.splitlines()[0] == "[fixed]"
    assert "--prefer" in ran("best", "two", "--prefer", "size <= 0", code=2).err


def test_show_list_and_read_know_the_front(ran: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    front = ran("best", "two", "--json").json
    shown = ran("show", "two", "--json").json
    assert shown["objectives"] == TWO
    assert shown["front"] == len(front)
    assert [trial["values"] for trial in shown["best"]] == [trial["values"] for trial in front[:5]]
    assert "metric" not in shown
    text = ran("show", "two").out
    assert "maximize score, minimize size of fronts:objective" in text
    assert "for score, the first objective:" in text
    assert f"{len(front)} on the front" in ran("list").out

    number = front[0]["number"]
    trial = ran("show", "two", "--trial", str(number), "--json").json
    assert trial["values"] == front[0]["values"]
    assert "size over 2 reports" in ran("show", "two", "--trial", str(number)).out

    monkeypatch.chdir(ran.folder)
    result = hpo.read("two")
    assert [trial.number for trial in result.front] == [trial["number"] for trial in front]
    assert result.best == result.front[0]
    assert {"score", "size"} <= result.rows()[0].keys()
    assert f"{len(front)} on the front" in repr(result)
    assert "<th>size</th>" in result._repr_html_()


def test_evaluate_takes_the_preferred_trial_and_a_preference_needs_several_objectives(ran: CommandLine) -> None:
    front = ran("best", "two", "--json").json
    assert "together with --trial" in ran("evaluate", "two", "--prefer", "size=1", "--trial", "0", code=2).err
    scored = json.loads(ran("evaluate", "two", "--prefer", "size=1", "--tracking", "none", "--json").out)
    assert scored["trial"] == front[-1]["number"]
    ran.run()
    assert "one objective" in ran("best", "small", "--prefer", "loss=1", code=2).err
