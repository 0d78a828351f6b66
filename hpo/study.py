"""A study: what to search, how, and for how long. Read from a TOML file once, validated whole, frozen."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hpo import samplers
from hpo.budget import Budget, read_budget
from hpo.drawing import Drawing, read_drawings, to_tables
from hpo.errors import InputError
from hpo.fields import (
    Field,
    Place,
    duration,
    integer,
    label,
    one_of,
    plain,
    read_table,
    read_value,
    show,
    table,
    tables,
)
from hpo.points import read_points
from hpo.pruners import PRUNERS
from hpo.resources import Resources, read_resources
from hpo.samplers import SAMPLERS
from hpo.space import Space, read_space


@dataclass(frozen=True)
class Named:
    """A sampler or pruner by name, with its validated options."""

    name: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class TrialLimits:
    """What one trial may cost.

    Attributes:
        retries: How often a trial is run again after its worker was lost (never after its objective raised).
        timeout: Seconds a trial may run before its worker is ended and the trial counts as lost; None for no limit.
    """

    retries: int
    timeout: float | None


@dataclass(frozen=True)
class Study:
    """A validated study.

    Attributes:
        file: Where it was read from, for messages.
        source: The file's text, unchanged.
        name: Its name in the ledger and in MLflow.
        objective: ``"package.module:name"``, or a command as a tuple of words.
        metric: The reported metric that a trial is judged by; its last value counts.
        direction: ``"minimize"`` or ``"maximize"``.
        fixed: Handed to the objective unchanged, beside the searched parameters.
        space: The searched parameters.
        seed: What every draw of the search and every trial's own seed derive from.
        batch: How many trials are asked for at once, after all earlier ones have finished; None to ask whenever a
            worker is free.
        enqueue: Points that are tried first; what they leave open is left to the sampler.
        evaluate: What scores the chosen trial's setting on the sealed test set, in the shape of an objective; None
            where the study has no such thing.
        figures: What its report draws beside the figures of every report.
        model: ``"package.module:name"`` of what trains the chosen trial's setting again and saves the model; None
            where the study has no such thing.
        resolved: The whole study as plain values, defaults and overrides included.
    """

    file: str
    source: str
    name: str
    objective: str | tuple[str, ...]
    metric: str
    direction: str
    fixed: Mapping[str, Any]
    space: Space
    sampler: Named
    seed: int
    batch: int | None
    pruner: Named
    enqueue: tuple[Mapping[str, Any], ...]
    budget: Budget
    trial: TrialLimits
    workers: Resources
    evaluate: str | tuple[str, ...] | None
    figures: tuple[Drawing, ...]
    model: str | None
    resolved: Mapping[str, Any]

    def identity(self) -> dict[str, Any]:
        """What must not change while the study's trials are to be compared with each other."""
        return {key: self.resolved[key] for key in ("objective", "metric", "direction", "fixed", "space")}


def _name(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value):
        raise ValueError("must be 1 to 100 letters, digits, dots, dashes or underscores, a letter or digit first")
    return value


_IMPORTED = re.compile(r"{0}:{0}".format(r"[^\W\d]\w*(\.[^\W\d]\w*)*"))


def _objective(value: Any) -> str | tuple[str, ...]:
    if isinstance(value, list) and value and all(isinstance(word, str) and word for word in value):
        return tuple(value)
    if isinstance(value, str) and _IMPORTED.fullmatch(value):
        return value
    raise ValueError('must be "package.module:name", or a command as a list of words')


def _imported(value: Any) -> str:
    if isinstance(value, str) and _IMPORTED.fullmatch(value):
        return value
    raise ValueError('must be "package.module:name"')


_STUDY = {
    "name": Field(_name),
    "objective": Field(_objective),
    "metric": Field(label),
    "direction": Field(one_of("minimize", "maximize")),
    "evaluate": Field(_objective, None),
    "model": Field(_imported, None),
    "fixed": Field(table, {}),
    "space": Field(table),
    "sampler": Field(table, {}),
    "pruner": Field(table, {}),
    "enqueue": Field(tables, []),
    "budget": Field(table),
    "trial": Field(table, {}),
    "workers": Field(table, {}),
    "figure": Field(tables, []),
}
# What NumPy's older generators, Optuna's among them, take for a seed.
_SAMPLER = {"seed": Field(integer(0, 2**32 - 1), 0), "batch": Field(integer(1), None)}
_TRIAL = {"retries": Field(integer(0), 2), "timeout": Field(duration, None)}


def load(path: str | Path, overrides: Sequence[str] = ()) -> Study:
    """Reads and validates a study file.

    Args:
        path: The TOML file.
        overrides: ``"key=value"`` texts that replace single keys, dotted for nested ones (``sampler.name=tpe``); the
            value is read as TOML, and as plain text where it is none.

    Raises:
        InputError: With file, key, rule and value of the first thing that is wrong.
    """
    try:
        source, raw = _read(path)
        for override in overrides:
            _override(raw, override)
        return parse(raw, file=f"{path} with --set" if overrides else str(path), source=source)
    except RecursionError:
        raise InputError(f"{path}: is nested too deeply") from None


def _read(path: str | Path) -> tuple[str, dict[str, Any]]:
    try:
        source = Path(path).read_text(encoding="utf-8-sig")  # some editors put a byte order mark in front
        return source, tomllib.loads(source)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # a syntax error, bytes that are no UTF-8, a number of thousands of digits
        raise InputError(f"{path}: is not valid TOML: {error}") from None


