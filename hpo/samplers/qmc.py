"""Quasi-random search: points that fill the space more evenly than independent draws do.

Trial k takes point k of one scrambled low-discrepancy sequence, so that its parameters depend on the study's seed and
on k alone. (Optuna's QMCSampler counts the points it has handed out in the storage instead, and draws the first trial
and every conditional parameter independently.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial

from hpo.samplers.quantile import quantile
from hpo.samplers.random import IndependentSampler
from hpo.samplers.ranks import Floats


class QmcSampler(IndependentSampler):
    """One coordinate of a Sobol' or Halton sequence per parameter.

    A conditional parameter keeps its coordinate whether it is active or not.

    Args:
        seed: The study's seed; it scrambles the sequence.
        names: The parameters, in the order of the study's file.
        sequence: ``"sobol"`` (Owen scrambling; best at powers of two) or ``"halton"``.
        scramble: Without it the sequence is always the same, and starts in the lower corner of the space.
    """

    def __init__(self, seed: int, names: Sequence[str], *, sequence: str = "sobol", scramble: bool = True) -> None:
        self._seed, self._sequence, self._scramble = seed, sequence, scramble
        self._coordinate = {name: index for index, name in enumerate(names)}
        self._number, self._point = -1, np.empty(0)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if trial.number != self._number:
            self._number, self._point = trial.number, self.point(trial.number)
        return quantile(param_distribution, float(self._point[self._coordinate[param_name]]))

    def point(self, number: int) -> Floats:
        """Point ``number`` of the sequence, shape (parameters,), each in [0, 1)."""
        from scipy.stats import qmc

        make = qmc.Sobol if self._sequence == "sobol" else qmc.Halton
        engine = make(len(self._coordinate), scramble=self._scramble, rng=np.random.default_rng(self._seed))
        if number:
            engine.fast_forward(number)
        point: Floats = engine.random(1)[0]
        return np.minimum(point, np.nextafter(1.0, 0.0))  # scrambling may round a coordinate up to 1 exactly
