"""Random and quasi-random search: samplers whose draws depend on no result.

A random draw depends on the study's seed, the trial's number and the parameter's name, and on
nothing else: not on the order in which trials finish, on the number of workers, or on what the rest of the space holds.
A quasi-random one depends on the study's seed, the trial's number and the parameter's place in the file.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from hpo.statistics import Floats
from hpo.study.space import Space
from hpo.trial import REDRAW

# How far into a sequence points that break no constraint are looked for, and how many are looked at at once.
FARTHEST, _BLOCK = 1_000_000, 256


class IndependentSampler(BaseSampler):
    """A sampler that draws one parameter at a time; Optuna's other question is answered with nothing."""

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}


class RandomSampler(IndependentSampler):
    """Independent uniform draws; ``10 ** U(a, b)`` for a logarithmic range of ``10**a`` to ``10**b``.

    Args:
        seed: The study's seed.
        space: The study's space.
    """

    def __init__(self, seed: int, space: Space) -> None:
        self._seed, self._space = seed, space

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        parameter = self._space[param_name]
        drawn = uniform(self._seed, trial.number, param_name, trial.system_attrs.get(REDRAW, 0))
        return parameter.encode(parameter.from_unit(drawn))


def uniform(seed: int, number: int, name: str, redraw: int = 0) -> float:
    """The random number in [0, 1) that belongs to one parameter of one trial; a different one for each redraw."""
    return float(np.random.default_rng((seed, number, zlib.crc32(name.encode()), redraw)).random())


class QmcSampler(IndependentSampler):
    """One coordinate of a Sobol' or Halton sequence per parameter: points that fill the space evenly.

    Trial k takes point k of one scrambled sequence; points that break a constraint do not count. A conditional
    parameter keeps its coordinate whether it is active or not. (Optuna's QMCSampler counts the points it has handed out
    in the storage instead, and draws the first trial and every conditional parameter independently.)

    Args:
        seed: The study's seed; it scrambles the sequence.
        space: The study's space.
        sequence: ``"sobol"`` (Owen scrambling; best at powers of two) or ``"halton"``.
        scramble: Without it the sequence is always the same, and starts in the lower corner of the space.
    """

    def __init__(self, seed: int, space: Space, *, sequence: str = "sobol", scramble: bool = True) -> None:
        self._seed, self._space, self._sequence, self._scramble = seed, space, sequence, scramble
        self._number, self._point = -1, np.empty(0)
        # A cache: the places of those points of the sequence that break no constraint, and how many were looked at.
        self._places: list[int] = []
        self._seen = 0

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if trial.number != self._number:
            self._number, self._point = trial.number, self.point(self._place(trial.number))
        parameter = self._space[param_name]
        return parameter.encode(parameter.from_unit(float(self._point[self._space.names.index(param_name)])))

    def _place(self, number: int) -> int:
        """Where in the sequence the trial's point is."""
        if not self._space.constraints:
            return number
        while len(self._places) <= number and self._seen < FARTHEST:
            for point in self.points(self._seen, _BLOCK):
                if not self._space.broken(self._space.at(point.tolist())):
                    self._places.append(self._seen)
                self._seen += 1
        return self._places[number] if number < len(self._places) else number

    def point(self, number: int) -> Floats:
        """Point ``number`` of the sequence, shape (parameters,), each in [0, 1)."""
        first: Floats = self.points(number, 1)[0]
        return first

    def points(self, start: int, count: int) -> Floats:
        """Points of the sequence, shape (count, parameters)."""
        from scipy.stats import qmc

        make = qmc.Sobol if self._sequence == "sobol" else qmc.Halton
        engine = make(len(self._space.parameters), scramble=self._scramble, rng=np.random.default_rng(self._seed))
        if start:
            engine.fast_forward(start)
        drawn: Floats = engine.random(count)
        return np.minimum(drawn, np.nextafter(1.0, 0.0))  # scrambling may round a coordinate up to 1 exactly
