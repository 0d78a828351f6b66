"""What a study's finished trials reported, in order, so that a pruner's decision does not read all of them again."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from hpo.pruners.several import Costs


class Finished:
    """A cache that follows one study, and begins anew with another; it follows from the trials alone.

    Args:
        costs: What is kept of a finished trial: its costs, and the key of those that they are compared with.

    Attributes:
        complete: How many trials are complete.
        unfinished: The numbers of the trials that have not finished.
    """

    def __init__(self, costs: Callable[[Study, FrozenTrial], Iterable[tuple[Hashable, Costs]]]) -> None:
        self._costs_of = costs
        self._study: object = None
        self._clear()

    def _clear(self) -> None:
        self._seen = self.complete = 0
        self.unfinished: list[int] = []
        self._costs: defaultdict[Hashable, list[Costs]] = defaultdict(list)

    def update(self, study: Study, trials: list[FrozenTrial]) -> None:
        """Keeps what the trials that have finished since the last call cost.

        Args:
            study: The study.
            trials: Those of its trials that count, in order of their numbers from 0.
        """
        if self._study != (study._storage, study._study_id):
            self._clear()
            self._study = (study._storage, study._study_id)
        numbers = [*self.unfinished, *range(self._seen, len(trials))]
        self._seen = max(self._seen, len(trials))
        self.unfinished = [number for number in numbers if not trials[number].state.is_finished()]
        for trial in (trials[number] for number in numbers if trials[number].state.is_finished()):
            self.complete += trial.state is TrialState.COMPLETE
            for key, costs in self._costs_of(study, trial):
                insort(self._costs[key], costs)

    def at(self, key: Hashable) -> list[Costs]:
        """The costs with a key, the lowest first."""
        return self._costs.get(key, [])
