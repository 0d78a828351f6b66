"""Several studies against each other: the best so far over trials and over reports, with bands over the repeats."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hpo.report.figures.style import MUTED, new_figure, plain, spans_powers, styled
from hpo.report.scale import label
from hpo.verdict import AXES, Comparison, quartiles

# More points than this do not make a curve finer.
POINTS = 500


@styled
def comparison(found: Comparison, metric: str) -> Figure:
    """Medians as lines and the middle half of the repeats as bands, as far as every search has come."""
    figure = new_figure(9, 3.8)
    panels = figure.subplots(1, 2, sharey=True)
    drawn = np.concatenate([_panel(axes, found, axis) for axes, axis in zip(panels, AXES, strict=True)])
    if spans_powers(drawn):
        panels[0].set_yscale("log")
    panels[0].set_ylabel(plain(f"best {metric} so far"))
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=4)
    return figure


def _panel(axes: Axes, found: Comparison, axis: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    budget = np.unique(np.linspace(1, found.common[axis], POINTS).astype(np.int64))
    drawn = []
    for index, side in enumerate(found.sides):
        low, middle, high = quartiles(side, budget, axis, found.start)
        colour, dashes = f"C{index % 4}", ("-", "--", ":", "-.")[index // 4 % 4]
        axes.fill_between(budget, low, high, step="post", color=colour, alpha=0.16, linewidth=0)
        axes.step(budget, middle, dashes, where="post", color=colour, label=plain(label(side.name, 28)))
        drawn.append(np.concatenate([low, high]))
    axes.axhline(found.target, color=MUTED, linewidth=1, linestyle=(0, (1, 2)), label=f"target {found.target:.4g}")
    axes.set(xlabel=f"{axis} of finished trials" if axis == "reports" else f"finished {axis}")
    axes.set_xlim(0, found.common[axis] * 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return np.concatenate(drawn)
