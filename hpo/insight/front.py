"""A Pareto front of noisy values: which of its trials to take, and how sure it is that they belong there."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hpo.best import front_of
from hpo.errors import InputError
from hpo.fronts import Bools, bounded, costs_of, diverged
from hpo.insight.precision import shares
from hpo.statistics import Floats, Z, binomial_error
from hpo.study import Study
from hpo.text import number, suggest
from hpo.trial import Direction, Trial, counts_as_best

_PART = re.compile(r"\s*(.+?)\s*(<=|>=|=)\s*(\S+)\s*")


# Choosing ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Preference:
    """What is wanted of the one trial that is taken from a front.

    Attributes:
        bounds: Each an objective, ``"<="`` or ``">="``, and the last value that is accepted; all have to hold.
        weights: How much each objective counts; empty where the first objective alone decides.
    """

    bounds: Sequence[tuple[str, str, float]] = ()
    weights: Mapping[str, float] = field(default_factory=dict)


def read_preference(text: str, objectives: Mapping[str, Direction]) -> Preference:
    """Reads bounds (``latency_ms <= 20``) and weights (``val_accuracy = 2``), separated by commas.

    Raises:
        InputError: For a part that is neither, an unknown objective, a weight that is not above 0, or a second one.
    """
    bounds: list[tuple[str, str, float]] = []
    weights: dict[str, float] = {}
    for part in text.split(","):
        if not (found := _PART.fullmatch(part)) or (value := _number(found[3])) is None:
            raise _refused('must hold bounds such as "latency_ms <= 20" or weights such as "latency_ms=2"', text)
        name, sign = found[1], found[2]
        if name not in objectives:
            raise _refused(f"{name!r} is no objective of the study{suggest(name, objectives)}", text)
        if sign == "=" and value <= 0:
            raise _refused(f"the weight of {name} must be above 0; leave out what does not count", text)
        if sign == "=" and name in weights:
            raise _refused(f"{name} has two weights", text)
        if sign == "=":
            weights[name] = value
        else:
            bounds.append((name, sign, value))
    return Preference(bounds, weights)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _refused(rule: str, text: str) -> InputError:
    return InputError(f"--prefer: {rule}, got {text!r}", key="--prefer", rule=rule, value=text)


def chosen(study: Study, trials: Sequence[Trial], text: str | None) -> Trial:
    """The trial that stands for a study: the best one; of several objectives, the preferred one of the front.

    Args:
        study: The study.
        trials: In any state; one of them is complete.
        text: What :func:`prefer` takes.

    Raises:
        InputError: As :func:`prefer`, and for a preference where there is one objective.
    """
    if text is not None and len(study.objectives) == 1:
        raise _refused(f"{study.name} has one objective, so that there is nothing to prefer", text)
    return prefer(front_of(trials, study.objectives), study.objectives, text)


def prefer(front: Sequence[Trial], objectives: Mapping[str, Direction], text: str | None) -> Trial:
    """The trial of a front that is preferred.

    Args:
        front: From :func:`hpo.best.front_of`, not empty.
        objectives: The study's.
        text: What :func:`read_preference` reads. Among the trials within the bounds, the one with the lowest weighted
            mean of costs is taken, each as a share of its range on the front (without what has diverged); without
            weights, the best by the first objective. None stands for no bounds and no weights.

    Raises:
        InputError: When no trial lies within the bounds, or the text cannot be read.
    """
    wanted = Preference() if text is None else read_preference(text, objectives)
    places = {name: index for index, name in enumerate(objectives)}

    def inside(trial: Trial) -> bool:
        values = [(trial.values[places[name]], sign, bound) for name, sign, bound in wanted.bounds]
        return all(value <= bound if sign == "<=" else value >= bound for value, sign, bound in values)

    within = [trial for trial in front if inside(trial)]
    if not within:
        ends = [
            f"{name} from {number(min(values))} to {number(max(values))}"
            for name in dict.fromkeys(name for name, *_ in wanted.bounds)
            for values in [[trial.values[places[name]] for trial in front]]
        ]
        raise _refused(f"no trial of the front is within these bounds; it has {', '.join(ends)}", text or "")
    if not wanted.weights:
        return within[0]
    costs = bounded(costs_of(front, objectives))
    low = costs.min(axis=0)
    extent = np.where(diverged(costs), low, costs).max(axis=0) - low
    costs = (bounded(costs_of(within, objectives)) - low) / np.where(extent > 0, extent, 1.0)
    weights = np.array([wanted.weights.get(name, 0.0) for name in objectives])
    return within[int(np.argmin(costs @ (weights / weights.max())))]


# What it is worth --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FrontInsight:
    """How sure the front is, where an objective is a share of a known number of examples.

    Two values differ where they are :data:`~hpo.statistics.Z` standard errors of their difference apart. An
    objective whose error is unknown counts as exact.

    Attributes:
        examples: How many examples those objectives are measured on.
        errors: The largest standard error on the front, by objective; only those with a known error.
        exact: The objectives that count as exact.
        unsure: Numbers of the trials on the front that are better than another of its trials within the error only: the
            other one may beat them.
        near: Numbers of the trials beside the front that may be better than each of its trials in some objective.
    """

    examples: int
    errors: Mapping[str, float]
    exact: tuple[str, ...]
    unsure: tuple[int, ...]
    near: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        found = {"examples": self.examples, "errors": dict(self.errors), "exact": list(self.exact)}
        return {**found, "unsure": list(self.unsure), "near": list(self.near)}

    def lines(self, front: int) -> list[str]:
        """In words, for a front of so many trials."""
        errors = " and ".join(f"{name} of up to {error:.2g}" for name, error in self.errors.items())
        found = [f"standard error on {self.examples} examples: {errors}"]
        found[0] += f"; {' and '.join(self.exact)} counted as exact" if self.exact else ""
        if self.unsure:
            found.append(
                f"{len(self.unsure)} of the {front} trials on the front are uncertain: another trial may be at least "
                "as good in every objective"
            )
        if self.near:
            may = "may belong to it: the difference is within the error"
            found.append(f"{len(self.near)} trials not on the front {may}")
        if not (self.unsure or self.near):
            found.append("every trial on the front is certain: all differences exceed the error")
        return found


def front_insight(study: Study, trials: Sequence[Trial], examples: int | None = None) -> FrontInsight | None:
    """How sure the front of a study is; None without a front, or where the error of no objective is known.

    Args:
        study: With several objectives.
        trials: In any state.
        examples: How many examples the shares are measured on; None for what the study file says.
    """
    examples = study.examples if examples is None else examples
    front = front_of(trials, study.objectives)
    noisy = shares(study, trials, examples) if examples else []
    if examples is None or not front or not noisy:
        return None
    known = np.array([name in noisy for name in study.objectives])
    on_it = {trial.number for trial in front}
    others = [trial for trial in trials if counts_as_best(trial) and trial.number not in on_it]
    costs, errors = bounded(costs_of(front, study.objectives)), _errors(front, known, examples)
    unsure = [
        trial.number
        for trial, own, error in zip(front, costs, errors, strict=True)
        if _perhaps_beats(costs, errors, own, error).any()
    ]
    beside, theirs = bounded(costs_of(others, study.objectives)), _errors(others, known, examples)
    near = [
        trial.number
        for trial, own, error in zip(others, beside, theirs, strict=True)
        if not _surely_beats(costs, errors, own, error).any()
    ]
    largest = {name: float(errors[:, index].max()) for index, name in enumerate(study.objectives) if known[index]}
    exact = tuple(name for name in study.objectives if name not in noisy)
    return FrontInsight(examples, largest, exact, tuple(unsure), tuple(near))


def _errors(trials: Sequence[Trial], known: Bools, examples: int) -> Floats:
    """The standard errors, shape (trials, objectives)."""
    found = [
        [binomial_error(value, examples) if share else 0.0 for value, share in zip(trial.values, known, strict=True)]
        for trial in trials
    ]
    return np.array(found, dtype=np.float64).reshape(-1, known.size)


def _perhaps_beats(costs: Floats, errors: Floats, own: Floats, error: Floats) -> Bools:
    """Which of the points differ from one point, and may be no worse in any objective; shape (points,)."""
    within = (costs - own <= Z * np.hypot(errors, error)).all(axis=1)
    return np.asarray(within & (costs != own).any(axis=1))


def _surely_beats(costs: Floats, errors: Floats, own: Floats, error: Floats) -> Bools:
    """Which of the points are better than one point beyond the error, and where that is 0 no worse; shape (points,)."""
    sure = np.hypot(errors, error) * Z
    return np.asarray(np.where(sure > 0, own - costs > sure, costs <= own).all(axis=1) & (costs < own).any(axis=1))
