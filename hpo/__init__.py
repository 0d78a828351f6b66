"""hpo: a hyperparameter-search service on Optuna, Ray and MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpo.api import Result, read, run, watch

__version__ = "0.1.0"
__all__ = ["Result", "read", "run", "watch"]


def __getattr__(name: str) -> Any:
    """The functions of :mod:`hpo.api`, loaded when the first is used: workers and ``hpo --help`` need none of them."""
    if name in __all__:
        from hpo import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
