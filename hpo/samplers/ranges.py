"""The geometry of narrowing: how a range is measured, shrunk around the best trials, and widened at its ends."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpo.samplers.ranks import Floats
from hpo.space import Choice, Float, Int, Parameter, Space

Range = tuple[Any, ...]  # (low, high) of a number, or the choices that are left
Box = dict[str, Range]


@dataclass(frozen=True)
class Shrunk:
    """A numerical range after a round; the attributes are those of :class:`hpo.samplers.rounds.Finding`."""

    new: Range
    touches: tuple[int, int]
    at_bound: tuple[str, ...]
    widened: bool


def original(space: Space) -> Box:
    """The study's own ranges."""
    return {p.name: p.choices if isinstance(p, Choice) else _bounds(p) for p in space.parameters}


def inside(space: Space, box: Box, params: Mapping[str, Any]) -> bool:
    """Whether a trial's parameters lie within the ranges."""
    return all(
        _among(params[p.name], box[p.name])
        if isinstance(p, Choice)
        else box[p.name][0] <= params[p.name] <= box[p.name][1]
        for p in space.parameters
        if p.name in params
    )


def positions(parameter: Float | Int, old: Range, values: Sequence[Any]) -> Floats:
    """Where values lie in a range, on the parameter's scale: 0 at its low end, 1 at its high end; shape (values,)."""
    low, high = _scaled(parameter, old)
    width = (high - low) or 1.0
    return np.array([(_scale(parameter, value) - low) / width for value in values], dtype=np.float64)


def shrink(parameter: Float | Int, old: Range, best: Sequence[Any], options: Mapping[str, Any]) -> Shrunk:
    """The range around the best values, a margin on both sides, not below the minimum width.

    Args:
        parameter: The parameter; the new range lies in its own range, unless that may be widened.
        old: The range the values were drawn from.
        best: The values of the best trials, at least one.
        options: ``margin`` (in widths of the old range), ``min_width`` (in widths of the study's range) and ``widen``.
    """
    margin = options["margin"]
    u = positions(parameter, old, best)
    touches = (int((u <= margin).sum()), int((u >= 1 - margin).sum()))
    first, last = _at_least(float(u.min()) - margin, float(u.max()) + margin, _least(parameter, old, options))
    first, last = max(first, 0.0), min(last, 1.0)
    limits = _bounds(parameter)
    at_low = old[0] <= limits[0] and touches[0] >= 2
    at_high = old[1] >= limits[1] and touches[1] >= 2
    at_bound = ("low",) * at_low + ("high",) * at_high
    if _may_widen(parameter, options) and len(at_bound) == 1:  # at both ends there is no direction to go
        width = last - first
        first, last = (first - width, last) if at_low else (first, last + width)
    new = _natural(parameter, old, first, last)
    return Shrunk(new, touches, at_bound, widened=new[0] < limits[0] or new[1] > limits[1])


def keep_choices(old: Range, best: Iterable[Any]) -> Range:
    """The choices that occur among the best trials, in their order."""
    best = tuple(best)
    return tuple(choice for choice in old if _among(choice, best))


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


def _least(parameter: Float | Int, old: Range, options: Mapping[str, Any]) -> float:
    """The minimum width, in widths of the old range."""
    low, high = _scaled(parameter, old)
    whole_low, whole_high = _scaled(parameter, _bounds(parameter))
    return min(1.0, float(options["min_width"]) * (whole_high - whole_low) / ((high - low) or math.inf))


def _natural(parameter: Float | Int, old: Range, first: float, last: float) -> Range:
    """A range in widths of the old one, in the parameter's own units; its ends stay what they were where they did."""
    low, high = _scaled(parameter, old)
    ends = [
        old[end] if share == end else _unscale(parameter, low + (high - low) * share)
        for end, share in ((0, first), (1, last))
    ]
    floor = 1 if isinstance(parameter, Int) and parameter.low >= 1 else 0
    if parameter.low >= floor:  # what is not negative, or counts from one, stays so
        ends[0] = max(ends[0], floor)
    if parameter.high <= 0:
        ends[1] = min(ends[1], 0)
    if isinstance(parameter, Int):
        ends = [math.floor(ends[0] + 1e-9), math.ceil(ends[1] - 1e-9)]
    return tuple(ends)


def _may_widen(parameter: Float | Int, options: Mapping[str, Any]) -> bool:
    widen = options["widen"]
    return widen if isinstance(widen, bool) else parameter.name in widen


def _bounds(parameter: Parameter) -> Range:
    assert isinstance(parameter, Float | Int)
    return (parameter.low, parameter.high)


def _scaled(parameter: Float | Int, ends: Range) -> tuple[float, float]:
    return _scale(parameter, ends[0]), _scale(parameter, ends[1])


def _scale(parameter: Float | Int, value: float) -> float:
    return math.log(value) if parameter.log else float(value)


def _unscale(parameter: Float | Int, value: float) -> float:
    return math.exp(value) if parameter.log else value


def _among(value: Any, values: Iterable[Any]) -> bool:
    return any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in values)
