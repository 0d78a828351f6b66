"""The median rule (Golovin et al., 2017), Optuna's decisions at a fraction of the cost.

Optuna's pruner looks at every complete trial at every report. Here the values that complete trials had at a step are
kept in order, and a report costs a look-up.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import defaultdict

from optuna.pruners import BasePruner
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.pruners.peers import before_batch


class MedianPruner(BasePruner):
    """Ends a trial whose best value so far is worse than the median of the complete trials' values at this step.

    Args:
        n_startup_trials: No trial is ended before this many are complete.
        n_min_trials: Nor at a step that fewer complete trials than this have reported.
        n_warmup_steps: Nor before this step.
        interval_steps: Afterwards it looks at every so-manieth step.
        batch: The study's batch; a trial is then compared with those of finished batches only, whatever the timing.
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
        # What is known of complete trials; a memo of the study's trials, and of nothing else.
        self._seen = 0
        self._open: list[int] = []
        self._complete = 0
        self._costs: defaultdict[int, list[float]] = defaultdict(list)

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        step = trial.last_step
        if step is None or step < self._warmup or not self._looks(trial, step):
            return False
        sign = -1.0 if study.direction is StudyDirection.MAXIMIZE else 1.0
        self._catch_up(before_batch(study.get_trials(deepcopy=False), trial.number, self._batch), sign)
        costs = self._costs.get(step, [])
        if self._complete < max(1, self._startup) or len(costs) < self._least or not costs:
            return False
        best = min((_cost(sign, value) for value in trial.intermediate_values.values()), default=math.inf)
        return best > _median(costs)

    def _looks(self, trial: FrozenTrial, step: int) -> bool:
        """Whether this is the first report at or after one of the steps to look at."""
        due = self._warmup + (step - self._warmup) // self._interval * self._interval
        return due == step or not any(due <= other < step for other in trial.intermediate_values)

    def _catch_up(self, trials: list[FrozenTrial], sign: float) -> None:
        self._open += range(self._seen, len(trials))
        self._seen = max(self._seen, len(trials))
        for number in [number for number in self._open if trials[number].state.is_finished()]:
            self._open.remove(number)
            if trials[number].state is TrialState.COMPLETE:
                self._complete += 1
                for step, value in trials[number].intermediate_values.items():
                    if not math.isnan(value):
                        insort(self._costs[step], sign * value)


def _cost(sign: float, value: float) -> float:
    return math.inf if math.isnan(value) else sign * value


def _median(ordered: list[float]) -> float:
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
