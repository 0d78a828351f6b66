"""Reading the parameters of a trial into a dataclass, with errors that name rule and value."""

import dataclasses
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, TypeVar, get_args, get_origin

import numpy as np

from trainer import optimizers

Setting = TypeVar("Setting")


def read(kind: type[Setting], params: Mapping[str, Any]) -> Setting:
    """Makes an instance of the dataclass `kind`, whose fields name the parameters and their types.

    A field `optimizer_options` is not a parameter; it collects the arguments of the optimizer that the parameter
    `optimizer` names.

    Raises:
        ValueError: for an unknown or missing name, a value of the wrong type, or a rule of the dataclass that does
            not hold.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    missing = [n for n, f in fields.items() if _is_required(f) and n not in params]
    if missing:
        raise ValueError(f"the parameters {missing} must be given")
    types: dict[str, Any] = {name: field.type for name, field in fields.items()}
    if types.pop("optimizer_options", None) is not None:
        options = optimizers.options(params.get("optimizer", fields["optimizer"].default))
        types = dict.fromkeys(options, float) | types
    if unknown := sorted(set(params) - set(types)):
        raise ValueError(f"unknown parameters {unknown}; the legal ones in this setting are {sorted(types)}")
    params = {name: v.item() if isinstance(v, np.generic) else v for name, v in params.items()}
    for name, value in params.items():
        if not _fits(value, types[name]):
            raise ValueError(f"`{name}` must be of type {_describe(types[name])}, but got {value!r}")
    given = {n: tuple(v) if isinstance(v, list) else v for n, v in params.items() if n in fields}
    rest = {name: value for name, value in params.items() if name not in fields}
    return kind(**given, **({"optimizer_options": rest} if "optimizer_options" in fields else {}))


def _is_required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _fits(value: Any, kind: Any) -> bool:
    """Whether `value` is of the type; an integer also fits a float, a list a tuple; a bool fits no number."""
    if get_origin(kind) is tuple:
        return isinstance(value, (list, tuple)) and all(_fits(item, get_args(kind)[0]) for item in value)
    if get_args(kind):
        return any(_fits(value, one) for one in get_args(kind))
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, {int: Integral, float: Real}.get(kind, kind))


def _describe(kind: Any) -> str:
    if get_origin(kind) is tuple:
        return f"list of {_describe(get_args(kind)[0])}"
    return " or ".join(map(_describe, get_args(kind))) or ("None" if kind is type(None) else kind.__name__)
