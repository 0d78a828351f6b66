"""Histograms that an objective reports bin by bin."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpo.report.figures.style import BLUE, INK, MUTED, new_figure, plain
from hpo.report.lines import Floats, named, repeats_of, split
from hpo.study import Study
from hpo.study.fields import Field, label
from hpo.study.figures import metric_names
from hpo.trial import Trial


def histograms(study: Study, trials: Sequence[Trial], options: Mapping[str, Any]) -> Figure:
    """One column per report (a layer, say), one row per value of ``panels``: mean counts, and their range.

    Keys: ``counts``, the metrics ``count_00``, ``count_01``, ... are the bars over ``x_range``; ``notes``, metrics to
    write into each; ``panels``.
    """
    rows = split(study, trials, options["panels"])
    columns = max(len(trial.reports) for trial in trials)
    size = options["size"] or (1.9 * columns + 0.5, 1.75 * len(rows) + 0.7)
    figure = new_figure(*size)
    grid = figure.subplots(len(rows), columns, sharex=True, sharey="row", squeeze=False)
    for row, (value, group) in zip(grid, rows, strict=True):
        for index, axes in enumerate(row):
            _histogram(axes, group, index, options)
            axes.set_title(f"{index + 1}-layer", fontsize=9, pad=15 if options["notes"] else 6)
        row[0].set_ylabel(named(value, options["names"]) if options["panels"] else plain(options["y_label"] or "count"))
    for axes in grid[-1]:
        axes.set_xlabel(plain(options["x_label"] or ""))
    repeats = repeats_of(trials)
    note = f"bars: mean of {repeats} seeds; lines: lowest to highest" if repeats > 1 else ""
    figure.suptitle(plain(options["title"]), x=0.01, ha="left", fontsize=10, fontweight="bold", color=INK)
    figure.text(0.995, 0.99, note, ha="right", va="top", fontsize=7, color=MUTED)
    return figure


histograms.keys = {  # type: ignore[attr-defined]
    "panels": Field(label, None),
    "counts": Field(label, "count"),
    "notes": Field(metric_names, None),
}
histograms.parameters = ("panels",)  # type: ignore[attr-defined]


def _histogram(axes: Axes, trials: Sequence[Trial], index: int, options: Mapping[str, Any]) -> None:
    reports = [trial.reports[index].metrics for trial in trials if len(trial.reports) > index]
    counts = np.array([_counts(metrics, options["counts"]) for metrics in reports], dtype=np.float64)
    if not counts.size:
        return
    low, high = options["x_range"] or (0.0, 1.0)
    edges = np.linspace(low, high, counts.shape[1] + 1)
    axes.bar(edges[:-1], counts.mean(axis=0), np.diff(edges), align="edge", color=BLUE, linewidth=0)
    if len(counts) > 1:
        middle = (edges[:-1] + edges[1:]) / 2
        axes.vlines(middle, counts.min(axis=0), counts.max(axis=0), color=INK, alpha=0.55, linewidth=0.7)
    axes.set_xlim(low, high)
    if options["y_range"]:
        axes.set_ylim(*options["y_range"])
    axes.grid(axis="x", visible=False)
    notes = [
        f"{named(metric, options['names'])} {np.mean([metrics[metric] for metrics in reports]):.2g}"
        for metric in options["notes"] or ()
    ]
    axes.text(0.0, 1.03, ", ".join(notes), transform=axes.transAxes, fontsize=7, color=MUTED)


def _counts(metrics: Mapping[str, float], prefix: str) -> Floats:
    """The bins ``prefix_00``, ``prefix_01``, ... of a report."""
    names = sorted(name for name in metrics if re.fullmatch(re.escape(prefix) + r"_\d+", name))
    return np.array([metrics[name] for name in names], dtype=np.float64)
