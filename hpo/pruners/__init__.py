"""Pruners by name: which running trials are not worth finishing.

``PRUNERS`` is the whole list, in the shape of :data:`hpo.samplers.SAMPLERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hpo.fields import Field, integer

if TYPE_CHECKING:
    from optuna.pruners import BasePruner


@dataclass(frozen=True)
class Kind:
    """One pruner a study may name.

    Attributes:
        build: Makes the pruner from the validated options.
        options: The keys that ``[pruner]`` may hold beside ``name``.
    """

    build: Callable[[Mapping[str, Any]], BasePruner]
    options: Mapping[str, Field]


def _none(options: Mapping[str, Any]) -> BasePruner:
    from optuna.pruners import NopPruner

    return NopPruner()


def _median(options: Mapping[str, Any]) -> BasePruner:
    from optuna.pruners import MedianPruner

    return MedianPruner(**options)


PRUNERS: dict[str, Kind] = {
    "none": Kind(_none, {}),
    "median": Kind(
        _median,
        {
            "n_startup_trials": Field(integer(0), 5),
            "n_warmup_steps": Field(integer(0), 0),
            "interval_steps": Field(integer(1), 1),
            "n_min_trials": Field(integer(1), 1),
        },
    ),
}
