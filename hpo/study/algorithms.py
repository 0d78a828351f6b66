"""The samplers and pruners that a study may name, with their options: the ``[sampler]`` and ``[pruner]`` tables.

One row per algorithm. A new one is a row here, a file in ``hpo/samplers`` or ``hpo/pruners`` and a row of the contract
test: its row says all that the rest of hpo has to know of it. Any other class of Optuna's kind is named by its import
path. Nothing is imported before it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from hpo.errors import InputError
from hpo.study.fields import (
    Field,
    Place,
    boolean,
    integer,
    is_import_path,
    number,
    one_of,
    plain,
    read_table,
    read_value,
    show,
    tables,
)
from hpo.study.points import LARGEST, grid, grid_size, read_grid_points, read_list
from hpo.study.space import Space
from hpo.text import near

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Named:
    """A sampler or pruner by name or import path, with its validated options."""

    name: str
    options: Options

    @property
    def algorithm(self) -> Algorithm:
        """Its row, or :data:`IMPORTED`."""
        return SAMPLERS.get(self.name) or PRUNERS.get(self.name, IMPORTED)

    def points(self, space: Space) -> int | None:
        """How many trials a sampler has points for; None for one without end."""
        return self.algorithm.rule(self.options, space)


@dataclass(frozen=True)
class Algorithm:
    """One sampler or pruner of hpo's own list.

    Attributes:
        path: What makes it: ``"package.module:callable"``. It is called with the options, and with those of ``seed``
            and ``space`` (a sampler) or ``batch`` (a pruner) that it has a parameter for.
        options: The keys of its table beside ``name`` (and a sampler's ``seed`` and ``batch``).
        rule: Raises ``ValueError`` for options that do not go together, or do not fit the space; returns how many
            trials a sampler has points for, None for one without end.
        needs: Modules beyond hpo's own dependencies, with the extra that installs each.
        several: Whether it works with several objectives.
        several_defaults: Options that have other defaults then, with these; from its table.
        learns: Whether a sampler's choices depend on the results of earlier trials.
        startup: Options, of which the first that a sampler has says how many trials it draws before it uses any result.
        ignores_pruned: Whether it learns from complete trials alone.
        knows_bounds: Whether it uses the bounds of metrics itself.
        narrows: Whether it searches in the rounds of :mod:`hpo.samplers.rounds`, and has the options that they need.
        widens: Whether it may leave the study's ranges; its attribute ``space`` has those of the trial asked for now.
        list_points: The list that it goes through, from its option ``points``; it then has an option ``repeats``, too.
        list_name: What people call this list.
        prunes: Whether a pruner ever ends a trial.
    """

    path: str
    options: Mapping[str, Field] = field(default_factory=dict)
    rule: Callable[[Options, Space], int | None] = lambda options, space: None
    needs: Mapping[str, str] = field(default_factory=dict)
    several: bool = True
    several_defaults: Callable[[Mapping[str, Any]], Options] = lambda raw: {}
    learns: bool = True
    startup: Sequence[str] = ("round", "population_size", "n_startup_trials")
    ignores_pruned: bool = False
    knows_bounds: bool = True
    narrows: bool = False
    widens: bool = False
    list_points: Callable[[Any, Space], list[dict[str, Any]]] | None = None
    list_name: str = "list"
    prunes: bool = True


# Readers and rules -------------------------------------------------------------------------------------------------


def _widen(value: Any) -> bool | list[str]:
    if isinstance(value, bool) or (isinstance(value, list) and all(isinstance(name, str) for name in value)):
        return value
    raise ValueError("must be true, false or a list of parameters")


def _narrowing(options: Options, space: Space) -> None:
    if options["round"] * options["keep"] < 2:
        raise ValueError(
            "round * keep must be at least 2 (a range lies around two trials or more), "
            f"got round = {options['round']}, keep = {options['keep']:g}"
        )
    if isinstance(options["widen"], list):
        for name in options["widen"]:
            if name not in space.names or not space[name].ordered:
                raise ValueError(f"widen must name float or integer parameters of the space, got {name!r}")


def _tpe(options: Options, space: Space) -> None:
    if options["group"] and not options["multivariate"]:
        raise ValueError("group = true needs multivariate = true")


def _cmaes(options: Options, space: Space) -> None:
    variants = [name for name in ("use_separable_cma", "with_margin", "lr_adapt") if options[name]]
    if len(variants) > 1:
        raise ValueError(f"at most one of use_separable_cma, with_margin and lr_adapt can be true, got {variants}")


def _grid(options: Options, space: Space) -> int:
    return grid_size(space, options["points"]) * (options["repeats"] or 1)


def _listed(options: Options, space: Space) -> int:
    return len(read_list(options["points"], space)) * (options["repeats"] or 1)


def _resources(options: Options, space: Space) -> None:
    low, high = options["min_resource"], options["max_resource"]
    if high is not None and not low < high:
        raise ValueError(f"min_resource must be below max_resource, got min_resource = {low}, max_resource = {high}")


def _threshold(options: Options, space: Space) -> None:
    low, high = options["lower"], options["upper"]
    if low is None and high is None:
        raise ValueError("lower or upper must be given")
    if low is not None and high is not None and low > high:
        raise ValueError(f"lower must be at most upper, got lower = {low:g}, upper = {high:g}")


# The tables. Optuna 5's defaults are written out, so that another release cannot change a study. -------------------

_REPEATS = Field(integer(1), None)
_GENETIC = {
    "population_size": Field(integer(2, LARGEST), 50),
    "mutation_prob": Field(number(0, 1), None),
    "crossover_prob": Field(number(0, 1), 0.9),
    "swapping_prob": Field(number(0, 1), 0.5),
}
_INTERVAL = {"n_warmup_steps": Field(integer(0), 0), "interval_steps": Field(integer(1), 1)}

SAMPLERS: dict[str, Algorithm] = {
    "random": Algorithm("hpo.samplers.random:RandomSampler", learns=False),
    "narrowing": Algorithm(
        "hpo.samplers.narrowing:NarrowingSampler",
        {
            "round": Field(integer(4), 20),
            "keep": Field(number(0, 0.5, above=True), 0.25),
            "margin": Field(number(0, 0.5), 0.1),
            "min_width": Field(number(0, 1, above=True), 0.1),
            "alpha": Field(number(0, 1, above=True), 0.01),
            "widen": Field(_widen, False),
        },
        _narrowing,
        several=False,
        narrows=True,
        widens=True,
    ),
    "grid": Algorithm(
        "hpo.samplers.listed:grid_sampler",
        {"points": Field(read_grid_points, {}), "repeats": _REPEATS},
        _grid,
        learns=False,
        list_points=grid,
        list_name="grid",
    ),
    "listed": Algorithm(
        "hpo.samplers.listed:list_sampler",
        {"points": Field(tables), "repeats": _REPEATS},
        _listed,
        learns=False,
        list_points=read_list,
    ),
    "tpe": Algorithm(
        "hpo.samplers.tpe:tpe",
        {
            "n_startup_trials": Field(integer(0), 10),
            "n_ei_candidates": Field(integer(1, LARGEST), 24),
            "multivariate": Field(boolean, True),
            "group": Field(boolean, False),
            "constant_liar": Field(boolean, True),
        },
        _tpe,
        several_defaults=lambda raw: {"multivariate": raw.get("group") is True},  # as in Optuna 5
    ),
    "gp": Algorithm(
        "hpo.samplers.stateless:gp",
        {"n_startup_trials": Field(integer(1), 10), "deterministic_objective": Field(boolean, False)},
        needs={"torch": "gp"},
        ignores_pruned=True,
    ),
    "cmaes": Algorithm(
        "hpo.samplers.stateless:cmaes",
        {
            "n_startup_trials": Field(integer(0), 1),
            "popsize": Field(integer(2, LARGEST), None),
            "use_separable_cma": Field(boolean, False),
            "with_margin": Field(boolean, False),
            "lr_adapt": Field(boolean, False),
            "consider_pruned_trials": Field(boolean, False),
        },
        _cmaes,
        ignores_pruned=True,
        several=False,
        knows_bounds=False,
    ),
    "nsga2": Algorithm("hpo.samplers.genetic:nsga2", _GENETIC, ignores_pruned=True),
    "nsga3": Algorithm(
        "hpo.samplers.genetic:nsga3",
        {**_GENETIC, "dividing_parameter": Field(integer(1, 100), 3)},
        ignores_pruned=True,
    ),
    "qmc": Algorithm(
        "hpo.samplers.random:QmcSampler",
        {"sequence": Field(one_of("sobol", "halton"), "sobol"), "scramble": Field(boolean, True)},
        learns=False,
    ),
}

PRUNERS: dict[str, Algorithm] = {
    "none": Algorithm("optuna.pruners:NopPruner", prunes=False),
    "median": Algorithm(
        "hpo.pruners.median:MedianPruner",
        {"n_startup_trials": Field(integer(0), 5), "n_min_trials": Field(integer(1), 1), **_INTERVAL},
    ),
    "asha": Algorithm(
        "hpo.pruners.halving:HalvingPruner",
        {
            "min_resource": Field(integer(1)),
            "max_resource": Field(integer(2), None),
            "reduction_factor": Field(integer(2), 4),
        },
        _resources,
    ),
    "hyperband": Algorithm(
        "hpo.pruners.halving:hyperband",
        {
            "min_resource": Field(integer(1)),
            "max_resource": Field(integer(2)),
            "reduction_factor": Field(integer(2), 3),
        },
        _resources,
    ),
    "patience": Algorithm(
        "hpo.pruners.patience:PatiencePruner",
        {"patience": Field(integer(1)), "min_delta": Field(number(0), 0.0)},
        several=False,
    ),
    "threshold": Algorithm(
        "optuna.pruners:ThresholdPruner",
        {"lower": Field(number(), None), "upper": Field(number(), None), **_INTERVAL},
        _threshold,
        several=False,
    ),
}

# What holds for a class that is named by its import path; nothing is known of it.
IMPORTED = Algorithm("", ignores_pruned=True)


# Reading -----------------------------------------------------------------------------------------------------------

# NumPy's older generators, Optuna's among them, take seeds of 32 bits.
SAMPLING = {"seed": Field(integer(0, 2**32 - 1), 0), "batch": Field(integer(1, LARGEST), None)}


def read_sampler(
    place: Place, raw: Mapping[str, Any], space: Space, *, several: bool = False
) -> tuple[Named, dict[str, Any]]:
    """Reads a study's ``[sampler]`` table: the sampler with its options, and the keys that every sampler has.

    Args:
        place: Where it stands.
        raw: The table.
        space: The study's space.
        several: Whether the study has several objectives.

    Raises:
        InputError: With file, key, rule and value of the first thing that is wrong.
    """
    sampler = _read(place, raw, space, SAMPLERS, "random", several, SAMPLING)
    common = {key: sampler.options[key] for key in SAMPLING}
    return Named(sampler.name, {k: v for k, v in sampler.options.items() if k not in SAMPLING}), common


def read_pruner(place: Place, raw: Mapping[str, Any], space: Space, *, several: bool = False) -> Named:
    """Reads a study's ``[pruner]`` table; arguments and errors are those of :func:`read_sampler`."""
    pruner = _read(place, raw, space, PRUNERS, "none", several)
    if several and pruner.name not in PRUNERS:  # Optuna's interface asks for the study's one direction
        raise _unfit(place, pruner.name, PRUNERS)
    return pruner


def _unfit(place: Place, name: str, known: Mapping[str, Algorithm]) -> InputError:
    names = ", ".join(other for other, algorithm in known.items() if algorithm.several)
    return (place / "name").error(f"knows one objective only; with [objectives] it must be one of {names}", name)


def _read(
    place: Place,
    raw: Mapping[str, Any],
    space: Space,
    known: Mapping[str, Algorithm],
    default: str,
    several: bool,
    common: Mapping[str, Field] = MappingProxyType({}),
) -> Named:
    name = raw.get("name", default)
    if is_import_path(name):
        shared = read_table(place, {key: raw[key] for key in raw if key in common}, common)
        own = {key: read_value(place / key, raw[key], plain) for key in raw if key not in ("name", *common)}
        return Named(name, {**shared, **own})
    if not isinstance(name, str) or name not in known:
        raise (place / "name").error(
            f'must be one of {", ".join(known)}, or a class as "package.module:Class"',
            name,
            show(name) + near(name, known),
        )
    algorithm = known[name]
    if several:
        if not algorithm.several:  # its options do not matter
            raise _unfit(place, name, known)
        raw = {**algorithm.several_defaults(raw), **raw}
    options = read_table(place, raw, {"name": Field(one_of(*known), default), **common, **algorithm.options})
    del options["name"]
    try:
        algorithm.rule(options, space)
    except ValueError as error:
        rule, _, got = str(error).partition(", got ")
        raise place.error(rule, raw, got) from None
    return Named(name, options)
