"""The objective contract: ``objective(params, seed)`` yields mappings of metric names to numbers.

An objective is any importable callable that takes a mapping of parameter values and an integer seed. It may be a
generator function (one report per epoch, step or rung), or return a generator, an iterator, one number or one mapping
(a single report). A tuple, list or array is none of these: which of its elements would be the value? It may also be a
command line (see :mod:`hpo.objective.command`). Closing the generator ends a trial early.

An objective with a parameter ``report`` gets a function instead: it calls ``report({"loss": 0.3})`` where another would
yield (see :mod:`hpo.objective.push`). ``folder`` is a folder of the trial's own, ``trial`` the trial's number.

An objective with a parameter ``checkpoint`` gets the path of a folder for its trial. The folder survives a retry
of the trial and a crash of the driver; the objective can resume from what it saved there. It then yields the earlier
reports again: the sequence of reports must be the same as without the interruption.

A callable may carry a function attribute ``check(params)``: it is called once, before any work starts, with concrete
parameters, and raises ``ValueError`` or ``OSError`` for settings that cannot work or data that is missing. A second
one, ``data(params)``, describes the data that the objective uses, for MLflow (:func:`data`).
"""

from __future__ import annotations

import copy
import inspect
import numbers
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from hpo.errors import InputError, ObjectiveError
from hpo.imports import load, raised
from hpo.objective.command import IDLE, command_objective
from hpo.objective.push import pushed
from hpo.study.command import Command

Metrics = dict[str, float]
# What an objective may ask for beside its parameters and its seed, by name.
EXTRA = ("report", "checkpoint", "folder", "trial")
Objective = Callable[..., Any]


class Data(NamedTuple):
    """One part of a data set.

    Attributes:
        name: The data set's name.
        digest: A hash of its content, at most 36 characters.
        split: The part's role, such as ``"train"`` or ``"validation"``.
        rows: How many examples it has.
    """

    name: str
    digest: str
    split: str
    rows: int


def resolve(reference: str | Command, arguments: Sequence[str] = ("params", "seed")) -> Objective:
    """Imports the callable, or wraps the command, that a study names.

    Args:
        reference: ``"package.module:name"``, or a command.
        arguments: What a callable must accept, in this order.

    Raises:
        ObjectiveError: Naming the part that failed: the module, an import in it, the name, the signature, the program.
    """
    if not isinstance(reference, str):
        return command_objective(reference)
    try:
        target = load(reference, "objective")
    except InputError as error:
        raise _error(error.rule or str(error)) from error
    if not callable(target):
        raise _error(f"{reference} is not callable, it is of type {type(target).__name__}")
    try:
        extra = {name: None for name in EXTRA if name not in arguments and takes(target, name)}
        inspect.signature(target).bind(*arguments, **extra)
    except (TypeError, ValueError) as error:
        raise _error(f"{reference} must accept ({', '.join(arguments)}): {error}") from None
    return target  # type: ignore[no-any-return]


def _error(rule: str) -> ObjectiveError:
    return ObjectiveError(f"objective: {rule}", key="objective", rule=rule)


def check(objective: Objective, points: Iterable[Mapping[str, Any]]) -> None:
    """Lets the objective refuse parameters, or report missing data, before any work starts.

    Raises:
        ObjectiveError: With the message that the objective gave.
    """
    checker = getattr(objective, "check", None)
    if checker is None:
        return
    for params in points:
        try:
            checker(copy.deepcopy(dict(params)))
        except (ValueError, OSError) as error:
            raise _error(str(error)) from error
        except Exception as error:
            raise _error(f"its own check of the parameters failed{raised(error)}") from error


def data(objective: Objective, params: Mapping[str, Any]) -> list[Data]:
    """The data that an objective uses, as its ``data`` attribute describes it; empty without one.

    Raises:
        TypeError: When the description has another form.
    """
    describe = getattr(objective, "data", None)
    parts = [] if describe is None else list(describe(copy.deepcopy(dict(params))))
    for part in parts:
        if not isinstance(part, Mapping) or set(part) != set(Data._fields):
            raise TypeError(
                f"data(params) must yield mappings with the keys {', '.join(Data._fields)}, got {part!r:.200}"
            )
    return [Data(str(p["name"]), str(p["digest"]), str(p["split"]), int(p["rows"])) for p in parts]


def reports(
    objective: Objective, params: Mapping[str, Any], seed: int, metric: str, **places: Any
) -> Generator[Metrics, None, None]:
    """The reports of one trial, as :func:`moments` has them, and nothing else; closing it ends the trial."""
    with closing(moments(objective, params, seed, metric, **places)) as running:
        for moment in running:
            if moment is not None:
                yield moment


def moments(
    objective: Objective, params: Mapping[str, Any], seed: int, metric: str, **places: Any
) -> Generator[Metrics | None, None, None]:
    """Runs one trial as a generator of reports; closing it closes the objective's own generator.

    A command also gives None, a few times a second: it can be ended while it says nothing.

    Args:
        objective: What :func:`resolve` gave.
        params: Fixed and searched parameters together.
        seed: The trial's seed.
        metric: The name under which a bare number is reported.
        places: ``checkpoint`` and ``folder``, folders of the trial, and ``trial``, its number, for an objective that
            names them.

    Raises:
        TypeError: When a report is no mapping of names to numbers.
    """
    params = copy.deepcopy(dict(params))  # the objective may change what it is given
    wanted = {name: value for name, value in places.items() if value is not None and takes(objective, name)}
    if "folder" in wanted and Path(wanted["folder"]).exists():  # of an attempt that was lost
        shutil.rmtree(wanted["folder"])
    for name in ("checkpoint", "folder"):
        if name in wanted:
            Path(wanted[name]).mkdir(parents=True, exist_ok=True)
    if takes(objective, "report"):
        push = partial(objective, params, seed, **wanted)
        yield from pushed(lambda report: push(report=report), lambda found: _report(found, metric))
        return
    result = objective(params, seed, **wanted)
    if not isinstance(result, Iterator):
        if isinstance(result, Iterable) and not isinstance(result, Mapping | str | bytes) and not _is_number(result):
            raise TypeError(
                f"an objective must return a mapping of metric names to numbers, or a number, got {result!r:.80}; "
                "give each number a name, as in {'loss': 0.2, 'accuracy': 0.8}; only a generator gives several reports"
            )
        yield _report(result, metric)
        return
    try:
        for report in result:
            yield None if report is IDLE else _report(report, metric)
    finally:
        if isinstance(result, Generator):
            result.close()


def takes(objective: Objective, name: str) -> bool:
    """Whether the objective names a parameter, ``checkpoint`` for example."""
    return name in inspect.signature(objective).parameters


def _report(report: Any, metric: str) -> Metrics:
    if _is_number(report):
        return {metric: float(report)}
    if not isinstance(report, Mapping) or not report:
        raise TypeError(f"a report must be a mapping of metric names to numbers, or a number, got {report!r:.80}")
    for name, value in report.items():
        if not isinstance(name, str) or not _is_number(value):
            raise TypeError(f"a report must be a mapping of metric names to numbers, got {name!r:.80}: {value!r:.80}")
    # Plain names: the driver must not meet a class of the study's own code.
    return {str.__str__(name): float(value) for name, value in report.items()}


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    # NumPy's scalars and zero-dimensional arrays are numbers too, where they are of a real number's type.
    return isinstance(value, numbers.Real) or (
        getattr(value, "shape", None) == () and getattr(getattr(value, "dtype", None), "kind", "f") in "fiu"
    )
