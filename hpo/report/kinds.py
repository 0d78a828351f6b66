"""The figures that a study file describes in ``[[figure]]``, drawn from the trials alone.

A kind of figure is a function ``(study, trials, options)`` that returns a ``matplotlib.figure.Figure``. The trials are
those that the key ``when`` chooses, one of them at least with a report; ``options`` holds every key of the table. A
function that is named by its import path may carry two attributes:

- ``keys``: its own keys, beside those of every kind (:data:`hpo.study.figures.COMMON`): a mapping of a key to its
  default, of whose type the value must be, or to a :class:`hpo.study.fields.Field`. Without it, any key is accepted.
- ``parameters``: those of its keys whose value must name a parameter of the space.

This file imports no matplotlib, so that a study can be checked quickly.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hpo.errors import HpoError, InputError
from hpo.imports import load, raised
from hpo.study import Study
from hpo.study.fields import Field, Place, boolean, integer, number, plain, show, table
from hpo.study.figures import FORMER_KINDS, KINDS, FigureSpec, Kind, list_of, place_of, read_keys, string, to_tables
from hpo.trial import Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ARGUMENTS = ("study", "trials", "options")
# Inches that a picture can have.
LEAST, LARGEST = 0.1, 500
Draw = Callable[[Study, Sequence[Trial], Mapping[str, Any]], "Figure"]


def check(study: Study) -> None:
    """Finds out whether every figure of the study file can be drawn, before any work starts.

    Raises:
        InputError: For a function that cannot be imported, for a key that it does not take, and for a size that cannot
            be drawn, which a ledger may hold.
    """
    for index, spec in enumerate(study.figures):
        if (size := spec.options["size"]) and not all(LEAST <= inches <= LARGEST for inches in size):
            place = place_of(Place(study.file, "figure"), index) / "size"
            raise place.error(f"must be {LEAST} to {LARGEST} inches, width and height", size)
        _prepare(study, spec)


def draw(study: Study, trials: Sequence[Trial], spec: FigureSpec) -> Figure:
    """One figure of a study file, from trials in any state.

    Raises:
        HpoError: When the function of its kind cannot be imported, or fails.
    """
    function, options = _prepare(study, spec)
    from hpo.report.figures.style import blank, style
    from hpo.report.lines import chosen

    shown = chosen(trials, spec.options["when"])
    with style():
        if not any(trial.reports for trial in shown):
            return blank("No trial has reported yet.")
        if spec.kind in KINDS:
            return function(study, shown, options)
        return _guarded(function, study, shown, options, spec.kind)


def _prepare(study: Study, spec: FigureSpec) -> tuple[Draw, Mapping[str, Any]]:
    """The function that draws a figure, and its options."""
    if spec.kind in KINDS:
        from hpo.report import lines

        return getattr(lines, spec.kind), spec.options
    place = place_of(Place(study.file, "figure"), study.figures.index(spec))
    if spec.kind in FORMER_KINDS:
        rule = f'{show(spec.kind)} is no longer built in; name the function that draws it: "package.module:function"'
        raise (place / "kind").error(rule, spec.kind, got="")
    try:
        function = load(spec.kind, (place / "kind").key)
    except InputError as error:
        raise error.within(study.file) from error
    try:
        inspect.signature(function).bind(*ARGUMENTS)
    except (TypeError, ValueError) as error:
        rule = f"{spec.kind} must accept ({', '.join(ARGUMENTS)}): {error}"
        raise (place / "kind").error(rule, spec.kind, got="") from None
    kind = Kind(_keys(place, function, spec.kind), tuple(getattr(function, "parameters", ())))
    return function, read_keys(place, to_tables([spec])[0], kind, study.space)


def _keys(place: Place, function: Draw, kind: str) -> Mapping[str, Field] | None:
    keys = getattr(function, "keys", None)
    if keys is None:
        return None
    if not isinstance(keys, Mapping) or not all(isinstance(key, str) for key in keys):
        rule = f"{kind}.keys must be a mapping of a key to its default or Field"
        raise (place / "kind").error(rule, kind, f"{keys!r:.80}")
    return {key: known if isinstance(known, Field) else _like(known) for key, known in keys.items()}


def _like(default: Any) -> Field:
    """A key that is declared by its default alone: a value of the same type, or any value where the default is None."""
    readers: tuple[tuple[type, Callable[[Any], Any]], ...] = (
        (bool, boolean),
        (int, integer()),
        (float, number()),
        (str, string),
        (list, list_of(plain, "values")),
        (dict, table),
    )
    return Field(next((read for kind, read in readers if isinstance(default, kind)), plain), default)


def _guarded(function: Draw, study: Study, trials: Sequence[Trial], options: Mapping[str, Any], kind: str) -> Figure:
    """Calls a function that is not ours."""
    from matplotlib.figure import Figure

    try:
        figure: object = function(study, trials, options)
    except (Exception, SystemExit) as error:
        raise HpoError(f"{kind} failed{raised(error)}") from error
    if not isinstance(figure, Figure):
        raise HpoError(f"{kind} must return a matplotlib Figure, got {figure!r:.80}")
    return figure
