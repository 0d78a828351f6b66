"""Range narrowing, the chapter's own search (section 6.5.2, steps 0-3): random search in rounds.

After every round the range of each parameter shrinks around the best trials, on the parameter's own scale. What a round
concludes is in :mod:`hpo.samplers.rounds`; here it is asked for, once per round, and trials are drawn from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.samplers.quantile import quantile, within
from hpo.samplers.random import IndependentSampler, uniform
from hpo.samplers.ranges import Box, original
from hpo.samplers.rounds import UNFINISHED, History, Point, judge, order
from hpo.space import Choice, Space
from hpo.trial import COMPLETE, PRUNED

_STATES = {TrialState.COMPLETE: COMPLETE, TrialState.PRUNED: PRUNED}


class NarrowingSampler(IndependentSampler):
    """Draws trial k uniformly from the ranges of its round.

    A draw depends on the study's seed, on k, and on the finished trials of earlier rounds. With several workers the
    first trial of a round is asked for while others still run: it notes which (as a system attribute, in the ledger
    like all else), and they do not count for this round's ranges, whatever they bring and whenever it is recomputed.

    Args:
        seed: The study's seed.
        space: The study's space.
        options: The sampler's validated options.
    """

    def __init__(self, seed: int, space: Space, options: Mapping[str, Any]) -> None:
        self._seed, self._space, self._options = seed, space, options
        # The ranges of each round, from the study's own on: a memo, never the only place that knows.
        self._boxes: list[Box] = [original(space)]
        self._box = self._boxes[0]

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        index, place = divmod(trial.number, self._options["round"])
        if index and not place:
            late = [t.number for t in study.get_trials(deepcopy=False)[: trial.number] if not t.state.is_finished()]
            if late:
                study._storage.set_trial_system_attr(trial._trial_id, UNFINISHED, late)
        while len(self._boxes) <= index:
            self._boxes.append(self._next_box(study))
        self._box = self._boxes[index]

    def _next_box(self, study: Study) -> Box:
        trials = study.get_trials(deepcopy=False)
        direction = "maximize" if study.direction is StudyDirection.MAXIMIZE else "minimize"
        points = [
            Point(
                t.number,
                self._space.decode(t.params),
                order(_STATES[t.state], t.values[0] if t.values else None, t.last_step or 0, direction),
            )
            for t in trials
            if t.state in _STATES
        ]
        unfinished = {t.number: t.system_attrs[UNFINISHED] for t in trials if UNFINISHED in t.system_attrs}
        history = History(points, unfinished)
        latest = judge(len(self._boxes) - 1, history, self._boxes[-1], self._space, self._options, direction)
        return {finding.parameter: finding.new for finding in latest}

    @property
    def space(self) -> Space:
        """The space of the trial that is being asked for: the study's own, with the ranges that were widened."""
        return self._space.widened(self._box) if self._options["widen"] else self._space

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        left = self._box[param_name]
        u = uniform(self._seed, trial.number, param_name)
        if isinstance(param_distribution, CategoricalDistribution):
            parameter = next(p for p in self._space.parameters if p.name == param_name)
            assert isinstance(parameter, Choice)
            return parameter.encode(left[int(u * len(left))])
        return quantile(within(param_distribution, *left), u)
