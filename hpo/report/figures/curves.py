"""Figures over time: the chapter's grid of the best trials, the best so far, every learning curve."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from hpo.report.figures.levels import Levels
from hpo.report.figures.style import (
    BLUE,
    CROWD,
    INK,
    MUTED,
    PALE,
    STATE_COLOURS,
    VERMILION,
    blank,
    fit_values,
    new_figure,
    plain,
    scatter_values,
    styled,
)
from hpo.report.scale import label
from hpo.study import Study
from hpo.trial import COMPLETE, FAILED, PRUNED, RUNNING, Trial, best_first, counts

Points = tuple[list[int], list[float]]


def curve(trial: Trial, metric: str) -> Points:
    """The steps at which ``metric`` was reported as a finite number, and its values there."""
    known = [
        (r.step, r.metrics[metric]) for r in trial.reports if metric in r.metrics and np.isfinite(r.metrics[metric])
    ]
    return [step for step, _ in known], [value for _, value in known]


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
def best_trials(study: Study, trials: Sequence[Trial]) -> Figure:
    """The chapter's Fig 6-24: the best 20 trials, validation solid, training dashed."""
    ranked = best_first(list(trials), study.direction)[:20]
    if not ranked:
        return blank("No trial is complete yet.")
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
    fit_values(grid.flat[0], [v for trial in ranked for metric in metrics for v in curve(trial, metric)[1]])
    handles = [
        Line2D([], [], color=(BLUE, VERMILION)[i], linestyle=("-", "--")[i], label=plain(metric))
        for i, metric in enumerate(metrics)
    ]
    figure.legend(handles=handles, loc="outside upper right", ncols=2, borderpad=0)
    return figure


def _best_cell(axes: Axes, trial: Trial, rank: int, metrics: Sequence[str]) -> None:
    for index in reversed(range(len(metrics))):
        steps, values = curve(trial, metrics[index])
        marker = "o" if len(steps) == 1 else ""
        axes.plot(steps, values, ("-", "--")[index], color=(BLUE, VERMILION)[index], marker=marker, markersize=4)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes.set_title(f"Best-{rank}", fontweight="bold", fontsize=9, pad=13)
    axes.set_title(f"{trial.value:.4g}", loc="right", fontsize=9, pad=13)
    words = [f"{name} {label(value, 16)}" for name, value in trial.params.items()]
    kept = next(n for n in range(len(words), -1, -1) if n <= 1 or len("  ".join(words[:n])) <= 36)
    words = words[:kept] + ["…"] * (kept < len(words))
    axes.text(0, 1.03, plain(label("  ".join(words), 40)), transform=axes.transAxes, fontsize=6, color=MUTED)


@styled
def best_so_far(study: Study, trials: Sequence[Trial]) -> Figure:
    """Every trial's value in the order in which the trials ended, and the best until then."""
    done = sorted((t for t in trials if t.finished), key=lambda t: (t.ended or 0.0, t.number))
    scored = {t.number for t in best_first(done, study.direction)}
    if not scored:
        return blank("No trial is complete yet.")
    places = {trial.number: index for index, trial in enumerate(done, start=1)}
    figure = new_figure(9, 3.6)
    axes = figure.subplots()
    complete = [t for t in done if t.number in scored]
    values = np.array([t.value for t in complete], dtype=np.float64)
    x = [places[t.number] for t in complete]
    fit_values(axes, [*values])
    scatter_values(axes, x, [*values], s=14, color=PALE, label="complete", rasterized=len(x) > CROWD)
    for state, marker in ((PRUNED, "|"), (FAILED, "x")):
        at = [places[t.number] for t in done if t.state == state]
        if at:
            axes.scatter(
                at,
                [0.03] * len(at),
                s=22,
                marker=marker,
                color=STATE_COLOURS[state],
                label=state,
                transform=axes.get_xaxis_transform(),
                zorder=3,
            )
    running = np.maximum.accumulate(values) if study.direction == "maximize" else np.minimum.accumulate(values)
    axes.step([*x, len(done)], [*running, running[-1]], where="post", color=BLUE, label="best so far", linewidth=2)
    axes.annotate(
        f"{running[-1]:.4g}", (len(done), running[-1]), (6, 0), textcoords="offset points", va="center", color=BLUE
    )
    axes.set(xlabel="finished trials", ylabel=plain(study.metric), xlim=(0.5, len(done) * 1.06 + 0.5))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0.2)
    return figure


@styled
def learning_curves(study: Study, trials: Sequence[Trial]) -> Figure:
    """The metric's curve of every trial: complete ones coloured by their value, pruned ones faded."""
    curves = {t.number: curve(t, study.metric) for t in trials}
    shown = [t for t in trials if curves[t.number][0]]
    if not shown:
        return blank(f"No trial has reported {study.metric} yet.".replace("$", r"\$"))
    levels = Levels(study, trials)
    figure = new_figure(9, 4.4)
    if levels.known:
        axes, scale = figure.subplots(1, 2, width_ratios=[1, 0.09])
        levels.legend(scale)
    else:
        axes = figure.subplots()
    crowd = len(shown) > CROWD
    # The best are drawn last, over all others.
    order = [*reversed(best_first(shown, study.direction))]
    for state, colour, alpha, width in (
        (PRUNED, MUTED, 0.35, 0.8),
        (RUNNING, MUTED, 0.9, 1.0),
        (FAILED, VERMILION, 0.8, 1.0),
    ):
        group = [t for t in shown if t.state == state]
        _lines(axes, [curves[t.number] for t in group], colour, alpha=alpha, linewidth=width, rasterized=crowd)
        if group and state != RUNNING:
            x, y = zip(*[(curves[t.number][0][-1], curves[t.number][1][-1]) for t in group], strict=True)
            axes.scatter(x, y, s=12, marker="x" if state == FAILED else ".", color=colour, alpha=0.7)
    _lines(axes, [curves[t.number] for t in order], [levels.colour(t.value or 0.0) for t in order], rasterized=crowd)
    fit_values(axes, [v for t in shown for v in curves[t.number][1]])
    longest = max(max(curves[t.number][0]) for t in shown)
    axes.set(xlabel="step", ylabel=plain(study.metric), xlim=(1 - 0.02 * longest, longest * 1.02))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(handles=_states_legend(shown), loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0.2)
    return figure


def _lines(axes: Axes, curves: Sequence[Points], colour: Any, **kwargs: Any) -> None:
    if curves:
        kwargs = {"linewidth": 1.0} | kwargs
        axes.add_collection(LineCollection([np.column_stack(c) for c in curves], colors=colour, **kwargs))
        single = [c for c in curves if len(c[0]) == 1]
        axes.scatter([c[0][0] for c in single], [c[1][0] for c in single], s=12, color=MUTED, alpha=kwargs.get("alpha"))


def _states_legend(trials: Sequence[Trial]) -> list[Line2D]:
    looks = {
        COMPLETE: {"color": INK},
        PRUNED: {"color": MUTED, "alpha": 0.45, "marker": "."},
        FAILED: {"color": VERMILION, "marker": "x"},
        RUNNING: {"color": MUTED},
    }
    return [
        Line2D([], [], label=f"{count} {state}", linewidth=1.2, markersize=5, **looks[state])  # type: ignore[arg-type]
        for state, count in counts(list(trials)).items()
        if count
    ]
