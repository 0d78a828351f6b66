"""The search space: which parameters there are, in which order, and when each exists.

A :class:`Space` is an ordered, validated description; :meth:`Space.suggest` asks an Optuna trial for one value per
active parameter, in file order.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from random import Random
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hpo.study.expressions import Expression
from hpo.study.fields import Field, Place, boolean, integer, label, number, plain, read_table, read_value, show, table
from hpo.study.parameters import Choice, Float, Int, Parameter
from hpo.study.values import same

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial as OptunaTrial

# How many points are drawn to see whether constraints leave any, and how many of them that hold are enough.
TRIES, ENOUGH = 10_000, 100

__all__ = ["Choice", "Float", "Int", "Parameter", "Space", "read_space"]


@dataclass(frozen=True)
class Space:
    """The parameters of a study, in the order of the file.

    Attributes:
        parameters: One entry per parameter; a ``when`` names only parameters that stand before it.
        constraints: What holds for the parameters of every trial.
    """

    parameters: tuple[Parameter, ...]
    constraints: tuple[Expression, ...] = ()

    def broken(self, values: Mapping[str, Any]) -> Expression | None:
        """The first constraint that does not hold; one on parameters that are not among ``values`` holds."""
        return next((constraint for constraint in self.constraints if not constraint.holds(values)), None)

    def at(self, units: Iterable[float], given: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
        """A point: ``given``, and of the other active parameters the values at ``units``, one for each parameter."""
        values: dict[str, Any] = {}
        for parameter, unit in zip(self.parameters, units, strict=False):
            if self.active(parameter, values):
                name = parameter.name
                values[name] = given[name] if name in given else parameter.from_unit(unit)
        return values

    def points(
        self, unit: Callable[[], float], tries: int, given: Mapping[str, Any] = MappingProxyType({})
    ) -> Iterator[dict[str, Any] | None]:
        """Points drawn at random, each None where it breaks a constraint.

        Args:
            unit: Gives a random number in [0, 1).
            tries: How many points are drawn.
            given: Values that are not drawn.
        """
        for _ in range(tries):
            point = self.at(iter(unit, None), given)
            yield None if self.broken(point) else point

    def share(self, given: Mapping[str, Any] = MappingProxyType({})) -> float:
        """The share of the points that break no constraint, an estimate from at most 10,000 draws."""
        found = drawn = 0
        for point in self.points(Random(0).random, TRIES, given):
            drawn, found = drawn + 1, found + (point is not None)
            if found == ENOUGH:
                break
        return found / drawn

    def completes(self, given: Mapping[str, Any]) -> bool:
        """Whether what ``given`` leaves open can be drawn so that no constraint is broken."""
        return not self.constraints or any(point is not None for point in self.points(Random(0).random, TRIES, given))

    def active(self, parameter: Parameter, values: Mapping[str, Any]) -> bool:
        """Whether ``parameter`` exists beside ``values``, the parameters decided so far."""
        return all(
            name in values and any(same(values[name], wanted) for wanted in _as_list(wants))
            for name, wants in parameter.when.items()
        )

    def wanted(self, name: str) -> list[Any]:
        """The values of a parameter that the conditions of other parameters name."""
        return [value for p in self.parameters if name in p.when for value in _as_list(p.when[name])]

    def __getitem__(self, name: str) -> Parameter:
        """The parameter of this name; ``KeyError`` where there is none."""
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, Parameter]:
        return {parameter.name: parameter for parameter in self.parameters}

    @property
    def names(self) -> list[str]:
        return [parameter.name for parameter in self.parameters]

    def suggest(self, trial: OptunaTrial) -> dict[str, Any]:
        """One value per active parameter, drawn by the study's sampler."""
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            if self.active(parameter, values):
                stored = trial._suggest(parameter.name, parameter.distribution())
                values[parameter.name] = parameter.decode(stored)
        return values

    def decode(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """The values that a ledger's trial stands for."""
        return {p.name: p.decode(stored[p.name]) for p in self.parameters if p.name in stored}

    def encode(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values as Optuna stores them; :meth:`decode` undoes it."""
        return {p.name: p.encode(values[p.name]) for p in self.parameters if p.name in values}

    def distributions(self) -> dict[str, BaseDistribution]:
        return {p.name: p.distribution() for p in self.parameters}

    def widened(self, ranges: Mapping[str, tuple[Any, ...]]) -> Space:
        """The space with parameters that reach as far as ``ranges`` (low, high) go beyond theirs."""
        wider = (p.widened(ranges[p.name][0], ranges[p.name][-1]) if p.name in ranges else p for p in self.parameters)
        return replace(self, parameters=tuple(wider))

    def to_dict(self) -> dict[str, Any]:
        """The space as a study file's table, without what is default or absent."""
        return {p.name: p.to_dict() for p in self.parameters}

    def corners(self) -> list[dict[str, Any]]:
        """Concrete points at the ends of every range, for an objective to check before any work starts.

        Where they break a constraint, a point that does not.
        """
        found: tuple[dict[str, Any], ...] = ({}, {})
        for parameter in self.parameters:
            for values, end in zip(found, parameter.ends, strict=True):
                if self.active(parameter, values):
                    values[parameter.name] = end
        held = [values for values in found if not self.broken(values)]
        return held or [point for point in self.points(Random(0).random, TRIES) if point is not None][:1]


# Reading a [space] table ------------------------------------------------------------------------------------------

_FLOAT = {
    "low": Field(number()),
    "high": Field(number()),
    "log": Field(boolean, False),
    "step": Field(number(0, above=True), None),
    "when": Field(table, {}),
}
# One of these keys makes a table a parameter.
_SHAPES = {"low", "high", "choice"}
# What a choice has not.
_RANGE = ("low", "high", "log", "step")
_INT = _FLOAT | {"low": Field(integer()), "high": Field(integer()), "step": Field(integer(1), 1)}


def read_space(place: Place, raw: Any) -> Space:
    """Reads a study's ``[space]`` table.

    Raises:
        InputError: For the first rule that does not hold, with file, key, rule and value.
    """
    if not isinstance(raw, Mapping) or not raw:
        raise place.error("must be a table with at least one parameter", raw)
    parameters: list[Parameter] = []
    for name, spec in raw.items():
        read_value(place / name, name, label)
        if dotted := _dotted(name, spec):
            raise (place / dotted).error(f'a name with a dot needs quotes: "{dotted}" = {{ ... }}', spec, got="")
        if not isinstance(spec, Mapping) or not _SHAPES & spec.keys():
            raise (place / name).error(
                "must be a table such as { low = 1e-6, high = 1e-2, log = true } or { choice = [...] }", spec
            )
        if "choice" in spec and (range_ := next((key for key in _RANGE if key in spec), None)):
            rule = (
                "must not stand beside choice: a parameter has either low and high or choice; to replace the one by "
                f"the other, write all of it, as in space.{name} = {{ choice = [...] }}"
            )
            raise (place / name / range_).error(rule, spec[range_], got="")
        parameter = (_read_choice if "choice" in spec else _read_range)(place / name, name, spec)
        _check_condition(place / name, parameter, parameters)
        parameters.append(parameter)
    return Space(tuple(parameters))


def _dotted(name: str, spec: Any) -> str | None:
    """The name that was meant by ``a.b = { low = ... }``, which is a table in a table for TOML."""
    if isinstance(spec, Mapping) and not _SHAPES & spec.keys() and len(spec) > 0:
        inner, value = next(iter(spec.items()))
        if isinstance(value, Mapping):
            dotted = f"{name}.{inner}"
            return dotted if _SHAPES & value.keys() else _dotted(dotted, value)
    return None


def _read_choice(place: Place, name: str, spec: Mapping[str, Any]) -> Choice:
    def choices(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or not value:
            raise ValueError("must be a list of at least one value")
        plain(value)
        if any(same(a, b) for i, a in enumerate(value) for b in value[:i]):
            raise ValueError("must not name a value twice")
        return tuple(value)

    values = read_table(place, spec, {"choice": Field(choices), "when": Field(table, {})})
    return Choice(name, *values.values())


def _read_range(place: Place, name: str, spec: Mapping[str, Any]) -> Parameter:
    whole = all(isinstance(spec.get(end), int) for end in ("low", "high")) and not isinstance(spec.get("step"), float)
    values = read_table(place, spec, _INT if whole else _FLOAT)
    low, high, log, step = values["low"], values["high"], values["log"], values["step"]
    range_, lattice = f"low = {low:g}, high = {high:g}", "" if step is None else f", step = {step:g}"
    if not low < high:
        raise place.error("low must be below high", spec, range_)
    if not math.isfinite(high - low):
        raise place.error("high - low must be finite", spec, range_)
    if log and low <= 0:
        raise place.error("low must be above 0 for a logarithmic range", spec, f"low = {low:g}")
    if log and "step" in spec:
        raise place.error("a logarithmic range has no step", spec, f"step = {step:g}")
    if step and (high - low) / step > 2**53:
        raise place.error("must have at most 2**53 steps", spec, range_ + lattice)
    if step and (low + step == low or high - step == high):
        raise place.error("step is too small for numbers of this size", spec, f"{low=}, {high=}, {step=}")
    # In decimals, as written: 0.1 divides 0.9 - 0.3 there.
    if step and (Decimal(str(high)) - Decimal(str(low))) % Decimal(str(step)):
        raise place.error("high - low must be a multiple of step", spec, range_ + lattice)
    parameter = (Int if whole else Float)(name, **values)
    if high - low < sys.float_info.min or (log and len(set(parameter.log_ends)) == 1):
        raise place.error("low and high must be further apart", spec, f"{low=}, {high=}")
    return parameter


def _check_condition(place: Place, parameter: Parameter, before: list[Parameter]) -> None:
    known = {p.name: p for p in before}
    for name, wants in parameter.when.items():
        if name not in known:
            hint = '; a name with a dot needs quotes: { "a.b" = ... }' if isinstance(wants, Mapping) else ""
            raise (place / "when").error("must name a parameter that stands before it", name, show(name) + hint)
        check_wanted(place / "when" / name, known[name], wants)


def check_wanted(place: Place, parameter: Parameter, wants: Any) -> None:
    """Checks what a condition wants of a parameter: a value that it can have, or a list of them."""
    for wanted in _as_list(wants) or [wants]:
        if not parameter.contains(wanted):
            raise place.error(f"must be a value that {parameter.name} can have", wanted)
        if not same(wanted, near := parameter.decode(parameter.encode(wanted))):  # 0.1 + 0.2
            raise place.error(f"must be {near} as written", wanted)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
