"""What a study may take over from elsewhere: the ``[from]`` table, and which trials are valid in its space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hpo.study.fields import Field, Place, boolean, one_of, read_table, show, table, text
from hpo.study.space import Space
from hpo.study.values import as_text, same

if TYPE_CHECKING:
    from hpo.study.study import Study

# What becomes of another study's trials: the sampler knows them, or the best of them are tried first.
OBSERVATIONS, ENQUEUE = "observations", "enqueue"


@dataclass(frozen=True)
class Inherits:
    """The ``[from]`` table of a study.

    Attributes:
        study: The study whose trials it takes over at its beginning; None for no study.
        trials: :data:`OBSERVATIONS` or :data:`ENQUEUE`; None for what fits.
        count: Whether the budget counts the trials that are taken over.
        was: What a parameter implicitly was where trials do not have it.
    """

    study: str | None = None
    trials: str | None = None
    count: bool = False
    was: Mapping[str, Any] = field(default_factory=dict)


_FROM = {
    "study": Field(text, None),
    "trials": Field(one_of(OBSERVATIONS, ENQUEUE), None),
    "count": Field(boolean, False),
    "was": Field(table, {}),
}


def without_was(raw: Any) -> tuple[Any, dict[str, Any]]:
    """A raw ``[space]`` table without the keys ``was`` of its parameters, and these by parameter."""
    if not isinstance(raw, Mapping):
        return raw, {}
    space = {
        name: {key: v for key, v in spec.items() if key != "was"} if isinstance(spec, Mapping) else spec
        for name, spec in raw.items()
    }
    return space, {name: spec["was"] for name, spec in raw.items() if isinstance(spec, Mapping) and "was" in spec}


def read_inherits(place: Place, raw: Any, was: Mapping[str, Any], space: Space) -> Inherits:
    """Reads a study's ``[from]`` table.

    Args:
        place: Of the table.
        raw: The table.
        was: What the parameters' own keys ``was`` say.
        space: The study's space.

    Raises:
        InputError: For the first rule that does not hold, with file, key, rule and value.
    """
    found = Inherits(**read_table(place, raw, _FROM))
    for name, value in {**found.was, **was}.items():
        here = Place(place.file, f"space.{name}.was") if name in was else place / "was" / name
        if name not in space.names:
            raise here.error("is no parameter of the space", value, got="")
        if not space[name].contains(value):
            raise here.error(f"must be {space[name].describe()}, or no trial could be taken over", value)
    return Inherits(found.study, found.trials, found.count, {**found.was, **was})


def to_table(inherits: Inherits) -> dict[str, Any]:
    """The ``[from]`` table without what is default or absent."""
    found = {"study": inherits.study, "trials": inherits.trials, "count": inherits.count, "was": dict(inherits.was)}
    return {key: value for key, value in found.items() if value}


def fitted(study: Study, given: Mapping[str, Any]) -> dict[str, Any]:
    """The searched parameters of a trial that ran elsewhere.

    Args:
        study: The study that is to take it over.
        given: The parameters that the trial had.

    Raises:
        ValueError: When it could not be a trial of this study, with the parameter and the rule.
    """
    params: dict[str, Any] = {}
    for parameter in study.space.parameters:
        name = parameter.name
        if not study.space.active(parameter, params):
            if name in given:
                raise ValueError(f"{name}: must come with {show(dict(parameter.when))}, got {show(given[name])}")
            continue
        if name not in given and name not in study.inherits.was:
            raise ValueError(f"{name}: is missing; if it implicitly had a value, write that as `was` in [space]")
        value = given.get(name, study.inherits.was.get(name))
        if not parameter.contains(value):
            raise ValueError(f"{name}: must be {parameter.describe()}, got {show(value)}")
        params[name] = parameter.decode(parameter.encode(value))
    if broken := study.space.broken(params):
        raise ValueError(f"constraints.parameters: must hold: {broken.text}, got {show(params)}")
    for name, value in given.items():
        if name in study.fixed and not same(value, study.fixed[name]):
            raise ValueError(f"{name}: must be {show(study.fixed[name])}, as in [fixed], got {show(value)}")
        if name not in study.fixed and name not in study.space.names:
            raise ValueError(f"{name}: is neither searched nor fixed in {study.name}, got {show(value)}")
    return params


def changes(old: Study, new: Study) -> list[str]:
    """The keys by which a trial of ``old`` would have another value in ``new``, whatever its searched parameters."""
    return list(_changes(old, new))


def _changes(old: Study, new: Study) -> Iterator[str]:
    was, now = old.identity(), new.identity()
    for key in ("objective", "metric", "direction", "objectives", "reports"):
        if as_text(was[key]) != as_text(now[key]):
            yield key
    searched = {*old.space.names, *new.space.names}
    for table_, names in (("fixed", searched), ("arguments", set[str]())):
        before, after = was[table_] or {}, now[table_] or {}
        both = before.keys() & after.keys() if table_ == "arguments" else before.keys() | after.keys()
        for name in sorted(both - names):
            if as_text(before.get(name)) != as_text(after.get(name)):
                yield f"{table_}.{name}"
