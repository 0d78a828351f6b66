"""How far a study is, as metrics of its parent run."""

from __future__ import annotations

from collections.abc import Iterable

from mlflow.entities import Metric

from hpo.best import Best
from hpo.fronts import Covered, box_of, costs_of
from hpo.study import Study
from hpo.tracking.mlflow import client
from hpo.trial import State, Trial, counts_as_best

# The box of so many complete trials gives the reference point of the hypervolume, which then stays.
FIRST = 10


class Progress:
    """The metrics that finished trials add: step n is the state of the study after n of them."""

    def __init__(self, study: Study) -> None:
        self._states: dict[int, State] = {}
        self._counts = {State.COMPLETE: 0, State.PRUNED: 0, State.FAILED: 0}
        self._objectives = study.objectives
        self._best = Best(study.objectives)
        self._waiting: list[Trial] = []
        self._volume = 0.0
        self._covered: Covered | None = None

    @property
    def best(self) -> set[int]:
        """The numbers of the trials on the front; with one objective, of the best one alone."""
        return {trial.number for trial in self._best.trials}

    def after(self, trials: Iterable[Trial], skip: float = 0) -> list[Metric]:
        """The points that finished trials add, in their order; trials counted before and the first steps add none."""
        points = []
        for trial in trials:
            before = self._states.get(trial.number)
            if before is trial.state:
                continue
            self._states[trial.number] = trial.state
            self._best.add(trial)
            if before is not None:  # a person has discarded it, or let it count again: what was logged stays
                continue
            self._counts[trial.state] = self._counts.get(trial.state, 0) + 1
            best = self._so_far(trial)
            when, step = client.milliseconds(trial.ended or 0), len(self._states)
            if step > skip:
                numbers = {"trials_finished": step} | {f"trials_{state}": n for state, n in self._counts.items()}
                points += [Metric(name, value, when, step) for name, value in (numbers | best).items()]
        return points

    def _so_far(self, trial: Trial) -> dict[str, float]:
        """How good the best are by now: their value, or what they cover below the reference point."""
        if len(self._objectives) == 1:
            return {"best_objective": self._best.trials[0].values[0]} if self._best.trials else {}
        self._waiting += [trial] if counts_as_best(trial) else []
        if self._covered is None and len(self._waiting) == FIRST:
            self._covered = Covered(box_of(costs_of(self._waiting, self._objectives)).worst)
        if self._covered is None:
            return {}
        for point in costs_of(self._waiting, self._objectives):  # those that are not counted yet
            self._volume = self._covered.add(point)
        self._waiting = []
        return {"hypervolume": self._volume}
