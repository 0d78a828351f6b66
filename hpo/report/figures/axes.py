"""What stands along a figure's axes: ranges of parameters, ticks, values with outliers, and a scale of colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from hpo.report.figures.style import INK, RAMP, Floats, blank, label, plain
from hpo.statistics import outer_fences
from hpo.study import Study
from hpo.study.constraints import no_best
from hpo.study.parameters import Parameter
from hpo.text import sentence, short
from hpo.trial import Direction, Trial, best_first

# Values beyond are drawn at the edge, and smaller ones as 0: neither an axis nor a logarithm holds every float.
LARGEST, SMALLEST = 1e300, 1e-300
# So many choices are named along an axis.
NAMED_CHOICES = 24
# So many letters have room side by side along the narrowest axis.
WIDEST_NAMES = 30
# How close two ticks of a logarithmic axis may be, as a share of the axis.
CLOSEST = 0.17


def without_best(study: Study, trials: Sequence[Trial]) -> Figure:
    """What stands in place of a figure of the best trials where there are none."""
    return blank(sentence(no_best(study.bounds, trials)))


def set_parameter_range(axis: Axis, parameter: Parameter) -> None:
    """Makes an axis show a parameter's range, with some room at both ends."""
    if not parameter.ordered:
        choices = parameter.values() or []
        name_choices(axis, [short(choice, 18) for choice in choices])
        limits = (-0.5, len(choices) - 0.5)
    else:
        low, high = (real(end) for end in parameter.ends)
        if parameter.log:
            low, high = max(low, SMALLEST), max(high, SMALLEST)
            margin = 10 ** (0.04 * (math.log10(high) - math.log10(low)) or 1.0)
            limits = (max(low / margin, SMALLEST / 1e6), min(high * margin, LARGEST * 1e6))
        else:
            limits = (low - 0.04 * (high - low), high + 0.04 * (high - low))
        if parameter.whole and not parameter.log:
            axis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    name = axis.axis_name  # type: ignore[attr-defined]
    axes = axis.axes
    assert isinstance(axes, Axes)
    if parameter.log:
        log_scale(axis, *limits)
    axes.set(**{f"{name}lim": limits, f"{name}label": label(parameter.name)})


def log_scale(axis: Axis, low: float, high: float) -> None:
    """Makes an axis logarithmic, from ``low`` to ``high``, with ticks that never overlap."""
    name = axis.axis_name  # type: ignore[attr-defined]
    axis.axes.set(**{f"{name}scale": "log"})
    ticks = log_ticks(low, high)
    axis.set_ticks(ticks, [_tick(tick) for tick in ticks])
    axis.set_minor_locator(NullLocator())
    axis.axes.set(**{f"{name}lim": (low, high)})


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two ends, two to five of them, so far apart that their labels have room."""
    first, last = math.log10(low), math.log10(high)
    powers = np.arange(math.ceil(first - 1e-9), math.floor(last + 1e-9) + 1)
    decades = range(math.floor(first), math.ceil(last) + 1) if last - first < 5 else ()
    choices = [
        [10.0**power for power in powers[:: -(-len(powers) // 5) or 1]],
        [digit * 10.0**power for power in decades for digit in (1, 3)],
        [digit * 10.0**power for power in decades for digit in (1, 2, 5)],
    ]
    if last - first < 1:
        choices += [[*MaxNLocator(nbins=bins, steps=[1, 2, 5, 10]).tick_values(low, high)] for bins in (5, 4, 3, 2)]
    best: list[float] = []
    for choice in choices:
        ticks = [tick for tick in choice if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9) and tick > 0]
        apart = np.diff(np.log10(ticks)).min(initial=math.inf) / (last - first)
        if len(ticks) > len(best) and (apart > CLOSEST or not best):
            best = ticks
    return best


def _tick(value: float) -> str:
    """A number beside an axis: 0.01, 30, 1e-6."""
    if 1e-3 <= value < 1e4:
        return f"{value:.4g}"
    digits, power = f"{value:.3e}".split("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(power)}"


def name_choices(axis: Axis, names: Sequence[str]) -> None:
    """Names the places 0, 1, ... of an axis, all of them or evenly chosen ones; upright where they are long."""
    every = -(-len(names) // NAMED_CHOICES) or 1
    axis.set_ticks(range(0, len(names), every), [plain(name) for name in names[::every]])
    if axis.axis_name == "x" and sum(len(name) + 2 for name in names[::every]) > WIDEST_NAMES:  # type: ignore[attr-defined]
        axis.set_tick_params(labelrotation=90)


def real(value: float) -> float:
    """A number as an axis can hold it; NaN and infinities stay."""
    try:
        value = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return LARGEST if value > 0 else -LARGEST
    if not math.isfinite(value):
        return value
    return 0.0 if abs(value) < SMALLEST else max(-LARGEST, min(LARGEST, value))


def place(parameter: Parameter, value: Any) -> float:
    """Where a value stands on its parameter's axis: a number at itself, a choice at its index from 0."""
    if parameter.ordered:
        return max(real(value), SMALLEST) if parameter.log else real(value)
    return round(parameter.to_unit(value) * len(parameter.values() or ()) - 0.5)


