"""Overrides of single keys of a study file: ``--set key=value``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from typing import Any

from hpo.study.algorithms import SAMPLING
from hpo.study.fields import Place, show

# Where an override stands, for messages.
_OPTION = Place("--set")
# Numbers as other languages write them.
_NUMBER = re.compile(r"[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?")


def override(raw: dict[str, Any], wanted: str, place: Place = _OPTION) -> None:
    """Replaces one key of a study's raw tables.

    Args:
        raw: The tables, which are changed.
        wanted: ``"key=value"``, the key dotted for nested tables.
        place: Where it stands, for messages.

    Raises:
        InputError: When the text is no override, or its value is not what was meant.
    """
    key, equals, text = (part.strip() for part in wanted.partition("="))
    path = keys_of(key)
    if not equals or not all(path):
        raise place.error("must be key=value", wanted, repr(wanted))
    target = raw
    for depth, part in enumerate(path[:-1], start=1):
        target = target.setdefault(part, {})
        if not isinstance(target, dict):
            raise (place / key).error(f"{'.'.join(path[:depth])} must be a table", target)
    before = target.get(path[-1])
    try:
        (target[path[-1]],) = tomllib.loads(f"value = {text}").values()
    except ValueError:  # no TOML, or more than one key
        if path[0] not in ("budget", "trial", "workers"):  # whose readers take "90s", and refuse what they do not know
            _check_text(place / key, text, before, fixed=path[0] == "fixed")
        target[path[-1]] = text
    if names_algorithm(path) and target[path[-1]] != before:
        drop_options(target)


def names_algorithm(path: Sequence[str]) -> bool:
    """Whether a key names the sampler or the pruner."""
    return tuple(path) in (("sampler", "name"), ("pruner", "name"))


def drop_options(table: dict[str, Any]) -> None:
    """Leaves the name of a sampler or pruner, and what all samplers take: another one takes other options."""
    for key in set(table) - set(SAMPLING) - {"name"}:
        del table[key]


def keys_of(key: str) -> list[str]:
    """The parts of a dotted key: ``space.lr.high``, or ``space."optimizer.lr".high``."""
    if '"' not in key and "'" not in key:
        return [part.strip() for part in key.split(".")]
    keys: list[str] = []
    try:
        part: Any = tomllib.loads(f"{key} = 0")
        while isinstance(part, dict):
            ((name, part),) = part.items()
            keys.append(name)
    except ValueError:
        return [""]
    return keys


def _check_text(place: Place, text: str, before: Any, *, fixed: bool) -> None:
    """Refuses text that was meant for a value: ``False`` where the file has ``true``, ``.5`` where it has a number."""
    kinds = (bool, int, float, list, dict) if fixed else (bool, int, float)
    number = _NUMBER.fullmatch(text)
    meant = str(float(text)) if number else {"true": "true", "false": "false"}.get(text.lower())
    if isinstance(before, bool):
        meant = {"true": "true", "yes": "true", "on": "true"}.get(text.lower(), meant)
        meant = {"false": "false", "no": "false", "off": "false", "none": "false"}.get(text.lower(), meant)
    if isinstance(before, kinds) or (before is None and (meant or text.lower() in ("none", "null"))):
        was = "has no such key" if before is None else f"has {show(before)}"
        hint = f"did you mean {meant}? For" if meant else "for"
        got = f"{text}, which is no value in TOML; {hint} a text, write '{place.key}=\"{text}\"'"
        raise place.error(f"the file {was}", text, got)
