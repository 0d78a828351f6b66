"""Range narrowing: what it concludes from a round, and what it makes of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from small_study import small_study

from hpo.ledger.record import Records
from hpo.samplers.rounds import UNFINISHED, Finding, evidence
from hpo.search.advisor import Advisor
from hpo.statistics import dependence, interval, rank, spearman
from hpo.study import Study
from hpo.testing import search
from hpo.trial import Report, State, Trial

PLANE = {
    "lr": {"low": 1e-6, "high": 1e-2, "log": True},
    "weight_decay": {"low": 1e-8, "high": 1e-4, "log": True},
}
Score = Callable[[Mapping[str, Any], np.random.Generator], float]


def chapter(params: Mapping[str, Any], rng: np.random.Generator) -> float:
    """The chapter's search, from row H9: accuracy by learning rate; weight decay means nothing."""
    middle = np.interp(
        math.log10(params["lr"]), [-6, -4, -3, -2.7, -2.4, -2.2, -2.06], [0.1, 0.1, 0.15, 0.31, 0.55, 0.74, 0.79]
    )
    return float(middle + rng.normal(0, 0.05 if middle > 0.2 else 0.02))


def narrowing(seed: int = 0, trials: int = 60, space: Mapping[str, Any] = PLANE, **options: Any) -> Study:
    return small_study(space=space, sampler={"name": "narrowing", "seed": seed, **options}, budget={"trials": trials})


def run(study: Study, score: Score = chapter) -> tuple[list[Trial], list[Finding]]:
    advisor, rng, told = Advisor(study), np.random.default_rng(study.seed), []
    for _ in range(study.budget.trials):
        trial = advisor.ask()
        told.append(advisor.tell(replace(trial, state=State.COMPLETE, values=(score(trial.params, rng),))))
    return told, findings(study, told)


def findings(study: Study, trials: list[Trial]) -> list[Finding]:
    return evidence(trials, study.space, study.sampler.options, study.direction)


