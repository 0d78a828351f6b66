"""Parallel coordinates: one line per trial through all its parameters to its value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from hpo.report.figures.levels import Levels
from hpo.report.figures.style import CROWD, INK, MUTED, blank, new_figure, plain, styled
from hpo.report.scale import covering, is_log, label, position
from hpo.space import Choice, Float, Int, Parameter
from hpo.study import Study
from hpo.trial import Trial, best_first

# Where the line of a trial passes that has not got the parameter.
ABSENT = -0.12


@styled
def parallel(study: Study, trials: Sequence[Trial]) -> Figure:
    """One line per complete trial, coloured by its value; the best are drawn last and thickest."""
    ranked = best_first(list(trials), study.direction)
    if not ranked:
        return blank("No trial is complete yet.")
    levels = Levels(study, trials)
    parameters = covering(study.space, ranked).parameters
    columns = len(parameters)
    figure = new_figure(min(14.0, max(7.0, 2.2 * (columns + 1))), 4.0)
    axes = figure.subplots()
    lines = [_line(parameters, trial, levels) for trial in reversed(ranked)]
    shares = np.array([levels.level(trial.value or 0.0) for trial in reversed(ranked)])
    axes.add_collection(
        LineCollection(
            lines,
            colors=[levels.colour(trial.value or 0.0) for trial in reversed(ranked)],
            linewidths=0.7 + 1.1 * shares,
            alpha=0.85,
            rasterized=len(lines) > CROWD,
        )
    )
    lowest = 0.0
    for column, parameter in enumerate(parameters):
        absent = any(parameter.name not in trial.params for trial in ranked)
        lowest = ABSENT if absent else lowest
        _axis(axes, column, _ticks(parameter) + ([(ABSENT, "absent")] if absent else []))
    worst, best = ranked[-1].value or 0.0, ranked[0].value or 0.0
    ends = [(1.0, f"{best:.3g}")] + ([(0.0, levels.worst)] if worst != best else [])
    _axis(axes, columns, ends)
    names = [plain(label(p.name, 24)) for p in parameters]
    axes.set_xticks(range(columns + 1), [*names, plain(study.metric)], fontsize=9)
    axes.tick_params(axis="x", length=0, pad=10)
    axes.xaxis.tick_top()
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set(xlim=(-0.15, columns + 0.35), ylim=(lowest - 0.04, 1.04))
    return figure


def _line(parameters: Sequence[Parameter], trial: Trial, levels: Levels) -> list[tuple[float, float]]:
    heights = [position(p, trial.params[p.name]) if p.name in trial.params else ABSENT for p in parameters]
    return [*enumerate([*heights, levels.level(trial.value or 0.0)])]


def _axis(axes: Axes, column: int, ticks: Sequence[tuple[float, str]]) -> None:
    axes.plot([column, column], [0, 1], color=MUTED, linewidth=1.0, zorder=3)
    for height, text in ticks:
        axes.text(
            column + 0.03,
            height,
            plain(text),
            fontsize=7.5,
            color=INK,
            va="center",
            zorder=4,
            bbox={"facecolor": axes.get_facecolor(), "edgecolor": "none", "alpha": 0.9, "pad": 0.8},
        )


def _ticks(parameter: Parameter) -> list[tuple[float, str]]:
    if isinstance(parameter, Choice):
        return [(position(parameter, choice), label(choice, 16)) for choice in parameter.choices]
    assert isinstance(parameter, Float | Int)
    low, high = parameter.low, parameter.high
    if is_log(parameter):
        exponents = range(int(np.ceil(np.log10(low) - 1e-9)), int(np.floor(np.log10(high) + 1e-9)) + 1)
        stride = max(1, len(exponents) // 5)
        inner: list[float] = [10.0**e for e in exponents[::stride]]
    else:
        inner = [low + (high - low) * share for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
        if isinstance(parameter, Int):
            inner = sorted({round(value) for value in inner})
    return [(position(parameter, value), f"{value:.3g}") for value in inner or [low, high]]
