"""Which of several studies is better, from repeats of each: curves, a paired test, and how sure that is.

A side is one study, run several times; repeat r of every side shares its seed, so sides are compared pair by pair. All
values are in the metric's own unit. A search counts, for as long as it has no complete trial, with the worst value that
any search began with: failing is never better than a poor start.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np

from hpo.trial import COMPLETE, Trial

Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]

# A difference is called one when luck alone brings its like less often than this, over all tests together.
ALPHA = 0.05
# Pairs up to which every sign is tried; and how many random signs are tried beyond.
EXACT, FLIPS = 18, 100_000
RESAMPLES = 10_000
TRIALS, REPORTS = AXES = ("trials", "reports")
BEST, AREA = "best", "mean of the best so far"


@dataclass(frozen=True)
class Trace:
    """What one search had found and used after each of its n finished trials, in the order in which they ended.

    Attributes:
        best: The best value so far, shape (n,); NaN before the first complete trial.
        reports: Reports of all finished trials together, shape (n,).
        seconds: For how long trials had been running, however many at once, shape (n,).
    """

    best: Floats
    reports: Ints
    seconds: Floats

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


def trace(trials: Sequence[Trial], direction: str) -> Trace:
    """Follows a search through its finished trials."""
    done = sorted((t for t in trials if t.finished), key=lambda t: (t.ended or 0.0, t.number))
    scored = [t.state == COMPLETE and t.value is not None and math.isfinite(t.value) for t in done]
    values = np.array([t.value if known else math.nan for t, known in zip(done, scored, strict=True)], dtype=np.float64)
    better = np.fmax if direction == "maximize" else np.fmin  # both pass over NaN
    seconds, running, until = [], 0.0, -math.inf
    for trial in done:
        if trial.started is not None and trial.ended is not None:
            running += max(0.0, trial.ended - max(trial.started, until))
            until = max(until, trial.ended)
        seconds.append(running)
    reports = np.cumsum([len(t.reports) for t in done], dtype=np.int64)
    return Trace(better.accumulate(values) if done else values, reports, np.array(seconds, dtype=np.float64))


# The test ----------------------------------------------------------------------------------------------------------


def sign_flip(differences: Floats, rng: np.random.Generator) -> float:
    """The two-sided p-value of a paired permutation test: is the mean of these differences 0?

    Were there no difference, each could as well have had the other sign (Fisher, The Design of Experiments, 1935,
    section 21). Exact up to :data:`EXACT` pairs that differ, else from :data:`FLIPS` random signs.

    Args:
        differences: One per pair, shape (n,).
        rng: Draws the random signs.

    Returns:
        How often random signs bring a mean as far from 0; never below 2 / 2**n.
    """
    own = differences[differences != 0.0]  # a tie is the same with either sign
    scale = float(np.abs(own).sum())
    if scale == 0.0:
        return 1.0
    reached = abs(float(own.sum())) - 1e-9 * scale  # sums in another order differ in their last digits
    if len(own) <= EXACT:
        sums = own[:1]  # by symmetry the first keeps its sign
        for difference in own[1:]:
            sums = np.concatenate([sums + difference, sums - difference])
        return float(np.mean(np.abs(sums) >= reached))
    count = 0
    for _ in range(FLIPS // 1000):
        signs = rng.choice((-1.0, 1.0), size=(1000, len(own)))
        count += int(np.sum(np.abs(signs @ own) >= reached))
    return (count + 1) / (FLIPS + 1)  # the observed signs are one draw, too (Davison and Hinkley, 1997, eq. 4.11)


def fewest_pairs(tests: int, alpha: float = ALPHA) -> int:
    """How many pairs the test needs at least before it can show anything, among so many tests: 2 / 2**n is enough."""
    return 1 + math.ceil(math.log2(tests / alpha))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for how many there are (Holm, Scandinavian Journal of Statistics 6, 1979); order kept."""
    corrected = [1.0] * len(p_values)
    largest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = largest
    return corrected


def mean_interval(values: Floats, rng: np.random.Generator) -> tuple[float, float] | None:
    """A 95% bootstrap interval of the mean; None for less than two values.

    Percentiles of resampled means, spread by sqrt(n / (n - 1)): resamples vary less than samples by that factor.
    """
    count = len(values)
    if count < 2:
        return None
    means = values[rng.integers(count, size=(RESAMPLES, count))].mean(axis=1)
    middle = values.mean()
    low, high = np.quantile(middle + math.sqrt(count / (count - 1)) * (means - middle), [0.025, 0.975])
    return float(low), float(high)


