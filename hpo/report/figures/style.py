"""How figures look: colours that a colour-blind reader can tell apart (Okabe and Ito, viridis), thin lines, no boxes.

Figures are drawn in the light colours. ``THEME`` has the dark colour of each, so that a page can swap them in an SVG.
"""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hpo.text import printable, short
from hpo.trial import State, Trial

P = ParamSpec("P")
Floats = np.ndarray[Any, np.dtype[np.float64]]

# Colours by their use, light and dark. No two light colours are equal: a page finds them by their text.
THEME = {
    "paper": ("#ffffff", "#161b22"),
    "ink": ("#1f2933", "#e6e9ee"),
    "muted": ("#667085", "#98a2b3"),
    "grid": ("#e4e7ec", "#2c3440"),
    "pale": ("#c3cad5", "#4a5464"),
    "blue": ("#0072b2", "#4aa8e0"),
    "sky": ("#8ec7e8", "#2f6f97"),
    "vermilion": ("#d55e00", "#f0813a"),
    "amber": ("#e69f00", "#f2b632"),
}
PAPER, INK, MUTED, GRID, PALE, BLUE, SKY, VERMILION, AMBER = (light for light, _ in THEME.values())
STATE_COLOURS = {
    State.COMPLETE: BLUE,
    State.PRUNED: AMBER,
    State.INFEASIBLE: INK,
    State.FAILED: VERMILION,
    State.RUNNING: MUTED,
    State.DISCARDED: PALE,
}

# Worst to best: the best stand out on white as the darkest, on black as the brightest.
_VIRIDIS = mpl.colormaps["viridis"]
RAMP = [mpl.colors.to_hex(_VIRIDIS(x)) for x in np.linspace(0.92, 0.0, 12)]
THEME |= {
    f"level{i}": (light, mpl.colors.to_hex(_VIRIDIS(x)))
    for i, (light, x) in enumerate(zip(RAMP, np.linspace(0.12, 1.0, 12), strict=True))
}

_SETTINGS: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.facecolor": PAPER,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=[BLUE, VERMILION, AMBER, SKY]),
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.5,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "svg.fonttype": "none",
}


@contextmanager
def style(salt: str = "hpo") -> Iterator[None]:
    """Our settings, whatever the user's matplotlibrc says; ``salt`` makes an SVG's ids its own, and reproducible.

    Warnings are silent: of glyphs that the font lacks (a name in Chinese is boxes in a PNG; the browser's fonts have
    it), and of numbers at the ends of what a float can hold.
    """
    with mpl.rc_context(), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        mpl.rcdefaults()
        for key, value in {**_SETTINGS, "svg.hashsalt": salt}.items():
            mpl.rcParams[key] = value  # type: ignore[index]
        yield


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draws a figure in our style."""

    @functools.wraps(draw)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with style():
            return draw(*args, **kwargs)

    return wrapped


class Picture(Figure):
    """A figure that a notebook shows by itself, without pyplot.

    Attributes:
        caption: What it shows, in words.
        nothing: Why there is nothing to show; empty where there is something.
        marks: Where trials stand, for the page's script (:func:`mark`).
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.caption = self.nothing = ""
        self.marks: list[tuple[Axes, list[int], list[Floats]]] = []

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        with style():
            self.savefig(buffer, format="png")
        return buffer.getvalue()


def new_figure(width: float, height: float) -> Picture:
    """A figure of so many inches; its labels are fitted when it is drawn."""
    figure = Picture(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def blank(message: str) -> Picture:
    """A figure with a message, where there is nothing to draw; a report leaves it out, and says why."""
    figure = new_figure(8, 1.2)
    figure.text(0.5, 0.5, plain(message), ha="center", va="center", color=MUTED)
    figure.nothing = message
    return figure


def mark(axes: Axes, trials: Iterable[Trial], paths: Iterable[Sequence[tuple[float, float]]]) -> None:
    """Remembers where trials stand in a figure, so that a page's script can find and highlight them.

    Args:
        axes: The panel.
        trials: One per path.
        paths: A point or the points of a line, on the scales of ``axes``.
    """
    assert isinstance(axes.figure, Picture)
    axes.figure.marks.append((axes, [t.number for t in trials], [np.array(path, dtype=np.float64) for path in paths]))


def plain(text: Any) -> str:
    """A user's text: its dollar signs are no formulas, and it has no control characters and no great length."""
    return printable(short(str(text), 200)).replace("$", r"\$")


def label(name: str) -> str:
    """A parameter or metric beside an axis."""
    return plain(short(name, 28))
