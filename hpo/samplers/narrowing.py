"""Range narrowing: random search in rounds.

After every round the range of each parameter shrinks around the best trials, on the parameter's own scale. What a round
concludes is in :mod:`hpo.samplers.rounds`; here trials are drawn from the ranges that follow from it.
"""

from __future__ import annotations

from typing import Any

from optuna.distributions import BaseDistribution
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.samplers.random import IndependentSampler, uniform
from hpo.samplers.rounds import UNFINISHED, Box, History, Point, judge, order, original
from hpo.study.space import Space
from hpo.trial import REDRAW, Direction, State, violation_of

_STATES = {TrialState.COMPLETE: State.COMPLETE, TrialState.PRUNED: State.PRUNED}


class NarrowingSampler(IndependentSampler):
    """Draws trial k uniformly from the ranges of its round.

    A draw depends on the study's seed, on k, and on the finished trials of earlier rounds. With several workers the
    first trial of a round is asked for while others still run. It notes their numbers in the ledger (as a system
    attribute), and those trials never count for this round's ranges: recomputed later, the ranges are the same.

    Args:
        seed: The study's seed.
        space: The study's space.
        **options: The sampler's validated options, all of them.
    """

    def __init__(self, seed: int, space: Space, **options: Any) -> None:
        self._seed, self._space, self._options = seed, space, options
        # The ranges of each round, the study's own first; a cache, they can be recomputed from the trials.
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
        direction = Direction.MAXIMIZE if study.direction is StudyDirection.MAXIMIZE else Direction.MINIMIZE
        points = [
            Point(
                t.number,
                self._space.decode(t.params),
                order(
                    _STATES[t.state],
                    t.values[0] if t.values else None,
                    t.last_step or 0,
                    direction,
                    violation_of(t.constraints.values()),
                ),
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
        """The space of the trial that is asked for now: the study's own, or a wider one where ranges were widened."""
        return self._space.widened(self._box) if self._options["widen"] else self._space

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        parameter = self.space[param_name]
        kept = parameter.within(self._box[param_name])
        drawn = uniform(self._seed, trial.number, param_name, trial.system_attrs.get(REDRAW, 0))
        return parameter.encode(kept.from_unit(drawn))
