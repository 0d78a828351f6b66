"""Pruning by several objectives: a trial's place among others, by non-dominated rank, then by crowding distance.

This is successive halving's order in Schmucker, Donini, Zafar, Salinas, Archambeau: Multi-objective Asynchronous
Successive Halving. arXiv:2106.12639, 2021; rank and distance are those of NSGA-II (:mod:`hpo.fronts`). Beyond it, a
trial of the front that is best in some objective comes before all others, so that no rung ends it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial

from hpo import fronts

# The attribute of a trial in memory with the values of all objectives by step; where there is one objective, Optuna's
# own intermediate values have all.
VALUES = "hpo:values"

Costs = tuple[float, ...]


def costs_by_step(study: Study, trial: FrozenTrial) -> dict[int, Costs]:
    """A trial's reports as costs, one per objective; NaN is the highest cost."""
    signs = [-1.0 if direction is StudyDirection.MAXIMIZE else 1.0 for direction in study.directions]
    return {
        step: tuple(math.inf if math.isnan(value) else sign * value for sign, value in zip(signs, values, strict=True))
        for step, values in trial.user_attrs.get(VALUES, {}).items()
    }


def ahead(own: Costs, others: Sequence[Costs]) -> int:
    """How many of the others come before a trial; 0 for one of the front that is best in some objective.

    Args:
        own: The trial's costs, all below infinity.
        others: Those of the other trials; one with an infinite cost is ahead of none.
    """
    costs = np.array([own, *(other for other in others if math.inf not in other)])
    rank = fronts.ranks(costs)
    if rank[0] == 0 and (costs[0] == costs.min(axis=0)).any():
        return 0
    same = np.flatnonzero(rank == rank[0])
    distance = fronts.crowding(costs[same])
    return int((rank < rank[0]).sum() + (distance > distance[0]).sum())
