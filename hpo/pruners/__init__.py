"""Pruners by name: which running trials are not worth finishing.

``PRUNERS`` is the whole list, in the shape of :data:`hpo.samplers.SAMPLERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hpo.fields import Field, integer, number

if TYPE_CHECKING:
    from optuna.pruners import BasePruner


def _nothing(options: Mapping[str, Any]) -> None:
    return None


@dataclass(frozen=True)
class Kind:
    """One pruner a study may name.

    Attributes:
        build: Makes the pruner from the validated options and the study's batch (None without one).
        options: The keys that ``[pruner]`` may hold beside ``name``.
        check: Raises ``ValueError`` for options that do not go together.
    """

    build: Callable[[Mapping[str, Any], int | None], BasePruner]
    options: Mapping[str, Field] = field(default_factory=dict)
    check: Callable[[Mapping[str, Any]], None] = _nothing


def _none(options: Mapping[str, Any], batch: int | None) -> BasePruner:
    from optuna.pruners import NopPruner

    return NopPruner()


def _median(options: Mapping[str, Any], batch: int | None) -> BasePruner:
    from hpo.pruners.median import MedianPruner

    return MedianPruner(**options, batch=batch)


def _halving(options: Mapping[str, Any], batch: int | None) -> BasePruner:
    from hpo.pruners.halving import HalvingPruner

    return HalvingPruner(**options, batch=batch)


def _hyperband(options: Mapping[str, Any], batch: int | None) -> BasePruner:
    from hpo.pruners.halving import HalvingPruner, brackets

    return HalvingPruner(**options, cycle=brackets(**options), batch=batch)


def _patience(options: Mapping[str, Any], batch: int | None) -> BasePruner:
    from hpo.pruners.patience import PatiencePruner

    return PatiencePruner(**options)


def _threshold(options: Mapping[str, Any], batch: int | None) -> BasePruner:
    from optuna.pruners import ThresholdPruner

    return ThresholdPruner(**options)


def _check_resources(options: Mapping[str, Any]) -> None:
    low, high = options["min_resource"], options["max_resource"]
    if high is not None and not low < high:
        raise ValueError(f"min_resource must be below max_resource, got min_resource = {low}, max_resource = {high}")


def _check_threshold(options: Mapping[str, Any]) -> None:
    low, high = options["lower"], options["upper"]
    if low is None and high is None:
        raise ValueError("lower or upper must be given")
    if low is not None and high is not None and low > high:
        raise ValueError(f"lower must be at most upper, got lower = {low:g}, upper = {high:g}")


_INTERVAL = {"n_warmup_steps": Field(integer(0), 0), "interval_steps": Field(integer(1), 1)}

# Optuna 5's defaults are written out, so that another release cannot change a study.
PRUNERS: dict[str, Kind] = {
    "none": Kind(_none),
    "median": Kind(
        _median, {"n_startup_trials": Field(integer(0), 5), "n_min_trials": Field(integer(1), 1), **_INTERVAL}
    ),
    "asha": Kind(
        _halving,
        {
            "min_resource": Field(integer(1)),
            "max_resource": Field(integer(2), None),
            "reduction_factor": Field(integer(2), 4),
        },
        _check_resources,
    ),
    "hyperband": Kind(
        _hyperband,
        {
            "min_resource": Field(integer(1)),
            "max_resource": Field(integer(2)),
            "reduction_factor": Field(integer(2), 3),
        },
        _check_resources,
    ),
    "patience": Kind(_patience, {"patience": Field(integer(1)), "min_delta": Field(number(0), 0.0)}),
    "threshold": Kind(
        _threshold, {"lower": Field(number(), None), "upper": Field(number(), None), **_INTERVAL}, _check_threshold
    ),
}
