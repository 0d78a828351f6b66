"""A command as an objective: its words, and the ``[arguments]`` and ``[reports]`` tables of a study."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpo.study.fields import Field, Place, label, read_table, read_value, show, text
from hpo.study.space import Space

# Where a command's metrics may be read: one of these keys, each with what it holds.
SOURCES = ("pattern", "csv", "jsonl", "tensorboard")


@dataclass(frozen=True)
class Command:
    """A program that is called for every trial.

    Attributes:
        words: The program and its arguments, with placeholders.
        study: The study's name.
        metrics: The objectives, which make a report complete.
        arguments: Parameter names to the patterns by which ``{args}`` writes them; ``--name={}`` for the others.
        source: Where the metrics are read, one of :data:`SOURCES`; None for JSON lines on standard output.
        where: The source's regular expression, file or folder.
        conditional: Parameters that some trials do not have.
        folder: The study file's folder.
        workdir: ``"shared"``, the working folder of hpo, or ``"own"``, a folder of the trial's own.
        grace: Seconds between asking a program to end and killing it.
    """

    words: tuple[str, ...] = ()
    study: str = ""
    metrics: tuple[str, ...] = ()
    arguments: Mapping[str, str] = field(default_factory=dict)
    source: str | None = None
    where: str = ""
    conditional: frozenset[str] = frozenset()
    folder: str = ""
    workdir: str = "shared"
    grace: float = 5.0

    def __str__(self) -> str:
        return " ".join(self.words)


def _argument(raw: Any) -> str:
    value: str = text(raw)
    if value.count("{") > 1 or value.count("}") != value.count("{"):
        raise ValueError('must have at most one pair of braces, as in "--lr={}" or "--layers={,}"')
    if "{" not in value and len(value.split("/")) > 2:
        raise ValueError('must be one flag, or two for true and false, as in "--nesterov/--no-nesterov"')
    return value


def _pattern(raw: Any) -> str:
    value: str = text(raw)
    try:
        names = set(re.compile(value).groupindex)
    except re.error as error:
        raise ValueError(f"must be a regular expression: {error}") from None
    if ("name" in names and "value" not in names) or not names - {"step"}:
        raise ValueError(
            r"must have a named group for every metric, as in '(?P<loss>\S+)', or the two groups name and value"
        )
    return value


_REPORTS = {key: Field(_pattern if key == "pattern" else text, None) for key in SOURCES}


def read_arguments(
    place: Place, raw: Mapping[str, Any], space: Space, fixed: Mapping[str, Any], commands: Sequence[Sequence[str]]
) -> dict[str, str]:
    """Reads a study's ``[arguments]`` table.

    Args:
        place: Where it stands.
        raw: The table.
        space: The study's space.
        fixed: Its fixed parameters.
        commands: The words of its commands; without any, the study is refused for another reason.

    Raises:
        InputError: For a name that is no parameter, a pattern that cannot be filled, or one that nobody would read.
    """
    names = {*fixed, *(parameter.name for parameter in space.parameters)}
    for name in raw:
        read_value(place / name, name, label)
        if name not in names:
            rule = f"must be a parameter of [space] or [fixed]: {', '.join(sorted(names))}"
            raise (place / name).error(rule, raw[name], got="")
    patterns = {name: read_value(place / name, pattern, _argument) for name, pattern in raw.items()}
    if raw and commands and not any("{args}" in words for words in commands):
        raise place.error("says how {args} writes parameters, but no word of the command is {args}")
    return patterns


def read_reports(place: Place, raw: Mapping[str, Any], workdir: str, metrics: Sequence[str]) -> dict[str, str]:
    """Reads a study's ``[reports]`` table; the result has one of :data:`SOURCES`, or is empty.

    Raises:
        InputError: With file, key, rule and value of the first thing that is wrong.
    """
    given = {key: value for key, value in read_table(place, raw, _REPORTS).items() if value is not None}
    if raw and len(given) != 1:
        raise place.error(f"must have exactly one of {', '.join(SOURCES)}", raw, show(sorted(given)))
    for key, where in given.items():
        if "step" in metrics:
            raise (place / key).error("cannot read the study's metric 'step': there, step is the number of a report")
        groups = {*re.compile(where).groupindex} if key == "pattern" else {"name"}
        for metric in metrics if "name" not in groups else ():
            if metric not in groups:
                raise (place / key).error(
                    f"must have a group for the study's metric {metric!r}, or the two groups name and value", where
                )
        if key != "pattern" and any("**" in part and part != "**" for part in where.split("/")):
            raise (place / key).error("must have ** alone between two slashes", where)
        if key != "pattern" and workdir == "shared" and not re.search(r"\{(folder|checkpoint|trial)\}", where):
            raise (place / key).error(
                'must lie in {folder}, or trial.workdir must be "own": trials side by side would share the file',
                where,
            )
    return given
