"""Figures over the search space: the metric against each parameter and each pair of them, and their importance."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from hpo.insight.parameters import FEWEST, Insight, ParameterInsight, covering, findings, study_insight
from hpo.report.figures.axes import Levels, fit_values, place, real, scatter_values, set_parameter_range, without_best
from hpo.report.figures.style import (
    AMBER,
    BLUE,
    GRID,
    INK,
    MUTED,
    PALE,
    PAPER,
    VERMILION,
    blank,
    label,
    mark,
    new_figure,
    plain,
    styled,
)
from hpo.report.figures.thinned import POINTS, share, thinned
from hpo.samplers.rounds import Finding
from hpo.study import Study
from hpo.study.parameters import Parameter
from hpo.study.space import Space
from hpo.text import short
from hpo.trial import State, Trial, best_first

# So many parameters are drawn against each other, the most important ones; the others would be stamps.
MOST = 6
# All panels of a figure have so many points together.
MOST_POINTS = 6000
# How far apart the bars for the ranges of the rounds are, as a share of the axis; how many have a height of their own.
BAR, MOST_BARS = 0.03, 13
# How the trials without a comparable value are marked along the bottom.
LOST = ((State.PRUNED, "|", AMBER), (State.INFEASIBLE, "v", INK), (State.FAILED, "x", VERMILION))


@styled
def slices(study: Study, trials: Sequence[Trial], insight: Insight | None = None) -> Figure:
    """The metric against each parameter, with the verdict above."""
    ranked = best_first(list(trials), study.direction)
    if not ranked:
        return without_best(study, trials)
    insight = insight or study_insight(study, trials, resamples=0)
    about = {p.name: p for p in insight.parameters}
    shown = clearest(covering(study.space, trials), insight.parameters, 2 * MOST)
    drawn = thinned(study, trials, min(POINTS, MOST_POINTS // len(shown)))
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = new_figure({1: 6.0, 2: 9.0, 3: 11.0}[columns], 0.3 + 3.1 * rows)
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    fit_values(grid.flat[0], [trial.value or 0.0 for trial in ranked], study.direction)
    rounds = findings(study, trials)
    _make_room(grid.flat[0], len({finding.round for finding in rounds}))
    tie = insight.precision is not None and len(insight.precision.tied) > 1
    for axes, parameter in zip(grid.flat, shown, strict=False):
        _slice(axes, parameter, study, drawn, about[parameter.name])
        _narrowed_slice(axes, parameter, rounds)
        if insight.precision is not None and tie:
            tied = [real(t.value or 0.0) for t in ranked[: len(insight.precision.tied)]]
            axes.axhspan(min(tied), max(tied), color=BLUE, alpha=0.08, linewidth=0)
    for axes in grid.flat[len(shown) :]:
        axes.set_axis_off()
    for row in grid:
        row[0].set_ylabel(label(study.metric))
    marks = [
        Line2D([], [], linewidth=0, marker=marker, color=colour, label=state)
        for state, marker, colour in LOST
        if any(t.standing == state for t in trials)
    ]
    if rounds:
        marks.append(Line2D([], [], color=INK, linewidth=2, alpha=0.6, label="range after each round"))
    if marks:
        figure.legend(handles=marks, loc="outside upper right", ncols=3)
    words = [
        "One point per complete trial.",
        "Trials in the blue band are statistically indistinguishable from the best." if tie else "",
        "Pruned trials are marks at the bottom." if any(t.state == State.PRUNED for t in drawn) else "",
        "Infeasible trials are triangles at the bottom." if any(t.standing == State.INFEASIBLE for t in drawn) else "",
        "Failed trials are crosses at the bottom." if any(t.state == State.FAILED for t in drawn) else "",
        "Bars along the top show the range after each round." if rounds else "",
    ]
    figure.caption = " ".join(filter(None, words)) + _few(shown, study) + share(len(drawn), len(trials))
    return figure


def _few(shown: Sequence[Parameter], study: Study) -> str:
    count = len(study.space.parameters)
    return "" if len(shown) == count else f" The {len(shown)} of {count} parameters with the clearest effect."


def _slice(axes: Axes, parameter: Parameter, study: Study, trials: Sequence[Trial], about: ParameterInsight) -> None:
    set_parameter_range(axes.xaxis, parameter)
    having = [t for t in best_first(trials, study.direction) if parameter.name in t.params]
    colour = BLUE if about.effect is not False else MUTED
    x = [coordinate(parameter, t) for t in having]
    look: dict[str, Any] = {"s": 18, "color": colour, "alpha": 0.75, "linewidth": 0}
    at = scatter_values(axes, x, [t.value or 0.0 for t in having], **look)
    mark(axes, having, [[point] for point in zip(x, at, strict=True)])
    for state, marker, lost_colour in LOST:
        lost = [coordinate(parameter, t) for t in trials if t.standing == state and parameter.name in t.params]
        axes.scatter(
            lost, [0.02] * len(lost), s=22, marker=marker, color=lost_colour, transform=axes.get_xaxis_transform()
        )
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
    shown = clearest(covering(study.space, trials), insight.parameters, MOST)
    levels, rounds = Levels(study, trials), findings(study, trials)
    count = len(shown) - 1
    drawn = thinned(study, trials, min(POINTS, MOST_POINTS // (count * (count + 1) // 2)))
    size = {1: 5.2, 2: 3.9, 3: 3.2}.get(count, 2.4)
    figure = new_figure(count * size + 1.0, count * size * 0.88 + 0.3)
    grid = figure.subplots(count, count + 1, squeeze=False, width_ratios=[1] * count + [0.09 + 0.06 * count])
    for row in range(count):
        for column in range(count):
            axes = grid[row, column]
            if column > row:
                axes.set_axis_off()
                continue
            _pair(axes, shown[column], shown[row + 1], study, drawn, levels)
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
    words = [
        "Coloured by value, the best five numbered." if levels.known else "",
        "Pruned trials are hollow." if any(t.state == State.PRUNED for t in drawn) else "",
        "Infeasible trials are triangles." if any(t.standing == State.INFEASIBLE for t in drawn) else "",
        "Failed trials are crosses." if any(t.state == State.FAILED for t in drawn) else "",
        "Frames show the ranges after each round." if rounds else "",
    ]
    figure.caption = " ".join(filter(None, words)) + _few(shown, study) + share(len(drawn), len(trials))
    return figure


def _pair(axes: Axes, x: Parameter, y: Parameter, study: Study, trials: Sequence[Trial], levels: Levels) -> None:
    set_parameter_range(axes.xaxis, x)
    set_parameter_range(axes.yaxis, y)
    having = [t for t in trials if x.name in t.params and y.name in t.params]
    looks: dict[str, dict[str, Any]] = {
        State.PRUNED: {"s": 14, "facecolor": PAPER, "edgecolor": MUTED},
        State.INFEASIBLE: {"s": 14, "marker": "v", "color": INK},
        State.FAILED: {"s": 22, "marker": "x", "color": VERMILION},
    }
    for state, look in looks.items():
        lost = [t for t in having if t.standing == state]
        at = [coordinate(x, t) for t in lost], [coordinate(y, t) for t in lost]
        axes.scatter(*at, linewidth=0.8, alpha=0.7, **look)
        mark(axes, lost, [[point] for point in zip(*at, strict=True)])
    ranked = best_first([t for t in having if t.state == State.COMPLETE], study.direction)
    drawn = [*reversed(ranked)]
    if not drawn:
        return
    at = [coordinate(x, t) for t in drawn], [coordinate(y, t) for t in drawn]
    colours = [levels.colour(t.value or 0.0) for t in drawn]
    axes.scatter(*at, s=34, c=colours, edgecolor=PALE, linewidth=0.5, clip_on=False)
    mark(axes, drawn, [[point] for point in zip(*at, strict=True)])
    overall = best_first(list(trials), study.direction)[:5]
    for rank, trial in enumerate(overall, start=1):
        if x.name in trial.params and y.name in trial.params:
            here = (coordinate(x, trial), coordinate(y, trial))
            axes.scatter(*here, s=80, facecolor="none", edgecolor=INK, linewidth=1.0)
            axes.annotate(str(rank), here, (6, 4), textcoords="offset points", fontsize=8, fontweight="bold")


def coordinate(parameter: Parameter, trial: Trial) -> float:
    """Where a trial stands on an axis made by :func:`set_parameter_range`; trials of one choice are spread a little."""
    at = place(parameter, trial.params[parameter.name])
    if parameter.ordered:
        return at
    # Spread evenly, but differently for each parameter, or pairs of choices would line up.
    spread = (trial.number * (math.sqrt(5) - 1) / 2 * (1 + zlib.crc32(parameter.name.encode()) % 97)) % 1
    return at + 0.5 * (spread - 0.5)


def clearest(space: Space, about: Sequence[ParameterInsight], most: int) -> list[Parameter]:
    """Up to ``most`` parameters, those with the clearest effect, in the order of the study."""
    strength = {p.name: 2.0 if p.p_value is None else p.p_value for p in about}
    strongest = sorted(strength, key=strength.__getitem__)[:most]
    return [p for p in space.parameters if p.name in strongest]


def _ends(parameter: Parameter, finding: Finding) -> tuple[float, float]:
    """A round's new range on the parameter's axis; of choices, from the first that is left to the last."""
    places = [place(parameter, value) for value in finding.new]
    beside = 0.0 if parameter.ordered else 0.4
    return min(places) - beside, max(places) + beside


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


# Importance ----------------------------------------------------------------------------------------------------------

# So many parameters have a row, the most important ones.
ROWS = 25


@styled
def importances(study: Study, trials: Sequence[Trial], insight: Insight | None = None) -> Figure:
    """Importance with its interval and what chance alone reaches; beside it, rank correlation with its interval."""
    about = (insight or study_insight(study, trials)).parameters
    if all(p.effect is None for p in about):
        return blank(f"Importances need at least {FEWEST} trials with a value.")
    about = tuple(sorted(about, key=_strength))[-ROWS:]
    figure = new_figure(9, 1.3 + 0.42 * len(about))
    left, right = figure.subplots(1, 2, sharey=True)
    left.set_yticks(range(len(about)), [plain(short(p.name, 28)) for p in about])
    left.set_ylim(-0.6, len(about) - 0.4)
    for row, parameter in enumerate(about):
        _bar(left, row, parameter)
        _correlation(right, row, parameter)
    left.set(xlim=(0, 1.02), xlabel="importance (PED-ANOVA, share)")
    right.axvline(0, color=MUTED, linewidth=1)
    right.set(xlim=(-1.02, 1.02), xlabel=f"rank correlation with {label(study.metric)}")
    right.tick_params(left=False)
    for axes in (left, right):
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
    handles = [
        Line2D([], [], color=BLUE, linewidth=6, label="effect shown"),
        Line2D([], [], color=PALE, linewidth=6, label="no effect shown"),
        Line2D([], [], color=INK, linewidth=1.2, label="interval (left 90%, right 95%)"),
        Line2D([], [], color=VERMILION, linewidth=0, marker="|", markersize=9, label="chance alone (95% below)"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=4)
    figure.caption = "Left: how much each parameter contributes to what distinguishes the best tenth of the trials. "
    figure.caption += (
        "Right: rank correlation."
        if len(about) == len(study.space.parameters)
        else (f"Right: rank correlation. The {len(about)} most important of {len(study.space.parameters)} parameters.")
    )
    return figure


def _strength(parameter: ParameterInsight) -> tuple[float, float]:
    share = parameter.importance.share if parameter.importance else 0.0
    return share, -1.0 if parameter.p_value is None else -parameter.p_value


def _bar(axes: Axes, row: int, parameter: ParameterInsight) -> None:
    importance = parameter.importance
    if importance is None:
        axes.text(0.01, row, "-", va="center", color=MUTED)
        return
    axes.barh(row, importance.share, height=0.5, color=BLUE if parameter.effect else PALE)
    if importance.interval is not None:
        axes.hlines(row, *importance.interval, color=INK, linewidth=1.2)
    if importance.chance is not None:
        axes.plot([importance.chance], [row], "|", color=VERMILION, markersize=13, markeredgewidth=1.6)


def _correlation(axes: Axes, row: int, parameter: ParameterInsight) -> None:
    if parameter.correlation is None or parameter.interval is None:
        text = "too few trials" if parameter.effect is None else f"no order; p = {parameter.p_value:.2g}"
        axes.text(0.02, row, text, va="center", color=MUTED, fontsize=8)
        return
    colour = BLUE if parameter.effect else MUTED
    axes.hlines(row, -1, 1, color=GRID, linewidth=0.8, zorder=0)
    axes.hlines(row, *parameter.interval, color=colour, linewidth=2)
    axes.plot([parameter.correlation], [row], "o", color=colour, markersize=6)
