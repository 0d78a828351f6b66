"""Any sampler of Optuna's kind, named by its import path: ``"package.module:Class"``."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hpo.errors import InputError

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


def build(path: str, seed: int, options: Mapping[str, Any]) -> BaseSampler:
    """Imports the class and calls it with the options, and with ``seed`` where it has such a parameter.

    One object serves the whole search, since such a class may keep what it has learned to itself.

    Raises:
        InputError: When the class is not there, is no sampler, or does not take the options.
    """
    from optuna.samplers import BaseSampler

    made = _import(path)
    if not (isinstance(made, type) and issubclass(made, BaseSampler)):
        raise InputError(f"sampler.name: {path} must be a class derived from optuna.samplers.BaseSampler")
    parameters = inspect.signature(made).parameters
    arguments = dict(options) | ({"seed": seed} if "seed" in parameters else {})
    try:
        inspect.signature(made).bind(**arguments)
    except TypeError as error:
        takes = ", ".join(name for name in parameters if name != "seed") or "none"
        raise InputError(f"sampler: {path}: {error}; its options are {takes}") from None
    try:
        return made(**arguments)
    except (TypeError, ValueError) as error:
        raise InputError(f"sampler: {path}: {error}") from error


def _import(path: str) -> Any:
    module, _, name = path.partition(":")
    try:
        target: Any = importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"sampler.name: cannot import {path!r}: {error}") from error
    for part in name.split("."):
        if not hasattr(target, part):
            raise InputError(f"sampler.name: {module} has no {part!r}")
        target = getattr(target, part)
    return target
