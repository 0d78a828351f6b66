"""Figures over time: the best trials, the best value so far, every learning curve, and what each worker did."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from hpo.insight.parameters import Insight
from hpo.insight.usage import Usage, merged, usage
from hpo.report.figures.axes import Levels, fit_values, real, scatter_values, without_best
from hpo.report.figures.style import (
    BLUE,
    GRID,
    INK,
    MUTED,
    PALE,
    PAPER,
    STATE_COLOURS,
    VERMILION,
    blank,
    label,
    mark,
    new_figure,
    plain,
    styled,
)
from hpo.report.figures.thinned import CURVES, share, thinned
from hpo.so_far import BestSoFar
from hpo.study import Study
from hpo.text import duration, how_many, short
from hpo.trial import State, Trial, best_first, by_end, counts

Points = tuple[list[int], list[float]]
# A longer curve is drawn through so many of its points.
POINTS = 500


def curve(trial: Trial, metric: str) -> Points:
    """The steps at which ``metric`` was reported as a finite number, and its values there; of many, some."""
    known = [(r.step, real(r.metrics[metric])) for r in trial.reports if np.isfinite(r.metrics.get(metric, math.nan))]
    shown = known[:: -(-len(known) // POINTS) or 1]
    shown += known[-1:] if shown[-1:] != known[-1:] else []
    return [step for step, _ in shown], [value for _, value in shown]


def training_metric(metric: str, names: Iterable[str]) -> str | None:
    """The training share's counterpart of a validation metric: ``val_accuracy``, ``train_accuracy``; ``val_loss``,
    ``train_loss`` or ``loss``.
    """
    names = set(names)
    held_out = r"(?<![a-z])(val|valid|validation|eval|dev|test)(?![a-z])"
    if not re.search(held_out, metric):
        return None
    candidates = [re.sub(held_out, word, metric) for word in ("train", "training", "")]
    candidates.append(candidates[-1].strip("_-./ "))
    return next((name for name in candidates if name in names), None)


@styled
def best_trials(study: Study, trials: Sequence[Trial], insight: Insight | None = None) -> Figure:
    """The best twenty trials: the metric solid, its counterpart on the training data dashed."""
    ranked = best_first(list(trials), study.direction)[:20]
    if not ranked:
        return without_best(study, trials)
    if not any(len(curve(trial, study.metric)[0]) > 1 for trial in ranked):
        return blank(f"Every trial reported {study.metric} only once.")
    training = training_metric(study.metric, (name for r in ranked[0].reports for name in r.metrics))
    metrics = [study.metric] + ([training] if training else [])
    columns = min(5, len(ranked))
    rows = -(-len(ranked) // columns)
    figure = new_figure(max(4.5, 2.0 * columns), 0.5 + 1.65 * rows)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for index, axes in enumerate(grid.flat):
        if index >= len(ranked):
            axes.set_axis_off()
            grid.flat[index - columns].tick_params(labelbottom=True)
            continue
        trial = ranked[index]
        _best_cell(axes, trial, index + 1, metrics)
    fit_values(
        grid.flat[0], [v for trial in ranked for metric in metrics for v in curve(trial, metric)[1]], study.direction
    )
    handles = [
        Line2D([], [], color=(BLUE, VERMILION)[i], linestyle=("-", "--")[i], label=label(metric))
        for i, metric in enumerate(metrics)
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=2, borderpad=0)
    count = f"best {len(ranked)} trials" if len(ranked) > 1 else "best trial"
    figure.caption = f"{study.metric} of the {count}, step by step" + (f"; {training} is dashed." if training else ".")
    return figure


def _best_cell(axes: Axes, trial: Trial, rank: int, metrics: Sequence[str]) -> None:
    for index in reversed(range(len(metrics))):
        steps, values = curve(trial, metrics[index])
        marker = "o" if len(steps) == 1 else ""
        axes.plot(steps, values, ("-", "--")[index], color=(BLUE, VERMILION)[index], marker=marker, markersize=4)
    steps, values = curve(trial, metrics[0])
    mark(axes, [trial], [list(zip(steps, values, strict=True))])
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes.set_title(f"Best-{rank}", fontweight="bold", fontsize=9, pad=13)
    axes.set_title(f"{trial.value:.4g}", loc="right", fontsize=9, pad=13)
    words = [f"{name} {short(value, 16)}" for name, value in trial.params.items()]
    kept = next(n for n in range(len(words), -1, -1) if n <= 1 or len("  ".join(words[:n])) <= 36)
    words = words[:kept] + ["…"] * (kept < len(words))
    axes.text(0, 1.03, plain(short("  ".join(words), 40)), transform=axes.transAxes, fontsize=6, color=MUTED)


@styled
def best_so_far(study: Study, trials: Sequence[Trial], insight: Insight | None = None) -> Figure:
    """Every trial's value in the order in which the trials ended, and the best until then."""
    done = by_end(trials)
    scored = {t.number for t in best_first(done, study.direction)}
    if len(study.objectives) > 1:
        return blank("Several objectives have no single best value; see the hypervolume.")
    if not scored:
        return without_best(study, trials)
    places = {trial.number: index for index, trial in enumerate(done, start=1)}
    figure = new_figure(9, 3.6)
    axes = figure.subplots()
    complete = [t for t in done if t.number in scored]
    fit_values(axes, [t.value or 0.0 for t in complete], study.direction)
    shown = thinned(study, done)
    points = [t for t in shown if t.number in scored]
    x, values = [places[t.number] for t in points], [t.value or 0.0 for t in points]
    at = scatter_values(axes, x, values, s=14, color=PALE, label="complete")
    mark(axes, points, [[point] for point in zip(x, at, strict=True)])
    for state, marker in ((State.PRUNED, "|"), (State.INFEASIBLE, "v"), (State.FAILED, "x")):
        lost = [places[t.number] for t in shown if t.standing == state]
        look: dict[str, Any] = {"s": 22, "marker": marker, "color": STATE_COLOURS[state], "zorder": 3}
        if lost:
            axes.scatter(lost, [0.03] * len(lost), label=state, transform=axes.get_xaxis_transform(), **look)
    best = BestSoFar(study.direction)
    running: list[tuple[int, float]] = []
    for trial in complete:
        best.add(trial)
        if not running or best.since == 0:
            running.append((places[trial.number], real(best.value or 0.0)))
    running.append((len(done), running[-1][1]))
    axes.step(*zip(*running, strict=True), where="post", color=BLUE, label="best so far", linewidth=2)
    axes.annotate(f"{best.value:.4g}", running[-1], (6, 0), textcoords="offset points", va="center", color=BLUE)
    axes.set(xlabel="finished trials", ylabel=label(study.metric), xlim=(0.5, len(done) * 1.06 + 0.5))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0.2)
    figure.caption = "Trials in the order in which they ended, and the best value so far." + share(
        len(shown), len(done)
    )
    return figure


