"""Reads one table of a study file against a literal description of its keys.

A table's shape is data: a dict of key to :class:`Field`. Reading it reports the first unknown, missing or wrong
key as ``file: key: rule, got value``, so that every table of every study fails in the same words.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, time
from typing import Any, TypeGuard

from hpo.errors import InputError
from hpo.text import short, suggest

REQUIRED = object()
ABSENT = object()


@dataclass(frozen=True)
class Field:
    """One key: how its value is read, and what it is when absent.

    Attributes:
        read: Turns the raw TOML value into the wanted one; a ``ValueError`` states the rule that was broken.
        default: The value of an absent key; :data:`REQUIRED` makes the key compulsory.
    """

    read: Callable[[Any], Any]
    default: Any = REQUIRED


@dataclass(frozen=True)
class Place:
    """Where in the user's input a value stands, for error messages: a file and a dotted key."""

    file: str
    key: str = ""

    def __truediv__(self, key: str) -> Place:
        return Place(self.file, f"{self.key}.{key}" if self.key else key)

    def error(self, rule: str, value: Any = ABSENT, got: str | None = None) -> InputError:
        """The error for a broken rule.

        Args:
            rule: The rule.
            value: What broke it, unless :data:`ABSENT`.
            got: The value in the message's words, where they are not its text; empty where the rule names it.
        """
        if got is None:
            got = "" if value is ABSENT else show(value)
        message = ": ".join(part for part in (self.file, self.key, f"{rule}, got {got}" if got else rule) if part)
        value = None if value is ABSENT else value
        return InputError(message, file=self.file or None, key=self.key or None, rule=rule, value=value)


def read_table(place: Place, raw: Any, fields: Mapping[str, Field]) -> dict[str, Any]:
    """Reads ``raw`` by ``fields``; the result has every key of ``fields``.

    Raises:
        InputError: For a value that is no table, an unknown key, a missing key or a broken rule.
    """
    if not isinstance(raw, Mapping):
        raise place.error("must be a table", raw)
    for key in raw:
        if key not in fields:
            raise (place / key).error(f"unknown key{suggest(key, fields)}", raw[key], got="")
    values = {}
    for key, field in fields.items():
        if key in raw:
            values[key] = read_value(place / key, raw[key], field.read)
        elif field.default is REQUIRED:
            raise (place / key).error(f"is missing{_rule(field)}")
        else:
            values[key] = field.default
    return values


def read_value(place: Place, value: Any, read: Callable[[Any], Any]) -> Any:
    """What ``read`` makes of ``value``.

    Raises:
        InputError: With the rule that ``read`` states, and the value.
    """
    try:
        return read(value)
    except ValueError as rule:
        raise place.error(str(rule), value) from None


def _rule(field: Field) -> str:
    """The rule for the value of an absent key, as its reader states it."""
    try:
        field.read(None)
    except ValueError as rule:
        return f"; it {rule}"
    return ""


def show(value: Any) -> str:
    """A value as the user wrote it, shortened."""
    try:
        text = json.dumps(value, default=_no_json, ensure_ascii=False)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        return "a number of thousands of digits"
    return _cut(text)


