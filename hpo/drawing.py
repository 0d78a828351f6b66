"""Figures that a study file describes: its ``[[figure]]`` tables, read and validated.

A drawing is data: which trials, which metrics and parameters on which axes; ``hpo.report.drawings`` draws it. It plays
no part in the search, and may change at any time.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpo.fields import Field, Place, boolean, integer, label, number, plain, read_table, show, suggest, table, text
from hpo.space import Choice, Space


@dataclass(frozen=True)
class Drawing:
    """One figure of a study.

    Attributes:
        kind: One of :data:`KINDS`.
        name: Its file's name.
        options: Every key of its kind, defaults included.
    """

    kind: str
    name: str
    options: Mapping[str, Any]


# Readers -----------------------------------------------------------------------------------------------------------


def _name(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,59}", value):
        raise ValueError("must be 1 to 60 small letters, digits, _ or -, a letter or digit first")
    return value


def _anything(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return value


def _list(read: Callable[[Any], Any], kind: str, *, length: int | None = None) -> Callable[[Any], list[Any]]:
    def read_list(value: Any) -> list[Any]:
        if not isinstance(value, list) or not value or (length is not None and len(value) != length):
            raise ValueError(f"must be a list of {f'{length} ' if length else ''}{kind}")
        return [read(part) for part in value]

    return read_list


def _labels(value: Any) -> list[str]:
    return _list(label, "metrics")([value] if isinstance(value, str) else value)


def _range(value: Any) -> list[float]:
    low, high = _list(number(), "numbers, low and high", length=2)(value)
    if not low < high:
        raise ValueError("must be low and high, low below high")
    return [low, high]


def _names(value: Any) -> dict[str, str]:
    return {key: _anything(name) for key, name in table(value).items()}


def _smoothing(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() != {"points", "beta"}:
        raise ValueError("must be a table such as { points = 11, beta = 2.0 }")
    points = integer(1)(value["points"])
    if points % 2 == 0:
        raise ValueError("points must be odd: a value and as many neighbours on either side")
    return {"points": points, "beta": number(0)(value["beta"])}


# Kinds -------------------------------------------------------------------------------------------------------------

_OF_ALL = {
    "kind": Field(text),
    "name": Field(_name, None),
    "title": Field(_anything, ""),
    "when": Field(table, {}),
    "names": Field(_names, {}),
    "size": Field(_list(number(0, above=True), "inches, width and height", length=2), None),
    "x_label": Field(_anything, None),
    "y_label": Field(_anything, None),
    "x_range": Field(_range, None),
    "y_range": Field(_range, None),
}
_PANELS = {"panels": Field(label, None), "panel_label": Field(_anything, ""), "columns": Field(integer(1), 4)}
_LINES = {
    **_PANELS,
    "y": Field(_labels),
    "series": Field(label, None),
    "x_log": Field(boolean, False),
    "y_log": Field(boolean, False),
    "markers": Field(_list(text, "markers"), None),
    "styles": Field(_list(text, "line styles"), None),
    "legend": Field(_anything, "best"),
}
KINDS: dict[str, dict[str, Field]] = {
    "curves": _OF_ALL
    | _LINES
    | {
        "x": Field(label, None),
        "first_x": Field(number(), 1.0),
        "mark_every": Field(integer(1), 1),
        "smoothing": Field(_smoothing, None),
    },
    "sweep": _OF_ALL | _LINES | {"x": Field(label), "last": Field(integer(1), 1)},
    "paths": _OF_ALL
    | _PANELS
    | {
        "x": Field(label),
        "y": Field(label),
        "start": Field(_list(number(), "numbers", length=2), None),
        "bowl": Field(_list(number(0, above=True), "positive numbers", length=2), None),
    },
    "histograms": _OF_ALL
    | {
        "panels": Field(label, None),
        "counts": Field(label, "count"),
        "notes": Field(_labels, None),
    },
    "surface": _OF_ALL | {"x": Field(label), "y": Field(label), "z": Field(label), "z_high": Field(number(), None)},
    "field": _OF_ALL | {"x": Field(label), "y": Field(label), "slope": Field(_list(label, "metrics", length=2))},
}
# Keys whose value names a parameter of the space, by kind where they do not everywhere.
_PARAMETERS = ("series", "panels")
_PARAMETERS_OF = {"sweep": ("x",), "surface": ("x", "y"), "field": ("x", "y")}


def read_drawings(place: Place, raw: Sequence[Any], study: str, space: Space) -> tuple[Drawing, ...]:
    """Reads a study's ``[[figure]]`` tables.

    Args:
        place: Where they stand.
        raw: The tables.
        study: The study's name; a figure without a name of its own takes it.
        space: What its parameters are.

    Raises:
        InputError: For the first rule that does not hold, with file, key, rule and value.
    """
    drawings: list[Drawing] = []
    for index, one in enumerate(raw):
        here = Place(place.file, f"{place.key}[{index}]")
        drawing = _read_drawing(here, one, study, space)
        if drawing.name in {other.name for other in drawings}:
            raise (here / "name").error(f"must be a name of its own, got {show(drawing.name)} again")
        drawings.append(drawing)
    return tuple(drawings)


def _read_drawing(place: Place, raw: Any, study: str, space: Space) -> Drawing:
    kind = raw.get("kind") if isinstance(raw, Mapping) else None
    if isinstance(raw, Mapping) and (not isinstance(kind, str) or kind not in KINDS):
        near = difflib.get_close_matches(kind, KINDS, n=1) if isinstance(kind, str) else []
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise (place / "kind").error(f"must be one of {', '.join(KINDS)}, got {show(kind)}{hint}")
    options = read_table(place, raw, KINDS[str(kind)] if kind else _OF_ALL)
    parameters = {parameter.name: parameter for parameter in space.parameters}
    for key in (*_PARAMETERS, *_PARAMETERS_OF.get(str(kind), ())):
        name = options.get(key)
        if name is not None and name not in parameters:
            raise (place / key).error(f"must be a parameter of the space, got {show(name)}{suggest(name, parameters)}")
    for name, value in options["when"].items():
        if name not in parameters:
            raise (place / "when" / name).error(f"is no parameter of the space{suggest(name, parameters)}")
        for wanted in value if isinstance(value, list) and value else [value]:
            if not parameters[name].contains(wanted):
                raise (place / "when" / name).error(f"must be a value that {name} can have, got {show(wanted)}")
    if options.get("styles"):
        _check_among(place / "styles", options["styles"], ("-", "--", ":", "-."))
    if options.get("markers"):
        _check_among(place / "markers", options["markers"], tuple("osxD^v+*."))
    if options.get("legend", "best") not in _LEGENDS:
        raise (place / "legend").error(f"must be one of {', '.join(_LEGENDS)}, got {show(options['legend'])}")
    plain(options["when"])
    name = options["name"] or re.sub(r"[^a-z0-9]+", "_", study.lower()).strip("_")[:60] or "figure"
    if name in RESERVED:
        raise (place / "name").error(f"must not be a name of the report's own files, got {show(name)}")
    return Drawing(str(kind), name, options | {"name": name})


# The files that every report has.
RESERVED = (
    *("report", "best_trials", "best_so_far", "slices", "pairs", "importances", "parallel", "learning_curves"),
    "timeline",
)
_LEGENDS = ("best", "center", "upper left", "upper right", "lower left", "lower right", "right", "none")


def _check_among(place: Place, values: Sequence[str], known: Sequence[str]) -> None:
    for value in values:
        if value not in known:
            raise place.error(f"must be one of {' '.join(known)}, got {show(value)}")


def to_tables(drawings: Sequence[Drawing]) -> list[dict[str, Any]]:
    """The drawings as a study file's tables, without what is absent."""
    return [{key: value for key, value in drawing.options.items() if value is not None} for drawing in drawings]


def is_ordered(space: Space, name: str) -> bool:
    """Whether a parameter's values are numbers on an axis."""
    return not any(isinstance(p, Choice) and p.name == name for p in space.parameters)
