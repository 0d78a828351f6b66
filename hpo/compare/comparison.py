"""Which of several studies is better, from repeats of each: curves, a paired test, and how sure that is.

A side is one study, run several times; repeat r of every side shares its seed, so sides are compared pair by pair. All
values are in the metric's own unit. Until a search has a complete trial, it counts with the worst first value of all
searches: failing is never better than a poor start.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from hpo.fronts import box_of, costs_of
from hpo.so_far import BestSoFar, RunningTime
from hpo.statistics import ALPHA, Floats, headroom, holm, mean_interval, median_low, quantiles, sign_flip, superiority
from hpo.trial import Direction, Trial, by_end, counts_as_best, own

Ints = np.ndarray[Any, np.dtype[np.int64]]

TRIALS, REPORTS = AXES = ("trials", "reports")
BEST, AREA = "best", "mean of the best so far"
# What searches with several objectives are compared by: the share of one box for all that their fronts cover.
HYPERVOLUME = "hypervolume"


@dataclass(frozen=True)
class Trace:
    """What one search had found and used after each of its n finished trials, in the order in which they ended.

    Attributes:
        best: The best value so far, shape (n,); NaN before the first complete trial.
        reports: Reports of all finished trials together, shape (n,).
        seconds: For how long trials had been running, however many at once, shape (n,).
        costs: With several objectives, those of the trials, shape (n, objectives); infinite where a trial does not
            count. Then ``best`` is what the front covers (:func:`in_hypervolume`).
    """

    best: Floats
    reports: Ints
    seconds: Floats
    costs: Floats | None = None

    @property
    def failed(self) -> bool:
        """Whether no trial is complete."""
        return bool(np.isnan(self.best).all())

    @property
    def trials(self) -> Ints:
        """1 to n."""
        return np.arange(1, len(self.best) + 1)

    def used(self, axis: str) -> Ints:
        """The budget that was used after each trial, shape (n,): trials or reports."""
        return self.reports if axis == REPORTS else self.trials

    def at(self, budget: Ints, axis: str, start: float) -> Floats:
        """The best value at each budget; ``start`` before the first complete trial."""
        place = np.searchsorted(self.used(axis), budget, side="right")
        best = np.concatenate([[start], np.where(np.isnan(self.best), start, self.best)])
        return best[place]


def trace(trials: Sequence[Trial], direction: Direction) -> Trace:
    """Follows a search through its finished trials; those that it took over are no evidence of its own."""
    done, best, running = by_end(own(trials)), BestSoFar(direction), RunningTime()
    values, seconds = [], []
    for trial in done:
        best.add(trial)
        if trial.started is not None and trial.ended is not None:
            running.add(trial.started, trial.ended)
        values.append(math.nan if best.value is None else best.value)
        seconds.append(running.seconds)
    reports = np.cumsum([len(t.reports) for t in done], dtype=np.int64)
    return Trace(np.array(values, dtype=np.float64), reports, np.array(seconds, dtype=np.float64))


def follow(trials: Sequence[Trial], objectives: Mapping[str, Direction]) -> Trace:
    """Follows a search with one objective or several, which :func:`in_hypervolume` makes comparable."""
    traced = trace(trials, next(iter(objectives.values())))
    if len(objectives) == 1:
        return traced
    done = by_end(own(trials))
    costs = np.full((len(done), len(objectives)), np.inf)
    counting = [index for index, trial in enumerate(done) if counts_as_best(trial)]
    costs[counting] = costs_of((done[index] for index in counting), objectives)
    return replace(traced, costs=costs)


def in_hypervolume(
    sides: Mapping[str, Mapping[int, Trace]], objectives: Mapping[str, Direction]
) -> tuple[dict[str, dict[int, Trace]], dict[str, float]]:
    """Searches with several objectives by what their fronts cover of one box, which all trials of all searches make.

    Args:
        sides: By the study's name, its searches by the number of the repeat.
        objectives: The same of all studies.

    Returns:
        The sides, to be maximized, and the reference point: the worst value that counts, by objective.

    Raises:
        ValueError: When no search of any side has a complete trial.
    """
    every = np.concatenate([t.costs for traces in sides.values() for t in traces.values() if t.costs is not None])
    every = every[np.isfinite(every).all(axis=1)]
    if not len(every):
        raise ValueError("no search has a complete trial")
    box = box_of(every)

    def covering(one: Trace) -> Trace:
        assert one.costs is not None
        return replace(one, best=np.where(np.isnan(one.best), np.nan, box.covered(one.costs)))

    signs = np.array([direction.sign for direction in objectives.values()])
    reference = dict(zip(objectives, (signs * box.worst).tolist(), strict=True))
    return {name: {r: covering(t) for r, t in traces.items()} for name, traces in sides.items()}, reference


# The test ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contrast:
    """Two sides under one measure.

    Attributes:
        measure: :data:`BEST` or :data:`AREA`.
        first: One side's name.
        second: The other's.
        pairs: How many repeats both have.
        difference: The mean of first - second over the pairs.
        interval: Its 95% interval; None for one pair.
        superiority: The share of pairs in which the first is better; a tie counts half.
        p_value: Of :func:`sign_flip`.
        corrected: The same after Holm's correction over all contrasts.
        better: The side shown to be better; None when no difference is shown.
    """

    measure: str
    first: str
    second: str
    pairs: int
    difference: float
    interval: tuple[float, float] | None
    superiority: float
    p_value: float
    corrected: float
    better: str | None = None


def contrast(measure: str, first: tuple[str, Floats], second: tuple[str, Floats], direction: Direction) -> Contrast:
    """Compares two sides, given as name and values of the same repeats."""
    (one, a), (two, b) = first, second
    unit = headroom(a, b)
    differences = a / unit - b / unit
    between = mean_interval(differences, np.random.default_rng(0))
    p = sign_flip(differences, np.random.default_rng(0))
    return Contrast(
        measure=measure,
        first=one,
        second=two,
        pairs=len(differences),
        difference=_held(float(differences.mean()) * unit),
        interval=between and (_held(between[0] * unit), _held(between[1] * unit)),
        superiority=superiority(a, b) if direction is Direction.MAXIMIZE else superiority(b, a),
        p_value=p,
        corrected=p,
    )


def _held(value: float) -> float:
    """A number as JSON holds it: not infinite."""
    return max(-sys.float_info.max, min(value, sys.float_info.max))


def correct(contrasts: Sequence[Contrast], direction: Direction) -> list[Contrast]:
    """Corrects for how many contrasts there are, and says who is better where that is shown."""
    judged = []
    for one, corrected in zip(contrasts, holm([c.p_value for c in contrasts]), strict=True):
        ahead = one.first if (one.difference > 0) == (direction is Direction.MAXIMIZE) else one.second
        judged.append(replace(one, corrected=corrected, better=ahead if corrected <= ALPHA else None))
    return judged


# The comparison ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Side:
    """One study over its repeats.

    Attributes:
        name: The study's name.
        traces: Its searches by the number of the repeat.
        best: The best value at the common budget, one per repeat.
        area: The mean of the best so far over the common budget, one per repeat.
        reached: How many searches reached the target, in all that they ran.
        to_target: The ``trials``, ``reports`` and ``seconds`` by which half of the searches had; None where fewer did.
    """

    name: str
    traces: Mapping[int, Trace]
    best: Floats
    area: Floats
    reached: int
    to_target: Mapping[str, float | None]

    @property
    def failed(self) -> int:
        """How many searches have no complete trial."""
        return sum(t.failed for t in self.traces.values())


@dataclass(frozen=True)
class Comparison:
    """Several sides on a common budget.

    Attributes:
        direction: ``"minimize"`` or ``"maximize"``.
        axis: What the budget is counted in, :data:`TRIALS` or :data:`REPORTS`.
        common: By axis, the budget that every search that did not fail has used.
        start: What a search without a complete trial counts with.
        target: The value to reach.
        sides: In the order in which they were given.
        contrasts: Every two sides under every measure, corrected together.
    """

    direction: Direction
    axis: str
    common: Mapping[str, int]
    start: float
    target: float
    sides: tuple[Side, ...]
    contrasts: tuple[Contrast, ...]


def compare(
    sides: Mapping[str, Mapping[int, Trace]], direction: Direction, axis: str = TRIALS, target: float | None = None
) -> Comparison:
    """Compares studies by their repeats.

    Args:
        sides: By the study's name, its searches by the number of the repeat.
        direction: ``"minimize"`` or ``"maximize"``.
        axis: What makes budgets equal: :data:`TRIALS` or :data:`REPORTS`.
        target: The value to reach; None for the median of what the first side had found in the end.

    Raises:
        ValueError: When no search of any side has a complete trial.
    """
    alive = [t for traces in sides.values() for t in traces.values() if not t.failed]
    if not alive:
        raise ValueError("no search has a complete trial")
    worst = min if direction is Direction.MAXIMIZE else max
    start = float(worst(t.best[~np.isnan(t.best)][0] for t in alive))
    common = {axis: int(min(t.used(axis)[-1] for t in alive)) for axis in AXES}
    if target is None:
        ends = np.array([start if t.failed else t.best[-1] for t in next(iter(sides.values())).values()])
        target = float(quantiles(ends, [0.5])[0])
    budget = np.arange(1, common[axis] + 1)
    judged = []
    for name, traces in sides.items():
        curves = np.array([t.at(budget, axis, start) for t in traces.values()])
        reached, to_target = _to_target(list(traces.values()), target, direction)
        unit = headroom(curves)
        area = (curves / unit).mean(axis=1) * unit
        judged.append(Side(name, traces, curves[:, -1], area, reached, to_target))
    contrasts = [
        one for a, b in combinations(judged, 2) for measure in (BEST, AREA) if (one := _pair(measure, a, b, direction))
    ]
    return Comparison(direction, axis, common, start, target, tuple(judged), tuple(correct(contrasts, direction)))


def _pair(measure: str, a: Side, b: Side, direction: Direction) -> Contrast | None:
    """The two sides on the repeats that both have; None when they share none."""
    shared = [repeat for repeat in a.traces if repeat in b.traces]
    if not shared:
        return None
    values = []
    for side in (a, b):
        places = [list(side.traces).index(repeat) for repeat in shared]
        values.append((side.name, (side.best if measure == BEST else side.area)[places]))
    return contrast(measure, values[0], values[1], direction)


def _to_target(traces: Sequence[Trace], target: float, direction: Direction) -> tuple[int, dict[str, float | None]]:
    used: dict[str, list[float]] = {"trials": [], "reports": [], "seconds": []}
    for one in traces:
        there = np.flatnonzero(one.best >= target if direction is Direction.MAXIMIZE else one.best <= target)
        for name, column in used.items():
            column.append(float(getattr(one, name)[there[0]]) if len(there) else math.inf)
    # By when half had reached it: a middle value of a search that did and one that never did would be no time at all.
    medians = {name: median_low(np.array(column)) for name, column in used.items()}
    reached = sum(math.isfinite(count) for count in used["trials"])
    return reached, {name: value if math.isfinite(value) else None for name, value in medians.items()}


def quartiles(side: Side, budget: Ints, axis: str, start: float) -> Floats:
    """Lower quartile, median and upper quartile of a side's best so far, shape (3, budgets)."""
    return quantiles(np.array([t.at(budget, axis, start) for t in side.traces.values()]))
