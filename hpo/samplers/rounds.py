"""What the trials of a round say about each parameter, and the range that follows for the next round.

Each round: set a range, sample from it, look at the results, narrow the range, repeat.
Here they are a pure function of the study and its trials, so that the search and every later look at it agree.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hpo.statistics import Floats, dependence, interval, rank, spearman
from hpo.study.space import Parameter, Space
from hpo.study.values import same
from hpo.trial import Direction, State, Trial

Range = tuple[Any, ...]  # (low, high) of a number, or the choices that are left
Box = dict[str, Range]

# What the first trial of a round notes: the numbers of earlier trials that had not finished when it was asked for.
UNFINISHED = "hpo:unfinished"


@dataclass(frozen=True)
class Point:
    """A finished trial as narrowing sees it.

    Attributes:
        number: The trial's number.
        params: Its decoded parameters.
        order: Sorts the best trial first: complete ones by value, then pruned ones by how far they came, then
            infeasible ones, then those that violate bounds.
    """

    number: int
    params: Mapping[str, Any]
    order: tuple[float, ...]


@dataclass(frozen=True)
class History:
    """The finished trials, and which of them did not count when a round began (by the number of its first trial)."""

    points: Sequence[Point]
    unfinished: Mapping[int, Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """What one round says about one parameter.

    Attributes:
        round: From 0.
        parameter: Its name.
        trials: How many trials inside the old ranges had the parameter, from this round and earlier ones.
        best: How many of them belong to the best fraction.
        old: The range that the round was drawn from: (low, high), or the choices.
        new: The range of the next round.
        correlation: Spearman's rank correlation of the parameter with the metric; None for a choice.
        interval: Its 95 % confidence interval; None for a choice, or for fewer than four trials.
        p: How often chance alone makes the metric depend on the parameter as much (a permutation test that sees rising,
            falling and peaked dependence, and differences between choices).
        effect: Whether ``p`` is below the study's ``alpha``; without an effect the range stays as it is.
        touches: How many of the best lie within ``margin`` of the low and of the high end of the old range.
        at_bound: The ends ("low", "high") of the study's own range at which the best trials lie: the optimum may be
            beyond.
        widened: Whether the new range goes beyond the study's own.
    """

    round: int
    parameter: str
    trials: int
    best: int
    old: Range
    new: Range
    correlation: float | None
    interval: tuple[float, float] | None
    p: float
    effect: bool
    touches: tuple[int, int] | None = None
    at_bound: tuple[str, ...] = ()
    widened: bool = False


def evidence(trials: Iterable[Trial], space: Space, options: Mapping[str, Any], direction: Direction) -> list[Finding]:
    """The findings of every finished round, for people and for reports.

    Args:
        trials: The study's trials; running and failed ones say nothing.
        space: The study's space.
        options: The sampler's validated options.
        direction: ``"minimize"`` or ``"maximize"``.
    """
    trials = list(trials)
    points = [
        Point(t.number, t.params, order(t.state, t.value, len(t.reports), direction, t.violation))
        for t in trials
        if t.state in (State.COMPLETE, State.PRUNED, State.INFEASIBLE)
    ]
    history = History(points, {t.number: t.notes[UNFINISHED] for t in trials if UNFINISHED in t.notes})
    box = original(space)
    findings: list[Finding] = []
    for index in range(sum(t.finished for t in trials) // options["round"]):
        latest = judge(index, history, box, space, options, direction)
        box = {finding.parameter: finding.new for finding in latest}
        findings += latest
    return findings


def order(
    state: str, value: float | None, steps: int, direction: Direction, violation: float = 0.0
) -> tuple[float, ...]:
    """See :class:`Point`; ``steps`` is the last step that a pruned trial reported."""
    if violation > 0:
        return (2.0, violation)
    steps = 0 if state == State.INFEASIBLE else steps
    cost = math.inf if value is None or math.isnan(value) else -value if direction is Direction.MAXIMIZE else value
    return (0.0, cost) if state == State.COMPLETE else (1.0, -float(steps), cost)


def judge(
    index: int, history: History, box: Box, space: Space, options: Mapping[str, Any], direction: Direction
) -> list[Finding]:
    """One finding per parameter at the end of round ``index``, which was drawn from ``box``.

    Every finished trial inside the box counts, earlier rounds' too: they were drawn uniformly there, as its own were.
    """
    end = (index + 1) * options["round"]
    late = set(history.unfinished.get(end, ()))
    counted = [p for p in history.points if p.number < end and p.number not in late and inside(space, box, p.params)]
    counted.sort(key=lambda point: (point.order, point.number))
    ranks = rank([point.order for point in counted]) * (direction.sign)
    best = max(2, math.ceil(options["keep"] * len(counted)))
    findings = []
    for parameter in space.parameters:
        rows = [row for row, point in enumerate(counted) if parameter.name in point.params]
        values = [counted[row].params[parameter.name] for row in rows]
        top = [value for row, value in zip(rows, values, strict=True) if row < best]
        conclude = _of_number if parameter.ordered else _of_choice
        concluded = conclude(parameter, box[parameter.name], values, top, ranks[rows], options)
        findings.append(Finding(index, parameter.name, len(values), len(top), box[parameter.name], **concluded))
    return findings


def _of_choice(
    parameter: Parameter, old: Range, values: list[Any], top: list[Any], metric: Floats, options: Mapping[str, Any]
) -> dict[str, Any]:
    """What follows from a choice's values in all trials and in the best, and from the ranks of the trials' metric."""
    labels = [parameter.encode(value) for value in values]
    one_hot = np.array([[label == parameter.encode(choice) for choice in old] for label in labels], dtype=np.float64)
    p = dependence(one_hot, metric)
    effect = p < options["alpha"] and bool(top)
    new = tuple(choice for choice in old if any(same(choice, other) for other in top)) if effect else old
    return {"new": new, "correlation": None, "interval": None, "p": p, "effect": effect}


def _of_number(
    parameter: Parameter, old: Range, values: list[Any], top: list[Any], metric: Floats, options: Mapping[str, Any]
) -> dict[str, Any]:
    """As :func:`_of_choice`."""
    u = positions(parameter, old, values)
    middle = rank(u) - (len(u) - 1) / 2
    p = dependence(np.stack([middle, middle**2], axis=1), metric)
    correlation = spearman(u, metric)
    effect = p < options["alpha"] and bool(top)
    found = {"new": old, "correlation": correlation, "interval": interval(correlation, len(u)), "p": p}
    if top:
        shrunk = shrink(parameter, old, top, options)
        found |= shrunk if effect else {"touches": shrunk["touches"]}
    return {**found, "effect": effect}


# The geometry of ranges --------------------------------------------------------------------------------------------


def original(space: Space) -> Box:
    """The study's own ranges."""
    return {p.name: p.ends if p.ordered else tuple(p.values() or ()) for p in space.parameters}


