"""How exact a score is: the binomial error of an accuracy, and which of the best trials it cannot tell apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpo.study import Study
from hpo.trial import Trial, best_first

# Two scores differ where they are this many standard errors of their difference apart: 5% by luck.
Z = 1.96
# No larger validation set is looked for behind the scores themselves.
LARGEST = 100_000


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


def binomial_error(share: float, examples: int) -> float:
    """One standard error of a share measured on ``examples`` examples.

    sqrt(p (1 - p) / n) with p = (hits + 1) / (n + 2), Laplace's rule, so that a perfect score has an error as well.
    """
    p = (share * examples + 1) / (examples + 2)
    return math.sqrt(p * (1 - p) / examples)


def precision(study: Study, trials: Sequence[Trial]) -> Precision | None:
    """The error of the study's metric; None where it is no share, or of an unknown number of examples."""
    ranked = best_first(list(trials), study.direction)
    values = {value for trial in trials for value in _values(trial, study.metric)}
    examples = _examples(study.fixed, values)
    if not ranked or examples is None:
        return None
    best = ranked[0].value or 0.0
    error = binomial_error(best, examples)
    tied = [
        trial.number
        for trial in ranked
        if abs(best - (trial.value or 0.0)) <= Z * math.hypot(error, binomial_error(trial.value or 0.0, examples))
    ]
    return Precision(examples, error, tuple(tied))


def _values(trial: Trial, metric: str) -> list[float]:
    reported = [report.metrics[metric] for report in trial.reports if metric in report.metrics]
    return [v for v in ([trial.value] if trial.value is not None else []) + reported if math.isfinite(v)]


def _examples(fixed: Mapping[str, Any], values: set[float]) -> int | None:
    if not any(0 < value < 1 for value in values) or not all(0 <= value <= 1 for value in values):
        return None
    declared = _declared(fixed)
    if declared is not None:
        # What the settings say is believed where the scores agree with it.
        return declared if _multiples(values, declared, 0.01) else None
    return _behind(values)


def _declared(fixed: Mapping[str, Any]) -> int | None:
    """The size of the validation set by the objective's settings."""
    size, rate, held_out = (fixed.get(key) for key in ("train_size", "validation_rate", "validation_size"))
    if isinstance(held_out, int) and held_out > 0:
        return held_out
    if isinstance(size, int) and isinstance(rate, int | float) and 0 < rate < 1:
        return round(size * rate) or None
    return None


def _behind(values: set[float]) -> int | None:
    """The smallest n of which all values are multiples of 1/n.

    None for an n that divides a power of ten: the values may just be rounded. None for fewer than five values.
    """
    if len(values) < 5:
        return None
    for size in range(2, LARGEST):
        if _multiples(values, size, 1e-6):
            return size if 10**17 % size else None
    return None


def _multiples(values: set[float], size: int, tolerance: float) -> bool:
    return all(abs(value * size - round(value * size)) <= tolerance for value in values)
