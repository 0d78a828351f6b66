"""Several objectives at once: which trials no other one beats, and how good they are together.

All functions take costs, an array of shape (points, objectives) in which lower is better.

- Deb, Pratap, Agarwal, Meyarivan: A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II. IEEE Transactions on
  Evolutionary Computation 6, 2002: the non-dominated rank and the crowding distance.
- While, Bradstreet, Barone: A Fast Way of Calculating Exact Hypervolumes. The same journal, 16, 2012.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hpo.statistics import Floats, outer_fences
from hpo.trial import Direction, Trial

Bools = NDArray[np.bool_]
Ints = NDArray[np.intp]
# The largest cost where differences of two are taken.
_LARGEST = 1e300
# Up to so many objectives hypervolumes over trials are exact; for more, random points are counted.
EXACT, _SAMPLE = 3, 20_000
# For more of them, what one more trial adds is estimated by so many comparisons, with at least so many random points.
_COMPARISONS, _FEWEST, _AT_ONCE = 1_000_000, 500, 32
# A cost is diverged that is further above the median than so many times the median is above the best.
_FAR = 1000


def costs_of(trials: Iterable[Trial], objectives: Mapping[str, Direction]) -> Floats:
    """The costs of complete trials, shape (trials, objectives)."""
    signs = np.array([direction.sign for direction in objectives.values()])
    values: Floats = np.array([trial.values for trial in trials], dtype=np.float64).reshape(-1, len(signs))
    values *= signs
    return values


def bounded(costs: Floats) -> Floats:
    """The costs, clipped so far that the difference of any two is finite."""
    return np.clip(costs, -_LARGEST, _LARGEST)


def on_front(costs: Floats) -> Bools:
    """Which points no other one beats, shape (points,); of equal points all or none are on the front."""
    found = np.zeros(len(costs), dtype=bool)
    rest = np.lexsort(costs.T[::-1]) if len(costs) else np.zeros(0, np.intp)
    while rest.size:  # nothing beats the first of the rest: in this order, no point beats an earlier one
        first = costs[rest[0]]
        found[rest[0]] = True
        rest = rest[1:]
        there = costs[rest]
        found[rest[(there == first).all(axis=1)]] = True
        rest = rest[(there < first).any(axis=1)]
    return found


def ranks(costs: Floats) -> Ints:
    """The non-dominated rank, shape (points,): 0 on the front, 1 on the front of what is left without it, and so on."""
    found = np.zeros(len(costs), dtype=np.intp)
    rest, rank = np.arange(len(costs)), 0
    while rest.size:
        on_it = on_front(costs[rest])
        found[rest[on_it]] = rank
        rest, rank = rest[~on_it], rank + 1
    return found


def crowding(costs: Floats) -> Floats:
    """The crowding distance of the points of one front, shape (points,): how far away the neighbours are.

    Of each objective, the distance between the two neighbours as a share of the front's extent; infinite at both ends.
    """
    found = np.zeros(len(costs))
    for column in bounded(costs).T:
        along = np.argsort(column, kind="stable")
        values = column[along]
        extent = values[-1] - values[0] if values.size else 0.0
        if extent > 0:
            found[along[1:-1]] += (values[2:] - values[:-2]) / extent
            found[(column == values[0]) | (column == values[-1])] = np.inf
    return found


def order(costs: Floats) -> Ints:
    """The points' places, best first: by rank, then the less crowded first, then the earlier one first."""
    found = ranks(costs)
    distance = np.zeros(len(costs))
    for rank in np.unique(found):
        distance[found == rank] = crowding(costs[found == rank])
    return np.lexsort((-distance, found))


def hypervolume(costs: Floats, reference: Sequence[float] | Floats) -> float:
    """How much of the space below ``reference`` the points beat: the exact volume; a higher one is better.

    Args:
        costs: Shape (points, objectives). Points that are not below the reference in every objective add nothing.
        reference: The worst costs that count, shape (objectives,).
    """
    limit = np.asarray(reference, dtype=np.float64)
    inside = costs[(costs < limit).all(axis=1)]
    return _volume(np.unique(inside[on_front(inside)], axis=0), limit)


class Box(NamedTuple):
    """The space of costs that counts, so that hypervolumes are shares of it: 0 to 1, whatever the units.

    Attributes:
        best: The lowest cost of each objective, shape (objectives,).
        worst: The reference point, the highest costs that count, shape (objectives,).
    """

    best: Floats
    worst: Floats

    def covered(self, costs: Floats) -> Floats:
        """The hypervolume after each of the points, in their order, shape (points,); it never falls.

        It is exact for up to three objectives, and for more an estimate with a standard error of 0.0035 at most: the
        exact volume would take minutes.
        """
        extent = self.worst - self.best
        with np.errstate(over="ignore"):  # what is infinitely bad covers nothing
            scaled = (bounded(costs) - self.best) / np.where(extent > 0, extent, 1.0)
        if scaled.shape[1] > EXACT:
            return _estimated(scaled)
        covered = Covered(np.ones(scaled.shape[1]))
        return np.array([covered.add(point) for point in scaled])


