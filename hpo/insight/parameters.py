"""What a study's trials show about its parameters, and how certain that is.

Only the order of the trials counts. Pruned trials stand below the complete ones, those that lasted longer first, as the
narrowing sampler and Optuna's TPE see them. Failed and running trials are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hpo.insight.precision import Precision, precision
from hpo.samplers.rounds import Finding, evidence, order
from hpo.statistics import ALPHA, Floats, correlation_p, dependence, interval, rank, spearman
from hpo.study import Study
from hpo.study.parameters import Parameter
from hpo.study.space import Space
from hpo.text import short, signed
from hpo.trial import State, Trial

if TYPE_CHECKING:
    from hpo.insight.importance import Importance

# With fewer scored trials there is no verdict on a parameter: the interval would span half of [-1, 1].
FEWEST = 10
# An effect is shown where chance alone would produce it in fewer than one of twenty studies.
LEVEL = ALPHA
# The best tenth of the trials, at least five, says where good values lie.
BEST_SHARE, BEST_LEAST = 0.1, 5
# More trials than these are sampled, with a fixed seed: for the permutation tests, and for the importances.
MOST_TESTED, MOST_RESAMPLED = 5000, 2000
# So many parameters, the clearest ones, share the importance: each takes as long as any other.
MOST_IMPORTANCES = 40
# How many choices the test for an effect tells apart: the most frequent ones.
MOST_CHOICES = 100
# The outer tenth of a range counts as its end.
END = 0.1


@dataclass(frozen=True)
class ParameterInsight:
    """What one parameter does to the metric.

    Attributes:
        name: The parameter.
        trials: How many scored trials have it.
        correlation: Spearman's rank correlation of value and metric; None for choices, or where one is constant.
        interval: Its interval; those of all parameters hold together in 95% of studies.
        p_value: How often chance alone would show this in a study: the p of the rank correlation, and of a permutation
            test for a peak or a valley, or for differences between choices; corrected for the number of tests. Where
            ``interval`` leaves out 0, it is below 0.05. None with too few trials.
        best_count: How many of the trials count as the best here: a tenth, at least five.
        best_values: Where they lie: lowest and highest value, or the choices, most frequent first. None with too few
            trials.
        at_end: ``"low"`` or ``"high"`` where an effect is shown and half of the best trials crowd at that end of the
            range.
        upward: Whether higher values rank better.
        adaptive: Whether the sampler chose by earlier trials, so that the statistics describe this search alone.
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
    adaptive: bool = False
    importance: Importance | None = None

    @property
    def effect(self) -> bool | None:
        """Whether an effect is shown; None with too few trials to say."""
        return None if self.p_value is None else self.p_value < LEVEL

    @property
    def verdict(self) -> str:
        """In a few words."""
        here = " in this search" if self.adaptive else ""
        if self.effect is None:
            return "too few trials to say"
        if not self.effect:
            return f"no effect {'seen' if self.adaptive else 'shown'}{here}"
        matters = "mattered" if self.adaptive else "matters"
        if self.correlation is None:
            return matters + here
        if not self._directed:
            return f"{matters}{here}, but not in one direction"
        return f"{'higher' if self.upward else 'lower'} {'tended' if self.adaptive else 'tends'} to be better{here}"

    @property
    def _directed(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.interval is not None and self.interval[0] * self.interval[1] > 0

    @property
    def evidence(self) -> str:
        """The numbers behind the verdict."""
        if self.effect is None:
            return ""
        parts = []
        if self.correlation is not None and self.interval is not None:
            low, high = self.interval
            parts.append(f"rank correlation {signed(self.correlation)}, 95% interval {signed(low)} to {signed(high)}")
        if not parts or (self.effect and not self._directed):
            parts.append(f"p = {self.p_value:.2g}")
        return ", ".join(parts)

    @property
    def advice(self) -> str:
        """Where the best trials lie, if the parameter matters."""
        if not self.effect or not self.best_values:
            return ""
        if self.correlation is None:
            return f"most of the best {self.best_count} have {short(self.best_values[0])}"
        low, high = (short(v) for v in self.best_values)
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
        precision: The error of the metric, where it is a share of a known number of examples.
        adaptive: Whether the sampler chose by earlier trials, so that intervals and p-values are a guide only.
        examples: How many examples the metrics are measured on, where the caller knows it.
    """

    parameters: tuple[ParameterInsight, ...]
    precision: Precision | None
    adaptive: bool
    examples: int | None = None

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


def study_insight(
    study: Study, trials: Sequence[Trial], *, resamples: int = 40, examples: int | None = None
) -> Insight:
    """Reads the verdicts out of a study's trials.

    Args:
        study: What was searched.
        trials: In any state, also none.
        resamples: How many bootstrap samples the intervals of the importances rest on. With 0 there are no importances,
            and neither Optuna's importance package nor scikit-learn is imported, which takes longer than all the rest.
        examples: How many examples the metric is measured on; None for what the study file says.
    """
    scored, goodness = ranking(study, trials)
    space = covering(study.space, trials)
    adaptive = study.sampler.algorithm.learns  # the statistics assume draws that do not depend on earlier trials
    tests = sum(sum(p.name in t.params for t in scored) >= FEWEST for p in space.parameters)
    found = [_about(study, parameter, scored, goodness, tests, adaptive) for parameter in space.parameters]
    clearest = {p.name for p in sorted(found, key=lambda p: 2.0 if p.p_value is None else p.p_value)[:MOST_IMPORTANCES]}
    shares = _importances(study.seed, space, clearest, scored, goodness, resamples) if resamples else {}
    return Insight(
        tuple(replace(insight, importance=shares.get(insight.name)) for insight in found),
        precision(study, trials, examples),
        adaptive,
        examples,
    )


def ranking(study: Study, trials: Sequence[Trial]) -> tuple[list[Trial], Floats]:
    """The trials that can be compared, and their ranks, higher is better; equal ones share their mean rank."""
    scored = [t for t in trials if t.state in (State.COMPLETE, State.PRUNED, State.INFEASIBLE)]
    return scored, -rank([order(t.state, t.value, len(t.reports), study.direction, t.violation) for t in scored])


def covering(space: Space, trials: Iterable[Trial]) -> Space:
    """The space with ranges that hold the values of all trials: a sampler may have widened them."""
    values: dict[str, list[Any]] = {}
    for trial in trials:
        for name, value in trial.params.items():
            values.setdefault(name, []).append(value)
    ranges = [p.name for p in space.parameters if p.ordered and p.name in values]
    return space.widened({name: (min(values[name]), max(values[name])) for name in ranges})


def _about(
    study: Study, parameter: Parameter, scored: Sequence[Trial], goodness: Floats, tests: int, adaptive: bool
) -> ParameterInsight:
    """What one of ``tests`` parameters that can be judged does: all tests together err in one of twenty studies."""
    having = [index for index, trial in enumerate(scored) if parameter.name in trial.params]
    if len(having) < FEWEST:
        return ParameterInsight(parameter.name, len(having), adaptive=adaptive)
    values = [scored[index].params[parameter.name] for index in having]
    goodness = goodness[having]
    best = np.argsort(-goodness, kind="stable")[: max(BEST_LEAST, round(len(values) * BEST_SHARE))]
    top = [values[index] for index in best]
    some = sample(len(values), MOST_TESTED, study.seed)
    about = ParameterInsight(parameter.name, len(values), best_count=len(top), adaptive=adaptive)
    if not parameter.ordered:
        labels = [parameter.encode(value) for value in values]
        often = [label for label, _ in Counter(labels).most_common(MOST_CHOICES)]  # the others are one group
        one_hot = np.array([[labels[index] == choice for choice in often] for index in some], dtype=np.float64)
        by_count = Counter(parameter.encode(value) for value in top).most_common()
        return replace(
            about,
            p_value=min(1.0, tests * dependence(one_hot, goodness[some])),
            best_values=tuple(parameter.decode(label) for label, _ in by_count),
        )
    at = _positions(parameter, values)
    ranks = rank(at)
    sign = -study.direction.sign
    rho = sign * spearman(ranks, goodness) if np.ptp(at) > 0 and np.ptp(goodness) > 0 else None
    # Two tests: does it rise or fall, and is there a peak or a valley besides?
    chances = [1.0 if rho is None else correlation_p(rho, len(at)), dependence(_quadratic(ranks[some]), goodness[some])]
    p_value = min(1.0, 2 * tests * min(chances))
    ends = {"low": (at[best] <= END).mean(), "high": (at[best] >= 1 - END).mean()}
    crowded = next((end for end, share in ends.items() if share >= 0.5), None)
    return replace(
        about,
        correlation=rho,
        interval=None if rho is None else interval(rho, len(values), LEVEL / (2 * tests)),
        p_value=p_value,
        best_values=(min(top), max(top)),
        at_end=crowded if p_value < LEVEL else None,  # an end is no advice where the parameter does nothing
        upward=rho is not None and sign * rho > 0,
    )


def sample(count: int, most: int, seed: int) -> NDArray[np.int64]:
    """Up to ``most`` of so many indices, in their order."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])


def _quadratic(ranks: Floats) -> Floats:
    """What is not straight in a parabola over the ranks, shape (trials, 1)."""
    middle = ranks - ranks.mean()
    square = middle**2 - (middle**2).mean()
    scale = float(middle @ middle)
    curved: Floats = square - middle * (float(middle @ square) / scale if scale else 0.0)
    return curved[:, None]


def _positions(parameter: Parameter, values: Sequence[Any]) -> Floats:
    """Where values lie between the ends of the range, on the parameter's scale: 0 at the low end, 1 at the high one."""
    low, high = (parameter.to_unit(end) for end in parameter.ends)
    return np.array([(parameter.to_unit(value) - low) / (high - low) for value in values])


def _importances(
    seed: int, space: Space, clearest: Container[str], scored: Sequence[Trial], goodness: Floats, resamples: int
) -> dict[str, Importance]:
    if len(scored) < FEWEST or len(space.parameters) < 2 or not np.ptp(goodness):
        return {}
    from hpo.insight.importance import importances

    some = sample(len(scored), MOST_RESAMPLED, seed)
    stored = [space.encode(scored[index].params) for index in some]
    ranges = {name: distribution for name, distribution in space.distributions().items() if name in clearest}
    points = [{name: value for name, value in point.items() if name in ranges} for point in stored]
    return importances(points, goodness[some], ranges, seed=seed, resamples=resamples)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def findings(study: Study, trials: Sequence[Trial]) -> list[Finding]:
    """What every finished round concluded, round by round; nothing for a sampler that does not narrow."""
    if not study.sampler.algorithm.narrows:
        return []
    return evidence(trials, study.space, study.sampler.options, study.direction)


def in_words(finding: Finding) -> dict[str, str]:
    """One finding in words: round, parameter, old and new range, evidence, remark."""
    about = [f"p = {finding.p:.2g}"]  # which decides; an interval beside it would be another test
    if finding.correlation is not None:
        about.append(f"rank correlation {signed(finding.correlation)}")
    remarks = [f"the best reach the {end} bound" for end in finding.at_bound] + ["widened"] * finding.widened
    if not finding.effect:
        remarks.append("no effect shown: not narrowed")
    return {
        "round": str(finding.round + 1),
        "parameter": finding.parameter,
        "old": _range(finding.old, finding.correlation is None),
        "new": _range(finding.new, finding.correlation is None),
        "evidence": ", ".join(about),
        "remark": ", ".join(remarks),
    }


def _range(ends: Sequence[Any], choices: bool) -> str:
    return (", " if choices else " to ").join(short(end, 24) for end in ends)
