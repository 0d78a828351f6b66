"""Each pruner's own rule."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import optuna
import pytest
from depth import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState, create_trial

from hpo import pruners
from hpo.pruners.halving import HalvingPruner, brackets
from hpo.pruners.median import MedianPruner
from hpo.study.algorithms import PRUNERS


def build(name: str, **options: Any) -> BasePruner:
    fields = PRUNERS[name].options
    return pruners.build(name, {key: options.get(key, field.default) for key, field in fields.items()}, None)


def decisions(
    pruner: BasePruner, curve: Sequence[float], others: Sequence[Sequence[float]] = (), **how: Any
) -> list[bool]:
    """What the pruner says after each report of a curve, beside complete trials with other curves."""
    study = optuna.create_study(direction="maximize")
    for other in others:
        study.add_trial(create_trial(value=other[-1], intermediate_values=dict(enumerate(other, start=1))))
    trial = study.ask()
    said = []
    for step, value in enumerate(curve, start=1):
        trial.report(value, step)
        said.append(pruner.prune(study, study.get_trials(deepcopy=False)[trial.number]))
    return said


# Halving -----------------------------------------------------------------------------------------------------------


def test_halving_asks_at_the_rungs_only() -> None:
    better = [[1.0] * 10] * 4

    said = decisions(build("asha", min_resource=2, reduction_factor=2), [0.0] * 10, better)

    assert [step for step, stop in enumerate(said, start=1) if stop] == [2, 4, 8]


def test_no_rung_lies_at_the_end_of_a_trial_or_beyond() -> None:
    said = decisions(build("asha", min_resource=2, reduction_factor=2, max_resource=8), [0.0] * 10, [[1.0] * 10] * 4)

    assert [step for step, stop in enumerate(said, start=1) if stop] == [2, 4]


@pytest.mark.parametrize(("rank", "goes_on"), [(1, True), (3, True), (4, False), (9, False)])
def test_one_in_reduction_factor_goes_on(rank: int, goes_on: bool) -> None:
    """Of nine trials at a rung, the trial itself among them, the best three go on."""
    others = [[float(value)] for value in range(1, 10) if value != 10 - rank]

    said = decisions(build("asha", min_resource=1, reduction_factor=3), [10.0 - rank], others)

    assert said == [not goes_on]


def test_the_first_trials_at_a_rung_go_on_only_while_they_are_the_best() -> None:
    pruner = build("asha", min_resource=1, reduction_factor=4)

    assert decisions(pruner, [1.0]) == [False]
    assert decisions(pruner, [2.0], [[1.0]]) == [False]
    assert decisions(pruner, [0.5], [[1.0]]) == [True]
    assert decisions(pruner, [1.0], [[1.0]]) == [False]  # equals are not worse


@settings(max_examples=examples(60), deadline=None)
@given(
    others=st.lists(st.lists(st.integers(0, 9).map(float), min_size=9, max_size=9), max_size=12),
    curve=st.lists(st.integers(0, 9).map(float), min_size=9, max_size=9),
    factor=st.integers(2, 4),
)
def test_against_trials_that_went_all_the_way_it_decides_as_optuna_does(
    others: list[list[float]], curve: list[float], factor: int
) -> None:
    from optuna.pruners import SuccessiveHalvingPruner

    study = optuna.create_study(direction="maximize")
    for other in others:
        rungs = {}
        for rung in range(9):
            if factor**rung <= 9:
                rungs[f"completed_rung_{rung}"] = other[factor**rung - 1]
        study.add_trial(
            create_trial(value=0.0, intermediate_values=dict(enumerate(other, start=1)), system_attrs=rungs)
        )
    theirs = SuccessiveHalvingPruner(min_resource=1, reduction_factor=factor)
    trial, expected = study.ask(), []
    for step, value in enumerate(curve, start=1):
        trial.report(value, step)
        expected.append(theirs.prune(study, study.get_trials(deepcopy=False)[trial.number]))
        if expected[-1]:
            break

    said = decisions(HalvingPruner(1, factor), curve[: len(expected)], others)

    assert said == expected


def counted(study: optuna.Study, trial: FrozenTrial, cycle: Sequence[int]) -> bool:
    """Whether successive halving with a reduction factor of 2 ends a minimized trial: by its definition."""

    def at(other: FrozenTrial, rung: int) -> float | None:
        reached = [step for step in other.intermediate_values if step >= rung]
        return other.intermediate_values[min(reached)] if reached else None

    bracket = cycle[trial.number % len(cycle)]
    *before, last = [0, *trial.intermediate_values]
    reached = [rung for rung in (2**power for power in range(bracket, 6)) if max(before) < rung <= last]
    if not reached:
        return False
    own = at(trial, max(reached))
    assert own is not None
    peers = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
    found = [at(peer, max(reached)) for peer in peers if cycle[peer.number % len(cycle)] == bracket]
    there = [value for value in found if value is not None]
    better = sum(value < own for value in there)
    return not own < math.inf or better >= max(1, (len(there) + 1) // 2)


@settings(max_examples=examples(60), deadline=None)
@given(st.data(), st.sampled_from([(0,), (0, 1), (0, 2, 0, 1)]))
def test_what_is_kept_of_finished_trials_changes_no_decision(data: st.DataObject, cycle: tuple[int, ...]) -> None:
    """Trials begin, report, skip steps and end in any order, in two studies, and one pruner decides for both."""
    pruner = HalvingPruner(1, 2, cycle=cycle)
    values = st.sampled_from([-math.inf, -1.0, 0.0, 0.5, 1.0, 2.0, math.inf, math.nan])
    for _ in range(2):
        study = optuna.create_study()
        running: list[optuna.Trial] = []
        for _ in range(data.draw(st.integers(5, 30))):
            if len(running) < 4 and data.draw(st.booleans()):
                running.append(study.ask())
            elif running:
                trial = running[data.draw(st.integers(0, len(running) - 1))]
                frozen = study.get_trials(deepcopy=False)[trial.number]
                trial.report(data.draw(values), (frozen.last_step or 0) + data.draw(st.integers(1, 3)))
                frozen = study.get_trials(deepcopy=False)[trial.number]
                assert pruner.prune(study, frozen) == counted(study, frozen, cycle)
                if data.draw(st.integers(0, 3)) == 0:
                    running.remove(trial)
                    ends = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
                    state = data.draw(st.sampled_from(ends))
                    study.tell(trial, 0.0 if state is TrialState.COMPLETE else None, state=state)


def test_a_report_that_skips_a_rung_is_judged_at_it() -> None:
    study = optuna.create_study(direction="maximize")
    study.add_trial(create_trial(value=1.0, intermediate_values={1: 1.0, 5: 1.0}))
    trial = study.ask()
    pruner = HalvingPruner(4, 2)

    said = []
    for step in (1, 6, 7):
        trial.report(0.0, step)
        said.append(pruner.prune(study, study.get_trials(deepcopy=False)[trial.number]))

    assert said == [False, True, False]


def test_hyperbands_brackets_have_their_shares_and_are_mixed() -> None:
    cycle = brackets(min_resource=1, max_resource=27, reduction_factor=3)

    assert Counter(cycle) == {0: 9, 1: 5, 2: 3}  # ceil(3 * 3^s / (s + 1)) for s = 2, 1, 0
    assert set(cycle[:5]) == {0, 1, 2}


def test_each_of_hyperbands_brackets_has_a_rung_below_the_maximum() -> None:
    for high in range(2, 100):
        for factor in (2, 3, 4):
            assert factor ** max(brackets(1, high, factor)) < high


def test_trials_of_different_brackets_do_not_compete() -> None:
    pruner = HalvingPruner(1, 3, max_resource=9, cycle=[0, 1])

    assert decisions(pruner, [0.0], [[9.0], [9.0]]) == [True]  # trial 2 against trial 0
    assert decisions(pruner, [0.0], [[9.0]]) == [False]  # trial 1 is alone in its bracket


def test_with_a_batch_only_finished_batches_decide() -> None:
    everyone, earlier = HalvingPruner(1, 2), HalvingPruner(1, 2, batch=4)

    assert decisions(everyone, [0.0], [[9.0], [9.0]]) == [True]
    assert decisions(earlier, [0.0], [[9.0], [9.0]]) == [False]  # trial 2 of batch 0
    assert decisions(earlier, [0.0], [[9.0]] * 4) == [True]  # trial 4, the first of batch 1


# Median ------------------------------------------------------------------------------------------------------------


@settings(max_examples=examples(100), deadline=None)
@given(
    curves=st.lists(
        st.tuples(
            st.lists(st.floats(-9, 9), min_size=1, max_size=6),
            st.sampled_from([TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]),
        ),
        min_size=1,
        max_size=12,
    ),
    startup=st.integers(0, 4),
    least=st.integers(1, 3),
    warmup=st.integers(0, 3),
    interval=st.integers(1, 3),
    direction=st.sampled_from(["minimize", "maximize"]),
)
def test_the_median_rule_decides_as_optunas_does(
    curves: list[tuple[list[float], TrialState]], startup: int, least: int, warmup: int, interval: int, direction: str
) -> None:
    options = {"n_startup_trials": startup, "n_min_trials": least, "n_warmup_steps": warmup, "interval_steps": interval}
    ours, theirs = MedianPruner(**options), optuna.pruners.MedianPruner(**options)
    study = optuna.create_study(direction=direction)
    for curve, state in curves:
        trial = study.ask()
        for step, value in enumerate(curve, start=1):
            trial.report(value, step)
            frozen = study.get_trials(deepcopy=False)[trial.number]
            assert ours.prune(study, frozen) == theirs.prune(study, frozen)
        study.tell(trial, curve[-1] if state is TrialState.COMPLETE else None, state=state)


# Patience and threshold --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("curve", "stops_after"),
    [
        ([1, 2, 3, 4, 5, 6], None),
        ([1, 2, 2, 2, 2, 2], 5),
        ([1, 2, 1, 1, 3, 1, 1, 1], 8),
        ([5, 4, 3, 2], 4),
        ([float("nan")] * 3, 3),
    ],
)
def test_patience_ends_after_so_many_reports_without_improvement(curve: list[float], stops_after: int | None) -> None:
    said = decisions(build("patience", patience=3), curve)

    assert (said.index(True) + 1 if any(said) else None) == stops_after


def test_a_small_improvement_is_none() -> None:
    assert decisions(build("patience", patience=2, min_delta=0.5), [1.0, 1.2, 1.4]) == [False, False, True]
    assert decisions(build("patience", patience=2, min_delta=0.5), [1.0, 1.2, 1.6]) == [False, False, False]


def test_a_threshold_ends_what_leaves_its_bounds_after_the_warm_up() -> None:
    pruner = build("threshold", lower=0.5, n_warmup_steps=2)

    assert decisions(pruner, [0.1, 0.6, 0.4]) == [False, False, True]
