"""Samplers: how a study's next parameters are chosen.

The list of them, with their options, is :data:`hpo.study.algorithms.SAMPLERS`. Any other class derived from Optuna's
``BaseSampler`` is named by its import path. Optuna is imported when a sampler is built, not when a study file is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from hpo import imports
from hpo.errors import MissingExtra
from hpo.study.algorithms import SAMPLERS
from hpo.study.space import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


def build(name: str, seed: int, space: Space, options: Mapping[str, Any]) -> BaseSampler:
    """Makes a study's sampler.

    A class named by its import path gets ``seed`` if it has such a parameter. One object serves the whole search, since
    such a class may keep what it has learned to itself.

    Raises:
        MissingExtra: When a package that it needs is not installed.
        InputError: When an imported class does not take the options.
    """
    if name in SAMPLERS:
        check_installed(name)
        made: BaseSampler = imports.call(
            imports.load(SAMPLERS[name].path, "sampler.name"), options, seed=seed, space=space
        )
        return made
    from optuna.samplers import BaseSampler

    return imports.instance(name, "sampler", BaseSampler, options, seed=seed)  # type: ignore[type-abstract]


def check_installed(name: str) -> None:
    """Checks, without importing them, that the packages a sampler needs are there.

    Raises:
        MissingExtra: With the command that installs what is missing.
    """
    for module, extra in SAMPLERS[name].needs.items():
        if find_spec(module) is None:
            raise MissingExtra.of("sampler.name", name, module, extra)


def check(name: str, seed: int, space: Space, options: Mapping[str, Any]) -> None:
    """Finds what :func:`build` would find, before a search leaves any trace; imports Optuna only for a class by path.

    Raises:
        InputError: As :func:`build`.
    """
    if name in SAMPLERS:
        check_installed(name)
    else:
        build(name, seed, space, options)
