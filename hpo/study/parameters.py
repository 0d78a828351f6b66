"""The kinds of parameters: a real number, a whole number, a choice; the only module that tells them apart.

Optuna is imported only when a distribution is built, so that a bad study file answers at once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from hpo.study.fields import show
from hpo.study.values import is_number, lattice_point, places, position, same
from hpo.text import short

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

# How far from a point of its lattice, in steps, a real number may be: binary arithmetic rounds.
_NEAR = 1e-8


class Parameter(Protocol):
    """One parameter of a search space; the only place that knows of its kind.

    Attributes:
        name: The parameter's name.
        when: The values of earlier parameters under which it exists.
        ordered: Whether its values are numbers on an axis.
        log: Whether that axis is logarithmic.
        whole: Whether its values are whole numbers.
    """

    name: str
    when: Mapping[str, Any]
    ordered: ClassVar[bool] = False
    whole: ClassVar[bool] = False
    log: bool = False

    @property
    def ends(self) -> tuple[Any, Any]:
        """The lowest and the highest value; of a choice, the first and the last."""

    def encode(self, value: Any) -> Any:
        """A value as Optuna stores it; ``ValueError`` for a choice that is not among the choices."""

    def decode(self, stored: Any) -> Any:
        """A stored value as the objective sees it."""

    def contains(self, value: Any) -> bool:
        """Whether the parameter can have this value."""

    def to_unit(self, value: Any) -> float:
        """Where a value lies in [0, 1] on the parameter's scale; ``from_unit(to_unit(value))`` is the value.

        A value of a parameter with n different values lies in the middle of the n-th part that belongs to it.
        """

    def from_unit(self, u: float) -> Any:
        """The value at ``u`` in [0, 1] of the uniform distribution over the parameter's scale."""

    @property
    def count(self) -> int | None:
        """How many different values it has; None for a continuous parameter."""

    def values(self) -> list[Any] | None:
        """All values in order; None for a continuous parameter."""

    def spread(self, points: int) -> list[Any]:
        """At most ``points`` values, evenly spread over its scale from end to end, the middle for one; all choices."""

    def within(self, kept: Sequence[Any]) -> Parameter:
        """The part between ``(low, high)``, on the same lattice and never empty; of a choice, the choices ``kept``."""

    def widened(self, low: Any, high: Any) -> Parameter:
        """The parameter with a range that holds ``low`` and ``high`` as well; a choice stays as it is."""

    def describe(self) -> str:
        """What a value must be, in a few words."""

    def distribution(self) -> BaseDistribution:
        """The parameter as Optuna's distribution."""

    def to_dict(self) -> dict[str, Any]:
        """The parameter as a study file's table, without what is default or absent."""


@dataclass(frozen=True)
class _Range(Parameter):
    """A number in ``[low, high]``, on a lattice with ``step``: what real and whole numbers have in common."""

    name: str
    low: Any
    high: Any
    log: bool = False
    step: Any = None
    when: Mapping[str, Any] = field(default_factory=dict)
    ordered: ClassVar[bool] = True

    @property
    def ends(self) -> tuple[Any, Any]:
        return self.low, self.high

    @property
    def log_ends(self) -> tuple[float, float]:
        """The ends of a logarithmic range, on its axis."""
        return math.log(self.low), math.log(self.high)

    def _steps_to(self, value: float) -> Decimal:
        """How many steps above ``low`` a value lies, in decimals: float64 miscounts from 1e8 steps on."""
        return (Decimal(str(value)) - Decimal(str(self.low))) / Decimal(str(self.step))

    def _point(self, index: int) -> Any:
        return lattice_point(self.low, self.step, index)

    def contains(self, value: Any) -> bool:
        if not is_number(value) or not self.low <= value <= self.high:
            return False
        if self.step is None:
            return True
        steps = self._steps_to(value)
        return bool(abs(steps - round(steps)) <= (0 if self.whole else _NEAR))

    def to_unit(self, value: Any) -> float:
        if self.log:
            bottom, top = self.log_ends
            return (math.log(value) - bottom) / (top - bottom)
        if self.count is not None:
            return (round(self._steps_to(value)) + 0.5) / self.count
        return float((value - self.low) / (self.high - self.low))

    def from_unit(self, u: float) -> Any:
        if self.log:
            bottom, top = self.log_ends
            value = math.exp(bottom + (top - bottom) * u)
            # exp(log(high)) may exceed high in the last bit
            return min(max(round(value) if self.whole else value, self.low), self.high)
        if self.count is not None:
            return self._point(min(int(u * self.count), self.count - 1))
        return min(self.low + (self.high - self.low) * u, self.high)

    @property
    def count(self) -> int | None:
        return None if self.step is None else round(self._steps_to(self.high)) + 1

    def values(self) -> list[Any] | None:
        return None if self.count is None else [self._point(index) for index in range(self.count)]

    def spread(self, points: int) -> list[Any]:
        import numpy as np  # not at the top: a study file is read without NumPy

        evenly = np.geomspace if self.log else np.linspace
        values = evenly(self.low, self.high, points if points > 1 else 3).tolist()
        values = values if points > 1 else values[1:2]
        return values if self.step is None else sorted({self._point(round((v - self.low) / self.step)) for v in values})

    def within(self, kept: Sequence[float]) -> _Range:
        if self.count is None:
            low, high = max(kept[0], self.low), min(kept[1], self.high)
            return replace(self, low=low, high=max(low, high))
        # A bound on the lattice must not be lost to its own rounding.
        first = math.ceil((kept[0] - self.low) / self.step - 1e-9)
        last = math.floor((kept[1] - self.low) / self.step + 1e-9)
        first, last = (min(max(index, 0), self.count - 1) for index in (first, last))
        if first > last:  # no point lies between them: the nearest
            nearest = round(((kept[0] + kept[1]) / 2 - self.low) / self.step)
            first = last = min(max(nearest, 0), self.count - 1)
        return replace(self, low=self._point(first), high=self._point(last))

    def widened(self, low: Any, high: Any) -> _Range:
        if low >= self.low and high <= self.high:
            return self
        low, high = min(low, self.low), max(high, self.high)
        if self.step and not self.log:  # whole steps further on the same lattice
            low, high = (self._point(math.floor((end - self.low) / self.step + 1e-9)) for end in (low, high))
        return replace(self, low=low, high=high)

    def describe(self) -> str:
        steps = f" in steps of {self.step:g}" if self.step is not None and not (self.whole and self.step == 1) else ""
        return f"a {'whole ' if self.whole else ''}number in [{self.low:g}, {self.high:g}]{steps}"

    def to_dict(self) -> dict[str, Any]:
        step = {} if self.log or self.step is None else {"step": self.step}
        return {"low": self.low, "high": self.high, "log": self.log, **step, **_condition(self)}


