"""A small study with one parameter of every kind, and ledger addresses of every kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpo.study import Study, parse

SPACE = {
    "lr": {"low": 1e-6, "high": 1e-2, "log": True},
    "layers": {"low": 1, "high": 4},
    "activation": {"choice": ["relu", "tanh"]},
    "hidden": {"choice": [[50], [100, 100], []]},
}


def small_study(**changes: Any) -> Study:
    """The study; a change replaces a top-level key, or the named keys of a table."""
    raw: dict[str, Any] = {
        "name": "small",
        "objective": "simple_objectives:curve",
        "metric": "score",
        "direction": "maximize",
        "space": SPACE,
        "budget": {"trials": 6},
    }
    for key, value in changes.items():
        merge = isinstance(value, Mapping) and key != "space"
        raw[key] = {**raw.get(key, {}), **value} if merge else value
    return parse(raw, file="small.toml")
