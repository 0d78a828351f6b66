"""Metrics as lines: over the steps of a trial, or over a parameter; a band where there are repeats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from hpo.drawing import Drawing
from hpo.report.drawings.groups import Floats, named, panels, parameter_of, repeats_of, split
from hpo.report.figures.style import AMBER, BLUE, INK, MUTED, VERMILION
from hpo.space import Choice
from hpo.study import Study
from hpo.trial import FAILED, Trial

# Okabe and Ito's colours, those that stand out on white first.
COLOURS = (BLUE, VERMILION, "#009e73", AMBER, "#cc79a7", INK)

LOST = "a repeat failed"


def curves(study: Study, trials: Sequence[Trial], drawing: Drawing) -> Figure:
    """Metrics over the steps, one line per metric and value of ``series``: the mean of the repeats, and their range."""
    options = drawing.options
    few = len(split(study, trials, options["panels"])) <= 3
    figure, cells = panels(study, trials, options, (3.3, 2.6) if few else (2.3, 1.9), room=0.7)
    seen: dict[str, Line2D] = {}
    for axes, group in cells:
        silent = []
        for name, metric, members, look in _lines(study, trials, group, options):
            x, low, mean, high = _over_steps(members, metric, options)
            if len(x):
                (seen[name],) = axes.plot(x, mean, label=name, markevery=options["mark_every"], **look)
                _band(axes, x, low, high, look["color"])
            elif members and all(trial.state == FAILED for trial in members):
                silent.append(f"{name}: failed")
        axes.text(0.03, 0.95, "\n".join(silent), transform=axes.transAxes, va="top", fontsize=7, color=MUTED)
    _finish(figure, [axes for axes, _ in cells], seen, options, repeats_of(trials))
    return figure


def sweep(study: Study, trials: Sequence[Trial], drawing: Drawing) -> Figure:
    """The end of the curves over a parameter: the mean of the last reports, for every value of ``series``."""
    options = drawing.options
    figure, cells = panels(study, trials, options, (3.2, 2.6), room=0.7)
    parameter = parameter_of(study, options["x"])
    ordered = not isinstance(parameter, Choice) or (options["x_log"] and all(v > 0 for v in parameter.choices))
    seen: dict[str, Line2D] = {}
    for axes, group in cells:
        values = [value for value, _ in split(study, trials, options["x"])]
        for name, metric, members, look in _lines(study, trials, group, options):
            points = [
                (value if ordered else values.index(value), _ends(same, metric, options["last"]), len(same))
                for value, same in split(study, members, options["x"])
            ]
            _draw_sweep(axes, points, seen, name, look)
        if not ordered:
            axes.set_xticks(range(len(values)), [named(value, options["names"]) for value in values])
    _finish(figure, [axes for axes, _ in cells], seen, options, repeats_of(trials))
    return figure


def _draw_sweep(
    axes: Axes, points: Sequence[tuple[Any, Floats, int]], seen: dict[str, Line2D], name: str, look: Mapping[str, Any]
) -> None:
    known = sorted([(x, ends) for x, ends, _ in points if len(ends)], key=lambda point: point[0])
    look = dict(look)
    look.setdefault("marker", "o")
    look.setdefault("markersize", 4)
    if known:
        x = np.array([x for x, _ in known], dtype=np.float64)
        low, mean, high = (np.array([of(ends) for _, ends in known]) for of in (np.min, np.mean, np.max))
        (seen[name],) = axes.plot(x, mean, label=name, **look)
        _band(axes, x, low, high, look["color"])
    lost = [x for x, ends, count in points if len(ends) < count]
    if lost:
        where = axes.get_xaxis_transform()
        (seen[LOST],) = axes.plot(lost, [0.03] * len(lost), "x", color=look["color"], transform=where, label=LOST)


def _lines(
    study: Study, trials: Sequence[Trial], group: Sequence[Trial], options: Mapping[str, Any]
) -> Iterator[tuple[str, str, list[Trial], dict[str, Any]]]:
    """Name, metric, trials and look of every line of a panel; a line looks alike in all panels."""
    values = [value for value, _ in split(study, trials, options["series"])]
    index = 0
    for value in values:
        members = [t for t in group if options["series"] is None or t.params.get(options["series"]) == value]
        for metric in options["y"]:
            names = [named(metric, options["names"])] if options["series"] is None or len(options["y"]) > 1 else []
            names += [named(value, options["names"])] if options["series"] is not None else []
            yield ", ".join(names), metric, members, _look(index, options)
            index += 1


def _look(index: int, options: Mapping[str, Any]) -> dict[str, Any]:
    look: dict[str, Any] = {"color": COLOURS[index % len(COLOURS)]}
    if options["styles"]:
        look["linestyle"] = options["styles"][index % len(options["styles"])]
    if options["markers"]:
        look |= {"marker": options["markers"][index % len(options["markers"])], "markersize": 5}
    return look


def _over_steps(
    trials: Sequence[Trial], metric: str, options: Mapping[str, Any]
) -> tuple[Floats, Floats, Floats, Floats]:
    """Steps, and the lowest, mean and highest value at each, of the trials that have come so far."""
    found: dict[float, list[float]] = {}
    for trial in trials:
        known = [(r.step, r.metrics) for r in trial.reports if np.isfinite(r.metrics.get(metric, np.nan))]
        if not known:
            continue
        values = np.array([metrics[metric] for _, metrics in known])
        if options["smoothing"] and len(values) > options["smoothing"]["points"]:
            values = smooth(values, **options["smoothing"])
        for (step, metrics), value in zip(known, values, strict=True):
            x = metrics[options["x"]] if options["x"] else options["first_x"] + step - 1
            found.setdefault(x, []).append(float(value))
    x = np.array(sorted(found), dtype=np.float64)
    low, mean, high = (np.array([of(found[at]) for at in x], dtype=np.float64) for of in (np.min, np.mean, np.max))
    return x, low, mean, high


def smooth(values: Floats, points: int, beta: float) -> Floats:
    """A moving average with a Kaiser window; beyond both ends the values are mirrored.

    Args:
        values: Shape (n,), n > points.
        points: The window's width, odd.
        beta: Its shape, 0 for a rectangle.

    Returns:
        Shape (n,).
    """
    window = np.kaiser(points, beta)
    padded = np.pad(values, points // 2, mode="reflect")
    return np.convolve(window / window.sum(), padded, mode="valid")


def _ends(trials: Sequence[Trial], metric: str, last: int) -> Floats:
    """The mean of the last reports of every trial that reached its end."""
    ends = []
    for trial in trials:
        values = [report.metrics[metric] for report in trial.reports if metric in report.metrics]
        if trial.value is not None and values:
            ends.append(float(np.mean(values[-last:])))
    return np.array(ends, dtype=np.float64)


def _band(axes: Axes, x: Floats, low: Floats, high: Floats, colour: str) -> None:
    if np.any(high > low):
        axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)


def _finish(
    figure: Figure, cells: Sequence[Axes], seen: Mapping[str, Line2D], options: Mapping[str, Any], repeats: int
) -> None:
    for axes in cells:
        axes.set(
            **{f"{axis}lim": options[f"{axis}_range"] for axis in "xy" if options[f"{axis}_range"]},
            **{f"{axis}scale": "log" for axis in "xy" if options[f"{axis}_log"]},
        )
        if "first_x" in options and not options["x_log"]:  # steps are whole
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=True))
    handles: list[Any] = sorted(seen.values(), key=lambda line: line.get_label() == LOST)
    if repeats > 1:
        handles.append(Patch(color=MUTED, alpha=0.3, linewidth=0, label=f"range of {repeats} seeds"))
    if options["legend"] == "none" or not handles:
        return
    if options["legend"] == "right":
        figure.legend(handles=handles, loc="outside right upper", borderpad=0)
    elif len(cells) == 1:
        cells[0].legend(handles=handles, loc=options["legend"])
    else:
        figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), borderpad=0)
