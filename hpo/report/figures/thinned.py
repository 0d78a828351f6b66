"""Which trials of many a figure shows: as many as can be told apart, the extremes among them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hpo.best import front_of
from hpo.study import Study
from hpo.trial import Trial, best_first

# Figures of points show so many trials, figures of curves so many; the best of them are always there.
POINTS, CURVES, BEST = 1000, 200, 100


def front_then_best(study: Study, trials: Sequence[Trial]) -> list[Trial]:
    """The complete trials, those on the front first, and among them and the others the best by the first objective."""
    front = front_of(trials, study.objectives)
    on_it = {trial.number for trial in front}
    return front + [trial for trial in best_first(trials, study.direction) if trial.number not in on_it]


def thinned(study: Study, trials: Sequence[Trial], most: int = POINTS) -> list[Trial]:
    """Up to ``most`` trials, in their order: the best, those at the ends of a range, and a sample with a fixed seed."""
    if len(trials) <= most:
        return list(trials)
    ranked, best = front_then_best(study, trials), BEST if len(study.objectives) == 1 else most  # a front may be long
    kept = {t.number for t in (*ranked[: min(best, most // 2)], *ranked[-1:])}
    for parameter in study.space.parameters[: most // 8]:
        having = [t for t in trials if parameter.name in t.params] if parameter.ordered else []
        for end in (min, max):
            if having:
                kept.add(end(having, key=lambda t: t.params[parameter.name]).number)
    others = [index for index, trial in enumerate(trials) if trial.number not in kept]
    sample = np.random.default_rng(study.seed).permutation(len(others))[: most - len(kept)]
    kept |= {trials[others[index]].number for index in sample}
    return [trial for trial in trials if trial.number in kept]


def share(shown: int, count: int) -> str:
    """The words for a figure that shows some trials of many; nothing where it shows all."""
    return "" if shown == count else f" {shown:,} of {count:,} trials are drawn: the extremes, and a random sample."
