"""Figures: those of every report, and those that a study file describes in its ``[[figure]]`` tables.

A description is data: a kind, and keys that say which trials, metrics and parameters are drawn. Two kinds are built in;
any other is a function, named by its import path. Reading a study imports no such function, so that a ledger can be
read wherever it is; :mod:`hpo.report.kinds` imports it before a search starts, and when it draws.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from hpo.study.fields import (
    Field,
    Place,
    boolean,
    integer,
    is_import_path,
    label,
    number,
    one_of,
    plain,
    read_table,
    read_value,
    show,
    table,
    text,
)
from hpo.study.space import Space, check_wanted
from hpo.text import near, suggest

# The figures of every report ---------------------------------------------------------------------------------------


# Their titles by the names of their files, which are those of the functions that draw them
# (:data:`hpo.report.figures.FIGURES`), in the page's order.
REPORT_FIGURES = {
    "best_trials": "The best trials",
    "slices": "Each parameter",
    "pairs": "Pairs of parameters",
    "importances": "Importance",
    "best_so_far": "Best so far",
    "learning_curves": "Learning curves",
    "timeline": "Workers",
}
# The same for a study with several objectives; these come first.
FRONT_FIGURES = {
    "pareto_front": "The Pareto front",
    "hypervolume": "Hypervolume",
    "parallel_coordinates": "The trials on the front",
}

# Readers -----------------------------------------------------------------------------------------------------------


def _name(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,59}", value):
        raise ValueError("must be 1 to 60 small letters, digits, _ or -, a letter or digit first")
    if value in REPORT_FIGURES or value == "report":
        raise ValueError("must not be a name of the report's own files")
    return value


def string(value: Any) -> str:
    """A string, also an empty one."""
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return value


def list_of(read: Callable[[Any], Any], kind: str, *, length: int | None = None) -> Callable[[Any], list[Any]]:
    """A list of one or more values, or of exactly ``length``, each as ``read`` takes it."""

    def read_list(value: Any) -> list[Any]:
        if not isinstance(value, list) or not value or (length is not None and len(value) != length):
            raise ValueError(f"must be a list of {f'{length} ' if length else ''}{kind}")
        return [read(part) for part in value]

    return read_list


def metric_names(value: Any) -> list[str]:
    """One metric, or a list of them."""
    return list_of(label, "metrics")([value] if isinstance(value, str) else value)


def _range(value: Any) -> list[float]:
    low, high = list_of(number(), "numbers, low and high", length=2)(value)
    if not low < high:
        raise ValueError("must be low and high, low below high")
    return [low, high]


def _names(value: Any) -> dict[str, str]:
    return {key: string(name) for key, name in table(value).items()}


def _smoothing(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() != {"points", "beta"}:
        raise ValueError("must be a table such as { points = 11, beta = 2.0 }")
    points = integer(1)(value["points"])
    if points % 2 == 0:
        raise ValueError("points must be odd: a value and as many neighbours on either side")
    return {"points": points, "beta": number(0)(value["beta"])}


# Kinds -------------------------------------------------------------------------------------------------------------

# The keys of every kind.
COMMON = {
    "kind": Field(text),
    "name": Field(_name, None),
    "title": Field(string, ""),
    "when": Field(table, {}),
    "names": Field(_names, {}),
    "size": Field(list_of(number(0, above=True), "inches, width and height", length=2), None),
    "x_label": Field(string, None),
    "y_label": Field(string, None),
    "x_range": Field(_range, None),
    "y_range": Field(_range, None),
}
# The keys of kinds that draw one panel per value of a parameter.
PANELS = {"panels": Field(label, None), "panel_label": Field(string, ""), "columns": Field(integer(1), 4)}
_LEGENDS = ("best", "center", "upper left", "upper right", "lower left", "lower right", "right", "none")
_LINES = {
    **PANELS,
    "y": Field(metric_names),
    "series": Field(label, None),
    "x_log": Field(boolean, False),
    "y_log": Field(boolean, False),
    "markers": Field(list_of(one_of(*"osxD^v+*."), "markers"), None),
    "styles": Field(list_of(one_of("-", "--", ":", "-."), "line styles"), None),
    "legend": Field(one_of(*_LEGENDS), "best"),
}


class Kind(NamedTuple):
    """What a kind of figure takes.

    Attributes:
        keys: Its own keys, beside those of every kind; None where it does not say, and takes all.
        parameters: Those of its keys whose value names a parameter of the space.
    """

    keys: Mapping[str, Field] | None
    parameters: Sequence[str]


KINDS = {
    "curves": Kind(
        _LINES
        | {
            "x": Field(label, None),
            "first_x": Field(number(), 1.0),
            "mark_every": Field(integer(1), 1),
            "smoothing": Field(_smoothing, None),
        },
        ("series", "panels"),
    ),
    "sweep": Kind(_LINES | {"x": Field(label), "last": Field(integer(1), 1)}, ("x", "series", "panels")),
}
# Built in once: a ledger may still hold them. They are read, but a study that names one does not start.
FORMER_KINDS = ("paths", "histograms", "surface", "field")


@dataclass(frozen=True)
class FigureSpec:
    """One figure of a study.

    Attributes:
        kind: One of :data:`KINDS`, ``"package.module:function"``, or one of :data:`FORMER_KINDS`.
        name: Its file's name.
        options: Every key, defaults included; of a kind that is not built in, its own keys as the file has them.
    """

    kind: str
    name: str
    options: Mapping[str, Any]


def read_figures(
    place: Place, raw: Sequence[Any], study: str, space: Space, *, several: bool = False
) -> tuple[FigureSpec, ...]:
    """Reads a study's ``[[figure]]`` tables.

    Args:
        place: Where they stand.
        raw: The tables.
        study: The study's name; a figure without a name of its own takes it.
        space: What its parameters are.
        several: Whether the study has several objectives.

    Raises:
        InputError: For the first rule that does not hold, with file, key, rule and value.
    """
    figures: list[FigureSpec] = []
    for index, one in enumerate(raw):
        here = place_of(place, index)
        figure = _read_figure(here, one, study, space)
        if figure.name in {other.name for other in figures}:
            raise (here / "name").error("must be a name of its own", figure.name, f"{show(figure.name)} again")
        if several and figure.name in FRONT_FIGURES:
            raise (here / "name").error("must not be a name of the report's own files", figure.name)
        figures.append(figure)
    return tuple(figures)


def place_of(place: Place, index: int) -> Place:
    """Where a ``[[figure]]`` table stands, for messages."""
    return Place(place.file, f"{place.key}[{index}]")


def _read_figure(place: Place, raw: Any, study: str, space: Space) -> FigureSpec:
    kind = raw.get("kind") if isinstance(raw, Mapping) else None
    if isinstance(raw, Mapping) and kind not in (*KINDS, *FORMER_KINDS) and not is_import_path(kind):
        rule = f'must be one of {", ".join(KINDS)}, or "package.module:function"'
        raise (place / "kind").error(rule, kind, show(kind) + near(kind, KINDS))
    options = read_keys(place, raw, KINDS.get(str(kind), Kind(None, ())), space)
    for name, wants in options["when"].items():
        if name not in space.names:
            rule = f"is no parameter of the space{suggest(name, space.names)}"
            raise (place / "when" / name).error(rule, wants, got="")
        check_wanted(place / "when" / name, space[name], wants)
    plain(options["when"])
    name = options["name"]
    if name is None:
        made = re.sub(r"[^a-z0-9]+", "_", study.lower()).strip("_")[:60] or "figure"
        name = read_value(place / "name", made, _name)
    return FigureSpec(str(kind), name, options | {"name": name})


def read_keys(place: Place, raw: Any, kind: Kind, space: Space) -> dict[str, Any]:
    """Reads the keys of one figure.

    Args:
        place: Where they stand.
        raw: The figure's table.
        kind: What its kind takes.
        space: What its parameters are.

    Returns:
        Every key, defaults included.

    Raises:
        InputError: For the first rule that does not hold, with file, key, rule and value.
    """
    own = kind.keys
    if own is None:
        own = {key: Field(plain) for key in raw if key not in COMMON} if isinstance(raw, Mapping) else {}
    options = read_table(place, raw, COMMON | dict(own))
    for key in kind.parameters:
        name = options.get(key)
        if name is not None and name not in space.names:
            got = show(name) + suggest(name, space.names)
            raise (place / key).error("must be a parameter of the space", name, got)
    return options


def to_tables(figures: Sequence[FigureSpec]) -> list[dict[str, Any]]:
    """The figures as a study file's tables, without what is absent."""
    return [{key: value for key, value in figure.options.items() if value is not None} for figure in figures]
