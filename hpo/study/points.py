"""Points of a search space that a study spells out: enqueued points, a list of points, a grid.

A grid is the wrong tool when only some parameters matter (Bergstra and Bengio, JMLR 13, 2012): of n = r * r points it
sees r distinct learning rates where random search sees n. It is here for spaces that are lists by nature.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hpo.errors import InputError
from hpo.study.fields import Place, integer, show
from hpo.study.parameters import Parameter
from hpo.study.space import Space
from hpo.study.values import same
from hpo.text import suggest
from hpo.trial import FIXED, Trial

# A grid, a batch and a sampler's candidates are held in memory.
LARGEST = 100_000


# Enqueued and listed points ----------------------------------------------------------------------------------------


def read_points(place: Place, raw: Sequence[Any], space: Space) -> tuple[dict[str, Any], ...]:
    """Reads a study's ``[[enqueue]]`` tables: parameters by name, the rest left to the sampler.

    Raises:
        InputError: For an unknown or inactive parameter, a value outside the space, or a point that breaks a
            constraint or cannot be completed so that it breaks none, with file, key, rule and value.
    """
    return tuple(
        read_point(Place(place.file, f"{place.key}[{index}]"), table, space) for index, table in enumerate(raw)
    )


def read_list(raw: Sequence[Any], space: Space) -> list[dict[str, Any]]:
    """Reads points that leave nothing open.

    Raises:
        ValueError: When there is none, when one lies outside the space or leaves a parameter open.
    """
    try:
        points = read_points(Place("", "points"), raw, space)
    except InputError as error:
        raise ValueError(str(error)) from None
    if not points:
        raise ValueError("points must list at least one point")
    for index, point in enumerate(points):
        for parameter in space.parameters:
            if space.active(parameter, point) and parameter.name not in point:
                raise ValueError(f"points[{index}]: must name every parameter, {parameter.name} is missing")
    return list(points)


def read_point(place: Place, raw: Any, space: Space) -> dict[str, Any]:
    """Reads one point; errors are those of :func:`read_points`."""
    if not isinstance(raw, Mapping) or not raw:
        raise place.error("must be a table of parameters", raw)
    for name in raw:
        if name not in space.names:
            raise (place / name).error(f"is no parameter of the space{suggest(name, space.names)}", raw[name], got="")
    point: dict[str, Any] = {}
    for parameter in space.parameters:
        if parameter.name not in raw:
            continue
        here, value = place / parameter.name, raw[parameter.name]
        if not space.active(parameter, point):
            rule = f"must come with {show(dict(parameter.when))}; without it there is no such parameter"
            raise here.error(rule, value, got="")
        if not parameter.contains(value):
            raise here.error(f"must be {parameter.describe()}", value)
        point[parameter.name] = parameter.decode(parameter.encode(value))
    if broken := space.broken(point):
        raise place.error(f"must satisfy the constraint {broken.text}", raw)
    if not space.completes(point):
        raise place.error("cannot be completed so that it satisfies constraints.parameters", raw)
    return point


def content(stored: Mapping[str, Any]) -> str:
    """A text that equal points share, whatever the order of their parameters; of a point as Optuna stores it."""
    return json.dumps(dict(stored), sort_keys=True)


def untried(points: Sequence[Mapping[str, Any]], repeats: int | None, space: Space, trials: Iterable[Trial]) -> int:
    """How many points of a list no trial has taken yet, over all its repeats; enqueued trials take none."""
    wanted = Counter(content(space.encode(point)) for point in points)
    own = [trial for trial in trials if FIXED not in trial.notes]
    taken = Counter((t.repeat or 0 if repeats else 0, content(space.encode(t.params))) for t in own)
    return len(points) * (repeats or 1) - sum(
        min(count, wanted[key]) for (repeat, key), count in taken.items() if repeat < (repeats or 1)
    )


# Grids -------------------------------------------------------------------------------------------------------------


def read_grid_points(value: Any) -> int | dict[str, int]:
    """Reads a grid's ``points``: a number of values for every continuous parameter, or a table of numbers by name."""
    count = integer(1, LARGEST)
    if isinstance(value, dict):
        return {name: count(points) for name, points in value.items()}
    try:
        return count(value)
    except ValueError:
        raise ValueError(f"must be a whole number from 1 to {LARGEST}, or a table of them by parameter") from None


