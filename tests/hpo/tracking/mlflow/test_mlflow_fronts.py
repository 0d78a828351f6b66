"""What stands in MLflow of a study with several objectives."""

from __future__ import annotations

import base64
import json
import math
import uuid
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from small_study import small_study
from stored import a_store, a_trial, history, mirror, runs

from hpo.best import front_of
from hpo.fronts import box_of, costs_of, hypervolume
from hpo.study import Study
from hpo.study.constraints import judged
from hpo.tracking.mlflow import views
from hpo.tracking.mlflow.describe import description
from hpo.tracking.mlflow.progress import FIRST, Progress
from hpo.trial import Report, State, StudyState, Trial


@pytest.fixture
def study() -> Study:
    objectives = {"score": "maximize", "loss": "minimize"}
    return small_study(name=f"s{uuid.uuid4().hex[:12]}", objectives=objectives)


def at(number: int, score: float, loss: float, state: State = State.COMPLETE) -> Trial:
    trial = a_trial(number, state)
    values = {"score": score, "loss": loss}
    reports = (*trial.reports[:-1], Report(3, trial.reports[-1].time, values))
    return replace(trial, reports=reports, values=(score, loss))


def marked(uri: str, study: Study) -> list[int]:
    found = MlflowClient(uri).search_runs([experiment(uri, study)], "tags.`hpo.pareto` = 'true'")
    return sorted(int(run.data.tags["hpo.trial"]) for run in found)


def experiment(uri: str, study: Study) -> str:
    found = MlflowClient(uri).get_experiment_by_name(study.name)
    assert found is not None
    return str(found.experiment_id)


def test_the_trials_on_the_front_are_marked_until_they_leave_it(uri: str, study: Study) -> None:
    trials = [at(0, 1.0, 1.0), at(1, 2.0, 2.0), at(2, 0.5, 3.0), at(3, 9.0, 0.1, State.PRUNED)]
    mirror(uri, study, trials)
    assert marked(uri, study) == [0, 1]

    trials += [at(4, 1.5, 1.0), at(5, 2.0, 2.0)]
    mirror(uri, study, trials)
    assert marked(uri, study) == [1, 4, 5]
    assert marked(uri, study) == sorted(trial.number for trial in front_of(trials, study.objectives))

    client, (first, *_) = MlflowClient(uri), runs(uri, study, "trial")
    client.set_tag(first.info.run_id, "hpo.pareto", "true")  # by a person
    mirror(uri, study, trials)
    assert marked(uri, study) == [1, 4, 5]
    assert not any("hpo.best" in run.data.tags for run in runs(uri, study, "trial"))


def test_a_mark_leaves_a_trial_that_is_discarded_while_the_search_runs(uri: str, study: Study) -> None:
    trials = [at(0, 1.0, 1.0), at(1, 2.0, 2.0), at(2, 3.0, 0.5)]  # the last one beats the others
    store = a_store(uri, study)
    store.open([])
    for trial in trials:
        store.write([trial])
        store.progress([trial])
    assert marked(uri, study) == [2]

    discarded = replace(trials[2], state=State.DISCARDED)
    for changed, wanted in ((discarded, [0, 1]), (trials[2], [2])):
        store.write([changed])
        store.progress([changed])
        assert marked(uri, study) == wanted
    store.end(StudyState.COMPLETE)
    (parent,) = runs(uri, study, "study")
    assert parent.data.metrics["trials_finished"] == 3


def test_the_mark_of_the_best_leaves_a_trial_that_is_discarded(uri: str) -> None:
    single = small_study(name=f"s{uuid.uuid4().hex[:12]}")
    store = a_store(uri, single)
    store.open([])
    trials = [a_trial(0), a_trial(1)]  # the later one is better
    store.write(trials)
    store.progress(trials)
    store.write([replace(trials[1], state=State.DISCARDED)])
    store.progress([replace(trials[1], state=State.DISCARDED)])

    marks = {int(run.data.tags["hpo.trial"]) for run in runs(uri, single, "trial") if "hpo.best" in run.data.tags}
    assert marks == {0}
    store.end(StudyState.COMPLETE)


