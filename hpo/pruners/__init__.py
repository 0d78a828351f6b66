"""Pruners: which running trials are not worth finishing.

The list of them, with their options, is :data:`hpo.study.algorithms.PRUNERS`. Any other class derived from Optuna's
``BasePruner`` is named by its import path. Optuna is imported when a pruner is built, not when a study file is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hpo import imports
from hpo.study.algorithms import PRUNERS

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.trial import FrozenTrial


def build(name: str, options: Mapping[str, Any], batch: int | None) -> BasePruner:
    """Makes a study's pruner.

    Args:
        name: One of :data:`~hpo.study.algorithms.PRUNERS`, or an import path.
        options: Its validated options.
        batch: The study's batch; None without one. A class named by its import path does not get it.

    Raises:
        InputError: When an imported class is not there, is no pruner, or does not take the options.
    """
    if name in PRUNERS:
        made: BasePruner = imports.call(imports.load(PRUNERS[name].path, "pruner.name"), options, batch=batch)
        return made
    from optuna.pruners import BasePruner

    return imports.instance(name, "pruner", BasePruner, options)  # type: ignore[type-abstract]


def check(name: str, options: Mapping[str, Any]) -> None:
    """Finds what :func:`build` would find, before a search leaves any trace; imports Optuna only for a class by path.

    Raises:
        InputError: As :func:`build`.
    """
    if name not in PRUNERS:
        build(name, options, None)


def in_finished_batches(trials: list[FrozenTrial], number: int, batch: int | None) -> list[FrozenTrial]:
    """The trials that trial ``number`` may be compared with: all of them, or with a batch those of earlier batches.

    Within a batch, which trials have reported what is a matter of timing; all trials of earlier batches have finished.
    """
    return trials if batch is None else trials[: number - number % batch]