def of(parameter: str, found: list[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.parameter == parameter]


def test_each_round_of_the_chapters_search_is_better_than_the_one_before() -> None:
    """Row H6: the median of round 2 is above the median of round 1."""
    for seed in range(5):
        values = [trial.value for trial in run(narrowing(seed))[0]]

        first, second, third = (float(np.median(values[start : start + 20])) for start in (0, 20, 40))
        assert first < second < third


def test_the_learning_rate_is_narrowed_and_the_weight_decay_is_not() -> None:
    """Row H9: a parameter without effect is left alone, but for a share of chance findings near alpha per round."""
    found = [finding for seed in range(40) for finding in run(narrowing(seed))[1]]

    assert all(finding.effect for finding in of("lr", found) if finding.round == 1)
    spurious = [finding.effect for finding in of("weight_decay", found)]
    assert stats.binomtest(sum(spurious), len(spurious), 0.01, alternative="greater").pvalue > 1e-3
    assert all(f.new == f.old for f in of("weight_decay", found) if not f.effect)


def test_a_peak_inside_the_range_is_seen_although_the_rank_correlation_is_nil() -> None:
    def peak(params: Mapping[str, Any], rng: np.random.Generator) -> float:
        return -((math.log10(params["lr"]) + 4) ** 2)

    finding = of("lr", run(narrowing(trials=20), peak)[1])[0]

    assert finding.effect
    assert finding.correlation is not None
    assert abs(finding.correlation) < 0.5
    assert finding.new[0] < 1e-4 < finding.new[1]
    assert finding.at_bound == ()


def test_every_trial_is_drawn_from_the_range_that_the_evidence_shows() -> None:
    trials, found = run(narrowing())

    for index in (0, 1):
        for finding in found[2 * index : 2 * index + 2]:
            values = [trial.params[finding.parameter] for trial in trials[20 * (index + 1) : 20 * (index + 2)]]
            assert finding.new[0] <= min(values)
            assert max(values) <= finding.new[1]


def test_ranges_never_grow_and_never_fall_below_the_minimum_width() -> None:
    def spike(params: Mapping[str, Any], rng: np.random.Generator) -> float:
        return -abs(math.log10(params["lr"]) + 3.3)

    found = of("lr", run(narrowing(trials=200, margin=0.0, min_width=0.2), spike)[1])

    for finding in found:
        assert finding.old[0] <= finding.new[0] < finding.new[1] <= finding.old[1]
        assert math.log10(finding.new[1] / finding.new[0]) >= 0.2 * 4 - 1e-9
    assert math.log10(found[-1].new[1] / found[-1].new[0]) == pytest.approx(0.8)


def rising(params: Mapping[str, Any], rng: np.random.Generator) -> float:
    return math.log10(params["lr"]) + float(rng.normal(0, 0.05))


def test_best_trials_at_the_end_of_the_studys_range_are_reported() -> None:
    last = of("lr", run(narrowing(), rising)[1])[-1]

    assert last.at_bound == ("high",)
    assert last.touches is not None
    assert last.touches[1] >= 2
    assert last.new[1] == 1e-2
    assert not last.widened


@pytest.mark.parametrize("widen", [True, ["lr"]])
def test_with_widen_the_range_grows_there_and_the_ledger_stays_valid(widen: Any) -> None:
    study = narrowing(widen=widen)
    advisor, rng, told = Advisor(study), np.random.default_rng(0), []
    for _ in range(60):
        trial = advisor.ask()
        told.append(advisor.tell(replace(trial, state=State.COMPLETE, values=(rising(trial.params, rng),))))

    assert max(trial.params["lr"] for trial in told) > 1e-2
    for trial in told:
        Records(study).to_optuna(trial)._validate()  # Optuna's own: a value lies inside the distribution stored with it
    found = findings(study, told)
    assert any(finding.widened and finding.new[1] > 1e-2 for finding in of("lr", found))
    assert not any(finding.widened for finding in of("weight_decay", found))


def test_what_cannot_be_negative_is_not_widened_below_zero() -> None:
    space = {"rate": {"low": 0.0, "high": 0.5}, "layers": {"low": 1, "high": 9}}

    def falling(params: Mapping[str, Any], rng: np.random.Generator) -> float:
        return -params["rate"] - params["layers"] / 10

    trials, _ = run(narrowing(space=space, widen=True), falling)

    assert min(trial.params["rate"] for trial in trials) >= 0
    assert min(trial.params["layers"] for trial in trials) >= 1


def test_a_choice_keeps_the_values_among_the_best() -> None:
    space = {"optimizer": {"choice": ["sgd", "adam", ["a", "list"]]}, "x": {"low": 0.0, "high": 1.0}}

    def only_adam(params: Mapping[str, Any], rng: np.random.Generator) -> float:
        return float(params["optimizer"] == "adam") + float(rng.normal(0, 0.01))

    trials, found = run(narrowing(space=space), only_adam)

    assert of("optimizer", found)[0].new == ("adam",)
    assert {trial.params["optimizer"] for trial in trials[20:]} == {"adam"}


def test_pruned_trials_rank_behind_complete_ones() -> None:
    study = narrowing(trials=8, round=8)
    trials = [
        Trial(
            number,
            {"lr": 10.0 ** (-6 + number / 2), "weight_decay": 1e-6},
            0,
            State.PRUNED if number < 4 else State.COMPLETE,
            (9.0 if number < 4 else 0.5,),
            reports=[Report(1, 0.0, {"score": 9.0})],
        )
        for number in range(8)
    ]

    finding = of("lr", findings(study, trials))[0]

    assert finding.correlation is not None
    assert finding.correlation > 0.8


def test_trials_that_ran_when_a_round_began_do_not_count_for_it(tmp_path: Path) -> None:
    study = narrowing(trials=61)

    def score(params: Mapping[str, Any], seed: int) -> list[float]:
        return [chapter(params, np.random.default_rng(seed))]

    trials = search(study, score, tmp_path / "a.journal", workers=6)

    noted = {trial.number: trial.notes[UNFINISHED] for trial in trials if UNFINISHED in trial.notes}
    assert set(noted) <= {20, 40, 60}
    assert noted
    assert all(late < first for first, lates in noted.items() for late in lates)
    # Whoever looks at the ledger later sees the ranges that the trials were drawn from.
    for finding in findings(study, trials):
        start = 20 * (finding.round + 1)
        values = [trial.params[finding.parameter] for trial in trials[start : start + 20]]
        assert finding.new[0] <= min(values)
        assert max(values) <= finding.new[1]


def test_the_evidence_is_plain_data() -> None:
    found = run(narrowing(trials=20))[1]

    assert [finding.parameter for finding in found] == ["lr", "weight_decay"]
    assert dataclasses.asdict(found[0])["old"] == (1e-6, 1e-2)


# Rank statistics ---------------------------------------------------------------------------------------------------


def test_ranks_and_their_correlation_are_scipys() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 8, 30).astype(float), rng.normal(size=30)

    assert rank(x).tolist() == (stats.rankdata(x) - 1).tolist()
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)


def test_the_interval_covers_the_true_correlation_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    true, covered = 6 / math.pi * math.asin(0.6 / 2), 0
    for _ in range(400):
        x = rng.normal(size=40)
        y = 0.6 * x + 0.8 * rng.normal(size=40)
        low, high = interval(spearman(x, y), 40) or (0.0, 0.0)
        covered += low <= true <= high

    assert stats.binomtest(covered, 400, 0.95).pvalue > 1e-3


def test_chance_alone_is_called_an_effect_as_often_as_alpha_says() -> None:
    rng = np.random.default_rng(2)
    p = [dependence(rng.normal(size=(20, 2)), rng.normal(size=20)) for _ in range(400)]

    assert stats.kstest(p, "uniform").pvalue > 1e-3


def test_nothing_can_be_said_of_constants_or_of_too_few() -> None:
    assert dependence(np.ones((9, 1)), np.arange(9.0)) == 1.0
    assert dependence(np.arange(9.0)[:, None], np.ones(9)) == 1.0
    assert dependence(np.empty((0, 2)), np.empty(0)) == 1.0
    assert interval(0.5, 3) is None
