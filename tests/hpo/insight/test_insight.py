import math
from dataclasses import replace
from typing import Any

import made
import numpy as np
import pytest
from scipy import stats

from hpo.insight.parameters import FEWEST, covering, study_insight
from hpo.study.constraints import judged
from hpo.trial import Direction, State, Trial


def about(study: Any, trials: list[Trial], name: str, resamples: int = 0) -> Any:
    return next(p for p in study_insight(study, trials, resamples=resamples).parameters if p.name == name)


def by_lr(params: Any, rng: np.random.Generator) -> float:
    return 0.9 + 0.1 * math.log10(params["lr"]) + rng.normal(0, 0.03)


def test_the_chapters_verdict_lr_matters_and_weight_decay_shows_no_effect() -> None:
    study = made.study()
    insight = study_insight(study, made.trials(study, 100, by_lr), resamples=0)
    lr, decay = insight.parameters
    assert (lr.verdict, decay.verdict) == ("higher tends to be better", "no effect shown")
    assert lr.advice.startswith("the best 10 lie in ")
    assert lr.at_end == "high"
    assert decay.advice == ""
    assert [line.split(":")[0] for line in insight.lines()] == ["lr", "weight_decay"]


def test_the_rank_correlation_is_spearmans_and_has_its_sign_for_both_directions() -> None:
    for direction in (Direction.MAXIMIZE, Direction.MINIMIZE):
        study = made.study(direction=direction)
        trials = made.trials(study, 60, by_lr)
        expected = stats.spearmanr([t.params["lr"] for t in trials], [t.value for t in trials]).statistic
        lr = about(study, trials, "lr")
        assert lr.correlation == pytest.approx(expected)
        assert lr.interval[0] < expected < lr.interval[1]
        assert lr.verdict == f"{'higher' if direction == 'maximize' else 'lower'} tends to be better"


def test_trials_beyond_a_bound_are_ranked_last_however_good_their_values_are() -> None:
    """The score rises with x, and what is beyond 0.5 takes too much memory."""
    study = made.study(space={"x": {"low": 0.0, "high": 1.0}}, constraints={"metrics": {"memory": {"max": 0.5}}})
    trials = [
        replace(t, notes=judged(study.bounds, {"memory": t.params["x"]}.get))
        for t in made.trials(study, 60, lambda p, rng: float(p["x"]))
    ]
    assert about(study, trials, "x").best_values[1] <= 0.5
    free = [replace(t, notes={}) for t in trials]
    assert about(study, free, "x").best_values[0] > 0.5


def test_an_optimum_in_the_middle_is_found_though_the_rank_correlation_is_none() -> None:
    study = made.study()
    trials = made.trials(study, 100, lambda p, rng: -((math.log10(p["lr"]) + 4) ** 2) + rng.normal(0, 0.1))
    lr = about(study, trials, "lr")
    assert lr.verdict == "matters, but not in one direction"
    assert lr.best_values[0] > 1e-5
    assert lr.best_values[1] < 1e-3
    assert lr.at_end is None


def test_without_any_effect_at_most_one_study_in_twenty_shows_one() -> None:
    study = made.study()
    shown = 0
    for seed in range(200):
        trials = made.trials(study, 30, lambda p, rng: rng.normal(), seed=seed, steps=1)
        shown += any(p.effect for p in study_insight(study, trials, resamples=0).parameters)
    assert shown <= stats.binom.ppf(0.999, 200, 0.05)


def test_a_choice_is_compared_without_an_order_and_the_best_is_named() -> None:
    study = made.study(space=made.MIXED_SPACE)
    trials = made.trials(study, 60, lambda p, rng: (p["opt"] == "adam") + rng.normal(0, 0.2))
    opt = about(study, trials, "opt")
    assert (opt.verdict, opt.correlation, opt.best_values[0]) == ("matters", None, "adam")
    assert opt.advice == "most of the best 6 have adam"
    hidden = about(study, trials, "hidden")
    assert hidden.effect is False
    assert all(isinstance(choice, list) for choice in hidden.best_values)


def test_a_conditional_parameter_is_judged_by_the_trials_that_have_it() -> None:
    study = made.study(space=made.MIXED_SPACE)
    trials = made.trials(study, 60, lambda p, rng: p.get("momentum", 0.5) + rng.normal(0, 0.01))
    momentum = about(study, trials, "momentum")
    assert momentum.trials == sum("momentum" in t.params for t in trials) < 60
    assert momentum.verdict == "higher tends to be better"


