"""How infeasible trials are shown to samplers that learn from complete trials only."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from typing import Any

from optuna.study import StudyDirection
from optuna.trial import TrialState

from hpo.trial import CONSTRAINTS, violation_of


def shown(
    trials: Sequence[Any],
    infeasible: Collection[int],
    directions: Sequence[StudyDirection],
    bounds: int,
    *,
    knows_bounds: bool,
) -> list[Any]:
    """Copies of the trials that are to be shown as complete and bad.

    An infeasible trial is as bad as the worst complete one in every objective. For a sampler that does not know the
    bounds of metrics, a trial that violates them is worse than that, the more so the further it is beyond them.

    Args:
        trials: Optuna's trials, in order of their numbers.
        infeasible: The numbers of the infeasible ones.
        directions: Of the objectives.
        bounds: How many metrics have bounds.
        knows_bounds: Whether the sampler uses them itself.
    """
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    violations = (
        {} if knows_bounds else {t.number: v for t in complete if (v := violation_of(t.constraints.values())) > 0}
    )
    if not complete or not (infeasible or violations):
        return []
    signs = [1.0 if direction is StudyDirection.MINIMIZE else -1.0 for direction in directions]
    feasible = [trial for trial in complete if trial.number not in violations]
    columns = list(zip(*(trial.values for trial in feasible), strict=True)) or [(0.0,)] * len(signs)
    worst = [sign * max(sign * value for value in values) for sign, values in zip(signs, columns, strict=True)]
    scale = [max(values) - min(values) or 1.0 for values in columns]
    last = max(violations.values(), default=0.0)
    found = []
    for number in (*violations, *infeasible):
        trial = copy.copy(trials[number])
        beyond = violations.get(number, last)
        trial.state = TrialState.COMPLETE
        trial.values = [w + s * beyond * unit for w, s, unit in zip(worst, signs, scale, strict=True)]
        if bounds and knows_bounds and number in infeasible:
            trial.system_attrs = {**trial.system_attrs, CONSTRAINTS: [1.0] * bounds}
        found.append(trial)
    return found
