"""A scikit-learn estimator as an objective: cross-validated, fold by fold.

``objective = "hpo.sklearn:cross_validate"`` needs no code but the data's. Its parameters ``estimator``, ``data``,
``folds`` and ``scoring`` belong in ``[fixed]``; every other parameter is one of the estimator's, those of a pipeline's
steps too (``svc__C``).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.metrics import get_scorer
from sklearn.model_selection import check_cv
from sklearn.utils import _safe_indexing as rows

from hpo.errors import InputError
from hpo.imports import load

OWN = ("estimator", "data", "folds", "scoring")


def cross_validate(params: Mapping[str, Any], seed: int) -> Iterator[dict[str, float]]:
    """Yields ``{"score": mean over the folds so far, "fold": score of the latest}`` after every fold.

    Args:
        params: ``estimator``, ``"package.module:name"`` of an estimator or of a class or function that makes one;
            ``data``, that of a function without arguments that returns ``X`` and ``y``; ``folds``, 5 by default, not
            shuffled, so that all trials see the same; ``scoring``, the name of a scorer of scikit-learn, by default
            the estimator's own score; and the estimator's parameters.
        seed: Given to every part of the estimator that has a ``random_state``.
    """
    estimator = _estimator(params, seed)
    features, target = _data(params["data"])
    scorer = get_scorer(params["scoring"]) if "scoring" in params else type(estimator).score
    folds = check_cv(params.get("folds", 5), target, classifier=is_classifier(estimator))
    scores: list[float] = []
    for train, test in folds.split(features, target):
        fitted = clone(estimator).fit(rows(features, train), rows(target, train))
        scores.append(float(scorer(fitted, rows(features, test), rows(target, test))))
        yield {"score": float(np.mean(scores)), "fold": scores[-1]}


def _check(params: Mapping[str, Any]) -> None:
    """Refuses parameters that the estimator does not have, before any work starts."""
    for name in ("estimator", "data"):
        if name not in params:
            raise ValueError(f'fixed.{name} is missing: it must be "package.module:name"')
    try:
        _estimator(params, 0)
        load(params["data"], "fixed.data")
        check_cv(params.get("folds", 5))
        if "scoring" in params:
            get_scorer(params["scoring"])
    except InputError as error:
        raise ValueError(str(error)) from error


cross_validate.check = _check  # type: ignore[attr-defined]


def _estimator(params: Mapping[str, Any], seed: int) -> Any:
    made = load(params["estimator"], "fixed.estimator")
    estimator: Any = made() if inspect.isclass(made) or inspect.isroutine(made) else clone(made)
    names = [name for name in estimator.get_params() if name.split("__")[-1] == "random_state"]
    return estimator.set_params(
        **dict.fromkeys(names, seed), **{name: value for name, value in params.items() if name not in OWN}
    )


@cache
def _data(reference: str) -> Any:
    return load(reference, "fixed.data")()