def superiority(first: Floats, second: Floats, direction: str) -> float:
    """The share of pairs in which the first is better; a tie counts half."""
    ahead = np.sign(first - second) * (1 if direction == "maximize" else -1)
    return float(np.mean((ahead + 1) / 2))


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


def contrast(
    measure: str, first: tuple[str, Floats], second: tuple[str, Floats], direction: str, seed: int = 0
) -> Contrast:
    """Compares two sides, given as name and values of the same repeats; ``seed`` is for all random draws."""
    (one, a), (two, b) = first, second
    differences = a - b
    p = sign_flip(differences, np.random.default_rng(seed))
    return Contrast(
        measure=measure,
        first=one,
        second=two,
        pairs=len(differences),
        difference=float(differences.mean()),
        interval=mean_interval(differences, np.random.default_rng(seed)),
        superiority=superiority(a, b, direction),
        p_value=p,
        corrected=p,
    )


def correct(contrasts: Sequence[Contrast], direction: str, alpha: float = ALPHA) -> list[Contrast]:
    """Corrects for how many contrasts there are, and says who is better where that is shown."""
    judged = []
    for one, corrected in zip(contrasts, holm([c.p_value for c in contrasts]), strict=True):
        ahead = one.first if (one.difference > 0) == (direction == "maximize") else one.second
        judged.append(replace(one, corrected=corrected, better=ahead if corrected <= alpha else None))
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

    direction: str
    axis: str
    common: Mapping[str, int]
    start: float
    target: float
    sides: tuple[Side, ...]
    contrasts: tuple[Contrast, ...]


def compare(
    sides: Mapping[str, Mapping[int, Trace]], direction: str, axis: str = TRIALS, target: float | None = None
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
    worst = min if direction == "maximize" else max
    start = float(worst(t.best[~np.isnan(t.best)][0] for t in alive))
    common = {axis: int(min(t.used(axis)[-1] for t in alive)) for axis in AXES}
    if target is None:
        ends = [start if t.failed else t.best[-1] for t in next(iter(sides.values())).values()]
        target = float(np.median(ends))
    budget = np.arange(1, common[axis] + 1)
    judged = []
    for name, traces in sides.items():
        curves = np.array([t.at(budget, axis, start) for t in traces.values()])
        reached, to_target = _to_target(list(traces.values()), target, direction)
        judged.append(Side(name, traces, curves[:, -1], curves.mean(axis=1), reached, to_target))
    contrasts = [
        one for a, b in combinations(judged, 2) for measure in (BEST, AREA) if (one := _pair(measure, a, b, direction))
    ]
    return Comparison(direction, axis, common, start, target, tuple(judged), tuple(correct(contrasts, direction)))


def _pair(measure: str, a: Side, b: Side, direction: str) -> Contrast | None:
    """The two sides on the repeats that both have; None when they share none."""
    shared = [repeat for repeat in a.traces if repeat in b.traces]
    if not shared:
        return None
    values = []
    for side in (a, b):
        places = [list(side.traces).index(repeat) for repeat in shared]
        values.append((side.name, (side.best if measure == BEST else side.area)[places]))
    return contrast(measure, values[0], values[1], direction)


def _to_target(traces: Sequence[Trace], target: float, direction: str) -> tuple[int, dict[str, float | None]]:
    used: dict[str, list[float]] = {"trials": [], "reports": [], "seconds": []}
    for one in traces:
        there = np.flatnonzero(one.best >= target if direction == "maximize" else one.best <= target)
        for name, column in used.items():
            column.append(float(getattr(one, name)[there[0]]) if len(there) else math.inf)
    # By when half had reached it: a middle value of a search that did and one that never did would be no time at all.
    medians = {name: float(np.quantile(column, 0.5, method="inverted_cdf")) for name, column in used.items()}
    reached = sum(math.isfinite(count) for count in used["trials"])
    return reached, {name: value if math.isfinite(value) else None for name, value in medians.items()}


def quartiles(side: Side, budget: Ints, axis: str, start: float) -> Floats:
    """Lower quartile, median and upper quartile of a side's best so far, shape (3, budgets)."""
    return np.quantile([t.at(budget, axis, start) for t in side.traces.values()], [0.25, 0.5, 0.75], axis=0)
