"""Reads a study file: TOML, parsed once and checked as a whole."""

from __future__ import annotations

import copy
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hpo.errors import InputError
from hpo.study.algorithms import read_pruner, read_sampler
from hpo.study.budget import Budget, read_budget
from hpo.study.command import Command, read_arguments, read_reports
from hpo.study.constraints import Bounds, read_constraints
from hpo.study.fields import (
    Field,
    Place,
    import_path,
    integer,
    is_import_path,
    label,
    one_of,
    plain,
    read_table,
    read_value,
    table,
    tables,
)
from hpo.study.figures import read_figures, to_tables
from hpo.study.from_table import Inherits, read_inherits, to_table, without_was
from hpo.study.overrides import override
from hpo.study.points import read_points
from hpo.study.space import Space, read_space
from hpo.study.study import Study
from hpo.study.trials import TrialSettings, read_trial
from hpo.study.workers import Resources, read_resources
from hpo.trial import Direction


def _name(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value):
        raise ValueError("must be 1 to 100 letters, digits, dots, dashes or underscores, a letter or digit first")
    return value


def _objective(value: Any) -> str | list[str]:
    if isinstance(value, list) and value and all(isinstance(word, str) and word for word in value):
        return value
    if is_import_path(value):
        return value
    raise ValueError('must be "package.module:name", or a command as a list of words')


_STUDY = {
    "name": Field(_name),
    "objective": Field(_objective),
    "evaluate": Field(_objective, None),
    "model": Field(import_path, None),
    "examples": Field(integer(1), None),
    "arguments": Field(table, {}),
    "reports": Field(table, {}),
    "fixed": Field(table, {}),
    "space": Field(table),
    "constraints": Field(table, {}),
    "sampler": Field(table, {}),
    "pruner": Field(table, {}),
    "enqueue": Field(tables, []),
    "budget": Field(table),
    "trial": Field(table, {}),
    "workers": Field(table, {}),
    "figure": Field(tables, []),
    "from": Field(table, {}),
}
_DIRECTION = one_of("minimize", "maximize")
# What follows a file's name where single keys were replaced.
WITH_SET = " with --set"
# What a study is judged by: one metric, or several.
_ONE = {"metric": Field(label), "direction": Field(_DIRECTION)}
_SEVERAL = {"objectives": Field(table)}


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
        source = Path(path).read_text(encoding="utf-8-sig")  # some editors put a byte order mark in front
        raw = tomllib.loads(source)
        if not overrides:
            return parse(raw, file=str(path), source=source)
        unchanged = None
        with suppress(InputError):  # the overrides may be what makes it whole
            unchanged = parse(copy.deepcopy(raw), file=str(path)).resolved
        for text in overrides:
            override(raw, text)
        return replace(parse(raw, file=f"{path}{WITH_SET}", source=source), unchanged=unchanged)
    except OSError as error:
        hint = _beside(Path(path)) if isinstance(error, FileNotFoundError) else ""
        raise Place(str(path)).error(f"cannot be read: {error.strerror}{hint}") from None
    except ValueError as error:  # a syntax error, bytes that are no UTF-8, a number of thousands of digits
        wrong = "is not valid TOML" if os.path.exists(path) else "cannot be read"  # noqa: PTH110 -- takes any name
        raise Place(str(path)).error(f"{wrong}: {error}") from None
    except RecursionError:
        raise Place(str(path)).error("is nested too deeply") from None


def _beside(path: Path) -> str:
    """What to do about a study file that is not there: another one has nearly its name, or there is none yet."""
    with suppress(OSError):
        stems = [other.stem for other in path.parent.glob("*.toml")]
        if found := get_close_matches(path.stem, stems, n=1):
            return f"; did you mean {path.with_name(found[0])}.toml?"
    return f"; to write one: hpo init {path if path.suffix == '.toml' else path.with_name(path.name + '.toml')}"


def parse(raw: Mapping[str, Any], *, file: str, source: str = "", folder: str | None = None) -> Study:
    """Validates a study given as nested tables.

    Args:
        raw: The tables.
        file: What names it in messages.
        source: The file's text.
        folder: Where its code may lie; None for the folder of ``file``.

    Raises:
        InputError: As :func:`load`.
    """
    place = Place(file)
    top, objectives = _read_top(place, raw)
    space, bounds, constraints, inherits = _read_space(place, top)
    several = len(objectives) > 1
    sampler, sampling = read_sampler(place / "sampler", top["sampler"], space, several=several)
    pruner = read_pruner(place / "pruner", top["pruner"], space, several=several)
    enqueue = read_points(place / "enqueue", top["enqueue"], space)
    figures = read_figures(place / "figure", top["figure"], top["name"], space, several=several)
    sections = {
        "budget": read_budget(place / "budget", top["budget"], tuple(objectives)),
        "trial": read_trial(place / "trial", top["trial"]),
        "workers": read_resources(place / "workers", top["workers"]),
    }
    folder = folder or str(Path(file).parent.absolute())
    commands = _commands(place, top, space, sections["trial"], folder, tuple(objectives))
    study = Study(
        file=file,
        source=source,
        folder=folder,
        space=space,
        bounds=bounds,
        figures=figures,
        sampler=sampler,
        enqueue=enqueue,
        inherits=inherits,
        pruner=pruner,
        budget=_budget(sections["budget"], objectives, sampler.points(space), len(enqueue)),
        trial=TrialSettings(**sections["trial"]),
        workers=Resources(**sections["workers"]),
        resolved={},
        objectives=objectives,
        **sampling,
        **commands,
        **{key: top[key] for key in ("name", "model", "examples", "fixed")},
    )
    return replace(study, resolved=_resolved(study, top, sections, constraints))


