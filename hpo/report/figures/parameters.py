"""Figures over the search space: the metric against each parameter, and each pair of parameters."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from hpo.report.figures.levels import Levels
from hpo.report.figures.style import (
    AMBER,
    BLUE,
    CROWD,
    INK,
    MUTED,
    PALE,
    PAPER,
    VERMILION,
    blank,
    dress,
    fit_values,
    new_figure,
    plain,
    scatter_values,
    styled,
)
from hpo.report.insight import Insight, ParameterInsight, study_insight
from hpo.report.narrowed import findings
from hpo.report.scale import covering, place
from hpo.samplers.rounds import Finding
from hpo.space import Choice, Parameter, Space
from hpo.study import Study
from hpo.trial import COMPLETE, FAILED, PRUNED, Trial, best_first

# So many parameters are drawn against each other, the most important ones; the others would be stamps.
MOST = 6
# How far apart the bars for the ranges of the rounds are, as a share of the axis; how many have a height of their own.
BAR, MOST_BARS = 0.03, 13
# How the trials without a comparable value are marked along the bottom.
LOST = ((PRUNED, "|", AMBER), (FAILED, "x", VERMILION))


@styled
def slices(study: Study, trials: Sequence[Trial], insight: Insight | None = None) -> Figure:
    """The metric against each parameter, with the verdict above."""
    ranked = best_first(list(trials), study.direction)
    if not ranked:
        return blank("No trial is complete yet.")
    insight = insight or study_insight(study, trials, resamples=0)
    about = {p.name: p for p in insight.parameters}
    shown = _foremost(covering(study.space, trials), insight.parameters, 2 * MOST)
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = new_figure({1: 6.0, 2: 9.0, 3: 11.0}[columns], 0.3 + 3.1 * rows)
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    fit_values(grid.flat[0], [trial.value or 0.0 for trial in ranked])
    rounds = findings(study, trials)
    _make_room(grid.flat[0], len({finding.round for finding in rounds}))
    for axes, parameter in zip(grid.flat, shown, strict=False):
        _slice(axes, parameter, trials, ranked, about[parameter.name])
        _narrowed_slice(axes, parameter, rounds)
        if insight.precision is not None and len(insight.precision.tied) > 1:
            tied = [t.value or 0.0 for t in ranked[: len(insight.precision.tied)]]
            axes.axhspan(min(tied), max(tied), color=BLUE, alpha=0.08, linewidth=0)
    for axes in grid.flat[len(shown) :]:
        axes.set_axis_off()
    for row in grid:
        row[0].set_ylabel(plain(study.metric))
    marks = [
        Line2D([], [], linewidth=0, marker=marker, color=colour, label=state)
        for state, marker, colour in LOST
        if any(t.state == state for t in trials)
    ]
    if rounds:
        marks.append(Line2D([], [], color=INK, linewidth=2, alpha=0.6, label="range after each round"))
    if marks:
        figure.legend(handles=marks, loc="outside upper right", ncols=3)
    return figure


def _slice(
    axes: Axes, parameter: Parameter, trials: Sequence[Trial], ranked: Sequence[Trial], about: ParameterInsight
) -> None:
    dress(axes.xaxis, parameter)
    having = [t for t in ranked if parameter.name in t.params]
    colour = BLUE if about.effect is not False else MUTED
    scatter_values(
        axes,
        [coordinate(parameter, t) for t in having],
        [t.value or 0.0 for t in having],
        s=18,
        color=colour,
        alpha=0.75,
        linewidth=0,
        rasterized=len(having) > CROWD,
    )
    for state, marker, mark in LOST:
        lost = [coordinate(parameter, t) for t in trials if t.state == state and parameter.name in t.params]
        axes.scatter(lost, [0.02] * len(lost), s=22, marker=marker, color=mark, transform=axes.get_xaxis_transform())
    axes.set_title(plain(about.verdict), fontweight="bold", fontsize=9, pad=16)
    axes.text(0, 1.025, plain(about.evidence), transform=axes.transAxes, fontsize=7.5, color=MUTED)


@styled
def pairs(study: Study, trials: Sequence[Trial], insight: Insight | None = None) -> Figure:
    """Every pair of parameters, logarithmic where the parameter is, coloured by value; the best five are numbered."""
    if not trials:
        return blank("No trial has started yet.")
    if len(study.space.parameters) < 2:
        return blank("A single parameter has no pairs.")
    insight = insight or study_insight(study, trials, resamples=0)
    shown = _foremost(covering(study.space, trials), insight.parameters, MOST)
    levels, rounds = Levels(study, trials), findings(study, trials)
    count = len(shown) - 1
    size = {1: 5.2, 2: 3.9, 3: 3.2}.get(count, 2.4)
    figure = new_figure(count * size + 1.0, count * size * 0.88 + 0.3)
    grid = figure.subplots(count, count + 1, squeeze=False, width_ratios=[1] * count + [0.09 + 0.06 * count])
    for row in range(count):
        for column in range(count):
            axes = grid[row, column]
            if column > row:
                axes.set_axis_off()
                continue
            _pair(axes, shown[column], shown[row + 1], study, trials, levels)
            _narrowed_pair(axes, shown[column], shown[row + 1], rounds)
            axes.label_outer()
    if rounds:
        frame = Line2D([], [], color=INK, linewidth=1.2, alpha=0.6, label="ranges after each round")
        figure.legend(handles=[frame], loc="outside upper left")
    for row in range(count):
        grid[row, count].set_axis_off()
    figure.align_ylabels(grid[:, 0])
    if levels.known:
        levels.legend(grid[0, count])
    return figure


def _pair(axes: Axes, x: Parameter, y: Parameter, study: Study, trials: Sequence[Trial], levels: Levels) -> None:
    dress(axes.xaxis, x)
    dress(axes.yaxis, y)
    having = [t for t in trials if x.name in t.params and y.name in t.params]
    crowd = len(having) > CROWD
    looks: dict[str, dict[str, Any]] = {
        PRUNED: {"s": 14, "facecolor": PAPER, "edgecolor": MUTED},
        FAILED: {"s": 22, "marker": "x", "color": VERMILION},
    }
    for state, look in looks.items():
        lost = [t for t in having if t.state == state]
        at = [coordinate(x, t) for t in lost], [coordinate(y, t) for t in lost]
        axes.scatter(*at, linewidth=0.8, alpha=0.7, rasterized=crowd, **look)
    ranked = best_first([t for t in having if t.state == COMPLETE], study.direction)
    drawn = [*reversed(ranked)]
    if not drawn:
        return
    axes.scatter(
        [coordinate(x, t) for t in drawn],
        [coordinate(y, t) for t in drawn],
        s=34,
        c=[levels.colour(t.value or 0.0) for t in drawn],
        edgecolor=PALE,
        linewidth=0.5,
        rasterized=crowd,
    )
    overall = best_first(list(trials), study.direction)[:5]
    for rank, trial in enumerate(overall, start=1):
        if x.name in trial.params and y.name in trial.params:
            here = (coordinate(x, trial), coordinate(y, trial))
            axes.scatter(*here, s=80, facecolor="none", edgecolor=INK, linewidth=1.0)
            axes.annotate(str(rank), here, (6, 4), textcoords="offset points", fontsize=8, fontweight="bold")


def coordinate(parameter: Parameter, trial: Trial) -> float:
    """Where a trial stands on an axis made by :func:`dress`; trials of one choice are spread a little."""
    value = trial.params[parameter.name]
    if isinstance(parameter, Choice):
        # Spread evenly, but otherwise for each parameter, or pairs of choices would line up.
        spread = (trial.number * (math.sqrt(5) - 1) / 2 * (1 + zlib.crc32(parameter.name.encode()) % 97)) % 1
        return place(parameter, value) + 0.5 * (spread - 0.5)
    return float(value)


def _foremost(space: Space, about: Sequence[ParameterInsight], most: int) -> list[Parameter]:
    """Up to ``most`` parameters, those with the clearest effect, in the order of the study."""
    strength = {p.name: 2.0 if p.p_value is None else p.p_value for p in about}
    foremost = sorted(strength, key=strength.__getitem__)[:most]
    return [p for p in space.parameters if p.name in foremost]


def _ends(parameter: Parameter, finding: Finding) -> tuple[float, float]:
    """A round's new range on an axis made by :func:`dress`; of choices, from the first that is left to the last."""
    if isinstance(parameter, Choice):
        places = [place(parameter, choice) for choice in finding.new]
        return min(places) - 0.4, max(places) + 0.4
    return float(finding.new[0]), float(finding.new[1])


