"""What holds for every pruner a study may name."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hpo import pruners
from hpo.errors import InputError
from hpo.study import Study
from hpo.study.algorithms import PRUNERS
from hpo.testing import PrunerContract, search, small_study
from hpo.testing.pruners import STEPS, curve
from hpo.trial import State

COMPARING: dict[str, dict[str, Any]] = {
    "median": {"name": "median", "n_startup_trials": 3},
    "asha": {"name": "asha", "min_resource": 1, "max_resource": STEPS, "reduction_factor": 3},
    "hyperband": {"name": "hyperband", "min_resource": 1, "max_resource": STEPS},
}
IMPORTED = {"name": "optuna.pruners:PercentilePruner", "percentile": 40.0, "n_startup_trials": 3}
PATIENCE = {"name": "patience", "patience": 2}
THRESHOLD = {"name": "threshold", "lower": -2.0, "n_warmup_steps": 2}
# Optuna's own stand-in for a pruner: it always gives the same answer.
ALWAYS = "optuna.testing.pruners:DeterministicPruner"
IDLE: dict[str, dict[str, Any]] = {"none": {"name": "none"}, "never": {"name": ALWAYS, "is_pruning": False}}


class TestComparing(PrunerContract):
    @pytest.fixture(params=COMPARING)
    def pruner(self, request: pytest.FixtureRequest) -> dict[str, Any]:
        return COMPARING[request.param]


@pytest.mark.filterwarnings("ignore:All-NaN slice encountered:RuntimeWarning")  # Optuna's, of a trial that reports NaN
class TestImported(PrunerContract):
    @pytest.fixture
    def pruner(self) -> dict[str, Any]:
        return IMPORTED


class TestPatience(PrunerContract):
    keeps_the_best = False  # it ends what no longer improves, the best trials too

    @pytest.fixture
    def pruner(self) -> dict[str, Any]:
        return PATIENCE


class TestThreshold(PrunerContract):
    @pytest.fixture
    def pruner(self) -> dict[str, Any]:
        return THRESHOLD

    def mirrored(self, pruner: Mapping[str, Any]) -> Study:
        return self.study({"name": "threshold", "upper": 2.0, "n_warmup_steps": 2}, "minimize")


class TestIdle(PrunerContract):
    prunes = False

    @pytest.fixture(params=IDLE)
    def pruner(self, request: pytest.FixtureRequest) -> dict[str, Any]:
        return IDLE[request.param]


def test_the_contract_covers_every_pruner() -> None:
    assert {*COMPARING, *IDLE, "patience", "threshold"} == {*PRUNERS, "never"}


def test_a_pruner_that_always_prunes_ends_every_trial_at_its_first_report(tmp_path: Path) -> None:
    trials = search(TestIdle().study({"name": ALWAYS, "is_pruning": True}), curve, tmp_path / "a.journal")

    assert [(trial.state, len(trial.reports)) for trial in trials] == [(State.PRUNED, 1)] * 40


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


@pytest.mark.parametrize(
    ("pruner", "message"),
    [
        ({"name": "no.such:Pruner"}, "pruner.name: cannot import 'no.such:Pruner': there is no module 'no' in the "),
        (
            {"name": "optuna.pruners:Nothing"},
            "pruner.name: optuna.pruners:Nothing: there is no 'Nothing' in optuna.pruners",
        ),
        (
            {"name": "optuna.samplers:RandomSampler"},
            "pruner.name: .* must be a class derived from optuna.pruners.BasePruner",
        ),
        (
            {"name": "optuna.pruners:NopPruner", "speed": 3},
            "pruner: .*: got an unexpected keyword argument 'speed'; its options are none",
        ),
        (
            {"name": "optuna.pruners:PercentilePruner"},
            "missing a required argument: 'percentile'; its options are percentile, ",
        ),
        (
            {"name": "optuna.pruners:PercentilePruner", "percentile": 200},
            "pruner: optuna.pruners:PercentilePruner: .*200",
        ),
    ],
)
def test_an_import_path_that_cannot_work_is_refused_before_any_trial(pruner: dict[str, Any], message: str) -> None:
    study = small_study(pruner=pruner)

    with pytest.raises(InputError, match=message):
        pruners.check(study.pruner.name, study.pruner.options)


def test_a_pruner_of_the_working_folder_ends_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_pruner.py").write_text(
        "from optuna.pruners import BasePruner\n"
        "class After(BasePruner):\n"
        "    def __init__(self, reports=1):\n"
        "        self.reports = reports\n"
        "    def prune(self, study, trial):\n"
        "        return trial.last_step >= self.reports\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    study = small_study(pruner={"name": "own_pruner:After", "reports": 2}, budget={"trials": 3})

    trials = search(study, lambda params, seed: [1.0, 2.0, 3.0], tmp_path / "a.journal")

    assert [(trial.state, len(trial.reports)) for trial in trials] == [(State.PRUNED, 2)] * 3
    assert study.resolved["pruner"] == {"name": "own_pruner:After", "reports": 2}
