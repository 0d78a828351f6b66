"""From a trial's value to a colour."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from hpo.report.figures.style import INK, RAMP, plain, spans_powers
from hpo.study import Study
from hpo.trial import Trial, best_first


class Levels:
    """Colours for the values of a study's complete trials, worst to best.

    The worst fifth shares one colour, so that a few diverged losses do not turn all others into one; the steps are even
    in the logarithm where values are powers of ten apart.
    """

    def __init__(self, study: Study, trials: Sequence[Trial]) -> None:
        self.metric = study.metric
        ranked = best_first(list(trials), study.direction)
        values = np.array([trial.value for trial in ranked], dtype=np.float64)
        self.known = len(values) > 0
        if not self.known:
            return
        self.log = spans_powers(values)
        best, worst = values[0], values[max(len(values) - 1 - len(values) // 5, 0)]
        self._clipped = worst != values[-1]
        self._best, self._worst = (math.log10(best), math.log10(worst)) if self.log else (float(best), float(worst))

    @property
    def worst(self) -> str:
        """The value at the low end of the scale."""
        text = f"{10**self._worst if self.log else self._worst:.3g}"
        return f"{text}\nor worse" if self._clipped else text

    def level(self, value: float) -> float:
        """0 for the worst, 1 for the best."""
        if self._best == self._worst:
            return 1.0
        at = math.log10(value) if self.log else value
        return min(1.0, max(0.0, (at - self._worst) / (self._best - self._worst)))

    def colour(self, value: float) -> str:
        return RAMP[min(len(RAMP) - 1, int(self.level(value) * len(RAMP)))]

    def legend(self, axes: Axes) -> None:
        """Draws the scale along the left edge of ``axes``, best at the top."""
        axes.set_axis_off()
        axes.set(xlim=(0, 1), ylim=(0, 1))
        steps = len(RAMP)
        for index, colour in enumerate(RAMP):
            axes.axhspan(index / steps, (index + 1) / steps, 0.0, 0.25, color=colour, linewidth=0)
        for at in (0.0, 0.25, 0.5, 0.75, 1.0) if self._best != self._worst else (1.0,):
            value = self._worst + at * (self._best - self._worst)
            text = self.worst if at == 0.0 else f"{10**value if self.log else value:.3g}"
            axes.text(0.35, at, text, va="center", fontsize=8, color=INK)
        axes.set_title(plain(self.metric), fontsize=8, pad=8)
