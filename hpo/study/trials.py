"""What holds for every trial: the ``[trial]`` table of a study."""

from __future__ import annotations

import builtins
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hpo.study.fields import Field, Place, duration, integer, one_of, read_table, variables


@dataclass(frozen=True)
class TrialSettings:
    """What holds for every trial.

    Attributes:
        retries: How often a trial is run again after its worker was lost (never after its objective raised).
        timeout: Seconds a trial may run before its worker is ended and the trial counts as lost; None for no limit.
        stop_after_failures: How many trials in a row may fail before the search stops; 0 for any number.
        workdir: Where a command runs: ``"shared"``, hpo's working folder, or ``"own"``, a folder of the trial's own.
        grace: Seconds that a command has to end when its trial is stopped, before it is killed.
        env: Environment variables for the objective.
        keep: Whose folders are kept: ``"best"``, ``"best N"``, ``"all"`` or ``"none"``.
        infeasible: Exceptions by name (``"package.module.Class"``, or a built-in one) and exit codes of commands
            (``"exit 3"``) that mean that a trial's parameters do not work.
    """

    retries: int
    timeout: float | None
    stop_after_failures: int = 10
    workdir: str = "shared"
    grace: float = 5.0
    env: Mapping[str, str] = field(default_factory=dict)
    keep: str = "best"
    infeasible: tuple[str, ...] = ()

    @property
    def kept(self) -> int | None:
        """How many of the best trials keep their folders; None for all trials."""
        return {"all": None, "none": 0, "best": 1}[self.keep] if " " not in self.keep else int(self.keep.split()[1])


def _keep(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"all|none|best( [1-9]\d{0,5})?", value):
        raise ValueError('must be "best", "best 3" (or another number), "all" or "none"')
    return value


def _infeasible(value: Any) -> tuple[str, ...]:
    rule = (
        'must be a list of exceptions such as ["package.module.Class", "MemoryError"], or exit codes such as "exit 3"'
    )
    if not isinstance(value, list | tuple):
        raise ValueError(rule)
    for name in value:
        if not isinstance(name, str) or not re.fullmatch(r"exit [1-9]\d{0,2}|[^\W\d]\w*(\.[^\W\d]\w*)*", name):
            raise ValueError(rule)
        if "." not in name and not name.startswith("exit ") and not is_exception(getattr(builtins, name, None)):
            raise ValueError(f"{rule}; {name} is no built-in exception, so it needs its module")
    return tuple(value)


def is_exception(found: Any) -> bool:
    """Whether this is a class of exceptions that may end a trial as infeasible."""
    return isinstance(found, type) and issubclass(found, Exception)


TRIAL = {
    "retries": Field(integer(0), 2),
    "timeout": Field(duration, None),
    "stop_after_failures": Field(integer(0), 10),
    "workdir": Field(one_of("shared", "own"), "shared"),
    "grace": Field(duration, 5.0),
    "env": Field(variables, {}),
    "keep": Field(_keep, "best"),
    "infeasible": Field(_infeasible, ()),
}


def read_trial(place: Place, raw: Any) -> dict[str, Any]:
    """Reads a study's ``[trial]`` table.

    Raises:
        InputError: With file, key, rule and value of the first thing that is wrong.
    """
    return read_table(place, raw, TRIAL)
