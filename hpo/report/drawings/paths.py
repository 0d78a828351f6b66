"""The way of an optimizer over a plane."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpo.drawing import Drawing
from hpo.report.drawings.groups import panels
from hpo.report.figures.style import MUTED, PALE, VERMILION
from hpo.study import Study
from hpo.trial import Trial


def paths(study: Study, trials: Sequence[Trial], drawing: Drawing) -> Figure:
    """Two metrics against each other, step by step, over the level sets of a bowl."""
    options = drawing.options
    labelled = dict(options) | {key: options[key] or options[key[0]] for key in ("x_label", "y_label")}
    figure, cells = panels(study, trials, labelled, (3.3, 2.9))
    for axes, group in cells:
        axes.set(**{f"{axis}lim": options[f"{axis}_range"] for axis in "xy" if options[f"{axis}_range"]})
        for trial in group:
            points = [
                [report.metrics[options["x"]], report.metrics[options["y"]]]
                for report in trial.reports
                if {options["x"], options["y"]} <= report.metrics.keys()
            ]
            start = [options["start"]] if options["start"] else []
            axes.plot(*np.array(start + points).T, "o-", color=VERMILION, markersize=4, linewidth=1.2)
        if options["bowl"]:
            _bowl(axes, *options["bowl"])
    return figure


def _bowl(axes: Axes, of_x: float, of_y: float) -> None:
    """Level sets of ``of_x * x**2 + of_y * y**2`` in what the axes show, and its minimum."""
    x, y = np.linspace(*axes.get_xlim(), 200), np.linspace(*axes.get_ylim(), 200)
    height = of_x * x[np.newaxis, :] ** 2 + of_y * y[:, np.newaxis] ** 2
    axes.contour(x, y, height, levels=np.arange(0.5, 8.0), colors=PALE, linewidths=0.7, zorder=1)
    axes.plot([0], [0], "+", color=MUTED, markersize=9)
    axes.grid(visible=False)
