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