def judged_trial(number: int, score: float, loss: float, memory: float, study: Study) -> Trial:
    trial = at(number, score, loss)
    last = trial.reports[-1]
    reports = (*trial.reports[:-1], last._replace(metrics={**last.metrics, "memory": memory}))
    trial = replace(trial, reports=reports)
    return replace(trial, notes=judged(study.bounds, trial.last))


def test_a_trial_beyond_its_bounds_says_so_and_is_not_on_the_front(uri: str) -> None:
    objectives = {"score": "maximize", "loss": "minimize"}
    memory = {"metrics": {"memory": {"max": 512}}}
    study = small_study(name=f"s{uuid.uuid4().hex[:12]}", objectives=objectives, constraints=memory)
    trials = [judged_trial(0, 1.0, 1.0, 500, study), judged_trial(1, 9.0, 0.1, 513, study), at(2, 0.5, 0.5)]
    trials[2] = replace(trials[2], state=State.PRUNED)
    mirror(uri, study, trials[:1])
    mirror(uri, study, trials)

    assert [run.data.tags.get("hpo.feasible") for run in runs(uri, study, "trial")] == ["true", "false", None]
    assert marked(uri, study) == [0]
    (parent,) = runs(uri, study, "study")
    assert parent.data.metrics["trials_complete"] == 2


def test_a_run_that_says_otherwise_of_its_bounds_is_written_anew(uri: str) -> None:
    memory = {"metrics": {"memory": {"max": 512}}}
    objectives = {"score": "maximize", "loss": "minimize"}
    study = small_study(name=f"s{uuid.uuid4().hex[:12]}", objectives=objectives, constraints=memory)
    trials = [judged_trial(0, 1.0, 1.0, 600, study)]
    mirror(uri, study, trials)
    (run,) = runs(uri, study, "trial")
    MlflowClient(uri).set_tag(run.info.run_id, "hpo.feasible", "true")

    mirror(uri, study, trials)

    (run,) = runs(uri, study, "trial")
    assert run.data.tags["hpo.feasible"] == "false"
    assert marked(uri, study) == []


def test_the_description_says_that_no_trial_is_feasible() -> None:
    bounded = small_study(
        objectives={"score": "maximize", "loss": "minimize"}, constraints={"metrics": {"memory": {"max": 5}}}
    )
    text = description(bounded, [judged_trial(0, 1.0, 1.0, 6, bounded)])
    assert "no trial satisfies memory <= 5; the nearest is trial 0: memory is 6" in text


def test_a_run_has_every_objective_as_a_metric(uri: str, study: Study) -> None:
    mirror(uri, study, [at(0, 1.25, 0.5)])
    (run,) = runs(uri, study, "trial")
    assert run.data.metrics == {"score": 1.25, "loss": 0.5, "objective": 1.25}
    (parent,) = runs(uri, study, "study")
    tags = {"hpo.metric": "score, loss", "hpo.direction": "maximize, minimize"}
    assert parent.data.tags.items() >= tags.items()


def test_the_study_s_run_has_the_hypervolume_over_trials_from_the_tenth_complete_one_on(
    mlflow_database: str, study: Study
) -> None:
    rng = np.random.default_rng(0)
    trials = [at(number, *rng.uniform(0, 1, 2).tolist()) for number in range(FIRST + 8)]
    trials[3] = replace(trials[3], state=State.PRUNED)
    mirror(mlflow_database, study, trials[:-3])
    mirror(mlflow_database, study, trials)  # resumed: the same reference point

    (parent,) = runs(mlflow_database, study, "study")
    complete = [trial for trial in trials if trial.state is State.COMPLETE]
    reference = box_of(costs_of(complete[:FIRST], study.objectives)).worst
    expected = {
        step: hypervolume(costs_of(front_of(trials[:step], study.objectives), study.objectives), reference)
        for step in range(FIRST + 1, len(trials) + 1)
    }
    found = {step: value for step, value, _ in history(mlflow_database, parent, "hypervolume")}
    assert found.keys() == expected.keys()
    assert all(math.isclose(found[step], expected[step]) for step in expected)
    assert sorted(found.values()) == [found[step] for step in sorted(found)]
    assert "best_objective" not in parent.data.metrics