def parse(raw: Mapping[str, Any], *, file: str, source: str = "") -> Study:
    """Validates a study given as nested tables; ``file`` names it in messages.

    Raises:
        InputError: As :func:`load`.
    """
    place = Place(file)
    top = read_table(place, raw, _STUDY)
    _check_fixed(place / "fixed", top["fixed"])
    space = read_space(place / "space", top["space"])
    for parameter in space.parameters:
        if parameter.name in top["fixed"]:
            raise (place / "space" / parameter.name).error("is in [fixed] too; a parameter is either searched or fixed")
    how, sampler = _read_sampler(place / "sampler", top["sampler"], space)
    pruner = _read_named(place / "pruner", top["pruner"], PRUNERS, default="none")
    _obey(place / "pruner", lambda: PRUNERS[pruner.name].check(pruner.options))
    enqueue = read_points(place / "enqueue", top["enqueue"], space)
    figures = read_drawings(place / "figure", top["figure"], top["name"], space)
    sections = {
        "budget": read_budget(place / "budget", top["budget"]),
        "trial": read_table(place / "trial", top["trial"], _TRIAL),
        "workers": read_resources(place / "workers", top["workers"]),
    }
    resolved = {
        **{key: top[key] for key in ("name", "metric", "direction", "fixed")},
        "space": space.to_dict(),
        "objective": list(top["objective"]) if isinstance(top["objective"], tuple) else top["objective"],
        "sampler": _without_none({"name": sampler.name, **how, **sampler.options}),
        "pruner": _without_none({"name": pruner.name, **pruner.options}),
        "enqueue": list(enqueue),
        **{name: _without_none(section) for name, section in sections.items()},
    }
    if figures:
        resolved["figure"] = to_tables(figures)
    if top["evaluate"] is not None:
        resolved["evaluate"] = list(top["evaluate"]) if isinstance(top["evaluate"], tuple) else top["evaluate"]
    if top["model"] is not None:
        resolved["model"] = top["model"]
    return Study(
        file=file,
        source=source,
        space=space,
        figures=figures,
        sampler=sampler,
        enqueue=enqueue,
        pruner=pruner,
        budget=_within_reach(Budget(**sections["budget"]), sampler, space, len(enqueue)),
        trial=TrialLimits(**sections["trial"]),
        workers=Resources(**sections["workers"]),
        resolved=resolved,
        **how,
        **{key: top[key] for key in ("name", "objective", "metric", "direction", "evaluate", "model", "fixed")},
    )


def _check_fixed(place: Place, fixed: Mapping[str, Any]) -> None:
    for name, value in fixed.items():
        read_value(place / name, name, label)
        read_value(place / name, value, plain)


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _read_sampler(place: Place, raw: Mapping[str, Any], space: Space) -> tuple[dict[str, Any], Named]:
    """The seed and the batch, and the sampler with its own options."""
    if isinstance(name := raw.get("name"), str) and _IMPORTED.fullmatch(name):
        how = read_table(place, {key: raw[key] for key in raw if key in _SAMPLER}, _SAMPLER)
        options = {key: read_value(place / key, raw[key], plain) for key in raw if key not in ("name", *_SAMPLER)}
        return how, Named(name, options)
    sampler = _read_named(place, raw, SAMPLERS, default="random", more=_SAMPLER)
    how = {key: sampler.options[key] for key in _SAMPLER}
    options = {key: value for key, value in sampler.options.items() if key not in _SAMPLER}
    _obey(place, lambda: SAMPLERS[sampler.name].check(space, options))
    return how, Named(sampler.name, options)


def _within_reach(budget: Budget, sampler: Named, space: Space, enqueued: int) -> Budget:
    """A sampler that can give only so many trials, a grid, ends the search earlier."""
    size = samplers.size(sampler.name, space, sampler.options)
    return budget if size is None else replace(budget, trials=min(budget.most, size + enqueued))


def _obey(place: Place, check: Callable[[], None]) -> None:
    """Options that are well one by one may contradict each other."""
    try:
        check()
    except ValueError as rule:
        raise place.error(str(rule)) from None


def _read_named(
    place: Place,
    raw: Mapping[str, Any],
    kinds: Mapping[str, Any],
    default: str,
    more: Mapping[str, Field] = MappingProxyType({}),
) -> Named:
    name = raw.get("name", default)
    if not isinstance(name, str) or name not in kinds:
        near = difflib.get_close_matches(name, kinds, n=1) if isinstance(name, str) else []
        raise (place / "name").error(
            f"must be one of {', '.join(kinds)}, got {show(name)}" + (f"; did you mean {near[0]!r}?" if near else "")
        )
    options = read_table(place, raw, {"name": Field(one_of(*kinds), default), **more, **kinds[name].options})
    del options["name"]
    return Named(name, options)


def _override(raw: dict[str, Any], override: str) -> None:
    key, equals, text_value = override.partition("=")
    path = key.strip().split(".")
    if not equals or not all(path):
        raise InputError(f"--set: must be key=value, got {override!r}")
    target = raw
    for depth, part in enumerate(path[:-1], start=1):
        target = target.setdefault(part, {})
        if not isinstance(target, dict):
            raise InputError(f"--set: {key.strip()}: {'.'.join(path[:depth])} must be a table, got {show(target)}")
    target[path[-1]] = _override_value(text_value)


def _override_value(text: str) -> Any:
    try:
        (value,) = tomllib.loads(f"value = {text}").values()
    except ValueError:  # no TOML, or more than one key
        return text.strip()
    return value
