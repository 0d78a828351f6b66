"""Figures of several objectives: the Pareto front, how much it covers, and the parameters of its trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hpo.best import front_of
from hpo.fronts import box_of, costs_of, diverged
from hpo.insight.front import front_insight
from hpo.insight.parameters import Insight, covering, study_insight
from hpo.report.figures.axes import Levels, fit_values, real, without_best
from hpo.report.figures.parameters import clearest
from hpo.report.figures.style import (
    BLUE,
    GRID,
    INK,
    MUTED,
    PALE,
    PAPER,
    SKY,
    blank,
    label,
    mark,
    new_figure,
    plain,
    styled,
)
from hpo.report.figures.thinned import CURVES, share, thinned
from hpo.statistics import Z, binomial_error
from hpo.study import Study
from hpo.study.parameters import Parameter
from hpo.text import number, short
from hpo.trial import State, Trial, by_end, counts_as_best

# So many objectives are drawn against each other, the first ones, and so many trials have bars for their errors.
MOST, BARS = 5, 60
# So many parameters have an axis, those with the clearest effect, and so many choices are named along it.
AXES, CHOICES = 10, 6
# The fronts after a quarter, half and all of the trials.
PARTS = ((4, PALE), (2, SKY), (1, BLUE))
# How the trials of each kind look, the last ones above the others.
LOOKS: dict[str, dict[str, Any]] = {
    "infeasible": {"marker": "v", "s": 16, "color": INK, "alpha": 0.5, "linewidth": 0},
    "beaten": {"s": 16, "color": PALE, "linewidth": 0},
    "perhaps on the front": {"s": 18, "color": SKY, "linewidth": 0},
    "on the front, uncertain": {"s": 30, "facecolor": PAPER, "edgecolor": BLUE, "linewidth": 1.4},
    "on the front": {"s": 30, "color": BLUE, "linewidth": 0},
}


@styled
def pareto_front(study: Study, trials: Sequence[Trial], insight: Insight | None = None) -> Figure:
    """Every two objectives against each other: the front, the other trials faded, and how the front came about."""
    front = front_of(trials, study.objectives)
    if not front:
        return without_best(study, trials)
    worth = front_insight(study, trials, insight.examples if insight else None)
    valued = [t for t in trials if t.state is State.COMPLETE and t.values and all(map(math.isfinite, t.values))]
    drawn = thinned(study, valued)
    kinds = _kinds(drawn, front, worth.unsure if worth else (), worth.near if worth else ())
    names = list(study.objectives)[:MOST]
    count = len(names) - 1
    figure = new_figure(*((7.5, 4.6) if count == 1 else (0.6 + 3.3 * count, 0.6 + 2.7 * count)))
    grid = figure.subplots(count, count, squeeze=False)
    beyond = False
    for row in range(count):
        for column in range(count):
            axes = grid[row, column]
            if column > row:
                axes.set_axis_off()
                continue
            places = column, row + 1
            _fit(axes, study, places, [t for t in valued if counts_as_best(t)], front)
            if len(study.objectives) == 2:
                _attainment_surface(axes, study, trials)
            if worth and len(front) <= BARS:
                _bars(axes, front, places, [name in worth.errors for name in names], worth.examples)
            for kind, group in kinds.items():
                at = _points(axes, group, places)
                beyond |= not np.array_equal(at, _values(group, places))
                axes.scatter(*at.T, label=f"{len(group)} {kind}", clip_on=False, zorder=3, **LOOKS[kind])
                mark(axes, group, [[(x, y)] for x, y in at])
            axes.label_outer()
    handles, labels = grid[-1, 0].get_legend_handles_labels()
    if count == 1:
        grid[0, 0].legend(handles, labels, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2)
    else:
        figure.legend(handles, labels, loc="outside upper right")
    words = [
        "No other trial beats those on the front; it would have to be worse in no objective and better in one.",
        "Lines: the front after a quarter, half and all of the finished trials." if len(study.objectives) == 2 else "",
        "Trials beyond an axis are drawn at its edge." if beyond else "",
        f"Bars: 95% intervals on {worth.examples} examples." if worth and len(front) <= BARS else "",
        f"The first {MOST} of {len(study.objectives)} objectives." if len(study.objectives) > MOST else "",
    ]
    figure.caption = " ".join(filter(None, words)) + share(len(drawn), len(valued))
    return figure


def _kinds(
    drawn: Sequence[Trial], front: Sequence[Trial], unsure: Sequence[int], near: Sequence[int]
) -> dict[str, list[Trial]]:
    """The trials by how they look, without kinds that have none."""
    on_it = {trial.number for trial in front}
    found: dict[str, list[Trial]] = {kind: [] for kind in LOOKS}
    for trial in drawn:
        if not counts_as_best(trial):
            found["infeasible"].append(trial)
        elif trial.number in on_it:
            found["on the front, uncertain" if trial.number in unsure else "on the front"].append(trial)
        else:
            found["perhaps on the front" if trial.number in near else "beaten"].append(trial)
    return {kind: group for kind, group in found.items() if group}


def _fit(axes: Axes, study: Study, places: tuple[int, int], complete: Sequence[Trial], front: Sequence[Trial]) -> None:
    """Makes both axes show two objectives, with all of the front that has not diverged."""
    far, on_it = diverged(costs_of(complete, study.objectives)), {trial.number for trial in front}
    for axis, index in zip("xy", places, strict=True):
        name = list(study.objectives)[index]
        near = [trial for trial, beyond in zip(complete, far[:, index], strict=True) if not beyond]
        values = [trial.values[index] for trial in near]
        kept = [trial.values[index] for trial in near if trial.number in on_it]
        fit_values(axes, values, study.objectives[name], name=axis, kept=kept)
        better = "higher" if study.objectives[name].sign < 0 else "lower"
        axes.set(**{f"{axis}label": f"{label(name)} ({better} is better)"})


def _points(axes: Axes, trials: Sequence[Trial], places: tuple[int, int]) -> Any:
    """Where trials stand, shape (trials, 2); at the edge of the panel where they are beyond it."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    return np.clip(_values(trials, places), [left, low], [right, high])


