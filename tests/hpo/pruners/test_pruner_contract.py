"""What holds for every pruner a study may name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_executor import FakeExecutor
from searching import outcome, search
from small_study import small_study

from hpo.advisor import Advisor
from hpo.errors import InputError
from hpo.ledger.address import parse as parse_address
from hpo.ledger.ledger import Ledger
from hpo.pruners import PRUNERS
from hpo.search import Search
from hpo.study import Study, parse
from hpo.trial import COMPLETE, PRUNED

STEPS = 9
EVERY: dict[str, dict[str, Any]] = {
    "none": {},
    "median": {"n_startup_trials": 3},
    "asha": {"min_resource": 1, "max_resource": STEPS, "reduction_factor": 3},
    "hyperband": {"min_resource": 1, "max_resource": STEPS},
    "patience": {"patience": 2},
    "threshold": {"lower": -2.0, "n_warmup_steps": 2},
}
PRUNING = [name for name in EVERY if name != "none"]


def study_of(pruner: str, *, direction: str = "maximize", trials: int = 40, **changes: Any) -> Study:
    return small_study(
        direction=direction,
        space={"x": {"low": 0.0, "high": 1.0}},
        pruner={"name": pruner, **EVERY[pruner]},
        budget={"trials": trials},
        trial={"retries": 99},
        **changes,
    )


def curve(params: Mapping[str, Any], seed: int) -> list[float]:
    """Rises to ``x``, and stays there when it is low; only rarely do two curves cross."""
    noise = np.random.default_rng(seed).normal(0, 0.01, STEPS)
    rise = [min(step, 3 + 10 * params["x"]) / STEPS for step in range(1, STEPS + 1)]
    return [4 * params["x"] - 3 + share + float(noise[i]) * (i < 2) for i, share in enumerate(rise)]


def test_the_contract_covers_every_pruner() -> None:
    assert set(EVERY) == set(PRUNERS)


@pytest.mark.parametrize("pruner", EVERY)
def test_every_option_is_recorded_and_read_back(pruner: str) -> None:
    study = study_of(pruner)

    assert parse(study.resolved, file="ledger").pruner == study.pruner


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("pruner", PRUNING)
def test_it_saves_reports_and_keeps_the_best_trial(pruner: str, workers: int, tmp_path: Path) -> None:
    study = study_of(pruner)
    ledger = Ledger.open(parse_address(str(tmp_path / "a.journal")), study)
    executor, run = FakeExecutor(curve, workers, np.random.default_rng(0)), Search(study, ledger)

    run.run(executor)

    ledger.close()
    assert len(run.trials) == 40
    assert executor.reports < 40 * STEPS
    assert {trial.state for trial in run.trials} == {COMPLETE, PRUNED}
    for trial in run.trials:
        if trial.state == PRUNED:
            assert trial.value == trial.reports[-1].metrics["score"]
    if pruner != "patience":  # it ends what no longer improves, the best trials too
        best = max(run.trials, key=lambda trial: trial.params["x"])
        assert best.state == COMPLETE


@pytest.mark.parametrize("pruner", PRUNING)
def test_stopping_takes_effect_within_one_report(pruner: str, tmp_path: Path) -> None:
    """The trial's last counted report is the one that decided."""
    study = study_of(pruner)

    trials = search(study, curve, tmp_path / "a.journal")

    advisor = Advisor(study)
    for trial in trials:
        asked = advisor.ask()[0]
        assert asked.number == trial.number
        decisions = []
        for report in trial.reports:
            advisor.report(trial.number, report.step, report.metrics["score"])
            decisions.append(advisor.should_prune(trial.number))
        assert not any(decisions[:-1])
        assert decisions[-1] == (trial.state == PRUNED)
        advisor.tell(trial.number, trial.state, trial.value)


@pytest.mark.parametrize("pruner", PRUNING)
def test_minimizing_the_negative_decides_the_same(pruner: str, tmp_path: Path) -> None:
    if pruner == "threshold":
        mirrored = small_study(
            direction="minimize",
            space={"x": {"low": 0.0, "high": 1.0}},
            pruner={"name": pruner, "upper": 2.0, "n_warmup_steps": 2},
            budget={"trials": 40},
        )
    else:
        mirrored = study_of(pruner, direction="minimize")

    up = search(study_of(pruner), curve, tmp_path / "up.journal")
    down = search(mirrored, lambda params, seed: [-v for v in curve(params, seed)], tmp_path / "down.journal")

    assert [trial.state for trial in up] == [trial.state for trial in down]


@pytest.mark.parametrize("pruner", EVERY)
def test_a_resumed_search_decides_as_if_it_had_not_stopped(pruner: str, tmp_path: Path) -> None:
    whole = search(study_of(pruner), curve, tmp_path / "whole.journal")

    killed = search(study_of(pruner), curve, tmp_path / "killed.journal", die_after=23)

    assert outcome(killed) == outcome(whole)


@pytest.mark.parametrize("pruner", EVERY)
def test_with_one_worker_a_lost_worker_changes_no_decision(pruner: str, tmp_path: Path) -> None:
    whole = search(study_of(pruner), curve, tmp_path / "whole.journal")

    lossy = search(study_of(pruner), curve, tmp_path / "lossy.journal", lose=0.3)

    assert outcome(lossy) == outcome(whole)


@pytest.mark.parametrize("pruner", ["median", "asha", "hyperband", "threshold"])
def test_a_trial_that_reports_nan_is_not_worth_finishing(pruner: str) -> None:
    advisor = Advisor(study_of(pruner))
    for _ in range(4):
        number = advisor.ask()[0].number
        for step in range(1, STEPS + 1):
            advisor.report(number, step, 1.0)
        advisor.tell(number, COMPLETE, 1.0)
    number = advisor.ask()[0].number

    decisions = []
    for step in range(1, 4):
        advisor.report(number, step, math.nan)
        decisions.append(advisor.should_prune(number))

    assert any(decisions)


@pytest.mark.parametrize(
    ("pruner", "message"),
    [
        ({"name": "asah"}, "pruner.name: must be one of .*did you mean 'asha'"),
        ({"name": "asha"}, "pruner.min_resource: is missing"),
        ({"name": "asha", "min_resource": 0}, "pruner.min_resource: must be at least 1, got 0"),
        ({"name": "asha", "min_resource": 9, "max_resource": 3}, "must be below max_resource, got min_resource = 9"),
        ({"name": "hyperband", "min_resource": 1}, "pruner.max_resource: is missing"),
        ({"name": "asha", "min_resource": 1, "reduction_factor": 1}, "must be at least 2, got 1"),
        ({"name": "patience", "patience": 0}, "must be at least 1, got 0"),
        ({"name": "threshold"}, "pruner: lower or upper must be given"),
        ({"name": "threshold", "lower": 2, "upper": 1}, "lower must be at most upper, got lower = 2, upper = 1"),
    ],
)
def test_what_cannot_work_is_refused_with_its_rule_and_value(pruner: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"small.toml: .*{message}"):
        small_study(pruner=pruner)