def inside(space: Space, box: Box, params: Mapping[str, Any]) -> bool:
    """Whether a trial's parameters lie within the ranges."""
    return all(
        box[p.name][0] <= params[p.name] <= box[p.name][1]
        if p.ordered
        else any(same(params[p.name], choice) for choice in box[p.name])
        for p in space.parameters
        if p.name in params
    )


def positions(parameter: Parameter, old: Range, values: Sequence[Any]) -> Floats:
    """Where values lie in a range, on the parameter's scale: 0 at its low end, 1 at its high end; shape (values,)."""
    low, high = _scaled(parameter, old)
    width = (high - low) or 1.0
    return np.array([(_scale(parameter, value) - low) / width for value in values], dtype=np.float64)


def shrink(parameter: Parameter, old: Range, best: Sequence[Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The range around the best values, a margin on both sides, not below the minimum width.

    Args:
        parameter: The parameter; the new range lies in its own range, unless that may be widened.
        old: The range the values were drawn from.
        best: The values of the best trials, at least one.
        options: ``margin`` (in widths of the old range), ``min_width`` (in widths of the study's range) and ``widen``.

    Returns:
        ``new``, ``touches``, ``at_bound`` and ``widened``, as :class:`Finding` has them.
    """
    margin = options["margin"]
    u = positions(parameter, old, best)
    touches = (int((u <= margin).sum()), int((u >= 1 - margin).sum()))
    first, last = _at_least(float(u.min()) - margin, float(u.max()) + margin, _least(parameter, old, options))
    first, last = max(first, 0.0), min(last, 1.0)
    limits = parameter.ends
    at_low = old[0] <= limits[0] and touches[0] >= 2
    at_high = old[1] >= limits[1] and touches[1] >= 2
    at_bound = ("low",) * at_low + ("high",) * at_high
    widen = options["widen"]
    may_widen = widen if isinstance(widen, bool) else parameter.name in widen
    if may_widen and len(at_bound) == 1:  # at both ends there is no direction to go
        width = last - first
        first, last = (first - width, last) if at_low else (first, last + width)
    new = _natural(parameter, old, first, last)
    widened = new[0] < limits[0] or new[1] > limits[1]
    return {"new": new, "touches": touches, "at_bound": at_bound, "widened": widened}


def _at_least(first: float, last: float, width: float) -> tuple[float, float]:
    """The interval, grown around its middle to ``width`` and pushed back into [0, 1]."""
    if last - first < width:
        middle = (first + last) / 2
        first, last = middle - width / 2, middle + width / 2
    if first < 0:
        return 0.0, max(last, min(width, 1.0))
    if last > 1:
        return min(first, max(1.0 - width, 0.0)), 1.0
    return first, last


def _least(parameter: Parameter, old: Range, options: Mapping[str, Any]) -> float:
    """The minimum width, in widths of the old range."""
    low, high = _scaled(parameter, old)
    whole_low, whole_high = _scaled(parameter, parameter.ends)
    return min(1.0, float(options["min_width"]) * (whole_high - whole_low) / ((high - low) or math.inf))


def _natural(parameter: Parameter, old: Range, first: float, last: float) -> Range:
    """A range in widths of the old one, in the parameter's own units; its ends stay what they were where they did."""
    low, high = _scaled(parameter, old)
    ends = [
        old[end] if share == end else _unscale(parameter, low + (high - low) * share)
        for end, share in ((0, first), (1, last))
    ]
    bottom, top = parameter.ends
    floor = 1 if parameter.whole and bottom >= 1 else 0
    if bottom >= floor:  # what is not negative, or counts from one, stays so
        ends[0] = max(ends[0], floor)
    if top <= 0:
        ends[1] = min(ends[1], 0)
    if parameter.whole:
        ends = [math.floor(ends[0] + 1e-9), math.ceil(ends[1] - 1e-9)]
    return tuple(ends)


def _scaled(parameter: Parameter, ends: Range) -> tuple[float, float]:
    return _scale(parameter, ends[0]), _scale(parameter, ends[1])


def _scale(parameter: Parameter, value: float) -> float:
    return math.log(value) if parameter.log else float(value)


def _unscale(parameter: Parameter, value: float) -> float:
    return math.exp(value) if parameter.log else value