def _values(trials: Sequence[Trial], places: tuple[int, int]) -> Any:
    """The values of two objectives, shape (trials, 2)."""
    return np.array([[real(trial.values[index]) for index in places] for trial in trials], dtype=np.float64)


def _attainment_surface(axes: Axes, study: Study, trials: Sequence[Trial]) -> None:
    """The attainment surface, the border of what the front beats: after a part of the trials, and after all."""
    done = by_end(trials)
    signs = [direction.sign for direction in study.objectives.values()]
    ends = [
        max(limits) if sign > 0 else min(limits)
        for sign, limits in zip(signs, (axes.get_xlim(), axes.get_ylim()), strict=True)
    ]
    for part, colour in PARTS:
        front = front_of(done[: len(done) // part], study.objectives)
        if not front:
            continue
        along = _points(axes, front, (0, 1))
        along = along[np.lexsort((signs[1] * along[:, 1], signs[0] * along[:, 0]))]
        along = np.vstack([[along[0, 0], ends[1]], along, [ends[0], along[-1, 1]]])
        axes.step(*along.T, where="post", color=colour, linewidth=1.2, label=f"front after {len(done) // part} trials")


def _bars(axes: Axes, front: Sequence[Trial], places: tuple[int, int], noisy: Sequence[bool], examples: int) -> None:
    """The errors of the values on the front, where they are known."""
    at = _points(axes, front, places)
    look: dict[str, Any] = {"color": MUTED, "linewidth": 0.8, "alpha": 0.6, "zorder": 2}
    for index, draw in zip(places, ("hlines", "vlines"), strict=True):
        if not noisy[index]:
            continue
        errors = np.array([Z * binomial_error(trial.values[index], examples) for trial in front])
        values = np.array([real(trial.values[index]) for trial in front])
        across = at[:, 1] if draw == "hlines" else at[:, 0]
        getattr(axes, draw)(across, values - errors, values + errors, **look)


@styled
def hypervolume(study: Study, trials: Sequence[Trial], insight: Insight | None = None) -> Figure:
    """How much the front covers, over the finished trials."""
    done = by_end(trials)
    places, complete = [], []
    for index, trial in enumerate(done, start=1):
        if counts_as_best(trial):
            places.append(index)
            complete.append(trial)
    if not complete:
        return without_best(study, trials)
    costs = costs_of(complete, study.objectives)
    box = box_of(costs)
    covered = box.covered(costs)
    rises = [index for index, rise in enumerate(np.diff(covered, prepend=0.0)) if rise > 0]
    figure = new_figure(9, 3.6)
    axes = figure.subplots()
    axes.step([*places, len(done)], [*covered, covered[-1]], where="post", color=BLUE, linewidth=2)
    at = [(float(places[index]), float(covered[index])) for index in rises]
    axes.scatter([x for x, _ in at], [y for _, y in at], s=14, color=BLUE, zorder=3)
    mark(axes, [complete[index] for index in rises], [[point] for point in at])
    axes.annotate(f"{covered[-1]:.4g}", (len(done), covered[-1]), (6, 0), textcoords="offset points", va="center")
    axes.set(xlabel="finished trials", ylabel="hypervolume", xlim=(0.5, len(done) * 1.06 + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    signs = [direction.sign for direction in study.objectives.values()]
    reference = ", ".join(
        f"{name} {number(float(sign * worst))}"
        for name, sign, worst in zip(study.objectives, signs, box.worst, strict=True)
    )
    figure.caption = (
        "The share of the region between the best values and the reference point that the front dominates. "
        f"The reference point is the worst complete value of each objective that is no outlier: {reference}. "
        "Points: trials that came onto the front."
    )
    return figure


@styled
def parallel_coordinates(study: Study, trials: Sequence[Trial], insight: Insight | None = None) -> Figure:
    """One line per trial on the front, through its parameters and its values."""
    front = front_of(trials, study.objectives)
    if not front:
        return without_best(study, trials)
    if len(front) == 1:
        return blank("A single trial is on the front.")
    insight = insight or study_insight(study, trials, resamples=0)
    parameters = clearest(covering(study.space, trials), insight.parameters, AXES)
    drawn = thinned(study, front, CURVES)
    columns = [_of_parameter(axis, drawn) for axis in parameters]
    columns += [_of_objective(study, index, drawn) for index in range(len(study.objectives))]
    titles = [parameter.name for parameter in parameters] + list(study.objectives)
    figure = new_figure(max(6.0, 1.35 * len(columns)), 4.2)
    axes = figure.subplots()
    levels = Levels(study, drawn)
    for x, (_, names) in enumerate(columns):
        axes.axvline(x, color=INK if x >= len(parameters) else MUTED, linewidth=1.4 if x >= len(parameters) else 0.8)
        for y, text in names.items():
            look: dict[str, Any] = {"facecolor": PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 0.8}
            words = plain(short(text, 14))
            axes.annotate(words, (x, y), (5, 0), textcoords="offset points", va="center", fontsize=7, bbox=look)
    for index, trial in reversed(list(enumerate(drawn))):
        path = [(float(x), heights[index]) for x, (heights, _) in enumerate(columns) if np.isfinite(heights[index])]
        axes.plot(*zip(*path, strict=True), color=levels.colour(trial.value or 0.0), linewidth=1.2, alpha=0.8)
        mark(axes, [trial], [path])
    axes.set_xticks(range(len(columns)), [label(short(title, 18)) for title in titles])
    axes.set(xlim=(-0.2, len(columns) - 0.4), ylim=(-0.04, 1.04))
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[["left", "bottom"]].set_visible(False)
    if len("".join(titles)) > 9 * len(titles):
        axes.tick_params(axis="x", labelrotation=20)
    axes.tick_params(axis="x", length=0, colors=INK)
    axes.set_facecolor(PAPER)
    axes.axhline(0, color=GRID, linewidth=0.8, zorder=0)
    few = len(study.space.parameters) - len(parameters)
    figure.caption = (
        f"One line per trial on the front, coloured by {study.metric}. The axes of objectives have their better end "
        "at the top."
        + (
            f" The {len(parameters)} of {len(study.space.parameters)} parameters with the clearest effect."
            if few
            else ""
        )
        + share(len(drawn), len(front))
    )
    return figure


# An axis: how high each trial stands on it, 0 to 1 or NaN, and what is written beside it, by height.
Column = tuple[list[float], Mapping[float, str]]


def _of_parameter(parameter: Parameter, trials: Sequence[Trial]) -> Column:
    values = list(parameter.ends)
    if not parameter.ordered:
        values = parameter.values() or []
        values = values[:: -(-len(values) // CHOICES)]

    def height(value: Any) -> float:
        return min(1.0, max(0.0, float(parameter.to_unit(value))))

    heights = [height(t.params[parameter.name]) if parameter.name in t.params else math.nan for t in trials]
    return heights, {height(value): short(value) for value in values}


def _of_objective(study: Study, index: int, trials: Sequence[Trial]) -> Column:
    sign = list(study.objectives.values())[index].sign
    costs = [sign * real(trial.values[index]) for trial in trials]
    best, worst = min(costs), max(costs)
    if best == worst:
        return [0.5] * len(costs), {0.5: number(sign * best)}
    heights = [(worst - cost) / (worst - best) for cost in costs]
    return heights, {0.0: number(sign * worst), 1.0: number(sign * best)}
