"""How far a study is, as metrics over its finished trials: step n is the state after n of them."""

from __future__ import annotations

from collections.abc import Iterable

from mlflow.entities import Metric

from hpo.tracking.mlflow.values import milliseconds
from hpo.trial import COMPLETE, FAILED, PRUNED, Trial


class Progress:
    """Counts trials as they finish.

    Args:
        direction: ``"minimize"`` or ``"maximize"``.
    """

    def __init__(self, direction: str) -> None:
        self._better = max if direction == "maximize" else min
        self._seen: set[int] = set()
        self._counts = {COMPLETE: 0, PRUNED: 0, FAILED: 0}
        self._best: float | None = None

    def after(self, trials: Iterable[Trial], skip: int = 0) -> list[Metric]:
        """The points that finished trials add, in their order, a trial that has been counted left out.

        Args:
            trials: Finished ones.
            skip: So many first steps are counted but give no points.
        """
        points = []
        for trial in trials:
            if trial.number not in self._seen:
                self._count(trial)
                if len(self._seen) > skip:
                    points += self._point(trial)
        return points

    def _count(self, trial: Trial) -> None:
        self._seen.add(trial.number)
        self._counts[trial.state] += 1
        if trial.state == COMPLETE and trial.value is not None:
            self._best = trial.value if self._best is None else self._better(self._best, trial.value)

    def _point(self, trial: Trial) -> list[Metric]:
        when, step = milliseconds(trial.ended or 0), len(self._seen)
        points = [Metric("trials_finished", step, when, step)]
        points += [Metric(f"trials_{state}", count, when, step) for state, count in self._counts.items()]
        if self._best is not None:
            points.append(Metric("best_objective", self._best, when, step))
        return points
