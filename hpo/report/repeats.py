"""The points of a study with repeats, each as the mean of its trials: one lucky seed is no result."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpo.trial import COMPLETE, Trial


@dataclass(frozen=True)
class Point:
    """One point of a grid or a list.

    Attributes:
        params: Its parameters.
        values: Of its complete trials.
        trials: How many of its trials have finished.
    """

    params: Mapping[str, Any]
    values: Sequence[float]
    trials: int

    @property
    def mean(self) -> float:
        """NaN without a complete trial."""
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def deviation(self) -> float | None:
        """The standard deviation; None for fewer than two complete trials."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


def points(trials: Sequence[Trial], direction: str) -> list[Point]:
    """The points of the trials that belong to a repeat, best mean first; those without a complete trial last."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.finished and trial.repeat is not None:
            groups.setdefault(json.dumps(trial.params, sort_keys=True), []).append(trial)
    found = [
        Point(
            group[0].params,
            [t.value for t in group if t.state == COMPLETE and t.value is not None],
            len(group),
        )
        for group in groups.values()
    ]
    sign = -1.0 if direction == "maximize" else 1.0
    return sorted(found, key=lambda point: sign * point.mean if point.values else math.inf)
