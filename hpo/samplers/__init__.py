"""Samplers by name: how a study's next parameters are chosen.

``SAMPLERS`` is the whole list: a name, the options a study file may give it, and the function that builds it.
Optuna is imported when a sampler is built, not when a study file is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hpo.fields import Field, boolean, integer
from hpo.space import Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


@dataclass(frozen=True)
class Kind:
    """One sampler a study may name.

    Attributes:
        build: Makes the sampler from the study's seed, its space and the validated options.
        options: The keys that ``[sampler]`` may hold beside ``name`` and ``seed``.
    """

    build: Callable[[int, Space, Mapping[str, Any]], BaseSampler]
    options: Mapping[str, Field]


def _random(seed: int, space: Space, options: Mapping[str, Any]) -> BaseSampler:
    from hpo.samplers.random import RandomSampler

    return RandomSampler(seed)


def _tpe(seed: int, space: Space, options: Mapping[str, Any]) -> BaseSampler:
    from optuna.samplers import TPESampler

    return TPESampler(seed=seed, **options)


SAMPLERS: dict[str, Kind] = {
    "random": Kind(_random, {}),
    # Optuna 5's defaults, written out so that another release cannot change a study.
    "tpe": Kind(
        _tpe,
        {
            "n_startup_trials": Field(integer(0), 10),
            "n_ei_candidates": Field(integer(1), 24),
            "group": Field(boolean, False),
            "constant_liar": Field(boolean, True),
        },
    ),
}
