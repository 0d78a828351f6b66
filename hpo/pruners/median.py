"""The median rule (Golovin et al., 2017), Optuna's decisions at a fraction of the cost.

Optuna's pruner looks at every complete trial at every report. Here the values that complete trials had at a step are
kept in order, and a report costs a look-up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from optuna.pruners import BasePruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.pruners import in_finished_batches
from hpo.pruners.finished import Finished
from hpo.pruners.several import Costs, ahead, costs_by_step


class MedianPruner(BasePruner):
    """Ends a trial whose best value so far is worse than the median of the complete trials' values at this step.

    With several objectives, a trial's best values so far of each stand for it, and it ends where more than half of the
    complete trials come before it (:mod:`hpo.pruners.several`).

    Args:
        n_startup_trials: No trial is ended before this many are complete.
        n_min_trials: Nor at a step that fewer complete trials than this have reported.
        n_warmup_steps: Nor before this step.
        interval_steps: From there on it looks at every ``interval_steps``-th step.
        batch: The study's batch; with one, a trial is compared with trials of finished batches only, so that timing
            does not matter.
    """

    def __init__(
        self,
        n_startup_trials: int = 5,
        n_min_trials: int = 1,
        n_warmup_steps: int = 0,
        interval_steps: int = 1,
        batch: int | None = None,
    ) -> None:
        self._startup, self._least = n_startup_trials, n_min_trials
        self._warmup, self._interval = n_warmup_steps, interval_steps
        self._batch = batch
        self._finished = Finished(_complete_costs)  # by step

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        step = trial.last_step
        if step is None or step < self._warmup or not self._looks(trial, step):
            return False
        self._finished.update(study, in_finished_batches(study.get_trials(deepcopy=False), trial.number, self._batch))
        costs = self._finished.at(step)
        if self._finished.complete < max(1, self._startup) or len(costs) < self._least or not costs:
            return False
        best = tuple(map(min, zip(*_costs(study, trial).values(), strict=True)))
        if len(study.directions) == 1:
            return (best or (math.inf,)) > _median(costs)
        return not best or 2 * ahead(best, costs) > len(costs)

    def _looks(self, trial: FrozenTrial, step: int) -> bool:
        """Whether this is the first report at or after one of the steps to look at."""
        due = self._warmup + (step - self._warmup) // self._interval * self._interval
        return due == step or not any(due <= other < step for other in trial.intermediate_values)


def _complete_costs(study: Study, trial: FrozenTrial) -> Iterable[tuple[int, Costs]]:
    return _costs(study, trial).items() if trial.state is TrialState.COMPLETE else ()


def _costs(study: Study, trial: FrozenTrial) -> dict[int, Costs]:
    """A trial's costs by step, without those that are no numbers."""
    if len(study.directions) > 1:
        return {step: costs for step, costs in costs_by_step(study, trial).items() if math.inf not in costs}
    sign = -1.0 if study.direction is StudyDirection.MAXIMIZE else 1.0
    return {step: (sign * value,) for step, value in trial.intermediate_values.items() if not math.isnan(value)}


def _median(ordered: list[Costs]) -> Costs:
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else ((ordered[middle - 1][0] + ordered[middle][0]) / 2,)