def _make_room(axes: Axes, rounds: int) -> None:
    """Raises the top of a value axis, so that the bars of :func:`_narrowed_slice` cover no trial."""
    if not rounds:
        return
    if axes.get_yscale() == "linear":  # what is above the values needs no numbers
        low, high = axes.get_ylim()
        axes.set_yticks([tick for tick in axes.get_yticks() if low <= tick <= high])
    taken = BAR * min(rounds, MOST_BARS) + 0.02
    scale = axes.yaxis.get_transform()
    low, high = scale.transform(axes.get_ylim())
    top = scale.inverted().transform([high + (high - low) * taken / (1 - taken)])
    axes.set_ylim(top=float(top[0]))


def _narrowed_slice(axes: Axes, parameter: Parameter, rounds: Sequence[Finding]) -> None:
    """A bar along the top for the range after each round, the last one lowest and darkest."""
    mine = [finding for finding in rounds if finding.parameter == parameter.name]
    for index, finding in enumerate(mine):
        axes.hlines(
            0.985 - BAR * min(index, MOST_BARS - 1),
            *_ends(parameter, finding),
            transform=axes.get_xaxis_transform(),
            color=INK,
            alpha=0.25 + 0.6 * (index + 1) / len(mine),
            linewidth=2,
        )


def _narrowed_pair(axes: Axes, x: Parameter, y: Parameter, rounds: Sequence[Finding]) -> None:
    """A frame for the ranges after each round, the last one darkest."""
    by_round: dict[int, dict[str, Finding]] = {}
    for finding in rounds:
        by_round.setdefault(finding.round, {})[finding.parameter] = finding
    for index, found in by_round.items():
        (left, right), (bottom, top) = _ends(x, found[x.name]), _ends(y, found[y.name])
        axes.add_patch(
            Rectangle(
                (left, bottom),
                right - left,
                top - bottom,
                fill=False,
                edgecolor=INK,
                alpha=0.25 + 0.6 * (index + 1) / len(by_round),
                linewidth=1.2,
            )
        )
