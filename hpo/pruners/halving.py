"""Asynchronous successive halving (Li et al., 2020), and Hyperband (Li et al., 2018) made of it.

At the steps ``min_resource * reduction_factor ** rung`` a trial goes on if its value is among the best
``1 / reduction_factor`` of the values that trials have had there so far. Nobody waits for anybody; all that a decision
needs is in the reports, so that a resumed search decides as it would have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from optuna.pruners import BasePruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial

from hpo.pruners.peers import before_batch


class HalvingPruner(BasePruner):
    """Asks at the rungs only; everywhere else its answer costs a few comparisons.

    Args:
        min_resource: The step of the first rung of bracket 0, at least 1.
        reduction_factor: One trial in this many goes on from a rung, at least 2.
        max_resource: The step that a full trial reaches: no rung lies at it or beyond. None if it is not known.
        cycle: The bracket of each trial, by its number modulo the length. Bracket b begins at rung b, and its trials
            compete among themselves.
        batch: The study's batch; a trial then competes with those of finished batches only, whatever the timing.
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
        sign = -1.0 if study.direction is StudyDirection.MAXIMIZE else 1.0
        own = _value_at(trial, rung)
        assert own is not None  # the last report is the one that reached the rung
        if math.isnan(own) or sign * own == math.inf:
            return True
        better, there = 0, 1
        for peer in before_batch(study.get_trials(deepcopy=False), trial.number, self._batch):
            if self._bracket(peer.number) != bracket or peer.number == trial.number:
                continue
            value = _value_at(peer, rung)
            if value is not None:
                there += 1
                better += sign * value < sign * own  # false for NaN: nothing is worse
        return better >= max(1, there // self._eta)

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


def _value_at(trial: FrozenTrial, rung: int) -> float | None:
    """The trial's first value at or after a step; None when it has not come so far."""
    values = trial.intermediate_values
    value = values.get(rung)
    if value is None and next(reversed(values), 0) > rung:  # its reports skipped the rung
        return values[min(step for step in values if step > rung)]
    return value


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
    for _ in range(total):
        credit = [owed + share for owed, share in zip(credit, shares, strict=True)]
        chosen = max(range(count), key=credit.__getitem__)
        credit[chosen] -= total
        cycle.append(chosen)
    return cycle
