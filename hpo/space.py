"""The search space: what each parameter may be, and when it exists.

A :class:`Space` is an ordered, validated description; :meth:`Space.suggest` asks an Optuna trial for one value per
active parameter, in file order. Optuna is imported only when a distribution is built, so that a bad study file
answers at once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

from hpo.fields import Field, Place, boolean, integer, label, number, plain, read_table, read_value, show, table

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial as OptunaTrial


class Parameter(Protocol):
    """What a search space knows of one parameter."""

    @property
    def name(self) -> str: ...
    @property
    def when(self) -> Mapping[str, Any]: ...
    def distribution(self) -> BaseDistribution: ...
    def suggest(self, trial: OptunaTrial) -> Any: ...
    def decode(self, stored: Any) -> Any: ...
    def contains(self, value: Any) -> bool: ...


@dataclass(frozen=True)
class Float:
    """A real number in ``[low, high]``; uniform in its logarithm with ``log``, on a lattice with ``step``."""

    name: str
    low: float
    high: float
    log: bool = False
    step: float | None = None
    when: Mapping[str, Any] = field(default_factory=dict)

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def suggest(self, trial: OptunaTrial) -> float:
        return trial.suggest_float(self.name, self.low, self.high, log=self.log, step=self.step)

    def decode(self, stored: Any) -> float:
        return float(stored)

    def contains(self, value: Any) -> bool:
        return _is_number(value) and self.low <= value <= self.high and _on_lattice(value, self.low, self.step)


@dataclass(frozen=True)
class Int:
    """A whole number in ``[low, high]``, both ends included."""

    name: str
    low: int
    high: int
    log: bool = False
    step: int = 1
    when: Mapping[str, Any] = field(default_factory=dict)

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self.high, log=self.log, step=self.step)

    def suggest(self, trial: OptunaTrial) -> int:
        return trial.suggest_int(self.name, self.low, self.high, log=self.log, step=self.step)

    def decode(self, stored: Any) -> int:
        return int(stored)

    def contains(self, value: Any) -> bool:
        return (
            _is_number(value)
            and value == int(value)
            and self.low <= value <= self.high
            and (int(value) - self.low) % self.step == 0
        )


@dataclass(frozen=True)
class Choice:
    """One of a list of TOML values; lists and tables too (for layer widths, say)."""

    name: str
    choices: tuple[Any, ...]
    when: Mapping[str, Any] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[Any, ...]:
        """What Optuna stores: the choices, or their JSON text where one is no scalar or it would take two for one."""
        scalars = all(isinstance(choice, str | int | float | bool) for choice in self.choices)
        if scalars and len(set(self.choices)) == len(self.choices):  # true equals 1 in a set, and for Optuna
            return self.choices
        return tuple(json.dumps(choice) for choice in self.choices)

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.labels)

    def suggest(self, trial: OptunaTrial) -> Any:
        return self.decode(trial.suggest_categorical(self.name, self.labels))

    def decode(self, stored: Any) -> Any:
        return self.choices[_position(stored, self.labels)]

    def contains(self, value: Any) -> bool:
        return any(_same(value, choice) for choice in self.choices)

    def encode(self, value: Any) -> Any:
        return self.labels[_position(value, self.choices)]


@dataclass(frozen=True)
class Space:
    """The parameters of a study, in the order of the file.

    Attributes:
        parameters: One entry per parameter; a ``when`` names only parameters that stand before it.
    """

    parameters: tuple[Parameter, ...]

    def active(self, parameter: Parameter, values: Mapping[str, Any]) -> bool:
        """Whether ``parameter`` exists beside ``values``, the parameters decided so far."""
        return all(
            name in values and any(_same(values[name], wanted) for wanted in _as_list(wants))
            for name, wants in parameter.when.items()
        )

    def suggest(self, trial: OptunaTrial) -> dict[str, Any]:
        """One value per active parameter, drawn by the study's sampler."""
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            if self.active(parameter, values):
                values[parameter.name] = parameter.suggest(trial)
        return values

    def decode(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """The values that a ledger's trial stands for."""
        return {p.name: p.decode(stored[p.name]) for p in self.parameters if p.name in stored}

    def encode(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values as Optuna keeps them; :meth:`decode` undoes it."""
        return {
            p.name: p.encode(values[p.name]) if isinstance(p, Choice) else values[p.name]
            for p in self.parameters
            if p.name in values
        }

    def distributions(self) -> dict[str, BaseDistribution]:
        return {p.name: p.distribution() for p in self.parameters}

    def widened(self, ranges: Mapping[str, tuple[Any, ...]]) -> Space:
        """The space with float and integer parameters that reach as far as ``ranges`` (low, high) go beyond theirs."""
        return Space(tuple(_widened(p, ranges[p.name]) if p.name in ranges else p for p in self.parameters))

    def to_dict(self) -> dict[str, Any]:
        """The space as a study file's table, without what is default or absent."""
        return {p.name: _to_table(p) for p in self.parameters}

    def corners(self) -> list[dict[str, Any]]:
        """A few concrete points at the ends of every range, for an objective to check before any work starts."""
        return [self._corner(0), self._corner(-1)]

    def _corner(self, end: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            if self.active(parameter, values):
                ends = parameter.choices if isinstance(parameter, Choice) else (parameter.low, parameter.high)  # type: ignore[attr-defined]
                values[parameter.name] = ends[end]
        return values


def _widened(parameter: Parameter, ends: tuple[Any, ...]) -> Parameter:
    if not isinstance(parameter, Float | Int) or (ends[0] >= parameter.low and ends[1] <= parameter.high):
        return parameter
    low, high = min(ends[0], parameter.low), max(ends[1], parameter.high)
    if parameter.step and not parameter.log:  # whole steps further, on the lattice that is there
        first = math.floor((low - parameter.low) / parameter.step + 1e-9)
        last = math.floor((high - parameter.low) / parameter.step + 1e-9)
        low, high = (lattice_point(parameter.low, parameter.step, count) for count in (first, last))
    return replace(parameter, low=low, high=high)


# Reading a [space] table ------------------------------------------------------------------------------------------

_FLOAT = {
    "low": Field(number()),
    "high": Field(number()),
    "log": Field(boolean, False),
    "step": Field(number(0, above=True), None),
    "when": Field(table, {}),
}
_INT = _FLOAT | {"low": Field(integer()), "high": Field(integer()), "step": Field(integer(1), 1)}


def read_space(place: Place, raw: Any) -> Space:
    """Reads a study's ``[space]`` table.

    Raises:
        InputError: For the first rule that does not hold, with file, key, rule and value.
    """
    if not isinstance(raw, Mapping) or not raw:
        raise place.error(f"must be a table with at least one parameter, got {show(raw)}")
    parameters: list[Parameter] = []
    for name, spec in raw.items():
        read_value(place / name, name, label)
        if not isinstance(spec, Mapping) or not {"low", "high", "choice"} & spec.keys():
            raise (place / name).error(
                "must be a table such as { low = 1e-6, high = 1e-2, log = true } or { choice = [...] }, "
                f"got {show(spec)}"
            )
        parameter = (
            _read_choice(place / name, name, spec) if "choice" in spec else _read_range(place / name, name, spec)
        )
        _check_condition(place / name, parameter, parameters)
        parameters.append(parameter)
    return Space(tuple(parameters))


def _read_choice(place: Place, name: str, spec: Mapping[str, Any]) -> Choice:
    def choices(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or not value:
            raise ValueError("must be a list of at least one value")
        plain(value)
        if any(_same(a, b) for i, a in enumerate(value) for b in value[:i]):
            raise ValueError("must not name a value twice")
        return tuple(value)

    values = read_table(place, spec, {"choice": Field(choices), "when": Field(table, {})})
    return Choice(name, values["choice"], values["when"])


def _read_range(place: Place, name: str, spec: Mapping[str, Any]) -> Parameter:
    whole = all(isinstance(spec.get(end), int) for end in ("low", "high")) and not isinstance(spec.get("step"), float)
    values = read_table(place, spec, _INT if whole else _FLOAT)
    low, high, log, step = values["low"], values["high"], values["log"], values["step"]
    if not low < high:
        raise place.error(f"low must be below high, got low = {low:g}, high = {high:g}")
    if not math.isfinite(high - low):
        raise place.error(f"high - low must be finite, got low = {low:g}, high = {high:g}")
    if log and low <= 0:
        raise place.error(f"low must be above 0 for a logarithmic range, got low = {low:g}")
    if log and "step" in spec:
        raise place.error(f"a logarithmic range has no step, got step = {step:g}")
    # In decimals, as written: 0.1 divides 0.9 - 0.3 there.
    if step and (Decimal(str(high)) - Decimal(str(low))) % Decimal(str(step)):
        raise place.error(f"high - low must be a multiple of step, got low = {low:g}, high = {high:g}, step = {step:g}")
    return (
        Int(name, low, high, log, step, values["when"]) if whole else Float(name, low, high, log, step, values["when"])
    )


def _check_condition(place: Place, parameter: Parameter, before: list[Parameter]) -> None:
    known = {p.name: p for p in before}
    for name, wants in parameter.when.items():
        if name not in known:
            raise (place / "when").error(f"must name a parameter that stands before it, got {show(name)}")
        for wanted in _as_list(wants) or [wants]:
            if not known[name].contains(wanted):
                raise (place / "when" / name).error(f"must be a value that {name} can have, got {show(wanted)}")


def _to_table(parameter: Parameter) -> dict[str, Any]:
    if isinstance(parameter, Choice):
        spec: dict[str, Any] = {"choice": list(parameter.choices)}
    else:
        assert isinstance(parameter, Float | Int)
        spec = {"low": parameter.low, "high": parameter.high, "log": parameter.log}
        if parameter.step is not None and not parameter.log:
            spec["step"] = parameter.step
    return spec | ({"when": dict(parameter.when)} if parameter.when else {})


# Values -----------------------------------------------------------------------------------------------------------


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _same(a: Any, b: Any) -> bool:
    """Equality that keeps ``true`` and ``1`` apart, at any depth."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def _position(value: Any, among: tuple[Any, ...]) -> int:
    for index, candidate in enumerate(among):
        if _same(value, candidate):
            return index
    raise ValueError(f"must be one of {list(among)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def lattice_point(low: float, step: float, count: int) -> float:
    """``low + count * step`` as a person would write it: ``0.3``, and not ``0.30000000000000004``."""
    if isinstance(low, int) and isinstance(step, int):
        return low + count * step
    return float(Decimal(str(low)) + count * Decimal(str(step)))


def _on_lattice(value: float, low: float, step: float | None) -> bool:
    return step is None or math.isclose((value - low) / step, round((value - low) / step), abs_tol=1e-8)
