"""Names and values as MLflow takes them."""

from __future__ import annotations

import math
import posixpath
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from mlflow.entities import Metric, Param

from hpo.trial import Report, Trial

MAX_VALUE = 6000


def metrics(reports: Iterable[Report]) -> list[Metric]:
    """One metric per number of every report."""
    return [
        Metric(key(name), value, milliseconds(report.time), report.step)
        for report in reports
        for name, value in report.metrics.items()
    ]


def objective(trial: Trial, reports: list[Report]) -> list[Metric]:
    """The trial's value as the metric ``objective``, at its last step; none where it has no value."""
    if trial.value is None:
        return []
    last = reports[-1] if reports else Report(0, trial.ended or 0.0, {})
    return [Metric("objective", trial.value, milliseconds(last.time), last.step)]


def latest(logged: Iterable[Metric]) -> dict[str, Metric]:
    """What MLflow counts as each metric's last value: of the last step, and there the latest, and then the largest."""
    found: dict[str, Metric] = {}
    for metric in logged:
        if metric.key not in found or _order(metric) > _order(found[metric.key]):
            found[metric.key] = metric
    return found


def _order(metric: Metric) -> tuple[int, int, float]:
    # A database keeps NaN as 0 with a mark.
    return metric.step, metric.timestamp, 0.0 if math.isnan(metric.value) else stored(metric.value)


def milliseconds(seconds: float) -> int:
    """A time as MLflow takes it, the same for a live trial and for its record, which keeps milliseconds."""
    return round(round(seconds, 3) * 1000)


def params(values: Mapping[str, Any], prefix: str = "") -> list[Param]:
    return [Param(name, value) for name, value in texts(values, prefix).items()]


def texts(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Parameters by MLflow's names for them."""
    return {key(prefix + name): sayable(str(value))[:MAX_VALUE] for name, value in values.items()}


def stored(value: float) -> float:
    """A number as MLflow gives it back: a database has no infinity."""
    return math.copysign(sys.float_info.max, value) if math.isinf(value) else value


def key(name: str) -> str:
    """A name that MLflow takes: letters, digits, spaces and ``_-.:/``, and no path that leaves its folder."""
    name = re.sub(r"[^\w\-. :/]", "_", name[:250])
    return posixpath.normpath(name).lstrip("/.") or "_"


def sayable(text: str) -> str:
    """Text without the halves of characters that no encoding takes."""
    return text.encode("utf-8", "replace").decode()
