"""How figures look: colours that a colour-blind reader can tell apart (Okabe and Ito, viridis), thin lines, no boxes.

Figures are drawn in the light colours. ``THEME`` has the dark colour of each, so that a page can swap them in an SVG.
"""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hpo.report.scale import is_log, label
from hpo.space import Choice, Float, Int, Parameter
from hpo.trial import COMPLETE, FAILED, PRUNED, RUNNING

P = ParamSpec("P")

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
STATE_COLOURS = {COMPLETE: BLUE, PRUNED: AMBER, FAILED: VERMILION, RUNNING: MUTED}

# Worst to best: the best stand out on white as the darkest, on black as the brightest.
_VIRIDIS = mpl.colormaps["viridis"]
RAMP = [mpl.colors.to_hex(_VIRIDIS(x)) for x in np.linspace(0.92, 0.0, 12)]
THEME |= {
    f"level{i}": (light, mpl.colors.to_hex(_VIRIDIS(x)))
    for i, (light, x) in enumerate(zip(RAMP, np.linspace(0.12, 1.0, 12), strict=True))
}

# More artists than this are drawn as pixels, also in an SVG, which would take many megabytes and stall a browser.
CROWD = 2000

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
    """Our settings, whatever the user's matplotlibrc says; ``salt`` makes an SVG's ids its own, and reproducible."""
    with mpl.rc_context(), warnings.catch_warnings():
        # A glyph that the font lacks (a name in Chinese, say) is a box in a PNG; the browser's fonts have it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
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
    """A figure that a notebook shows by itself, without pyplot."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        with style():
            self.savefig(buffer, format="png")
        return buffer.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches; its labels are fitted when it is drawn."""
    figure = Picture(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def blank(message: str) -> Figure:
    """What stands where there is nothing to draw yet."""
    figure = new_figure(8, 1.2)
    figure.text(0.5, 0.5, message, ha="center", va="center", color=MUTED)
    return figure


def plain(text: Any) -> str:
    """A user's text, with its dollar signs kept from becoming formulas."""
    return str(text).replace("$", r"\$")


def dress(axis: Axis, parameter: Parameter) -> None:
    """Makes an axis show a parameter's range, with some room at both ends."""
    if isinstance(parameter, Choice):
        names = [plain(label(choice, 18)) for choice in parameter.choices]
        axis.set_ticks(range(len(names)), names)
        limits = (-0.5, len(names) - 0.5)
    else:
        assert isinstance(parameter, Float | Int)
        low, high = float(parameter.low), float(parameter.high)
        if is_log(parameter):
            room = (high / low) ** 0.04
            limits = (low / room, high * room)
        else:
            limits = (low - 0.04 * (high - low), high + 0.04 * (high - low))
        if isinstance(parameter, Int) and not parameter.log:
            axis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    name = axis.axis_name  # type: ignore[attr-defined]
    axes = axis.axes
    assert isinstance(axes, Axes)
    if is_log(parameter):
        axes.set(**{f"{name}scale": "log"})
    axes.set(**{f"{name}lim": limits, f"{name}label": plain(parameter.name)})


def fit_values(axes: Axes, values: Sequence[float]) -> None:
    """Chooses the y axis of a metric: 0 to 1 for shares, logarithmic over many powers of ten, else without outliers."""
    known = np.array([v for v in values if np.isfinite(v)])
    if not len(known):
        return
    if known.min() >= 0 and known.max() <= 1:
        axes.set_ylim(-0.02, 1.02)
    elif spans_powers(known):
        axes.set_yscale("log")
    else:
        quarter, three = np.quantile(known, [0.25, 0.75])
        reach = 3 * (three - quarter)  # Tukey's outer fences: what lies beyond is far out
        low, high = max(known.min(), quarter - reach), min(known.max(), three + reach)
        room = 0.06 * (high - low) or 0.1 * abs(high) or 0.5
        axes.set_ylim(float(low - room), float(high + room))


def scatter_values(axes: Axes, x: Sequence[float], values: Sequence[float], **look: Any) -> None:
    """Points on an axis made by :func:`fit_values`; those beyond it are triangles at its edge."""
    low, high = axes.get_ylim()
    y = np.array(values, dtype=np.float64)
    for marker, chosen, edge in (("o", (y >= low) & (y <= high), None), ("^", y > high, high), ("v", y < low, low)):
        if chosen.any():
            at = y[chosen] if edge is None else np.full(chosen.sum(), edge)
            label = look.get("label") if edge is None else None
            axes.scatter(
                np.array(x)[chosen], at, marker=marker, clip_on=edge is None, **{**look, "label": label}, zorder=2.5
            )


def spans_powers(values: np.ndarray[Any, np.dtype[np.float64]]) -> bool:
    """Whether values are positive and more than three powers of ten apart."""
    return bool(values.min() > 0 and values.max() / values.min() > 1e3)
