"""Reads points of a search space that a person wrote down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hpo.errors import InputError
from hpo.fields import Place, show, suggest
from hpo.space import Choice, Float, Int, Parameter, Space


def read_points(place: Place, raw: Sequence[Any], space: Space) -> tuple[dict[str, Any], ...]:
    """Reads a study's ``[[enqueue]]`` tables: parameters by name, the rest left to the sampler.

    Raises:
        InputError: For an unknown or inactive parameter or a value outside the space, with file, key, rule and value.
    """
    return tuple(
        _read_point(Place(place.file, f"{place.key}[{index}]"), table, space) for index, table in enumerate(raw)
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


def _read_point(place: Place, raw: Any, space: Space) -> dict[str, Any]:
    if not isinstance(raw, Mapping) or not raw:
        raise place.error(f"must be a table of parameters, got {show(raw)}")
    names = [parameter.name for parameter in space.parameters]
    for name in raw:
        if name not in names:
            raise (place / name).error(f"is no parameter of the space{suggest(name, names)}")
    point: dict[str, Any] = {}
    for parameter in space.parameters:
        if parameter.name not in raw:
            continue
        here = place / parameter.name
        if not space.active(parameter, point):
            raise here.error(f"must come with {show(dict(parameter.when))}, for only then does it exist")
        point[parameter.name] = _read_value(here, parameter, raw[parameter.name])
    return point


def _read_value(place: Place, parameter: Parameter, value: Any) -> Any:
    if not parameter.contains(value):
        raise place.error(f"must be {_domain(parameter)}, got {show(value)}")
    return parameter.decode(parameter.encode(value) if isinstance(parameter, Choice) else value)


def _domain(parameter: Parameter) -> str:
    if isinstance(parameter, Choice):
        return f"one of {show(list(parameter.choices))}"
    assert isinstance(parameter, Float | Int)
    kind = "a whole number" if isinstance(parameter, Int) else "a number"
    steps = f" in steps of {parameter.step:g}" if parameter.step and not parameter.log and parameter.step != 1 else ""
    return f"{kind} in [{parameter.low:g}, {parameter.high:g}]{steps}"