@styled
def learning_curves(study: Study, trials: Sequence[Trial], insight: Insight | None = None) -> Figure:
    """The metric's curve of every trial: complete ones coloured by their value, pruned ones faded."""
    reporting = [t for t in trials if t.reports]
    trials = thinned(study, reporting, CURVES)
    curves = {t.number: curve(t, study.metric) for t in trials}
    shown = [t for t in trials if curves[t.number][0]]
    if not shown:
        return blank(f"No trial has reported {study.metric} yet.")
    if all(len(curves[t.number][0]) == 1 for t in shown):
        return blank(f"Every trial reported {study.metric} only once.")
    levels = Levels(study, trials)
    figure = new_figure(9, 4.4)
    if levels.known:
        axes, scale = figure.subplots(1, 2, width_ratios=[1, 0.09])
        levels.legend(scale)
    else:
        axes = figure.subplots()
    # The best are drawn last, over all others.
    order = [*reversed(best_first(shown, study.direction))]
    for state, colour, alpha, width in (
        (State.PRUNED, MUTED, 0.35, 0.8),
        (State.RUNNING, MUTED, 0.9, 1.0),
        (State.INFEASIBLE, INK, 0.5, 0.8),
        (State.FAILED, VERMILION, 0.8, 1.0),
    ):
        group = [t for t in shown if t.standing == state]
        _lines(axes, [curves[t.number] for t in group], colour, alpha=alpha, linewidth=width)
        if group and state != State.RUNNING:
            x, y = zip(*[(curves[t.number][0][-1], curves[t.number][1][-1]) for t in group], strict=True)
            marker = {State.FAILED: "x", State.INFEASIBLE: "v"}.get(state, ".")
            axes.scatter(x, y, s=12, marker=marker, color=colour, alpha=0.7)
    _lines(axes, [curves[t.number] for t in order], [levels.colour(t.value or 0.0) for t in order])
    # What was pruned or diverged does not squash what was not.
    fit_values(axes, [v for t in order or shown for v in curves[t.number][1]], study.direction)
    longest = max(max(curves[t.number][0]) for t in shown)
    axes.set(xlabel="step", ylabel=label(study.metric), xlim=(1 - 0.02 * longest, longest * 1.02))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(handles=_states_legend(shown), loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0.2)
    mark(axes, shown, [list(zip(*curves[t.number], strict=True)) for t in shown])
    figure.caption = " ".join(
        words
        for words, there in (
            ("Complete trials are coloured by their value.", order),
            ("Pruned trials are faded.", any(t.state == State.PRUNED for t in shown)),
            ("Infeasible trials end in a triangle.", any(t.standing == State.INFEASIBLE for t in shown)),
            ("Failed trials end in a cross.", any(t.state == State.FAILED for t in shown)),
        )
        if there
    ) + share(len(trials), len(reporting))
    return figure


def _lines(axes: Axes, curves: Sequence[Points], colour: Any, **kwargs: Any) -> None:
    if curves:
        kwargs = {"linewidth": 1.0} | kwargs
        axes.add_collection(LineCollection([np.column_stack(c) for c in curves], colors=colour, **kwargs))
        single = [c for c in curves if len(c[0]) == 1]
        axes.scatter([c[0][0] for c in single], [c[1][0] for c in single], s=12, color=MUTED, alpha=kwargs.get("alpha"))