@dataclass(frozen=True)
class Float(_Range):
    """A real number in ``[low, high]``; uniform in its logarithm with ``log``, on a lattice with ``step``."""

    low: float
    high: float
    step: float | None = None

    def encode(self, value: Any) -> float:
        return float(value)

    def decode(self, stored: Any) -> float:
        return float(stored if self.step is None else self._point(round(self._steps_to(stored))))

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)


@dataclass(frozen=True)
class Int(_Range):
    """A whole number in ``[low, high]``, both ends included."""

    low: int
    high: int
    step: int = 1
    whole: ClassVar[bool] = True

    def encode(self, value: Any) -> int:
        return int(value)

    def decode(self, stored: Any) -> int:
        return int(stored)

    def contains(self, value: Any) -> bool:
        return super().contains(value) and value == int(value)

    @property
    def log_ends(self) -> tuple[float, float]:
        """Half a unit beyond both ends, so that every whole number has its share of the logarithmic range."""
        return math.log(self.low - 0.5), math.log(self.high + 0.5)

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self.high, log=self.log, step=self.step)


@dataclass(frozen=True)
class Choice(Parameter):
    """One of a list of TOML values; lists and tables too (for layer widths, say)."""

    name: str
    choices: tuple[Any, ...]
    when: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ends(self) -> tuple[Any, Any]:
        return self.choices[0], self.choices[-1]

    @cached_property
    def labels(self) -> tuple[Any, ...]:
        """What Optuna stores: the choices, or their JSON text where one is no scalar or it would take two for one."""
        scalars = all(isinstance(choice, str | int | float | bool) for choice in self.choices)
        if scalars and len(set(self.choices)) == len(self.choices):  # true equals 1 in a set, and for Optuna
            return self.choices
        return tuple(json.dumps(choice) for choice in self.choices)

    def encode(self, value: Any) -> Any:
        return self.labels[self.index(value)]

    def decode(self, stored: Any) -> Any:
        return self.choices[position(stored, self.labels, self._label_places)]

    def index(self, value: Any) -> int:
        """The value's place among the choices, from 0."""
        return position(value, self.choices, self._places)

    @cached_property
    def _places(self) -> dict[Any, int]:
        return places(self.choices)

    @cached_property
    def _label_places(self) -> dict[Any, int]:
        return places(self.labels)

    def contains(self, value: Any) -> bool:
        return any(same(value, choice) for choice in self.choices)

    def to_unit(self, value: Any) -> float:
        return (self.index(value) + 0.5) / len(self.choices)

    def from_unit(self, u: float) -> Any:
        return self.choices[min(int(u * len(self.choices)), len(self.choices) - 1)]

    @property
    def count(self) -> int:
        return len(self.choices)

    def values(self) -> list[Any]:
        return list(self.choices)

    def spread(self, points: int) -> list[Any]:
        return self.values()

    def within(self, kept: Sequence[Any]) -> Choice:
        return replace(self, choices=tuple(kept))

    def widened(self, low: Any, high: Any) -> Choice:
        return self

    def describe(self) -> str:
        return f"one of {show(list(self.choices))}"

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.labels)

    def to_dict(self) -> dict[str, Any]:
        return {"choice": list(self.choices), **_condition(self)}


def in_words(parameter: Parameter) -> str:
    """A parameter's range for people, its scale and its condition included: ``1e-06 to 0.01, logarithmic``."""
    low, high = (short(end, 24) for end in parameter.ends)
    text = f"{low} to {high}" if parameter.ordered else ", ".join(short(v, 24) for v in parameter.values() or ())
    step = parameter.to_dict().get("step")
    if parameter.log:
        text += ", logarithmic"
    elif step is not None and not (parameter.whole and step == 1):
        text += f", step {short(step)}"
    if parameter.when:
        text += f", when {' and '.join(f'{name} is {short(wanted, 24)}' for name, wanted in parameter.when.items())}"
    return text


def _condition(parameter: Parameter) -> dict[str, Any]:
    return {"when": dict(parameter.when)} if parameter.when else {}