def course(study: Study, trials: list[Trial]) -> list[float]:
    return [metric.value for metric in Progress(study).after(trials) if metric.key == "hypervolume"]


@pytest.mark.parametrize("early", [(0.5, 1e30), (2.0, 1e30)])  # beaten, and on the front
def test_an_early_diverged_value_does_not_hide_the_course_of_the_hypervolume(
    study: Study, early: tuple[float, float]
) -> None:
    rng = np.random.default_rng(0)
    trials = [at(number, *rng.uniform(0, 1, 2).tolist()) for number in range(30)]
    trials[2] = at(2, *early)
    found = course(study, trials)
    assert len(found) == len(trials) - FIRST + 1
    assert found == sorted(found)
    assert 0 < found[0] < found[-1] < 4


def test_five_objectives_have_a_hypervolume_too() -> None:
    objectives = {f"loss_{index}": "minimize" for index in range(5)}
    study = small_study(objectives=objectives)
    costs = np.random.default_rng(0).uniform(0, 1, (40, 5))
    trials = [replace(at(number, 0, 0), values=tuple(row.tolist())) for number, row in enumerate(costs)]
    found = course(study, trials)
    assert len(found) == len(trials) - FIRST + 1
    assert found == sorted(found) == course(study, trials)
    assert found[-1] == pytest.approx(hypervolume(costs, box_of(costs[:FIRST]).worst), rel=0.02)


def opened(value: str) -> dict[str, Any]:
    packed = json.loads(value)["state"].partition(";")[2]
    return dict(json.loads(zlib.decompress(base64.b64decode(packed))))


def test_the_front_has_a_view_of_its_own_and_the_description_links_it(mlflow_database: str, study: Study) -> None:
    mirror(mlflow_database, study, [at(0, 1.0, 1.0)])
    tags = MlflowClient(mlflow_database).get_experiment(experiment(mlflow_database, study)).tags

    state = opened(tags["mlflow.sharedViewState.front"])
    assert state["searchFilter"] == "tags.`hpo.pareto` = 'true'"
    assert state["selectedColumns"][:2] == ["metrics.`score`", "metrics.`loss`"]
    kinds = {chart["type"]: chart for chart in state["compareRunCharts"]}
    assert (kinds["SCATTER"]["xaxis"]["key"], kinds["SCATTER"]["yaxis"]["key"]) == ("score", "loss")
    assert kinds["PARALLEL"]["selectedMetrics"] == ["score", "loss"]
    columns = opened(tags["mlflow.sharedViewState.trials"])["selectedColumns"]
    assert columns[:4] == ["tags.`hpo.pareto`", "tags.`hpo.state`", "metrics.`score`", "metrics.`loss`"]
    assert tags["mlflow.note.content"].startswith("hpo study: [front](#/experiments/")
    place = views.find(mlflow_database, study.name)
    assert place is not None
    assert views.FRONT in place.views


def test_a_study_with_one_objective_has_no_such_view() -> None:
    assert "mlflow.sharedViewState.front" not in views.tags(small_study(), 1.0)[0]


def test_the_description_lists_the_front(study: Study) -> None:
    text = description(study, [at(0, 1.0, 1.0), at(1, 2.0, 2.0), at(2, 0.5, 3.0)])
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert "score | loss" in text
    assert any(row.startswith("| 1 | 2 | 2 |") for row in rows)
    assert not any(row.startswith("| 2 | 0.5") for row in rows)
