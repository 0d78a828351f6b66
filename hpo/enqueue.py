"""Points to try before the sampler has its say: a study's ``[[enqueue]]`` tables, or another study's best trials."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from hpo.errors import InputError
from hpo.study import Study, parse
from hpo.trial import Trial, best_first

# How many of another study's best trials are tried first.
BEST = 5


def warm_start(study: Study, other: Study, trials: Sequence[Trial]) -> Study:
    """The study with the best trials of another one at the head of its queue.

    Args:
        study: What is to be run.
        other: Where the trials come from; only the parameters that both search are taken over.
        trials: The other study's trials.

    Raises:
        InputError: When there is nothing to take over, or a value lies outside the study's space.
    """
    names = {parameter.name for parameter in study.space.parameters}
    points = [
        {name: value for name, value in trial.params.items() if name in names}
        for trial in best_first(list(trials), other.direction)[:BEST]
    ]
    if not any(points):
        reason = "no trial of it is complete" if not points else "they search no parameter in common"
        raise InputError(f"--enqueue-from: nothing to take from {other.name}: {reason}")
    queue = [*points, *(point for point in study.enqueue if point not in points)]
    parsed = parse({**study.resolved, "enqueue": queue}, file=f"{study.file} with --enqueue-from {other.name}")
    return dataclasses.replace(parsed, file=study.file, source=study.source)
