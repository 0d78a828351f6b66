"""A trial as rows of the tables of Optuna's databases."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial
from sqlalchemy import insert
from sqlalchemy.orm import Session


def tables(trial: FrozenTrial) -> dict[Any, list[dict[str, Any]]]:
    """The rows of a trial, by table."""
    return {
        models.TrialParamModel: _params(trial),
        models.TrialIntermediateValueModel: _reports(trial.intermediate_values),
        models.TrialSystemAttributeModel: _attributes(trial.system_attrs),
        models.TrialUserAttributeModel: _attributes(trial.user_attrs),
        models.TrialValueModel: _values(trial.values or []),
    }


def insert_rows(session: Session, model: Any, rows: list[dict[str, Any]]) -> None:
    """Adds rows to a table; none where there are none."""
    if rows:
        session.execute(insert(model), rows)


def _params(trial: FrozenTrial) -> list[dict[str, Any]]:
    return [
        {
            "param_name": name,
            "param_value": trial.distributions[name].to_internal_repr(value),
            "distribution_json": distribution_to_json(trial.distributions[name]),
        }
        for name, value in trial.params.items()
    ]


def _reports(values: Mapping[int, float]) -> list[dict[str, Any]]:
    stored = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr
    names = ("intermediate_value", "intermediate_value_type")
    return [{"step": step, **dict(zip(names, stored(value), strict=True))} for step, value in values.items()]


def _attributes(attrs: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value_json": json.dumps(value)} for key, value in attrs.items()]


def _values(values: list[float]) -> list[dict[str, Any]]:
    stored, names = models.TrialValueModel.value_to_stored_repr, ("value", "value_type")
    return [{"objective": i, **dict(zip(names, stored(value), strict=True))} for i, value in enumerate(values)]
