"""How exact a value is: the error of an accuracy and the ties that follow from it; the mean over repeats."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpo.objective.contract import Data
from hpo.statistics import Z, binomial_error
from hpo.study import Study
from hpo.trial import Direction, Trial, best_first, counts_as_best


@dataclass(frozen=True)
class Precision:
    """The error of the metric, a share of right (or wrong) answers among a number of examples.

    Attributes:
        examples: How many validation examples it is measured on.
        error: One standard error of the best trial's value, sqrt(p (1 - p) / n).
        tied: Numbers of the trials, best first, that are no worse than the best within the error of the difference.
            Trials share their validation examples, which makes the true error of a difference smaller; and
            the best of many was lucky, which makes it larger.
    """

    examples: int
    error: float
    tied: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"examples": self.examples, "error": self.error, "tied": list(self.tied)}


def precision(study: Study, trials: Sequence[Trial], examples: int | None = None) -> Precision | None:
    """The error of the study's metric; None where it is no share, or of an unknown number of examples.

    Args:
        study: What was searched.
        trials: In any state, also none.
        examples: How many examples the metric is measured on; None for what the study file says.
    """
    examples = study.examples if examples is None else examples
    ranked = best_first(list(trials), study.direction)
    if examples is None or not ranked:
        return None
    # With several objectives, the number of examples is given once for all of them. Those whose values are no multiples
    # of 1 / examples are no shares, and count as exact.
    known = shares(study, trials, examples) if len(study.objectives) > 1 else possible_shares(study, trials)
    if study.metric not in known:
        return None
    best = ranked[0].value or 0.0
    error = binomial_error(best, examples)
    tied = [
        trial.number
        for trial in ranked
        if abs(best - (trial.value or 0.0)) <= Z * math.hypot(error, binomial_error(trial.value or 0.0, examples))
    ]
    return Precision(examples, error, tuple(tied))


def possible_shares(study: Study, trials: Sequence[Trial]) -> list[str]:
    """The objectives that can be shares: every report lies in [0, 1], and one of them between the ends."""
    values = {name: _values(name, trials, place) for place, name in enumerate(study.objectives)}
    return [name for name, found in values.items() if _are_shares(found)]


def shares(study: Study, trials: Sequence[Trial], examples: int) -> list[str]:
    """The objectives that are shares of so many examples: in [0, 1], and multiples of 1 / examples."""
    values = {name: _values(name, trials, place) for place, name in enumerate(study.objectives)}
    return [name for name in possible_shares(study, trials) if are_multiples(values[name], examples)]


def counted(study: Study, trials: Sequence[Trial], parts: Iterable[Data]) -> int | None:
    """The size of the validation part of an objective's data, where an objective is a share of so many examples.

    None where there is no such part, or more than one, and where the objectives are something else: their values are
    then no multiples of 1/n.
    """
    sizes = [part.rows for part in parts if part.split == "validation"]
    if len(sizes) != 1 or sizes[0] < 1:
        return None
    return sizes[0] if shares(study, trials, sizes[0]) else None


def are_multiples(values: Iterable[float], size: int) -> bool:
    """Whether values are multiples of 1 / size, but for rounding."""
    return all(abs(value * size - round(value * size)) <= 0.01 for value in values)


def _are_shares(values: Iterable[float]) -> bool:
    return any(0 < value < 1 for value in values) and all(0 <= value <= 1 for value in values)


def _values(metric: str, trials: Iterable[Trial], place: int = 0) -> set[float]:
    """All finite values of a metric, which is the objective of this place."""
    values = {trial.values[place] for trial in trials if trial.values}
    values |= {report.metrics[metric] for trial in trials for report in trial.reports if metric in report.metrics}
    return {value for value in values if math.isfinite(value)}


# Repeats -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """One point of a grid or a list, with the values of its repeats: one lucky seed is no result.

    Attributes:
        params: Its parameters.
        values: Of its trials that may be the best: complete ones, within all bounds.
        trials: How many of its trials have finished.
    """

    params: Mapping[str, Any]
    values: Sequence[float]
    trials: int

    @property
    def mean(self) -> float:
        """NaN without a complete trial."""
        return self._of(statistics.fmean) if self.values else math.nan

    @property
    def deviation(self) -> float | None:
        """The standard deviation; None for fewer than two complete trials."""
        return self._of(statistics.stdev) if len(self.values) > 1 else None

    def _of(self, measure: Callable[[Sequence[float]], float]) -> float:
        try:
            return measure(self.values)
        except OverflowError:  # the sum is larger than a float can hold
            return 2.0**64 * measure([value / 2.0**64 for value in self.values])


def points(trials: Sequence[Trial], direction: Direction) -> list[Point]:
    """The points of the trials that belong to a repeat, best mean first; those without a complete trial last."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.finished and trial.repeat is not None:
            groups.setdefault(json.dumps(trial.params, sort_keys=True), []).append(trial)
    found = [
        Point(group[0].params, [t.value for t in group if counts_as_best(t) and t.value is not None], len(group))
        for group in groups.values()
    ]
    return sorted(found, key=lambda point: direction.sign * point.mean if point.values else math.inf)
