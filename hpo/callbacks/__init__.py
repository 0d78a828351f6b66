"""Callbacks that report from inside training libraries: one module per library, which imports that library.

Each takes the function that an objective's parameter ``report`` receives, and calls it with the numbers that the
library logs. Where the trial is to end, the library's own training loop ends with :class:`hpo.Stopped`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any


def numbers(logged: Mapping[str, Any] | None) -> dict[str, float]:
    """The numbers among what a library logs; anything else, text for example, is left out."""
    found = {}
    for name, value in (logged or {}).items():
        with suppress(TypeError, ValueError, OverflowError, RuntimeError):  # PyTorch's, for a tensor of several numbers
            if not isinstance(value, str | bytes):
                found[str(name)] = float(value)
    return found
