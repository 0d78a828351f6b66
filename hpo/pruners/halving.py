"""Asynchronous successive halving (Li et al., 2020), and Hyperband (Li et al., 2018) made of it.

At the steps ``min_resource * reduction_factor ** rung`` a trial continues if its value is among the best
``1 / reduction_factor`` of the values that trials have had there so far. No trial waits for another. A decision depends
on the reports alone, so that a resumed search decides as an uninterrupted one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeVar

from optuna.pruners import BasePruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial

from hpo.pruners import in_finished_batches
from hpo.pruners.several import ahead, costs_by_step

T = TypeVar("T")
# The longest cycle of brackets: with many rungs a whole one has more trials than any search.
LONGEST = 100_000


class HalvingPruner(BasePruner):
    """Asks at the rungs only; everywhere else its answer costs a few comparisons.

    Args:
        min_resource: The step of the first rung of bracket 0, at least 1.
        reduction_factor: One trial in this many continues from a rung, at least 2.
        max_resource: The step that a full trial reaches: no rung lies at it or beyond. None if it is not known.
        cycle: The bracket of each trial, by its number modulo the length. Bracket b begins at rung b, and its trials
            compete among themselves.
        batch: The study's batch; with one, a trial competes with trials of finished batches only, so that timing does
            not matter.
    """

    def __init__(
        self,
        min_resource: int,
        reduction_factor: int,
        max_resource: int | None = None,
        cycle: Sequence[int] = (0,),
        batch: int | None = None,
    ) -> None:
        self._min, self._eta, self._max = min_resource, reduction_factor, max_resource
        self._cycle, self._batch = cycle, batch

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        bracket = self._bracket(trial.number)
        rung = self._rung_of_last_report(trial, bracket)
        if rung is None:
            return False
        trials = in_finished_batches(study.get_trials(deepcopy=False), trial.number, self._batch)
        peers = (t for t in trials if self._bracket(t.number) == bracket and t.number != trial.number)
        better, there = (_compare_all if len(study.directions) > 1 else _compare)(study, trial, peers, rung)
        return better is None or better >= max(1, (there + 1) // self._eta)

    def _bracket(self, number: int) -> int:
        return self._cycle[number % len(self._cycle)]

    def _rung_of_last_report(self, trial: FrozenTrial, bracket: int) -> int | None:
        """The step of the highest rung that the last report reached and no report before it did."""
        steps = reversed(trial.intermediate_values)
        last, previous = next(steps, 0), next(steps, 0)
        rung, found = self._min * self._eta**bracket, None
        while rung <= last and (self._max is None or rung < self._max):
            if rung > previous:
                found = rung
            rung *= self._eta
        return found


def _compare(study: Study, trial: FrozenTrial, peers: Iterable[FrozenTrial], rung: int) -> tuple[int | None, int]:
    """How many peers were better at a rung, None for a trial that is not worth finishing; and how many were there."""
    sign = -1.0 if study.direction is StudyDirection.MAXIMIZE else 1.0
    own = _at(trial.intermediate_values, rung)
    assert own is not None  # the last report is the one that reached the rung
    if math.isnan(own) or sign * own == math.inf:
        return None, 0
    better = there = 0
    for peer in peers:
        value = _at(peer.intermediate_values, rung)
        if value is not None:
            there += 1
            better += sign * value < sign * own  # false for NaN: nothing is worse
    return better, there


def _compare_all(study: Study, trial: FrozenTrial, peers: Iterable[FrozenTrial], rung: int) -> tuple[int | None, int]:
    """As :func:`_compare`, by several objectives."""
    own = _at(costs_by_step(study, trial), rung)
    assert own is not None
    if math.inf in own:
        return None, 0
    there = [costs for peer in peers if (costs := _at(costs_by_step(study, peer), rung)) is not None]
    return ahead(own, there), len(there)


def _at(values: dict[int, T], rung: int) -> T | None:
    """A trial's first value at or after a step; None when it has not come so far."""
    value = values.get(rung)
    if value is None and next(reversed(values), 0) > rung:  # its reports skipped the rung
        return values[min(step for step in values if step > rung)]
    return value


def hyperband(min_resource: int, max_resource: int, reduction_factor: int, batch: int | None) -> HalvingPruner:
    """Successive halving in brackets that begin at different rungs."""
    cycle = brackets(min_resource, max_resource, reduction_factor)
    return HalvingPruner(min_resource, reduction_factor, max_resource, cycle, batch)


def brackets(min_resource: int, max_resource: int, reduction_factor: int) -> list[int]:
    """Hyperband's brackets as a cycle over trial numbers, evenly mixed.

    Bracket b of B begins at ``min_resource * reduction_factor ** b``. Of ``sum(n)`` trials it has ``n[b] =
    ceil(B * reduction_factor ** s / (s + 1))`` with ``s = B - 1 - b``, so that each bracket spends about the same in
    all (Li et al., 2018, Algorithm 1).
    """
    count = 1
    while min_resource * reduction_factor**count < max_resource:
        count += 1
    shares = [math.ceil(count * reduction_factor**s / (s + 1)) for s in reversed(range(count))]
    total, credit, cycle = sum(shares), [0] * count, []
    for _ in range(min(total, LONGEST)):
        credit = [owed + share for owed, share in zip(credit, shares, strict=True)]
        chosen = max(range(count), key=credit.__getitem__)
        credit[chosen] -= total
        cycle.append(chosen)
    return cycle
