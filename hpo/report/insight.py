"""What a study's trials say about its parameters, and how sure that is.

Only the order of the trials counts. Pruned trials stand below the complete ones, as in Optuna's TPE: those that lasted
longer first, then by value. Failed and running trials, and those without a finite value, are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hpo.report.precision import Precision, precision
from hpo.report.ranks import effect_p_values, groups, holm, ranks, spearman, spearman_interval
from hpo.report.scale import label, place, position
from hpo.space import Choice, Float, Int, Parameter
from hpo.study import Study
from hpo.trial import COMPLETE, PRUNED, Trial

if TYPE_CHECKING:
    from hpo.report.importance import Importance

# Below this many scored trials nothing is said about a parameter: the interval would span half of [-1, 1].
FEWEST = 10
# An effect is shown where it would come by luck in less than one of twenty studies.
LEVEL = 0.05
# The best tenth of the trials, at least five, says where good values lie.
BEST_SHARE, BEST_LEAST = 0.1, 5
# The outer tenth of a range counts as its end.
END = 0.1
# Samplers whose draws do not depend on earlier trials, as the statistics assume.
INDEPENDENT = ("random", "qmc", "grid")


@dataclass(frozen=True)
class ParameterInsight:
    """What one parameter does to the metric.

    Attributes:
        name: The parameter.
        trials: How many scored trials have it.
        correlation: Spearman's rank correlation of value and metric; None for choices, or where one is constant.
        interval: Its 95% interval.
        p_value: How often luck alone would look like this, for the stronger of two permutation tests (a trend; any
            shape), corrected for the two and for the number of parameters; None with too few trials.
        best_count: How many of the trials count as the best here: a tenth, at least five.
        best_values: Where they lie: lowest and highest value, or the choices, most frequent first. None with too few
            trials.
        at_end: ``"low"`` or ``"high"`` where an effect is shown and half of the best trials crowd at that end of the
            range.
        trend: Whether the effect goes one way.
        upward: Which way: whether higher values rank better.
        importance: By PED-ANOVA; None with too few trials, for a single parameter, or where it was not asked for.
    """

    name: str
    trials: int
    correlation: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None
    best_count: int = 0
    best_values: tuple[Any, ...] | None = None
    at_end: str | None = None
    trend: bool = False
    upward: bool = False
    importance: Importance | None = None

    @property
    def effect(self) -> bool | None:
        """Whether an effect is shown; None with too few trials to say."""
        return None if self.p_value is None else self.p_value < LEVEL

    @property
    def verdict(self) -> str:
        """In a few words."""
        if self.effect is None:
            return "too few trials to say"
        if not self.effect:
            return "no effect shown"
        if self.trend and self.correlation is not None:
            return f"{'higher' if self.upward else 'lower'} tends to be better"
        return "matters, but not in one direction" if self.correlation is not None else "matters"

    @property
    def evidence(self) -> str:
        """The numbers behind the verdict."""
        parts = []
        if self.correlation is not None and self.interval is not None and self.effect is not None:
            low, high = self.interval
            parts.append(f"rank correlation {self.correlation:+.2f}, 95% interval {low:+.2f} to {high:+.2f}")
        elif self.p_value is not None:
            parts.append(f"p = {self.p_value:.2g}")
        return ", ".join(parts)

    @property
    def advice(self) -> str:
        """Where the best trials lie, if the parameter matters."""
        if not self.effect or not self.best_values:
            return ""
        if self.correlation is None:
            return f"most of the best {self.best_count} have {label(self.best_values[0])}"
        low, high = (label(v) for v in self.best_values)
        end = f", crowding at the range's {self.at_end} end: a wider range may do better" if self.at_end else ""
        return f"the best {self.best_count} lie in {low} to {high}{end}"

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "trials": self.trials,
            "verdict": self.verdict,
            "effect": self.effect,
            "correlation": _rounded(self.correlation),
            "interval": None if self.interval is None else [_rounded(end) for end in self.interval],
            "p_value": _rounded(self.p_value),
            "best_count": self.best_count,
            "best_values": None if self.best_values is None else list(self.best_values),
            "at_end": self.at_end,
        }


@dataclass(frozen=True)
class Insight:
    """What a study found out beside its best trial.

    Attributes:
        parameters: In the order of the study file.
        precision: The error of the metric, where it is an accuracy of a known number of examples.
        adaptive: Whether the sampler chose by earlier trials, so that intervals and p-values are a guide only.
    """

    parameters: tuple[ParameterInsight, ...]
    precision: Precision | None
    adaptive: bool

    def lines(self) -> list[str]:
        """One sentence per parameter."""
        return [
            f"{p.name}: {p.verdict}"
            + (f" ({p.evidence})" if p.evidence else "")
            + (f"; {p.advice}" if p.advice else "")
            for p in self.parameters
        ]

    def tie(self, metric: str) -> str | None:
        """What the error means for the list of the best trials; None where the error is unknown."""
        if self.precision is None:
            return None
        error = f"{metric} on {self.precision.examples} examples has a standard error of {self.precision.error:.2g}"
        count = len(self.precision.tied)
        if count < 2:
            return f"{error}: the best trial stands out."
        return f"{error}: the best {count} trials are a tie."


def study_insight(study: Study, trials: Sequence[Trial], *, resamples: int = 40) -> Insight:
    """Reads the verdicts out of a study's trials.

    Args:
        study: What was searched.
        trials: In any state, also none.
        resamples: How many bootstrap samples the intervals of the importances rest on. With 0 there are no importances,
            and neither Optuna's importance package nor scikit-learn is imported, which takes longer than all the rest.
    """
    scored, merits = merit(study, trials)
    sign = 1.0 if study.direction == "maximize" else -1.0
    found = [_about(study, parameter, scored, merits, sign) for parameter in study.space.parameters]
    judged = [index for index, insight in enumerate(found) if insight.p_value is not None]
    for index, corrected in zip(judged, holm([found[i].p_value or 0.0 for i in judged]), strict=True):
        found[index] = replace(found[index], p_value=corrected)
    shares = _importances(study, scored, merits, resamples) if resamples else {}
    return Insight(
        tuple(_finish(insight, shares.get(insight.name)) for insight in found),
        precision(study, trials),
        adaptive=study.sampler.name not in INDEPENDENT,
    )


def merit(study: Study, trials: Sequence[Trial]) -> tuple[list[Trial], NDArray[np.float64]]:
    """The trials that have a score, and their ranks, higher is better; equal scores share their mean rank."""
    sign = 1.0 if study.direction == "maximize" else -1.0
    scored = [t for t in trials if t.state in (COMPLETE, PRUNED) and t.value is not None and math.isfinite(t.value)]
    lasted = {t.number: math.inf if t.state == COMPLETE else len(t.reports) for t in scored}
    keys = [(lasted[t.number], sign * (t.value or 0.0)) for t in scored]
    order = {key: index for index, key in enumerate(sorted(set(keys)))}
    return scored, ranks(np.array([order[key] for key in keys], dtype=np.float64))


def _about(
    study: Study, parameter: Parameter, scored: list[Trial], merits: NDArray[np.float64], sign: float
) -> ParameterInsight:
    having = [index for index, trial in enumerate(scored) if parameter.name in trial.params]
    values = [scored[index].params[parameter.name] for index in having]
    if len(values) < FEWEST:
        return ParameterInsight(parameter.name, len(values))
    merits = merits[having]
    best = np.argsort(-merits, kind="stable")[: max(BEST_LEAST, round(len(values) * BEST_SHARE))]
    if isinstance(parameter, Choice):
        kinds = np.array([place(parameter, value) for value in values])
        _, shape = effect_p_values(None, np.unique(kinds, return_inverse=True)[1], merits, study.seed)
        counted = np.bincount(kinds[best], minlength=len(parameter.choices))
        frequent = [parameter.choices[i] for i in np.argsort(-counted, kind="stable") if counted[i]]
        return ParameterInsight(
            parameter.name, len(values), p_value=shape, best_count=len(best), best_values=tuple(frequent)
        )
    at = np.array([position(parameter, value) for value in values])
    rho = spearman(at, sign * merits)
    trend, shape = effect_p_values(at, groups(at), merits, study.seed)
    p_value = shape if trend is None else min(1.0, 2 * min(trend, shape))
    ends = {"low": (at[best] <= END).mean(), "high": (at[best] >= 1 - END).mean()}
    return ParameterInsight(
        parameter.name,
        len(values),
        correlation=rho,
        interval=None if rho is None else spearman_interval(rho, len(values)),
        p_value=p_value,
        best_count=len(best),
        best_values=(min(values[i] for i in best), max(values[i] for i in best)),
        at_end=next((end for end, share in ends.items() if share >= 0.5), None),
        trend=trend is not None and 2 * trend < LEVEL,
        upward=rho is not None and sign * rho > 0,
    )


def _finish(insight: ParameterInsight, importance: Importance | None) -> ParameterInsight:
    # An end is no advice where the parameter does nothing.
    return replace(insight, importance=importance, at_end=insight.at_end if insight.effect else None)


def _importances(
    study: Study, scored: list[Trial], merits: NDArray[np.float64], resamples: int
) -> dict[str, Importance]:
    parameters = study.space.parameters
    if len(scored) < FEWEST or len(parameters) < 2 or len(np.unique(merits)) < 2:
        return {}
    stored = [
        {p.name: _encode(p, trial.params[p.name]) for p in parameters if p.name in trial.params} for trial in scored
    ]
    wide = {p.name: _covering(p, [point[p.name] for point in stored if p.name in point]) for p in parameters}
    from hpo.report.importance import importances

    return importances(
        stored,
        merits,
        {name: parameter.distribution() for name, parameter in wide.items()},
        seed=study.seed,
        resamples=resamples,
    )


def _encode(parameter: Parameter, value: Any) -> Any:
    return parameter.encode(value) if isinstance(parameter, Choice) else value


def _covering(parameter: Parameter, values: list[Any]) -> Parameter:
    """The parameter with a range that holds all values: a sampler may have widened it."""
    if isinstance(parameter, Float | Int) and values:
        return replace(parameter, low=min(parameter.low, *values), high=max(parameter.high, *values))
    return parameter


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
