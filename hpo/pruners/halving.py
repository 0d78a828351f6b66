"""Asynchronous successive halving (Li et al., 2020), and Hyperband (Li et al., 2018) made of it.

At the steps ``min_resource * reduction_factor ** rung`` a trial continues if its value is among the best
``1 / reduction_factor`` of the values that trials have had there so far. No trial waits for another. A decision depends
on the reports alone, so that a resumed search decides as an uninterrupted one.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Hashable, Iterator, Sequence

from optuna.pruners import BasePruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial

from hpo.pruners import in_finished_batches
from hpo.pruners.finished import Finished
from hpo.pruners.several import Costs, ahead, costs_by_step

# The longest cycle of brackets: with many rungs a whole one has more trials than any search.
MAX_CYCLE = 100_000


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
        self._finished = Finished(self._costs_at_rungs)  # by bracket and rung

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        bracket = self._bracket(trial.number)
        rung = self._rung_of_last_report(trial, bracket)
        if rung is None:
            return False
        own = _at(study, trial, rung)
        assert own is not None  # the last report is the one that reached the rung
        if math.inf in own:
            return True
        trials = in_finished_batches(study.get_trials(deepcopy=False), trial.number, self._batch)
        self._finished.update(study, trials)
        finished, running = self._finished.at((bracket, rung)), []
        for number in self._finished.unfinished:
            if self._bracket(number) == bracket and number != trial.number:
                running += [costs] if (costs := _at(study, trials[number], rung)) is not None else []
        if len(study.directions) > 1:
            better = ahead(own, [*finished, *running])
        else:
            better = bisect_left(finished, own) + sum(costs < own for costs in running)
        return better >= max(1, (len(finished) + len(running) + 1) // self._eta)

    def _costs_at_rungs(self, study: Study, trial: FrozenTrial) -> Iterator[tuple[Hashable, Costs]]:
        bracket = self._bracket(trial.number)
        for rung in self._rungs(bracket):
            if (costs := _at(study, trial, rung)) is None:
                return
            yield (bracket, rung), costs

    def _bracket(self, number: int) -> int:
        return self._cycle[number % len(self._cycle)]

    def _rungs(self, bracket: int) -> Iterator[int]:
        """The steps of a bracket's rungs; without a largest step there is no last one."""
        rung = self._min * self._eta**bracket
        while self._max is None or rung < self._max:
            yield rung
            rung *= self._eta

    def _rung_of_last_report(self, trial: FrozenTrial, bracket: int) -> int | None:
        """The step of the highest rung that the last report reached and no report before it did."""
        steps = reversed(trial.intermediate_values)
        last, previous = next(steps, 0), next(steps, 0)
        found = None
        for rung in self._rungs(bracket):
            if rung > last:
                break
            found = rung if rung > previous else None
        return found


def _at(study: Study, trial: FrozenTrial, rung: int) -> Costs | None:
    """A trial's costs in its first report at or after a step, NaN as the highest; None when it has not come so far."""
    steps = trial.intermediate_values
    if rung not in steps:
        if next(reversed(steps), 0) < rung:
            return None
        rung = min(step for step in steps if step > rung)  # its reports skipped the rung
    if len(study.directions) > 1:
        return costs_by_step(study, trial).get(rung)
    value = -steps[rung] if study.direction is StudyDirection.MAXIMIZE else steps[rung]
    return (math.inf if math.isnan(value) else value,)


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
    total, weights, cycle = sum(shares), [0] * count, []  # smooth weighted round-robin
    for _ in range(min(total, MAX_CYCLE)):
        weights = [weight + share for weight, share in zip(weights, shares, strict=True)]
        chosen = max(range(count), key=weights.__getitem__)
        weights[chosen] -= total
        cycle.append(chosen)
    return cycle
