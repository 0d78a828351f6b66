"""Brings in what a study names by its import path: ``"package.module:name"``.

Objectives, samplers and pruners are all found in the same way: in the working folder first, then in the folder of the
study file, then in the environment.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from hpo.errors import InputError
from hpo.text import suggest

T = TypeVar("T")


def look_in(*folders: str | Path) -> None:
    """Has modules looked for in these folders first, in this order."""
    for place in [str(Path(folder).absolute()) for folder in reversed(folders)]:
        if place not in sys.path:
            sys.path.insert(0, place)


def load(reference: str, key: str) -> Any:
    """Imports a module and returns what it holds under a name.

    The working folder is put at the head of ``sys.path``, unless it is there already.

    Args:
        reference: ``"package.module:name"``; the name may be dotted (``"package.module:Class.method"``).
        key: The key of the study file that names it, for messages.

    Raises:
        InputError: With the part that failed: the module is not there, importing it failed (with what it raised, in
            which file and line), or it has no such name.
    """
    module, _, name = reference.partition(":")
    target = _import(reference, module, key)
    for part in name.split("."):
        if not hasattr(target, part):
            known = [name for name in dir(target) if not name.startswith("_") and callable(getattr(target, name, None))]
            raise _error(key, reference, f"{reference}: there is no {part!r} in {module}{suggest(part, known)}")
        target = getattr(target, part)
    return target


def reference_to(function: Callable[..., Any]) -> str:
    """A function's import path; a ledger keeps it, so it must lead back to the function.

    Raises:
        InputError: When it does not.
    """
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    found: Any = sys.modules.get(module or "")
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not function:
        raise _error(
            "objective",
            name or function,
            f"{name or function} is not at the top level of a module, script or notebook; a resumed study could not "
            "find it again. Define it there with `def`, and give what it encloses as `fixed` parameters",
        )
    return f"{module}:{name}"


def _import(reference: str, module: str, key: str) -> Any:
    look_in(Path.cwd())
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module}.".startswith(f"{error.name}."):
            raise _error(
                key,
                reference,
                f"cannot import {reference!r}: there is no module {error.name!r} in the working folder, "
                "the study file's folder or the environment",
            ) from None
        raise _error(key, reference, f"{module} was found, but importing it failed{raised(error)}") from error


def _error(key: str, value: Any, rule: str) -> InputError:
    return InputError(f"{key}: {rule}", key=key, rule=rule, value=value)


def raised(error: BaseException) -> str:
    """What a user's module raised, and at which of its lines; the tail of a message."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<")]
    where = "" if isinstance(error, SyntaxError) else f" at {frames[-1].filename}, line {frames[-1].lineno}"
    try:
        text = str(error)
    except Exception:  # of the user's own class
        text = "its message cannot be shown"
    return f"{where}: {type(error).__name__}: {text}"


def call(target: Callable[..., T], options: Mapping[str, Any], **offered: Any) -> T:
    """Calls ``target`` with all options, and with those offered arguments that it has a parameter for."""
    return target(**_arguments(target, options, offered))


def instance(reference: str, key: str, base: type[T], options: Mapping[str, Any], **offered: Any) -> T:
    """Imports a class and makes an object of it, as :func:`call` does.

    Args:
        reference: ``"package.module:Class"``.
        key: The table of the study file that names the class by ``name`` and holds its options, for messages.
        base: What the class must be derived from.
        options: Its keyword arguments.
        **offered: Keyword arguments for a class that has parameters of these names.

    Raises:
        InputError: When the class is not there, is not derived from ``base``, or does not take the options.
    """
    made = load(reference, f"{key}.name")
    if not (isinstance(made, type) and issubclass(made, base)):
        public = [part for part in f"{base.__module__}.{base.__qualname__}".split(".") if not part.startswith("_")]
        raise _error(f"{key}.name", reference, f"{reference} must be a class derived from {'.'.join(public)}")
    arguments = _arguments(made, options, offered)
    try:
        inspect.signature(made).bind(**arguments)
    except TypeError as error:
        takes = ", ".join(name for name in inspect.signature(made).parameters if name not in offered) or "none"
        raise _error(key, options, f"{reference}: {error}; its options are {takes}") from None
    try:
        return made(**arguments)
    except (TypeError, ValueError) as error:
        raise _error(key, options, f"{reference}: {error}") from error


def _arguments(target: Callable[..., Any], options: Mapping[str, Any], offered: Mapping[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(target).parameters
    return {name: value for name, value in offered.items() if name in parameters} | dict(options)