def _cut(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


def _no_json(value: Any) -> str:
    """A date as a study file has it; of what only a program can pass, the type shows."""
    return str(value) if isinstance(value, date | time) else _in_python(value)


def _in_python(value: Any) -> str:
    """What a program passed as Python shows it, shortened; its type where Python cannot show it."""
    try:
        text = repr(value)
    except Exception:  # of a number of thousands of digits, an endless list, or any class
        return f"a value of type {type(value).__name__}"
    return _cut(text)


# How deep the tables and lists that a program passes may be nested.
_DEPTH = 100


def as_written(place: Place, value: Any, depth: int = 0) -> Any:
    """A copy of what a program passes, as a study file has it: lists for tuples and arrays, numbers for NumPy's.

    Raises:
        InputError: For a key that is no text, and for what contains itself or is nested too deeply.
    """
    if hasattr(value, "tolist") and not isinstance(value, type):  # as in requests; NumPy itself is slow to import
        value = value.tolist()
    if not isinstance(value, Mapping | list | tuple):
        return value
    if depth > _DEPTH:
        rule = f"must not contain itself, nor be nested more than {_DEPTH} levels deep"
        raise Place(place.file, short(place.key)).error(rule)
    if not isinstance(value, Mapping):
        return [as_written(place, part, depth + 1) for part in value]
    for key in value:
        if not isinstance(key, str):
            shown = _in_python(key)
            raise (place / shown).error("every key of a table must be text", key, shown)
    return {key: as_written(place / key, part, depth + 1) for key, part in value.items()}


def argument(key: str, value: Any, kinds: Any, rule: str, low: float | None = None, high: float = math.inf) -> None:
    """Checks what a program passes: an argument of certain types, a number in ``[low, high]``; a bool is no number.

    Raises:
        InputError: With the argument's name, the rule and the value.
    """
    fits = isinstance(value, kinds) and (kinds is bool or not isinstance(value, bool))
    if not fits or (low is not None and value is not None and not low <= value <= high):
        raise Place("", key).error(rule, value, _in_python(value))


# Readers ---------------------------------------------------------------------------------------------------------


def text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be a non-empty string")
    return value


def boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def label(value: Any) -> str:
    """A parameter's or metric's name: what Optuna and MLflow both take."""
    if not isinstance(value, str) or len(value) > 100 or not _LABEL.fullmatch(value):
        raise ValueError(
            "must be 1 to 100 letters, digits, spaces or _ . : - /, a letter or digit at each part's start"
        )
    return value


_LABEL = re.compile(r"\w[\w .:-]*(/\w[\w .:-]*)*")


def table(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("must be a table")
    return value


def tables(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("must be a list of tables")
    return value


_OWN_VARIABLES = {f"HPO_{name}" for name in ("PARAMS", "SEED", "TRIAL", "STUDY", "FOLDER", "CHECKPOINT")}


def variables(value: Any) -> dict[str, str]:
    """Environment variables."""
    for name, setting in table(value).items():
        if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) or not isinstance(setting, str) or "\0" in setting:
            raise ValueError('must hold variables with text as their values, as in { OMP_NUM_THREADS = "1" }')
        if name in _OWN_VARIABLES:
            raise ValueError(f"must not hold {name}, which hpo sets for every trial")
    return dict(value)


def plain(value: Any) -> Any:
    """A value that JSON can keep too, and that is equal to itself when it is read back: no date, no NaN."""
    if isinstance(value, Mapping | list):
        for part in value.values() if isinstance(value, Mapping) else value:
            plain(part)
    elif not isinstance(value, str | int | float):
        raise ValueError("must hold text, numbers, true, false, lists and tables only (a date: as text)")
    elif not isinstance(value, str) and not -sys.float_info.max <= value <= sys.float_info.max:
        raise ValueError("must hold finite numbers only")
    return value


def import_path(value: Any) -> str:
    """Where something is found in Python: ``"package.module:name"``, the name perhaps dotted."""
    if is_import_path(value):
        return value
    raise ValueError('must be "package.module:name"')


def is_import_path(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and _IMPORT_PATH.fullmatch(value) is not None


_IMPORT_PATH = re.compile(r"{0}:{0}".format(r"[^\W\d]\w*(\.[^\W\d]\w*)*"))


def one_of(*names: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return str(value)

    return read


def integer(low: int = -(2**53), high: int = 2**53) -> Callable[[Any], int]:
    """A whole number in ``[low, high]``; by default what a database's and JSON's float64 holds exactly."""

    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError("must be a whole number")
        if value < low:
            raise ValueError(f"must be at least {low}")
        if value > high:
            raise ValueError(f"must be at most {high}")
        return value

    return read


def number(low: float = -math.inf, high: float = math.inf, *, above: bool = False) -> Callable[[Any], float]:
    """A finite number in ``[low, high]``, or in ``(low, high]`` with ``above``."""

    def read(value: Any) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ValueError("must be a number")
        if not -sys.float_info.max <= value <= sys.float_info.max:  # isfinite() fails for a huge int
            raise ValueError("must be finite")
        if above and value <= low:
            raise ValueError(f"must be above {low:g}")
        if value < low:
            raise ValueError(f"must be at least {low:g}")
        if value > high:
            raise ValueError(f"must be at most {high:g}")
        return float(value)

    return read


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration(value: Any) -> float:
    """Seconds, from a positive number of seconds or text such as ``"90s"``, ``"30m"``, ``"1h30m"``."""
    if isinstance(value, str):
        parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", value.replace(" ", ""))
        if not parts or "".join(a + b for a, b in parts) != value.replace(" ", ""):
            raise ValueError('must be a duration such as "90s", "30m" or "1h30m"')
        value = sum(float(amount) * _UNITS[unit] for amount, unit in parts)
    return number(0, above=True)(value)
