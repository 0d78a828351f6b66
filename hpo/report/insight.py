"""What a study's trials say about its parameters, and how sure that is.

Only the order of the trials counts. Pruned trials stand below the complete ones, those that lasted longer first, as the
narrowing sampler and Optuna's TPE see them. Failed and running trials are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hpo.report.precision import Precision, precision
from hpo.report.scale import covering, label, position, signed
from hpo.samplers.ranks import Floats, dependence, interval, rank, spearman
from hpo.samplers.rounds import order
from hpo.space import Choice, Parameter, Space
from hpo.study import Study
from hpo.trial import COMPLETE, PRUNED, Trial
from hpo.verdict import holm

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
INDEPENDENT = ("random", "qmc", "grid", "listed")


@dataclass(frozen=True)
class ParameterInsight:
    """What one parameter does to the metric.

    Attributes:
        name: The parameter.
        trials: How many scored trials have it.
        correlation: Spearman's rank correlation of value and metric; None for choices, or where one is constant.
        interval: Its 95% interval.
        p_value: How often luck alone would look like this: a permutation test that sees rising, falling and peaked
            effects and differences between choices, corrected for the number of parameters. None with too few trials.
        best_count: How many of the trials count as the best here: a tenth, at least five.
        best_values: Where they lie: lowest and highest value, or the choices, most frequent first. None with too few
            trials.
        at_end: ``"low"`` or ``"high"`` where an effect is shown and half of the best trials crowd at that end of the
            range.
        upward: Whether higher values rank better.
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
        if self.interval is not None and self.interval[0] * self.interval[1] > 0:  # both ends on one side of 0
            return f"{'higher' if self.upward else 'lower'} tends to be better"
        return "matters, but not in one direction" if self.correlation is not None else "matters"

    @property
    def evidence(self) -> str:
        """The numbers behind the verdict."""
        parts = []
        if self.correlation is not None and self.interval is not None and self.effect is not None:
            low, high = self.interval
            parts.append(f"rank correlation {signed(self.correlation)}, 95% interval {signed(low)} to {signed(high)}")
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
    scored, goodness = ranking(study, trials)
    space = covering(study.space, trials)
    found = [_about(study, parameter, scored, goodness) for parameter in space.parameters]
    judged = [index for index, insight in enumerate(found) if insight.p_value is not None]
    for index, corrected in zip(judged, holm([found[i].p_value or 0.0 for i in judged]), strict=True):
        found[index] = replace(found[index], p_value=corrected)
    shares = _importances(study.seed, space, scored, goodness, resamples) if resamples else {}
    return Insight(
        tuple(_finish(insight, shares.get(insight.name)) for insight in found),
        precision(study, trials),
        adaptive=study.sampler.name not in INDEPENDENT,
    )


def ranking(study: Study, trials: Sequence[Trial]) -> tuple[list[Trial], Floats]:
    """The trials that can be compared, and their ranks, higher is better; equal ones share their mean rank."""
    scored = [t for t in trials if t.state in (COMPLETE, PRUNED)]
    return scored, -rank([order(t.state, t.value, len(t.reports), study.direction) for t in scored])


def _about(study: Study, parameter: Parameter, scored: Sequence[Trial], goodness: Floats) -> ParameterInsight:
    having = [index for index, trial in enumerate(scored) if parameter.name in trial.params]
    if len(having) < FEWEST:
        return ParameterInsight(parameter.name, len(having))
    values = [scored[index].params[parameter.name] for index in having]
    goodness = goodness[having]
    best = np.argsort(-goodness, kind="stable")[: max(BEST_LEAST, round(len(values) * BEST_SHARE))]
    top = [values[index] for index in best]
    if isinstance(parameter, Choice):
        labels = [parameter.encode(value) for value in values]
        one_hot = np.array([[label == choice for choice in parameter.labels] for label in labels], dtype=np.float64)
        by_count = Counter(parameter.encode(value) for value in top).most_common()
        return ParameterInsight(
            parameter.name,
            len(values),
            p_value=dependence(one_hot, goodness),
            best_count=len(top),
            best_values=tuple(parameter.decode(label) for label, _ in by_count),
        )
    at = np.array([position(parameter, value) for value in values])
    middle = rank(at) - (len(at) - 1) / 2
    sign = 1.0 if study.direction == "maximize" else -1.0
    rho = sign * spearman(at, goodness) if np.ptp(at) > 0 and np.ptp(goodness) > 0 else None
    ends = {"low": (at[best] <= END).mean(), "high": (at[best] >= 1 - END).mean()}
    return ParameterInsight(
        parameter.name,
        len(values),
        correlation=rho,
        interval=None if rho is None else interval(rho, len(values)),
        p_value=dependence(np.stack([middle, middle**2], axis=1), goodness),
        best_count=len(top),
        best_values=(min(top), max(top)),
        at_end=next((end for end, share in ends.items() if share >= 0.5), None),
        upward=rho is not None and sign * rho > 0,
    )


def _finish(insight: ParameterInsight, importance: Importance | None) -> ParameterInsight:
    # An end is no advice where the parameter does nothing.
    return replace(insight, importance=importance, at_end=insight.at_end if insight.effect else None)


def _importances(
    seed: int, space: Space, scored: Sequence[Trial], goodness: Floats, resamples: int
) -> dict[str, Importance]:
    if len(scored) < FEWEST or len(space.parameters) < 2 or not np.ptp(goodness):
        return {}
    from hpo.report.importance import importances

    stored = [
        {p.name: _encode(p, trial.params[p.name]) for p in space.parameters if p.name in trial.params}
        for trial in scored
    ]
    return importances(stored, goodness, space.distributions(), seed=seed, resamples=resamples)


def _encode(parameter: Parameter, value: Any) -> Any:
    return parameter.encode(value) if isinstance(parameter, Choice) else value


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
