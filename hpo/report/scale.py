"""Where a parameter's value lies in its range."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from hpo.space import Choice, Float, Int, Parameter, Space
from hpo.trial import Trial


def covering(space: Space, trials: Iterable[Trial]) -> Space:
    """The space with ranges that hold the values of all trials: a sampler may have widened them."""
    values: dict[str, list[Any]] = {}
    for trial in trials:
        for name, value in trial.params.items():
            values.setdefault(name, []).append(value)
    ranges = [p.name for p in space.parameters if p.name in values and not isinstance(p, Choice)]
    return space.widened({name: (min(values[name]), max(values[name])) for name in ranges})


def is_log(parameter: Parameter) -> bool:
    return isinstance(parameter, Float | Int) and parameter.log


def position(parameter: Parameter, value: Any) -> float:
    """0 at the low end of the range, 1 at the high end, even in the logarithm where the range is logarithmic.

    The position of a choice is its place in the list: 0 for the first, 1 for the last.
    """
    if isinstance(parameter, Choice):
        return place(parameter, value) / max(len(parameter.choices) - 1, 1)
    assert isinstance(parameter, Float | Int)
    low, high, at = float(parameter.low), float(parameter.high), float(value)
    if parameter.log:
        low, high, at = math.log(low), math.log(high), math.log(at)
    return (at - low) / (high - low)


def place(parameter: Choice, value: Any) -> int:
    """A choice's place in the list of choices, from 0."""
    return parameter.labels.index(parameter.encode(value))


def label(value: Any, width: int = 60) -> str:
    """A value for people: numbers with three digits, long texts cut."""
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return text if len(text) <= width else text[: width - 1] + "…"


def signed(value: float) -> str:
    """Two digits and a sign, without a negative zero."""
    return f"{round(value, 2) + 0.0:+.2f}"


def duration(seconds: float) -> str:
    """A time for people."""
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
