"""Which trials are best: of one objective those with the best value, of several the Pareto front.

NumPy is imported where there are several objectives: what knows one starts without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hpo.trial import Direction, Trial, best_first, counts_as_best


def front_of(trials: Iterable[Trial], objectives: Mapping[str, Direction]) -> list[Trial]:
    """The Pareto front: the complete trials that no other one beats, best by the first objective first.

    A trial beats another if it is worse in no objective and better in one. With one objective these are the best trial
    and its equals.
    """
    first = next(iter(objectives.values()))
    if len(objectives) == 1:
        ordered = best_first(trials, first)
        return [trial for trial in ordered if trial.value == ordered[0].value]
    from hpo.fronts import costs_of, on_front

    complete = [trial for trial in trials if counts_as_best(trial)]
    on_it = on_front(costs_of(complete, objectives))
    return best_first((trial for trial, yes in zip(complete, on_it, strict=True) if yes), first)


def ranked(trials: Iterable[Trial], objectives: Mapping[str, Direction]) -> list[Trial]:
    """The complete trials, best first: by the only objective; of several, by rank, and then by crowding distance."""
    if len(objectives) == 1:
        return best_first(trials, next(iter(objectives.values())))
    from hpo.fronts import costs_of, order

    complete = [trial for trial in trials if counts_as_best(trial)]
    return [complete[index] for index in order(costs_of(complete, objectives))]


def leading(trials: Iterable[Trial], objectives: Mapping[str, Direction]) -> list[Trial]:
    """What lists of the best trials show: the complete trials, best first; of several objectives those on the front."""
    return ranked(trials, objectives) if len(objectives) == 1 else front_of(trials, objectives)


class Best:
    """The trials that no other one beats, while trials are added: the front, or with one objective the best one.

    Args:
        objectives: What is better of each objective, by name.

    Attributes:
        trials: Best by the first objective first.
    """

    def __init__(self, objectives: Mapping[str, Direction]) -> None:
        self._objectives = objectives
        self._all: dict[int, Trial] = {}
        self.trials: list[Trial] = []

    def add(self, trial: Trial) -> None:
        """Counts a trial; one that was added before, and has changed since, counts as it is now."""
        known = trial.number in self._all
        self._all[trial.number] = trial
        front = front_of(self._all.values() if known else [*self.trials, trial], self._objectives)
        self.trials = front if len(self._objectives) > 1 else front[:1]
