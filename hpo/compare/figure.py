"""Several studies against each other: the best so far over trials and over reports, with bands over the repeats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hpo.compare.comparison import AXES, Comparison, quartiles
from hpo.report.figures.axes import LARGEST, real, spans_powers
from hpo.report.figures.style import MUTED, new_figure, plain, styled
from hpo.report.files import png, svg
from hpo.text import short

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


def write(found: Comparison, metric: str, folder: Path) -> list[Path]:
    """Writes the figure as ``comparison.png`` and ``comparison.svg``; makes the folder if it is not there.

    Raises:
        OSError: When a file cannot be written.
    """
    figure = comparison(found, metric)
    written = [folder / "comparison.png", folder / "comparison.svg"]
    folder.mkdir(parents=True, exist_ok=True)
    written[0].write_bytes(png(figure))
    written[1].write_text(svg(figure, "comparison"), encoding="utf-8", errors="backslashreplace")
    return written


def _panel(axes: Axes, found: Comparison, axis: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    budget = np.unique(np.linspace(1, found.common[axis], POINTS).astype(np.int64))
    drawn = []
    for index, side in enumerate(found.sides):
        low, middle, high = np.clip(quartiles(side, budget, axis, found.start), -LARGEST, LARGEST)
        colour, dashes = f"C{index % 4}", ("-", "--", ":", "-.")[index // 4 % 4]
        axes.fill_between(budget, low, high, step="post", color=colour, alpha=0.16, linewidth=0)
        axes.step(budget, middle, dashes, where="post", color=colour, label=plain(short(side.name, 28)))
        drawn.append(np.concatenate([low, high]))
    label = f"target {found.target:.4g}"
    axes.axhline(real(found.target), color=MUTED, linewidth=1, linestyle=(0, (1, 2)), label=label)
    axes.set(xlabel=f"{axis} of finished trials" if axis == "reports" else f"finished {axis}")
    axes.set_xlim(0, found.common[axis] * 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return np.concatenate(drawn)
