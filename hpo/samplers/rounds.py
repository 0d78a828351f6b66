"""What the trials of a round say about each parameter, and the range that follows for the next round.

The chapter's steps 0-3 (section 6.5.2): set a range, sample from it, look at the results, narrow the range, repeat.
Here they are a pure function of the study and its trials, so that the search and every later look at it agree.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hpo.samplers.ranges import Box, Range, inside, keep_choices, original, positions, shrink
from hpo.samplers.ranks import Floats, dependence, interval, rank, spearman
from hpo.space import Choice, Float, Int, Parameter, Space
from hpo.trial import COMPLETE, PRUNED, Trial

# What the first trial of a round notes: the numbers of earlier trials that had not finished when it was asked for.
UNFINISHED = "hpo:unfinished"


@dataclass(frozen=True)
class Point:
    """A finished trial as narrowing sees it.

    Attributes:
        number: The trial's number.
        params: Its decoded parameters.
        order: Sorts the best trial first: complete ones by value, then pruned ones by how far they came.
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


def evidence(trials: Iterable[Trial], space: Space, options: Mapping[str, Any], direction: str) -> list[Finding]:
    """The findings of every finished round, for people and for reports.

    Args:
        trials: The study's trials; running and failed ones say nothing.
        space: The study's space.
        options: The sampler's validated options.
        direction: ``"minimize"`` or ``"maximize"``.
    """
    trials = list(trials)
    points = [
        Point(t.number, t.params, order(t.state, t.value, len(t.reports), direction))
        for t in trials
        if t.state in (COMPLETE, PRUNED)
    ]
    notes = {t.number: t.notes[UNFINISHED] for t in trials if UNFINISHED in t.notes}
    rounds = sum(t.finished for t in trials) // options["round"]
    return narrow(History(points, notes), space, options, direction, rounds)[0]


def order(state: str, value: float | None, steps: int, direction: str) -> tuple[float, ...]:
    """See :class:`Point`; ``steps`` is the last step that a pruned trial reported."""
    cost = math.inf if value is None or math.isnan(value) else -value if direction == "maximize" else value
    return (0.0, cost) if state == COMPLETE else (1.0, -float(steps), cost)


def narrow(
    history: History, space: Space, options: Mapping[str, Any], direction: str, rounds: int
) -> tuple[list[Finding], Box]:
    """Narrows round after round, from the study's own ranges.

    Returns:
        All findings of the first ``rounds`` rounds, and the ranges of the round after them.
    """
    box = original(space)
    findings: list[Finding] = []
    for index in range(rounds):
        latest = judge(index, history, box, space, options, direction)
        box = {finding.parameter: finding.new for finding in latest}
        findings += latest
    return findings, box


def judge(
    index: int, history: History, box: Box, space: Space, options: Mapping[str, Any], direction: str
) -> list[Finding]:
    """One finding per parameter at the end of round ``index``, which was drawn from ``box``.

    Every finished trial inside the box counts, earlier rounds' too: they were drawn uniformly there, as its own were.
    """
    end = (index + 1) * options["round"]
    late = set(history.unfinished.get(end, ()))
    counted = [p for p in history.points if p.number < end and p.number not in late and inside(space, box, p.params)]
    counted.sort(key=lambda point: (point.order, point.number))
    ranks = rank([point.order for point in counted]) * (-1.0 if direction == "maximize" else 1.0)
    best = max(2, math.ceil(options["keep"] * len(counted)))
    findings = []
    for parameter in space.parameters:
        rows = [row for row, point in enumerate(counted) if parameter.name in point.params]
        values = [counted[row].params[parameter.name] for row in rows]
        sample = _Sample(values, [value for row, value in zip(rows, values, strict=True) if row < best], ranks[rows])
        conclude = _of_choice if isinstance(parameter, Choice) else _of_number
        findings.append(conclude(index, parameter, box[parameter.name], sample, options))
    return findings


@dataclass(frozen=True)
class _Sample:
    """One parameter's values over trials, those of the best trials, and the ranks of the trials' metric."""

    values: list[Any]
    top: list[Any]
    metric: Floats


def _of_choice(index: int, parameter: Parameter, old: Range, sample: _Sample, options: Mapping[str, Any]) -> Finding:
    assert isinstance(parameter, Choice)
    labels = [parameter.encode(value) for value in sample.values]
    one_hot = np.array([[label == parameter.encode(choice) for choice in old] for label in labels], dtype=np.float64)
    p = dependence(one_hot, sample.metric)
    effect = p < options["alpha"] and bool(sample.top)
    new = keep_choices(old, sample.top) if effect else old
    return Finding(index, parameter.name, len(sample.values), len(sample.top), old, new, None, None, p, effect)


def _of_number(index: int, parameter: Parameter, old: Range, sample: _Sample, options: Mapping[str, Any]) -> Finding:
    assert isinstance(parameter, Float | Int)
    u = positions(parameter, old, sample.values)
    middle = rank(u) - (len(u) - 1) / 2
    p = dependence(np.stack([middle, middle**2], axis=1), sample.metric)
    correlation = spearman(u, sample.metric)
    effect = p < options["alpha"] and bool(sample.top)
    shown = (index, parameter.name, len(u), len(sample.top), old)
    measured = (correlation, interval(correlation, len(u)), p, effect)
    if not sample.top:
        return Finding(*shown, old, *measured)
    shrunk = shrink(parameter, old, sample.top, options)
    if not effect:
        return Finding(*shown, old, *measured, shrunk.touches)
    return Finding(*shown, shrunk.new, *measured, shrunk.touches, shrunk.at_bound, shrunk.widened)
