"""Values of parameters: which two are the same, where one stands in a list, and points of a lattice."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any


def same(a: Any, b: Any) -> bool:
    """Equality that keeps ``true`` and ``1`` apart, at any depth."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def places(values: Sequence[Any]) -> dict[Any, int]:
    """The first place of every value that is no list or table: a choice of thousands is looked up for every trial."""
    scalars = [(place, value) for place, value in enumerate(values) if not isinstance(value, list | dict)]
    return {(isinstance(value, bool), value): place for place, value in reversed(scalars)}


def position(value: Any, among: Sequence[Any], scalars: Mapping[Any, int]) -> int:
    """The first place of a value.

    Args:
        value: What is looked for.
        among: Where.
        scalars: The places of what is no list or table there, from :func:`places`.

    Raises:
        ValueError: When it is not there.
    """
    if not isinstance(value, list | dict):
        with suppress(KeyError, TypeError):  # what is not there, and what cannot be
            return scalars[isinstance(value, bool), value]
    for index, candidate in enumerate(among):
        if same(value, candidate):
            return index
    raise ValueError(f"must be one of {list(among)}")


def is_number(value: Any) -> bool:
    """Whether a value is a finite number that a double can hold; ``true`` is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def as_stored(value: Any) -> Any:
    """A value as a ledger gives it back, by way of JSON: a tuple is a list then."""
    return json.loads(json.dumps(value))


def as_text(value: Any) -> str:
    """A value as text in which 1 and 1.0, or true and 1, are not the same."""
    return json.dumps(value, sort_keys=True)


def lattice_point(low: Any, step: Any, count: int) -> Any:
    """``low + count * step`` as a person would write it: ``0.3``, and not ``0.30000000000000004``."""
    if isinstance(low, int) and isinstance(step, int):
        return low + count * step
    return float(Decimal(str(low)) + count * Decimal(str(step)))
