"""hpo: a hyperparameter-search service on Optuna, Ray and MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpo.api import Result, connect, read, run, watch
    from hpo.objective.push import Stopped

__version__ = "0.1.0"
__all__ = ["Result", "Stopped", "connect", "read", "run", "watch"]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """What is public, loaded when it is first used: workers and ``hpo --help`` need none of :mod:`hpo.api`."""
    if name == "Stopped":
        from hpo.objective.push import Stopped

        return Stopped
    if name in __all__:
        from hpo import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