def test_pruned_trials_rank_below_complete_ones_and_failed_and_running_ones_do_not_count() -> None:
    study = made.study(direction=Direction.MINIMIZE, metric="loss")
    trials = made.trials(study, 40, lambda p, rng: -math.log10(p["lr"]), steps=4)
    trials = [
        replace(trial, state=State.PRUNED, values=(0.0,), reports=trial.reports[:1])
        if trial.params["lr"] < 1e-4  # they would be bad; pruned early, their value looks good
        else trial
        for trial in trials
    ]
    lr = about(study, trials, "lr")
    assert lr.trials == 40
    assert lr.correlation == pytest.approx(-stats.spearmanr(*_ranked(trials)).statistic)
    trials = [
        replace(trial, state=State.FAILED if trial.number % 2 else State.RUNNING)
        if trial.state is State.PRUNED
        else trial
        for trial in trials
    ]
    assert about(study, trials, "lr").trials == sum(t.state not in (State.FAILED, State.RUNNING) for t in trials)


def _ranked(trials: list[Trial]) -> tuple[list[float], list[float]]:
    return [t.params["lr"] for t in trials], [-1e9 if t.state == State.PRUNED else -(t.value or 0.0) for t in trials]


@pytest.mark.parametrize("count", [0, 1, 2, FEWEST - 1])
def test_with_few_trials_nothing_is_said(count: int) -> None:
    study = made.study()
    insight = study_insight(study, made.trials(study, count, by_lr))
    assert {p.verdict for p in insight.parameters} == {"too few trials to say"}
    assert all(p.to_dict()["effect"] is None and p.importance is None for p in insight.parameters)


def test_equal_values_show_no_effect() -> None:
    study = made.study()
    insight = study_insight(study, made.trials(study, 30, lambda p, rng: 0.5))
    assert {p.verdict for p in insight.parameters} == {"no effect shown"}
    assert {p.correlation for p in insight.parameters} == {None}


def test_importances_add_up_and_the_one_that_matters_is_above_chance() -> None:
    study = made.study()
    insight = study_insight(study, made.trials(study, 100, by_lr))
    lr, decay = (p.importance for p in insight.parameters)
    assert lr.share + decay.share == pytest.approx(1)
    assert lr.share > 0.8 > lr.chance
    assert decay.share < 0.2
    assert 0 <= decay.interval[0] <= decay.interval[1] < lr.interval[0] <= lr.interval[1] <= 1


def test_the_same_trials_give_the_same_insight() -> None:
    study = made.study(space=made.MIXED_SPACE)
    trials = made.trials(study, 40, lambda p, rng: p["layers"] + rng.normal())
    assert study_insight(study, trials) == study_insight(study, trials)


def test_values_beyond_the_range_are_read_when_a_sampler_widened_it() -> None:
    study = made.study()
    trials = made.trials(study, 30, by_lr)
    trials[3] = replace(trials[3], params={**trials[3].params, "lr": 0.5})
    assert study_insight(study, trials).parameters[0].importance is not None
    assert covering(study.space, trials).parameters[0].high == 0.5
    assert covering(study.space, []) == study.space


def test_an_adaptive_sampler_is_told() -> None:
    assert study_insight(made.study(sampler={"name": "tpe"}), []).adaptive
    assert not study_insight(made.study(sampler={"name": "random"}), []).adaptive


@pytest.mark.parametrize("slope", [0.0, 0.2, 0.35, 0.5])
def test_a_verdict_never_contradicts_its_interval(slope: float) -> None:
    for seed in range(20):
        space = {f"p{i}": {"low": 0.0, "high": 1.0} for i in range(4)}
        study = made.study(space=space)
        trials = made.trials(study, 30, lambda p, rng: slope * p["p0"] + rng.normal(0, 0.2), seed=seed)
        for found in study_insight(study, trials, resamples=0).parameters:
            assert found.interval is not None
            low, high = found.interval
            assert low < found.correlation < high
            if not low <= 0 <= high:
                assert found.effect
            assert (found.verdict == "no effect shown") is not found.effect
            assert found.verdict.endswith("tends to be better") is not (low <= 0 <= high)


def test_with_a_sampler_that_learns_verdicts_describe_the_search() -> None:
    study = made.study(sampler={"name": "tpe"})
    insight = study_insight(study, made.trials(study, 100, by_lr), resamples=0)
    assert [p.verdict for p in insight.parameters] == [
        "higher tended to be better in this search",
        "no effect seen in this search",
    ]