def fit_values(
    axes: Axes, values: Sequence[float], direction: Direction, *, name: str = "y", kept: Sequence[float] = ()
) -> None:
    """Chooses the axis of a metric: from the best value to the worst that is no outlier.

    It is logarithmic over many powers of ten. Shares that take up most of 0 to 1 are drawn on 0 to 1.

    Args:
        axes: The panel.
        values: Those that count.
        direction: What is better.
        name: ``"x"`` or ``"y"``.
        kept: Values that are shown even as outliers.
    """
    known = np.array([real(v) for v in values if np.isfinite(v)])
    if not len(known):
        return
    lower_fence, upper_fence = map(float, outer_fences(known))
    low, high = float(known.min()), float(known.max())
    if direction is Direction.MAXIMIZE:
        low = min([max(low, lower_fence), *map(real, kept)])
    else:
        high = max([min(high, upper_fence), *map(real, kept)])
    if known.min() >= 0 and known.max() <= 1 and high - low > 0.7:
        axes.set(**{f"{name}lim": (-0.02, 1.02)})
        return
    if spans_powers(known):
        margin = 10 ** (0.04 * math.log10(known.max() / known.min()) if known.max() < known.min() * LARGEST else 10.0)
        axis = axes.xaxis if name == "x" else axes.yaxis
        log_scale(axis, max(known.min() / margin, SMALLEST / 1e6), min(known.max() * margin, LARGEST * 1e6))
        return
    margin = 0.06 * (high - low) or 0.1 * abs(high) or 0.5
    axes.set(**{f"{name}lim": (low - margin, high + margin)})


def scatter_values(axes: Axes, x: Sequence[float], values: Sequence[float], **look: Any) -> Floats:
    """Points on an axis made by :func:`fit_values`; those beyond it are triangles at its edge.

    Returns:
        How high each stands.
    """
    low, high = axes.get_ylim()
    y = np.array([real(v) for v in values], dtype=np.float64)
    at = np.clip(y, low, high)
    for marker, chosen in (("o", y == at), ("^", y > high), ("v", y < low)):
        if chosen.any():
            label = look.get("label") if marker == "o" else None
            axes.scatter(
                np.array(x)[chosen], at[chosen], marker=marker, clip_on=False, **{"zorder": 2.5, **look, "label": label}
            )
    return at


def spans_powers(values: np.ndarray[Any, np.dtype[np.float64]]) -> bool:
    """Whether values are positive and more than three powers of ten apart."""
    return bool(values.min() > 0 and math.log10(values.max()) - math.log10(values.min()) > 3)


class Levels:
    """Colours for the values of a study's complete trials, worst to best.

    The worst fifth shares one colour, so that a few diverged losses do not turn all others into one; the steps are even
    in the logarithm where values are powers of ten apart.
    """

    def __init__(self, study: Study, trials: Sequence[Trial]) -> None:
        self.metric = study.metric
        ranked = best_first(list(trials), study.direction)
        values = np.array([real(trial.value or 0.0) for trial in ranked], dtype=np.float64)
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
        at = math.log10(real(value)) if self.log else real(value)
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
        axes.set_title(plain(short(self.metric, 16)), fontsize=8, pad=8)
