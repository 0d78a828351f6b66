"""The way of an optimizer over a plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpo.report.figures.style import MUTED, PALE, VERMILION
from hpo.report.lines import panels
from hpo.study import Study
from hpo.study.fields import Field, label, number
from hpo.study.figures import PANELS, list_of
from hpo.trial import Trial


def paths(study: Study, trials: Sequence[Trial], options: Mapping[str, Any]) -> Figure:
    """Two metrics against each other, step by step, over the level sets of a bowl.

    Keys: the metrics ``x`` and ``y``; ``start``, a point before the first report; ``bowl``, a and b of the level
    sets of a x² + b y²; ``panels``, ``panel_label`` and ``columns``.
    """
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


paths.keys = PANELS | {  # type: ignore[attr-defined]
    "x": Field(label),
    "y": Field(label),
    "start": Field(list_of(number(), "numbers", length=2), None),
    "bowl": Field(list_of(number(0, above=True), "positive numbers", length=2), None),
}
paths.parameters = ("panels",)  # type: ignore[attr-defined]


def _bowl(axes: Axes, of_x: float, of_y: float) -> None:
    """Level sets of ``of_x * x**2 + of_y * y**2`` in what the axes show, and its minimum."""
    x, y = np.linspace(*axes.get_xlim(), 200), np.linspace(*axes.get_ylim(), 200)
    height = of_x * x[np.newaxis, :] ** 2 + of_y * y[:, np.newaxis] ** 2
    axes.contour(x, y, height, levels=np.arange(0.5, 8.0), colors=PALE, linewidths=0.7, zorder=1)
    axes.plot([0], [0], "+", color=MUTED, markersize=9)
    axes.grid(visible=False)
