"""A metric over two parameters of a grid: as a surface, and as the field of its slope."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hpo.report.figures.style import BLUE, INK, MUTED, blank, new_figure, plain
from hpo.report.lines import Floats
from hpo.study import Study
from hpo.study.fields import Field, label, number
from hpo.study.figures import list_of
from hpo.trial import Trial


def surface(study: Study, trials: Sequence[Trial], options: Mapping[str, Any]) -> Figure:
    """Left the metric ``z`` over the parameters ``x`` and ``y``, cut at ``z_high``; right its level sets."""
    x, y, z = _mesh(trials, options["x"], options["y"], options["z"])
    if min(z.shape) < 2:
        return blank("A surface needs a grid of at least two by two trials.")
    high = options["z_high"] if options["z_high"] is not None else float(np.nanmax(z))
    figure = new_figure(*(options["size"] or (9.0, 4.0)))
    left: Any = figure.add_subplot(1, 2, 1, projection="3d")
    shown = np.where(z > high, np.nan, z)
    left.plot_surface(*np.meshgrid(x, y), shown, cmap="viridis", linewidth=0.2, rcount=60, ccount=60, axlim_clip=True)
    left.set(**_axes(options), zlim=(0.0, high))
    left.set_zlabel(plain(options["z"]))
    for axis in (left.xaxis, left.yaxis):
        axis.set_major_locator(MaxNLocator(4))
    right = figure.add_subplot(1, 2, 2)
    right.contour(x, y, z, levels=np.linspace(0.0, high, 15)[1:], cmap="viridis", linewidths=1.0)
    right.set(**_axes(options), aspect="equal")
    right.grid(visible=False)
    figure.suptitle(plain(options["title"]), x=0.01, ha="left", fontsize=10, fontweight="bold", color=INK)
    return figure


surface.keys = {  # type: ignore[attr-defined]
    "x": Field(label),
    "y": Field(label),
    "z": Field(label),
    "z_high": Field(number(), None),
}
surface.parameters = ("x", "y")  # type: ignore[attr-defined]


def field(study: Study, trials: Sequence[Trial], options: Mapping[str, Any]) -> Figure:
    """Arrows against the slope, as long as it is steep: two metrics over the parameters ``x`` and ``y``."""
    x, y, along_x = _mesh(trials, options["x"], options["y"], options["slope"][0])
    _, _, along_y = _mesh(trials, options["x"], options["y"], options["slope"][1])
    figure = new_figure(*(options["size"] or (7.0, 4.0)))
    axes = figure.subplots()
    axes.quiver(x, y, -along_x, -along_y, color=BLUE, angles="xy", width=0.0018)
    axes.set(**_axes(options))
    axes.plot([0], [0], "+", color=MUTED, markersize=9)
    figure.suptitle(plain(options["title"]), x=0.01, ha="left", fontsize=10, fontweight="bold", color=INK)
    return figure


field.keys = {  # type: ignore[attr-defined]
    "x": Field(label),
    "y": Field(label),
    "slope": Field(list_of(label, "metrics", length=2)),
}
field.parameters = ("x", "y")  # type: ignore[attr-defined]


def _axes(options: Mapping[str, Any]) -> dict[str, Any]:
    """Labels and ranges of both axes; a range that the study leaves open is that of its grid."""
    return {
        "xlabel": plain(options["x_label"] or options["x"]),
        "ylabel": plain(options["y_label"] or options["y"]),
        "xlim": options["x_range"],
        "ylim": options["y_range"],
    }


def _mesh(trials: Sequence[Trial], x: str, y: str, metric: str) -> tuple[Floats, Floats, Floats]:
    """The values of two parameters, and the metric at each pair, NaN where no trial has been."""
    known = [
        (t.params[x], t.params[y], value)
        for t in trials
        if x in t.params and y in t.params and (value := t.last(metric)) is not None
    ]
    columns, rows = sorted({k[0] for k in known}), sorted({k[1] for k in known})
    at_x, at_y = {v: i for i, v in enumerate(columns)}, {v: i for i, v in enumerate(rows)}
    z = np.full((len(rows), len(columns)), np.nan)
    for column, row, value in known:
        z[at_y[row], at_x[column]] = value
    return np.array(columns, dtype=np.float64), np.array(rows, dtype=np.float64), z