def grid(points: int | Mapping[str, int], space: Space) -> list[dict[str, Any]]:
    """All points of a grid, in the order of the file; an inactive parameter is absent and multiplies nothing.

    Points that break a constraint are left out.

    Args:
        points: How many values a parameter has: one number for every continuous parameter, or numbers by parameter.
            What has no number has all its values.
        space: The study's space.

    Raises:
        ValueError: As :func:`grid_size`.
    """
    _product_size(space, points)
    found: list[dict[str, Any]] = [{}]
    for parameter in space.parameters:
        values = _axis(parameter, points)
        found = [
            longer
            for point in found
            for longer in (
                [{**point, parameter.name: value} for value in values] if space.active(parameter, point) else [point]
            )
        ]
    return [point for point in found if not space.broken(point)]


def grid_size(space: Space, points: int | Mapping[str, int]) -> int:
    """How many points :func:`grid` has.

    Raises:
        ValueError: For a continuous parameter without ``points``, for ``points`` of what is no range, for a grid of
            more than :data:`LARGEST` points, constraints aside, or where constraints leave no point.
    """
    size = _product_size(space, points)
    if space.constraints:
        size = len(grid(points, space))
        if not size:
            raise ValueError("no point of this grid satisfies constraints.parameters")
    return size


def _product_size(space: Space, points: int | Mapping[str, int]) -> int:
    """How many points a grid has without constraints; it is not built.

    Only parameters that others depend on are enumerated; every other one multiplies the number of points.
    """
    if isinstance(points, Mapping):
        for name in points:
            if name not in space.names or not space[name].ordered:
                raise ValueError(f"points can be given for a float or integer parameter only, got {name!r}")
    # Every combination of values that makes a difference to a condition, and how many points have it.
    cases: list[tuple[dict[str, Any], int]] = [({}, 1)]
    for parameter in space.parameters:
        size = _axis_size(parameter, points)
        wanted = space.wanted(parameter.name)
        groups = _groups(_axis(parameter, points), wanted) if wanted else []
        grown: list[tuple[dict[str, Any], int]] = []
        for values, count in cases:
            if not space.active(parameter, values):
                grown.append((values, count))
            elif wanted:
                grown += [({**values, parameter.name: value}, count * share) for value, share in groups]
            else:
                grown.append((values, count * size))
            if len(grown) > 2 * LARGEST:
                break
        cases = grown
        if len(cases) > LARGEST:
            break
    total = sum(count for _, count in cases)
    if total > LARGEST:
        least = "at least " if len(cases) > LARGEST else ""
        raise ValueError(
            f"a grid has at most {LARGEST} points, but this one would have {least}{total}; "
            "give fewer points, or search fewer parameters"
        )
    return total


def _groups(axis: Sequence[Any], wanted: Sequence[Any]) -> list[tuple[Any, int]]:
    """The values of an axis in groups that no condition tells apart: one value of each, and how many it stands for."""
    groups = [(value, 1) for value in axis if any(same(value, other) for other in wanted)]
    rest = [value for value in axis if not any(same(value, other) for other in wanted)]
    return [*groups, (rest[0], len(rest))] if rest else groups


def _points_of(parameter: Parameter, points: int | Mapping[str, int]) -> int | None:
    if isinstance(points, Mapping):
        return points.get(parameter.name)
    return points if parameter.count is None else None


def _axis(parameter: Parameter, points: int | Mapping[str, int]) -> list[Any]:
    """The values of one parameter."""
    chosen = _points_of(parameter, points)
    return parameter.values() or [] if chosen is None else parameter.spread(chosen)


def _axis_size(parameter: Parameter, points: int | Mapping[str, int]) -> int:
    if _points_of(parameter, points) is not None:
        return len(_axis(parameter, points))
    if parameter.count is None:
        raise ValueError(f"points must say how many values {parameter.name} has: points = {{ {parameter.name} = 5 }}")
    if parameter.count > LARGEST:
        raise ValueError(
            f"a grid has at most {LARGEST} points, but this one would have at least {parameter.count}, all values of "
            f"{parameter.name}; points = {{ {parameter.name} = 5 }} takes five of them"
        )
    return parameter.count
