"""The ``[constraints]`` table: what holds for the parameters of every trial, and what must for its metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hpo.errors import SearchFailed
from hpo.study.expressions import kind_of, parse
from hpo.study.fields import Field, Place, label, number, read_table, read_value, table
from hpo.study.points import grid
from hpo.study.space import TRIES, Space
from hpo.text import number as number_in_words
from hpo.trial import CONSTRAINTS, VIOLATIONS, State, Trial, nearest


def _texts(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError('must be a list of comparisons such as ["layers * width <= 4096"]')
    return value


_CONSTRAINTS = {"parameters": Field(_texts, []), "metrics": Field(table, {})}
_BOUNDS = {"min": Field(number(), None), "max": Field(number(), None)}


@dataclass(frozen=True)
class Bounds:
    """The bounds of a metric's last value; None for no bound."""

    min: float | None
    max: float | None

    def excess(self, value: float) -> float:
        """How far a value lies beyond the bounds; 0 or less inside."""
        below = -math.inf if self.min is None else self.min - value
        above = -math.inf if self.max is None else value - self.max
        return max(below, above)

    @property
    def unit(self) -> float:
        """What makes the excesses of several metrics comparable: the larger bound, or 1 for a bound of 0."""
        return max(abs(bound) for bound in (self.min, self.max) if bound is not None) or 1.0

    def in_words(self, metric: str) -> str:
        """``memory_mb <= 512``."""
        low = "" if self.min is None else f"{self.min:g} <= "
        high = "" if self.max is None else f" <= {self.max:g}"
        return f"{metric} >= {self.min:g}" if not high and low else f"{low}{metric}{high}"


def read_constraints(
    place: Place, raw: Mapping[str, Any], space: Space, fixed: Mapping[str, Any]
) -> tuple[Space, dict[str, Bounds], dict[str, Any]]:
    """Reads a study's ``[constraints]`` table.

    Returns:
        The constrained space, the bounds of metrics by name, and the table.

    Raises:
        InputError: For the first constraint that cannot be read, or where no point satisfies all of them.
    """
    values = read_table(place, raw, _CONSTRAINTS)
    here = place / "parameters"
    kinds = {p.name: float if p.ordered else kind_of(p.values() or []) for p in space.parameters}
    constraints = tuple(read_value(here, text, lambda text: parse(text, kinds, fixed)) for text in values["parameters"])
    constrained = replace(space, constraints=constraints)
    if constraints and not constrained.share() and not _any_point(constrained):
        rule = (
            f"at least one point must satisfy all of them; none of {TRIES:,} random points does (loosen them, or widen "
            "the space)"
        )
        raise here.error(rule, values["parameters"])
    bounds = {metric: _bounds(place / "metrics" / metric, metric, raw) for metric, raw in values["metrics"].items()}
    return constrained, bounds, {key: value for key, value in values.items() if value}


def judged(bounds: Mapping[str, Bounds], last: Callable[[str], float | None]) -> dict[str, Any]:
    """What a trial notes of the bounds of its metrics; nothing where it has not reported all of them.

    Args:
        bounds: By metric.
        last: The last reported value of a metric.
    """
    values = {metric: value for metric in bounds if (value := last(metric)) is not None and math.isfinite(value)}
    if not bounds or len(values) < len(bounds):
        return {}
    excesses = {metric: bounds[metric].excess(value) for metric, value in values.items()}
    return {
        CONSTRAINTS: [excess / bounds[metric].unit for metric, excess in excesses.items()],
        VIOLATIONS: {metric: excess for metric, excess in excesses.items() if excess > 0},
    }


def judged_again(bounds: Mapping[str, Bounds], trial: Trial, objectives: Iterable[str] = ()) -> dict[str, Any]:
    """The notes of :func:`judged` for a trial that ran elsewhere.

    Args:
        bounds: By metric.
        trial: The trial.
        objectives: The names of its values, which it need not have reported.

    Raises:
        ValueError: When it is complete, and cannot be judged.
    """
    known = dict(zip(objectives, trial.values, strict=False))
    notes = judged(bounds, lambda metric: known.get(metric, trial.last(metric)))
    if bounds and not notes and trial.state is State.COMPLETE:
        raise ValueError(f"constraints.metrics: must have reported {', '.join(bounds)}, which have bounds")
    return notes


def none_feasible(bounds: Mapping[str, Bounds], trials: Iterable[Trial]) -> str | None:
    """A sentence that all complete trials violate bounds, and which is nearest; None where one is feasible."""
    trial = nearest(trials)
    if trial is None:
        return None
    wanted = ", ".join(bound.in_words(metric) for metric, bound in bounds.items())
    found = ", ".join(f"{metric} is {number_in_words(trial.last(metric))}" for metric in bounds)
    return f"no trial satisfies {wanted}; the nearest is trial {trial.number}: {found}"


def no_best(bounds: Mapping[str, Bounds], trials: Iterable[Trial]) -> str:
    """That there is no best trial, in words: none is complete, or none of those satisfies the bounds."""
    return none_feasible(bounds, trials) or "no trial is complete yet"


def missing_best(name: str, bounds: Mapping[str, Bounds], trials: Iterable[Trial]) -> SearchFailed:
    """The error that a study has no best trial."""
    why = none_feasible(bounds, trials)
    return SearchFailed(f"{name}: {why}" if why else f"no trial of {name} is complete; to see why: hpo show {name}")


def _bounds(place: Place, metric: str, raw: Any) -> Bounds:
    read_value(place, metric, label)
    bounds = Bounds(**read_table(place, raw, _BOUNDS))
    low, high = bounds.min, bounds.max
    if low is None and high is None:
        raise place.error("must have min, max or both, as in { max = 512 }", raw)
    if low is not None and high is not None and low > high:
        raise place.error("min must be at most max", raw, f"min = {low:g}, max = {high:g}")
    return bounds


def _any_point(space: Space) -> bool:
    """Whether a space that is small enough to be listed has a point that satisfies the constraints."""
    try:
        return bool(grid({}, space))
    except ValueError:
        return False
