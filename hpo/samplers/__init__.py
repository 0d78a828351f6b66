"""Samplers by name: how a study's next parameters are chosen.

``SAMPLERS`` is the whole list: a name, the options that a study file may give it, and the function that builds it. Any
other sampler of Optuna's kind is named by its import path. Optuna is imported when a sampler is built, not when a study
file is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from hpo.errors import InputError
from hpo.fields import Field, boolean, integer, number, one_of, tables
from hpo.points import read_list
from hpo.samplers import grid, imported
from hpo.space import Choice, Space

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


def _nothing(space: Space, options: Mapping[str, Any]) -> None:
    return None


@dataclass(frozen=True)
class Kind:
    """One sampler a study may name.

    Attributes:
        build: Makes the sampler from the study's seed, its space and the validated options.
        options: The keys that ``[sampler]`` may hold beside ``name``, ``seed`` and ``batch``.
        check: Raises ``ValueError`` for options that do not go together, or not with the space.
        size: How many different trials there can be; None for no end.
        needs: Modules beyond hpo's own dependencies, by the name of the extra that installs them.
    """

    build: Callable[[int, Space, Mapping[str, Any]], BaseSampler]
    options: Mapping[str, Field] = field(default_factory=dict)
    check: Callable[[Space, Mapping[str, Any]], None] = _nothing
    size: Callable[[Space, Mapping[str, Any]], int | None] = _nothing
    needs: Mapping[str, str] = field(default_factory=dict)


def find(name: str) -> Kind | None:
    """The sampler of that name or import path; None when it is neither."""
    if ":" in name:
        return Kind(lambda seed, space, options: imported.build(name, seed, options))
    return SAMPLERS.get(name)


def build(name: str, seed: int, space: Space, options: Mapping[str, Any]) -> BaseSampler:
    """Makes a study's sampler.

    Raises:
        InputError: When a package that it needs is not installed, or an imported class does not take the options.
    """
    kind = find(name)
    assert kind is not None
    check_installed(name)
    return kind.build(seed, space, options)


def check_installed(name: str) -> None:
    """Checks, without importing them, that the packages a sampler needs are there.

    Raises:
        InputError: With the command that installs what is missing.
    """
    kind = find(name)
    for module, extra in (kind.needs if kind else {}).items():
        if find_spec(module) is None:
            raise InputError(f"sampler.name: {name} needs {module}, which is not installed: pip install 'hpo[{extra}]'")


def check(name: str, seed: int, space: Space, options: Mapping[str, Any]) -> None:
    """Finds what :func:`build` would find, before a search leaves any trace; imports Optuna only for a class by path.

    Raises:
        InputError: As :func:`build`.
    """
    if name in SAMPLERS:
        check_installed(name)
    else:
        build(name, seed, space, options)


def size(name: str, space: Space, options: Mapping[str, Any]) -> int | None:
    """How many different trials a sampler can give; None for no end."""
    return SAMPLERS[name].size(space, options) if name in SAMPLERS else None


# The builders ------------------------------------------------------------------------------------------------------


def _random(seed: int, space: Space, options: Mapping[str, Any]) -> BaseSampler:
    from hpo.samplers.random import RandomSampler

    return RandomSampler(seed)


def _narrowing(seed: int, space: Space, options: Mapping[str, Any]) -> BaseSampler:
    from hpo.samplers.narrowing import NarrowingSampler

    return NarrowingSampler(seed, space, options)


def _qmc(seed: int, space: Space, options: Mapping[str, Any]) -> BaseSampler:
    from hpo.samplers.qmc import QmcSampler

    return QmcSampler(seed, [p.name for p in space.parameters], **options)


def _tpe(seed: int, space: Space, options: Mapping[str, Any]) -> BaseSampler:
    from optuna.samplers import TPESampler

    from hpo.samplers.stateless import StatelessSampler

    # With groups a sampler remembers, from one question to the next, which parameters belong together.
    return StatelessSampler(seed, lambda own: TPESampler(seed=own, **options), keeps_space=not options["group"])


def _cmaes(seed: int, space: Space, options: Mapping[str, Any]) -> BaseSampler:
    from optuna.samplers import CmaEsSampler

    from hpo.samplers.random import RandomSampler
    from hpo.samplers.stateless import StatelessSampler

    # An evolution strategy has one number of dimensions for life: a parameter that comes and goes would end it.
    return StatelessSampler(
        seed,
        lambda own: CmaEsSampler(
            seed=own, independent_sampler=RandomSampler(seed), warn_independent_sampling=False, **options
        ),
        without=[parameter.name for parameter in space.parameters if parameter.when],
    )


def _gp(seed: int, space: Space, options: Mapping[str, Any]) -> BaseSampler:
    from optuna.samplers import GPSampler

    from hpo.samplers.random import RandomSampler
    from hpo.samplers.stateless import StatelessSampler

    return StatelessSampler(
        seed,
        lambda own: GPSampler(
            seed=own, independent_sampler=RandomSampler(seed), warn_independent_sampling=False, **options
        ),
    )


# Options and their rules -------------------------------------------------------------------------------------------


def _points(value: Any) -> int | dict[str, int]:
    count = integer(1)
    if isinstance(value, dict):
        return {name: count(points) for name, points in value.items()}
    try:
        return count(value)
    except ValueError:
        raise ValueError("must be a whole number from 1, or a table of them by parameter") from None


def _widen(value: Any) -> bool | list[str]:
    if isinstance(value, bool) or (isinstance(value, list) and all(isinstance(name, str) for name in value)):
        return value
    raise ValueError("must be true, false or a list of parameters")


def _check_narrowing(space: Space, options: Mapping[str, Any]) -> None:
    if options["round"] * options["keep"] < 2:
        raise ValueError(
            "round * keep must be at least 2 (a range lies around two trials or more), "
            f"got round = {options['round']}, keep = {options['keep']:g}"
        )
    ranges = [p.name for p in space.parameters if not isinstance(p, Choice)]
    if isinstance(options["widen"], list):
        for name in options["widen"]:
            if name not in ranges:
                raise ValueError(f"widen must name float or integer parameters of the space, got {name!r}")


def _check_tpe(space: Space, options: Mapping[str, Any]) -> None:
    if options["group"] and not options["multivariate"]:
        raise ValueError("group = true needs multivariate = true")


def _check_cmaes(space: Space, options: Mapping[str, Any]) -> None:
    variants = [name for name in ("use_separable_cma", "with_margin", "lr_adapt") if options[name]]
    if len(variants) > 1:
        raise ValueError(f"at most one of use_separable_cma, with_margin and lr_adapt can be true, got {variants}")


def _grid_size(space: Space, options: Mapping[str, Any]) -> int:
    return len(grid.grid(space, options)) * (options["repeats"] or 1)


def _listed(seed: int, space: Space, options: Mapping[str, Any]) -> BaseSampler:
    from hpo.samplers.listed import make_sampler

    return make_sampler(seed, space, options)


def _listed_size(space: Space, options: Mapping[str, Any]) -> int:
    return len(options["points"]) * (options["repeats"] or 1)


def _check_listed(space: Space, options: Mapping[str, Any]) -> None:
    read_list(options["points"], space)


def _check_grid(space: Space, options: Mapping[str, Any]) -> None:
    grid.grid(space, options)


# Optuna 5's defaults are written out, so that another release cannot change a study.
SAMPLERS: dict[str, Kind] = {
    "random": Kind(_random),
    "narrowing": Kind(
        _narrowing,
        {
            "round": Field(integer(4), 20),
            "keep": Field(number(0, 0.5, above=True), 0.25),
            "margin": Field(number(0, 0.5), 0.1),
            "min_width": Field(number(0, 1, above=True), 0.1),
            "alpha": Field(number(0, 1, above=True), 0.01),
            "widen": Field(_widen, False),
        },
        _check_narrowing,
    ),
    "grid": Kind(
        grid.make_sampler,
        {"points": Field(_points, {}), "repeats": Field(integer(1), None)},
        _check_grid,
        _grid_size,
    ),
    "listed": Kind(_listed, {"points": Field(tables), "repeats": Field(integer(1), None)}, _check_listed, _listed_size),
    "tpe": Kind(
        _tpe,
        {
            "n_startup_trials": Field(integer(0), 10),
            "n_ei_candidates": Field(integer(1), 24),
            "multivariate": Field(boolean, True),
            "group": Field(boolean, False),
            "constant_liar": Field(boolean, True),
        },
        _check_tpe,
    ),
    "gp": Kind(
        _gp,
        {"n_startup_trials": Field(integer(1), 10), "deterministic_objective": Field(boolean, False)},
        needs={"torch": "gp"},
    ),
    "cmaes": Kind(
        _cmaes,
        {
            "n_startup_trials": Field(integer(0), 1),
            "popsize": Field(integer(2), None),
            "use_separable_cma": Field(boolean, False),
            "with_margin": Field(boolean, False),
            "lr_adapt": Field(boolean, False),
            "consider_pruned_trials": Field(boolean, False),
        },
        _check_cmaes,
    ),
    "qmc": Kind(
        _qmc,
        {"sequence": Field(one_of("sobol", "halton"), "sobol"), "scramble": Field(boolean, True)},
    ),
}