def _states_legend(trials: Sequence[Trial]) -> list[Line2D]:
    looks = {
        State.COMPLETE: {"color": INK},
        State.PRUNED: {"color": MUTED, "alpha": 0.45, "marker": "."},
        State.INFEASIBLE: {"color": INK, "alpha": 0.5, "marker": "v"},
        State.FAILED: {"color": VERMILION, "marker": "x"},
        State.RUNNING: {"color": MUTED},
    }
    return [
        Line2D([], [], label=f"{count} {state}", linewidth=1.2, markersize=5, **looks[state])  # type: ignore[arg-type]
        for state, count in counts(trials, standing=True).items()
        if count
    ]


# Workers -------------------------------------------------------------------------------------------------------------

# More workers than this are rows without names.
NAMED = 40
HEIGHT = 0.64
# So many pauses are marked, and so many bars of one state on a worker told apart.
PAUSES, BARS = 30, 500


@styled
def timeline(study: Study, trials: Sequence[Trial], insight: Insight | None = None) -> Figure:
    """One row per worker, one bar per trial, coloured by how it ended; pauses between runs are cut out."""
    found = usage(trials)
    if found is None:
        return blank("No trial has run yet.")
    shown = {trial.number for trial in thinned(study, trials)}
    figure = new_figure(9, 1.3 + min(8.0, 0.42 * max(len(found.workers), 2)))
    axes = figure.subplots()
    unit, name = _unit(found.seconds)
    offsets = _offsets(found)

    def at(time: float) -> float:
        return (time - next(taken for start, taken in reversed(offsets) if start <= time)) / unit

    for row, worker in enumerate(found.workers.values()):
        where = (row - HEIGHT / 2, HEIGHT)
        present = [(at(start), (end - start) / unit) for start, end in worker.present]
        axes.broken_barh(present, where, facecolor=GRID, linewidth=0)
        edge = 0.5 if len(worker.spans) <= 60 else 0.0
        for state in State:
            # Of thousands of bars, those are one that no eye can tell apart.
            spans = [(s.start, s.end) for s in worker.spans if s.state == state]
            spans = merged(spans, found.seconds / BARS if len(spans) > BARS else -1.0)
            bars = [(at(start), (end - start) / unit) for start, end in spans]
            look: dict[str, Any] = {"facecolor": STATE_COLOURS[state], "edgecolor": PAPER, "linewidth": edge}
            axes.broken_barh(bars, where, **look)
        few = [s for s in worker.spans if s.trial.number in shown]
        mark(axes, [s.trial for s in few], [[(at(s.start), row), (at(s.end), row)] for s in few])
    for (_, end), (start, _) in list(pairwise(found.runs))[:PAUSES]:
        here = (at(start) + at(end)) / 2
        axes.axvline(here, color=MUTED, linewidth=1, linestyle=":")
        words = plain(f"{duration(start - end)} pause")
        beside: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        axes.annotate(words, (here, 1), (2, 1), fontsize=7, color=MUTED, **beside)
    if len(found.workers) > NAMED:
        axes.set_yticks([])
    else:
        axes.set_yticks(range(len(found.workers)), [plain(short(name, 28)) for name in found.workers])
        for row, worker in enumerate(found.workers.values()):
            share = worker.busy / worker.available if worker.available else 0.0
            axes.text(1.005, row, f"{share:.0%}", transform=axes.get_yaxis_transform(), va="center", fontsize=8)
    axes.set(xlabel=f"{name} of running", ylim=(len(found.workers) - 0.4, -0.6))
    axes.set_xlim(-0.01 * found.seconds / unit)
    axes.grid(visible=False)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    used = f"{how_many(len(found.workers), 'worker')} busy {found.share:.1%} of the time"
    figure.suptitle(f"{used}, {duration(found.idle)} idle in {duration(found.seconds)}", x=0.01, ha="left", fontsize=10)
    seen = [state for state in State if any(trial.standing == state for trial in trials)]
    handles = [Patch(color=STATE_COLOURS[state], label=state) for state in seen] + [Patch(color=GRID, label="idle")]
    figure.legend(handles=handles, loc="outside lower right", ncols=5)
    figure.caption = "One bar per trial."
    if len(found.workers) <= NAMED:
        figure.caption += " On the right, the share of time for which each worker was busy."
    if len(found.runs) > 1:
        figure.caption += " Pauses between two runs of the study are cut out."
    return figure


def _offsets(found: Usage) -> list[tuple[float, float]]:
    """When each run began, and what to take off its times so that runs follow each other."""
    gap = 0.03 * found.seconds
    offsets, taken = [], found.runs[0][0]
    for index, (start, _) in enumerate(found.runs):
        if index:
            taken += start - found.runs[index - 1][1] - gap
        offsets.append((start, taken))
    return offsets


def _unit(seconds: float) -> tuple[float, str]:
    return next((unit for unit in ((3600.0, "hours"), (60.0, "minutes")) if seconds > 3 * unit[0]), (1.0, "seconds"))
