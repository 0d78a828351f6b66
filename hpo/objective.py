"""The objective contract: ``objective(params, seed)`` yields mappings of metric names to numbers.

An objective is any importable callable that takes a mapping of parameter values and an integer seed. It may be a
generator function (one report per epoch, step or rung), or return one number or one mapping (a single report). It may
also be a command line (see :mod:`hpo.command`). Closing the generator ends a trial early.

An objective that names a third parameter ``checkpoint`` gets the path of a folder of its own: it survives a retry of
the trial and a death of the driver, so that the objective can go on from what it saved there. It then yields the
reports of what is already done again, so that the sequence is the same as without the interruption.

A callable may carry a function attribute ``check(params)``: it is called once, before any work starts, with concrete
parameters, and raises ``ValueError`` or ``OSError`` for settings that cannot work or data that is not there. A second
one, ``data(params)``, says what data the objective works on, for MLflow to show (:func:`data`).
"""

from __future__ import annotations

import importlib
import inspect
import numbers
import sys
import traceback
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hpo.command import command_objective
from hpo.errors import InputError
from hpo.fields import suggest

Metrics = dict[str, float]
Objective = Callable[..., Any]


class Data(NamedTuple):
    """One part of a data set.

    Attributes:
        name: The data set's.
        digest: What tells its content from any other: a hash, at most 36 characters.
        split: What the part is for: ``"train"``, ``"validation"`` or the like.
        rows: How many examples it has.
    """

    name: str
    digest: str
    split: str
    rows: int


def resolve(reference: str | tuple[str, ...], arguments: Sequence[str] = ("params", "seed")) -> Objective:
    """Imports the callable, or wraps the command, that a study names.

    Args:
        reference: ``"package.module:name"``, or the words of a command.
        arguments: What a callable must accept, in this order.

    Raises:
        InputError: Saying which part failed: a module, a module's own import, the name, the signature, the program.
    """
    if not isinstance(reference, str):
        return command_objective(reference)
    module_name, _, attribute = reference.partition(":")
    target: Any = _import(reference, module_name)
    for part in attribute.split("."):
        if not hasattr(target, part):
            names = [name for name in dir(target) if not name.startswith("_") and callable(getattr(target, name, None))]
            raise InputError(f"objective: {reference}: there is no {part!r} in {module_name}{suggest(part, names)}")
        target = getattr(target, part)
    if not callable(target):
        raise InputError(f"objective: {reference} is not callable, it is of type {type(target).__name__}")
    try:
        inspect.signature(target).bind(*arguments)
    except (TypeError, ValueError) as error:
        raise InputError(f"objective: {reference} must accept ({', '.join(arguments)}): {error}") from None
    return target  # type: ignore[no-any-return]


def _import(reference: str, module_name: str) -> Any:
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module_name}.".startswith(f"{error.name}."):
            raise InputError(
                f"objective: cannot import {reference!r}: there is no module {error.name!r} in the working folder "
                "or the environment"
            ) from None
        raise InputError(f"objective: {module_name} was found, but importing it failed{_say(error)}") from error


def _say(error: BaseException) -> str:
    """What a user's module raised, and at which of its lines."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<")]
    where = "" if isinstance(error, SyntaxError) else f" at {frames[-1].filename}, line {frames[-1].lineno}"
    return f"{where}: {type(error).__name__}: {error}"


def check(objective: Objective, points: Iterable[Mapping[str, Any]]) -> None:
    """Lets the objective refuse parameters, and missing data, before any work starts.

    Raises:
        InputError: With the objective's own words.
    """
    checker = getattr(objective, "check", None)
    if checker is None:
        return
    for params in points:
        try:
            checker(params)
        except (ValueError, OSError) as error:
            raise InputError(f"objective: {error}") from error
        except Exception as error:
            raise InputError(f"objective: its own check of the parameters failed{_say(error)}") from error


def data(objective: Objective, params: Mapping[str, Any]) -> list[Data]:
    """What data an objective says it works on; nothing where it does not say.

    Raises:
        TypeError: When it says it in another form.
    """
    describe = getattr(objective, "data", None)
    parts = [] if describe is None else list(describe(params))
    for part in parts:
        if not isinstance(part, Mapping) or set(part) != set(Data._fields):
            raise TypeError(
                f"data(params) must yield mappings with the keys {', '.join(Data._fields)}, got {part!r:.200}"
            )
    return [Data(str(p["name"]), str(p["digest"]), str(p["split"]), int(p["rows"])) for p in parts]


def reports(
    objective: Objective, params: Mapping[str, Any], seed: int, metric: str, checkpoint: str | None = None
) -> Generator[Metrics, None, None]:
    """Runs one trial as a generator of reports; closing it closes the objective's own generator.

    Args:
        objective: What :func:`resolve` gave.
        params: Fixed and searched parameters together.
        seed: The trial's seed.
        metric: The name under which a bare number is reported.
        checkpoint: A folder for an objective that takes one.

    Raises:
        TypeError: When a report is no mapping of names to numbers.
    """
    if checkpoint is not None and takes_checkpoint(objective):
        Path(checkpoint).mkdir(parents=True, exist_ok=True)
        result = objective(params, seed, checkpoint=checkpoint)
    else:
        result = objective(params, seed)
    if _is_number(result) or not isinstance(result, Iterable) or isinstance(result, Mapping | str | bytes):
        yield _report(result, metric)
        return
    try:
        for report in result:
            yield _report(report, metric)
    finally:
        if isinstance(result, Generator):
            result.close()


def takes_checkpoint(objective: Objective) -> bool:
    """Whether the objective names a parameter ``checkpoint``."""
    return "checkpoint" in inspect.signature(objective).parameters


def _report(report: Any, metric: str) -> Metrics:
    if _is_number(report):
        return {metric: float(report)}
    if not isinstance(report, Mapping) or not report:
        raise TypeError(f"a report must be a mapping of metric names to numbers, or a number, got {report!r:.80}")
    for name, value in report.items():
        if not isinstance(name, str) or not _is_number(value):
            raise TypeError(f"a report must be a mapping of metric names to numbers, got {name!r:.80}: {value!r:.80}")
    return {name: float(value) for name, value in report.items()}


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    # NumPy's scalars and zero-dimensional arrays are numbers too, where they are of a real number's type.
    return isinstance(value, numbers.Real) or (
        getattr(value, "shape", None) == () and getattr(getattr(value, "dtype", None), "kind", "f") in "fiu"
    )
