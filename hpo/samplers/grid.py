"""Grid search: every combination of a few values per parameter.

A grid is the wrong tool when only some parameters matter (chapter, section 6.5.2): of n = r * r points it sees r
distinct learning rates where random search sees n. It is here for spaces that are lists by nature, and to compare.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hpo.space import Choice, Float, Int, Parameter, Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

# A grid is held in memory, and counted when its study is read.
LARGEST = 100_000


def axis(parameter: Parameter, points: int | None) -> list[Any]:
    """The values of one parameter: all that it can take, or ``points`` of them, evenly spread over its scale.

    Raises:
        ValueError: When the parameter is continuous and ``points`` is None.
    """
    if isinstance(parameter, Choice):
        return list(parameter.choices)
    assert isinstance(parameter, Float | Int)
    if points is None:
        if isinstance(parameter, Int):
            return list(range(parameter.low, parameter.high + 1, parameter.step))
        if parameter.step is None:
            raise ValueError(
                f"points must say how many values {parameter.name} has: points = {{ {parameter.name} = 5 }}"
            )
        return list(_lattice(parameter.low, parameter.high, parameter.step))
    values = _spread(parameter.low, parameter.high, points, log=parameter.log)
    if (parameter.log and isinstance(parameter, Float)) or parameter.step is None:
        return values
    nearest = (parameter.low + parameter.step * round((value - parameter.low) / parameter.step) for value in values)
    return sorted({min(parameter.decode(value), parameter.high) for value in nearest})


def _lattice(low: float, high: float, step: float) -> Iterator[float]:
    for index in range(math.floor((high - low) / step + 1e-9) + 1):
        yield min(low + index * step, high)


def _spread(low: float, high: float, points: int, *, log: bool) -> list[float]:
    """Both ends and what lies evenly between them; the middle if there is one point only."""
    import numpy as np  # not at the top: a study file is read without NumPy

    spread = np.geomspace if log else np.linspace
    values: list[float] = spread(low, high, points if points > 1 else 3).tolist()
    return values if points > 1 else values[1:2]


def axes(space: Space, options: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The values of every parameter.

    Args:
        space: The study's space.
        options: ``points``: a number of points for every continuous parameter, or a table of numbers by parameter.

    Raises:
        ValueError: For a continuous parameter without points, or points for what is no range.
    """
    points = options["points"]
    if not isinstance(points, Mapping):
        return {p.name: axis(p, points if isinstance(p, Float) and p.step is None else None) for p in space.parameters}
    ranges = {p.name for p in space.parameters if not isinstance(p, Choice)}
    for name in points:
        if name not in ranges:
            raise ValueError(f"points can be given for a float or integer parameter only, got {name!r}")
    return {p.name: axis(p, points.get(p.name)) for p in space.parameters}


def grid(space: Space, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All points of the grid, in the order of the file; an inactive parameter is absent and multiplies nothing.

    Raises:
        ValueError: As :func:`axes`, or when there are too many.
    """
    values = axes(space, options)
    bound = math.prod(len(axis) for axis in values.values())
    if bound > LARGEST:
        raise ValueError(f"a grid has at most {LARGEST} points, but this one may have {bound}")
    points: list[dict[str, Any]] = [{}]
    for parameter in space.parameters:
        points = [
            longer
            for point in points
            for longer in (
                [{**point, parameter.name: value} for value in values[parameter.name]]
                if space.active(parameter, point)
                else [point]
            )
        ]
    return points


def make_sampler(seed: int, space: Space, options: Mapping[str, Any]) -> BaseSampler:
    """The grid in an order that depends on the seed alone, so that a budget that cuts it leaves no corner out."""
    from hpo.samplers.listed import ListedSampler

    points = grid(space, options)
    import numpy as np

    order = np.random.default_rng(seed).permutation(len(points))
    return ListedSampler(seed, [space.encode(points[index]) for index in order], options["repeats"])