def _read_top(place: Place, raw: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Direction]]:
    """The study's own keys, and its objectives."""
    if not isinstance(raw, Mapping) or "objectives" not in raw:
        top = read_table(place, raw, _STUDY | _ONE)
        return top, {top["metric"]: Direction(top["direction"])}
    for key in _ONE:
        if key in raw:
            rule = "must not stand beside [objectives]: a study has either metric and direction, or [objectives]"
            raise (place / key).error(rule, raw[key], got="")
    top = read_table(place, raw, _STUDY | _SEVERAL)
    here, found = place / "objectives", {}
    for name, direction in top["objectives"].items():
        read_value(here / name, name, label)
        found[name] = Direction(read_value(here / name, direction, _DIRECTION))
    if len(found) < 2:
        rule = "must name two metrics or more; for a single one, write metric and direction"
        raise here.error(rule, top["objectives"])
    return top, found


def _read_space(place: Place, top: dict[str, Any]) -> tuple[Space, dict[str, Bounds], dict[str, Any], Inherits]:
    """The space with its constraints, the bounds of metrics, ``[constraints]`` as read, and what is taken over."""
    for name, value in top["fixed"].items():
        read_value(place / "fixed" / name, name, label)
        read_value(place / "fixed" / name, value, plain)
    table_of_space, was = without_was(top["space"])
    space = read_space(place / "space", table_of_space)
    inherits = read_inherits(place / "from", top["from"], was, space)
    for parameter in space.parameters:
        if parameter.name in top["fixed"]:
            rule = "is in [fixed] too; a parameter is either searched or fixed"
            raise (place / "space" / parameter.name).error(rule, top["fixed"][parameter.name], got="")
    return *read_constraints(place / "constraints", top["constraints"], space, top["fixed"]), inherits


def _budget(section: Mapping[str, Any], objectives: Mapping[str, Direction], points: int | None, queue: int) -> Budget:
    """The budget of a study with a sampler of so many points, which ends the search when they are exhausted."""
    budget = Budget(**section)
    if isinstance(budget.target, float):  # of the single objective
        budget = replace(budget, target={next(iter(objectives)): budget.target})
    return budget if points is None else replace(budget, trials=min(budget.most, points + queue))


def _commands(
    place: Place,
    top: dict[str, Any],
    space: Space,
    trial: Mapping[str, Any],
    folder: str,
    metrics: tuple[str, ...],
) -> dict[str, Any]:
    """What a study calls, by key: import paths, and commands with all that they need to know of the study.

    The tables ``arguments`` and ``reports`` of ``top`` are replaced by what was read from them.
    """
    calls = {key: top[key] for key in ("objective", "evaluate")}
    for name in trial["infeasible"] if isinstance(top["objective"], list) else ():
        if not name.startswith("exit "):
            rule = 'the objective is a command, which raises nothing here: name its exit code, as in "exit 3"'
            raise (place / "trial" / "infeasible").error(rule, name)
    words = [call for call in calls.values() if isinstance(call, list)]
    arguments = read_arguments(place / "arguments", top["arguments"], space, top["fixed"], words)
    reports = read_reports(place / "reports", top["reports"], trial["workdir"], metrics)
    for key in ("arguments", "reports"):
        if isinstance(top["objective"], str) and top[key]:
            raise (place / key).error("is for commands, but the objective is a function", top["objective"])
    top |= {"arguments": arguments, "reports": reports}
    shared = Command(
        study=top["name"],
        metrics=metrics,
        arguments=arguments,
        source=next(iter(reports), None),
        where=next(iter(reports.values()), ""),
        conditional=frozenset(parameter.name for parameter in space.parameters if parameter.when),
        folder=folder,
        workdir=trial["workdir"],
        grace=trial["grace"],
    )
    return {key: replace(shared, words=tuple(c)) if isinstance(c, list) else c for key, c in calls.items()}


def _resolved(
    study: Study, top: Mapping[str, Any], sections: Mapping[str, Mapping[str, Any]], constraints: Mapping[str, Any]
) -> dict[str, Any]:
    """The whole study as plain values, defaults and overrides included."""
    sampler, pruner = study.sampler, study.pruner
    return {
        **{key: top[key] for key in ("name", *_ONE, *_SEVERAL, "fixed") if key in top},
        "space": study.space.to_dict(),
        **({"constraints": constraints} if constraints else {}),
        "objective": top["objective"],
        "sampler": _without_none({"name": sampler.name, "seed": study.seed, "batch": study.batch, **sampler.options}),
        "pruner": _without_none({"name": pruner.name, **pruner.options}),
        "enqueue": list(study.enqueue),
        **{name: _without_none(section) for name, section in sections.items()},
        **_without_none({"figure": to_tables(study.figures) or None, "evaluate": top["evaluate"]}),
        **_without_none({key: top[key] for key in ("model", "examples")}),
        **{key: top[key] for key in ("arguments", "reports") if top[key]},
        **_without_none({"from": to_table(study.inherits) or None}),
    }


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
