"""Samplers in a study file: options, their rules, and what is not installed."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from small_study import small_study

from hpo import samplers
from hpo.errors import InputError
from hpo.search.advisor import Advisor
from hpo.study import parse
from hpo.study.algorithms import PRUNERS, SAMPLERS

POINT = {"lr": 1e-3, "layers": 2, "activation": "relu", "hidden": []}
NEEDED: dict[str, dict[str, Any]] = {"grid": {"points": 3, "repeats": 2}, "listed": {"points": [POINT]}}


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_option_is_recorded_and_read_back(name: str) -> None:
    study = small_study(sampler={"name": name, "seed": 5, "batch": 4, **NEEDED.get(name, {})})

    again = parse(study.resolved, file="ledger")

    assert again.sampler == study.sampler
    assert (again.seed, again.batch) == (5, 4)
    assert set(study.sampler.options) == set(SAMPLERS[name].options)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_has_what_its_row_says_that_it_has(name: str) -> None:
    row, study = SAMPLERS[name], small_study(sampler={"name": name, **NEEDED.get(name, {})})
    options = study.sampler.options

    listed = row.list_points(options["points"], study.space) * (options["repeats"] or 1) if row.list_points else None
    assert study.points == (None if listed is None else len(listed))
    if row.widens:
        made: Any = samplers.build(name, 0, study.space, options)
        assert made.space.names == study.space.names


@pytest.mark.parametrize(
    ("options", "alone", "several"),
    [
        ({}, True, False),
        ({"multivariate": True}, True, True),
        ({"multivariate": False}, False, False),
        ({"group": True}, True, True),
        ({"group": False}, True, False),
    ],
)
def test_tpe_draws_parameters_one_by_one_for_several_objectives(
    options: dict[str, bool], alone: bool, several: bool
) -> None:
    sampler, objectives = {"name": "tpe", **options}, {"score": "maximize", "size": "minimize"}

    assert small_study(sampler=sampler).sampler.options["multivariate"] is alone
    assert small_study(sampler=sampler, objectives=objectives).sampler.options["multivariate"] is several


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        ({"name": "tpee"}, "sampler.name: must be one of .*, got \"tpee\"; did you mean 'tpe'"),
        ({"name": "random", "points": 3}, "sampler.points: unknown key"),
        ({"name": "tpe", "batch": 0}, "sampler.batch: must be at least 1, got 0"),
        ({"name": "tpe", "group": True, "multivariate": False}, "group = true needs multivariate = true"),
        ({"name": "narrowing", "keep": 0.9}, "sampler.keep: must be at most 0.5, got 0.9"),
        ({"name": "narrowing", "round": 4}, "round \\* keep must be at least 2 .*, got round = 4, keep = 0.25"),
        ({"name": "narrowing", "widen": ["activation"]}, "widen must name float or integer parameters"),
        ({"name": "cmaes", "with_margin": True, "lr_adapt": True}, "at most one of"),
        ({"name": "qmc", "sequence": "lattice"}, "sampler.sequence: must be one of sobol, halton"),
    ],
)
def test_what_cannot_work_is_refused_with_its_rule_and_value(sampler: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"small.toml: .*{message}"):
        small_study(sampler=sampler)


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (
            {"name": "no.such:Sampler"},
            "sampler.name: cannot import 'no.such:Sampler': there is no module 'no' in the",
        ),
        (
            {"name": "optuna.samplers:Nothing"},
            "optuna.samplers:Nothing: there is no 'Nothing' in optuna.samplers; known are ",
        ),
        ({"name": "optuna.pruners:NopPruner"}, "must be a class derived from optuna.samplers.BaseSampler"),
        ({"name": "optuna.samplers:RandomSampler", "speed": 3}, "unexpected keyword argument 'speed'"),
        ({"name": "optuna.samplers:NSGAIISampler", "population_size": 1}, "greater than or equal to 2"),
    ],
)
def test_an_import_path_that_cannot_work_is_refused_before_any_trial(sampler: dict[str, Any], message: str) -> None:
    study = small_study(sampler=sampler)

    with pytest.raises(InputError, match=message):
        samplers.check(study.sampler.name, study.seed, study.space, study.sampler.options)


def test_an_imported_sampler_gets_its_options_and_the_seed() -> None:
    options = {"name": "optuna.samplers:NSGAIISampler", "population_size": 4, "seed": 3}

    first, second = (Advisor(small_study(sampler=options)).ask().params for _ in range(2))

    assert first == second


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samplers, "find_spec", lambda module: None)
    study = small_study(sampler={"name": "gp"})

    with pytest.raises(InputError, match=r"gp needs torch, .*: pip install 'hpo-service\[gp\]'"):
        Advisor(study)


def test_reading_a_study_imports_neither_optuna_nor_scipy_nor_torch() -> None:
    code = (
        "import sys; from hpo.study import parse\n"
        "for name in ('random', 'narrowing', 'grid', 'tpe', 'gp', 'cmaes', 'qmc', 'some.where:Else'):\n"
        "    parse({'name': 's', 'objective': 'a:b', 'metric': 'm', 'direction': 'minimize',\n"
        "           'space': {'x': {'choice': [1, 2]}}, 'sampler': {'name': name},\n"
        "           'pruner': {'name': 'asha', 'min_resource': 1}, 'budget': {'trials': 1}}, file='f')\n"
        "print(sorted({'optuna', 'scipy', 'torch', 'ray', 'mlflow'} & set(sys.modules)))"
    )

    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert answer.stdout == "[]\n"


def test_no_pruner_has_the_name_of_a_sampler() -> None:
    """`Named.algorithm` looks a row up by its name alone."""
    assert not SAMPLERS.keys() & PRUNERS.keys()
