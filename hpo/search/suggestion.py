"""Chooses one trial's parameters so that they break no constraint, also with samplers that know no constraints."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
from optuna.trial import Trial as OptunaTrial

from hpo.errors import SearchFailed
from hpo.study.space import Space
from hpo.trial import FIXED, REDRAW

# How often a sampler is asked before points are drawn from the space, and how many are drawn at most. Of so many that
# break no constraint, a sampler that learns gets the one nearest to its own suggestion.
ASKED, DRAWN, NEAR = 5, 1_000_000, 100


def suggest(study: optuna.Study, asked: OptunaTrial, space: Space, seed: int, *, nearest: bool) -> dict[str, Any]:
    """One value per active parameter.

    The sampler is asked again for parameters that break a constraint; it draws from the trial's own stream, so that the
    result still depends on the study's seed, the trial's number and the trials before it alone.

    Args:
        study: The sampler's study, in memory.
        asked: The trial that Optuna has begun; its record is brought up to date.
        space: The space.
        seed: The study's seed.
        nearest: Whether to stay near the sampler's last suggestion when points are drawn without it.

    Raises:
        SearchFailed: When no point is found that breaks no constraint.
    """
    params = space.suggest(asked)
    redraw = 0
    while space.broken(params):
        redraw += 1
        asked = _again(study, asked, redraw)
        params = space.suggest(asked) if redraw < ASKED else _drawn(study, asked, space, seed, params, nearest)
    return params


def _again(study: optuna.Study, asked: OptunaTrial, redraw: int) -> OptunaTrial:
    """The same trial as if it had just begun, but for the number of its redraws."""
    storage, trial_id = study._storage, asked._trial_id
    storage.set_trial_system_attr(trial_id, REDRAW, redraw)
    stored = copy.copy(storage.get_trial(trial_id))
    stored.params, stored.distributions = {}, {}
    storage._set_trial(trial_id, stored)  # type: ignore[attr-defined]
    return OptunaTrial(study, trial_id)


def _drawn(
    study: optuna.Study, asked: OptunaTrial, space: Space, seed: int, wanted: Mapping[str, Any], nearest: bool
) -> dict[str, Any]:
    """A point that breaks no constraint, drawn without the sampler; the trial has it then."""
    storage, trial_id = study._storage, asked._trial_id
    given = space.decode(storage.get_trial(trial_id).system_attrs.get(FIXED, {}))
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(asked.number, ASKED)))
    held: list[dict[str, Any]] = []
    for count, point in enumerate(space.points(rng.random, DRAWN, given)):
        if point is not None:
            held.append(point)
        if len(held) == (NEAR if nearest else 1) or (held and count > 20 * NEAR):
            break
    else:
        if not held:
            texts = ", ".join(constraint.text for constraint in space.constraints)
            raise SearchFailed(
                f"no point was found that satisfies constraints.parameters: {texts}; loosen them in a study of another "
                "name, which can begin with these trials (hpo fork)"
            )
    params = min(held, key=lambda point: _distance(space, point, wanted))
    for name, value in space.encode(params).items():
        distribution = space[name].distribution()
        storage.set_trial_param(trial_id, name, distribution.to_internal_repr(value), distribution)
    return params


def _distance(space: Space, one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """The squared distance of two points, each parameter on its own scale; different choices are one apart."""
    total = 0.0
    for parameter in space.parameters:
        name = parameter.name
        if name in one and name in other and parameter.ordered:
            total += (parameter.to_unit(one[name]) - parameter.to_unit(other[name])) ** 2
        else:
            total += one.get(name) != other.get(name)
    return total