class Covered:
    """The hypervolume of points that come one by one, without starting anew for each.

    It is exact for up to three objectives. For more it is an estimate whose time has a bound: the exact volume would
    take minutes. What each point adds is then estimated without bias, so that the standard error is at most the root of
    the hypervolume times the largest volume of one point, over the number of random points (20,000 until the front
    has 50, then fewer).

    Args:
        limit: The reference point, the costs that count as worst, shape (objectives,).
    """

    def __init__(self, limit: Floats) -> None:
        self._limit, self._front, self._total = limit, np.empty((0, len(limit))), 0.0
        self._rng = np.random.default_rng(0)

    def add(self, point: Floats) -> float:
        """Counts a point, shape (objectives,); returns the hypervolume of all until now, which never falls."""
        front, limit = self._front, self._limit
        if (point < limit).all() and not (front <= point).all(axis=1).any():
            self._total += self._added(point)
            self._front = np.vstack([front[(front < point).any(axis=1)], point])
        return self._total

    def _added(self, point: Floats) -> float:
        """What a point adds: its own volume without the part that the front covers already."""
        front, limit = self._front, self._limit
        with np.errstate(over="ignore"):  # a volume may be infinite
            own = float(np.prod(limit - point))
            if len(limit) > EXACT:
                return own * self._free(point) if math.isfinite(own) else 0.0
            known = hypervolume(np.maximum(front, point), limit)
        return max(0.0, own - known) if math.isfinite(known) else 0.0

    def _free(self, point: Floats) -> float:
        """The share of a point's own volume that the front does not cover, from random points."""
        if not len(self._front):
            return 1.0
        count = max(_FEWEST, min(_SAMPLE, _COMPARISONS // len(self._front)))
        free = point + (self._limit - point) * self._rng.random((count, len(point)))
        for start in range(0, len(self._front), _AT_ONCE):
            part = self._front[start : start + _AT_ONCE, None]
            free = free[(free < part).any(axis=2).all(axis=0)]
        return len(free) / count


def _estimated(scaled: Floats) -> Floats:
    """The share of random points in the unit cube that are beaten by then, shape (points,)."""
    free = np.random.default_rng(0).random((_SAMPLE, scaled.shape[1]))
    found = np.zeros(len(scaled))
    for index, point in enumerate(scaled):
        if (point < 1).all():
            free = free[(free < point).any(axis=1)]
        found[index] = 1 - len(free) / _SAMPLE
    return found


def diverged(costs: Floats) -> Bools:
    """Which costs are so high that nothing else would be seen beside them, shape (points, objectives).

    Those more than a thousand times as far above the median as the median is above the best. Up to
    half of the points may have diverged. Where half of them have the best cost, none has.
    """
    costs = bounded(costs)
    reach = np.median(costs, axis=0) - costs.min(axis=0)
    return np.asarray((reach > 0) & (costs - np.median(costs, axis=0) > _FAR * reach))


def box_of(costs: Floats) -> Box:
    """From the best cost of each objective to the worst one that is on the front, or is no outlier.

    A single diverged loss would make the box so large that every front covers all of it. So a diverged cost does not
    count, not even that of a point on the front, which then covers nothing.

    Args:
        costs: Shape (points, objectives), one point at least.
    """
    costs = bounded(costs)
    counts = ~diverged(costs)
    _, fence = outer_fences(np.where(counts, costs, np.nan))
    on_it = on_front(costs)[:, None]
    return Box(costs.min(axis=0), np.where(counts & (on_it | (costs <= fence)), costs, -np.inf).max(axis=0))


def _volume(front: Floats, limit: Floats) -> float:
    """The volume below ``limit`` of different points that do not beat each other, sorted by their first costs."""
    if front.shape[1] <= 2:  # a staircase
        widths = np.diff(front[:, 0], append=limit[0])
        heights = limit[1] - front[:, 1] if front.shape[1] == 2 else np.ones(len(front))
        return float(widths @ heights)
    total = 0.0
    for index, point in enumerate(front):  # what this point adds to those behind it
        others = np.maximum(front[index + 1 :], point)
        others = np.unique(others[on_front(others)], axis=0)
        total += float(np.prod(limit - point)) - _volume(others, limit)
    return total
