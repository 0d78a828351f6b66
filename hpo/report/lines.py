"""Metrics as lines: over the steps of a trial, or over a parameter; a band where there are repeats.

Trials that differ in their repeat alone belong together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from hpo.report.figures.axes import name_choices, real
from hpo.report.figures.style import AMBER, BLUE, INK, MUTED, VERMILION, new_figure, plain
from hpo.study import Study
from hpo.study.values import same
from hpo.text import short
from hpo.trial import State, Trial

# More panels than this are not drawn, nor more values of a series in one of them, nor more points of a line.
MOST_PANELS, MOST_LINES, MOST_POINTS = 64, 48, 2000
Floats = np.ndarray[Any, np.dtype[np.float64]]


def chosen(trials: Sequence[Trial], when: Mapping[str, Any]) -> list[Trial]:
    """The trials whose parameters have the values, or one of the values, that ``when`` gives."""
    return [
        trial
        for trial in trials
        if all(
            any(same(trial.params.get(name), value) for value in (wanted if isinstance(wanted, list) else [wanted]))
            for name, wanted in when.items()
        )
    ]


def split(study: Study, trials: Sequence[Trial], name: str | None) -> list[tuple[Any, list[Trial]]]:
    """The trials by their values of a parameter: a choice's in the order of the file, numbers from the lowest on.

    Without a parameter all belong together, under None; trials that do not have it are left out.
    """
    if name is None:
        return [(None, list(trials))]
    parameter = study.space[name]
    having = [trial for trial in trials if name in trial.params]
    if parameter.ordered:
        values = sorted({trial.params[name] for trial in having})
    else:
        choices = parameter.values() or ()
        values = [value for value in choices if any(same(trial.params[name], value) for trial in having)]
    return [(value, [trial for trial in having if same(trial.params[name], value)]) for value in values]


def named(value: Any, names: Mapping[str, str]) -> str:
    """How a figure calls a parameter's value or a metric: by its entry in ``names``, or else as it is."""
    text = ("true" if value else "false") if isinstance(value, bool) else str(value)
    return plain(names.get(text, short(text if isinstance(value, str | bool) else value)))


def repeats_of(trials: Sequence[Trial]) -> int:
    """How many repeats the trials belong to; 1 where there are none."""
    return max(1, len({trial.repeat for trial in trials if trial.repeat is not None}))


def panels(
    study: Study, trials: Sequence[Trial], options: Mapping[str, Any], cell: tuple[float, float], header: float = 0.4
) -> tuple[Figure, list[tuple[Axes, list[Trial]]]]:
    """One pair of axes per value of the parameter ``panels``, with shared scales, or a single one.

    Args:
        study: For the order of the values.
        trials: What is to be drawn.
        options: Of the figure.
        cell: Width and height of one panel in inches, where there are several.
        header: Inches above the panels, for title and legend.
    """
    groups = split(study, trials, options["panels"])[:MOST_PANELS]
    columns = min(options["columns"], len(groups))
    rows = -(-len(groups) // columns)
    width, height = (6.4, 4.2) if len(groups) == 1 else (columns * cell[0] + 0.4, rows * cell[1] + header)
    figure = new_figure(*(options["size"] or (width, height)))
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(groups) :]:
        axes.set_axis_off()
    cells = []
    for axes, (value, group) in zip(grid.flat, groups, strict=False):
        if options["panels"] is not None:
            axes.set_title(plain(options["panel_label"]) + named(value, options["names"]), fontsize=9)
        cells.append((axes, group))
    for index in range(len(groups) - columns, len(groups)):  # the lowest of every column
        grid.flat[index].tick_params(labelbottom=True)
        grid.flat[index].set_xlabel(plain(options["x_label"] or ""))
    for row in grid:
        row[0].set_ylabel(plain(options["y_label"] or ""))
    if options["title"]:
        figure.suptitle(plain(options["title"]), x=0.01, ha="left", fontsize=10, fontweight="bold", color=INK)
    return figure, cells


# Okabe and Ito's colours, those that stand out on white first.
COLOURS = (BLUE, VERMILION, "#009e73", AMBER, "#cc79a7", INK)

LOST = "a repeat failed"


def curves(study: Study, trials: Sequence[Trial], options: Mapping[str, Any]) -> Figure:
    """Metrics over the steps, one line per metric and value of ``series``: the mean of the repeats, and their range."""
    few = len(split(study, trials, options["panels"])) <= 3
    figure, cells = panels(study, trials, options, (3.3, 2.6) if few else (2.3, 1.9), header=0.7)
    seen: dict[str, Line2D] = {}
    for axes, group in cells:
        silent = []
        for name, metric, members, look in _lines(study, trials, group, options):
            x, low, mean, high = _over_steps(members, metric, options)
            if len(x):
                (seen[name],) = axes.plot(x, mean, label=name, markevery=options["mark_every"], **look)
                _band(axes, x, low, high, look["color"])
            elif members and all(trial.state == State.FAILED for trial in members):
                silent.append(f"{name}: failed")
        axes.text(0.03, 0.95, "\n".join(silent), transform=axes.transAxes, va="top", fontsize=7, color=MUTED)
    _finish(figure, [axes for axes, _ in cells], seen, options, repeats_of(trials))
    return figure


def sweep(study: Study, trials: Sequence[Trial], options: Mapping[str, Any]) -> Figure:
    """The end of the curves over a parameter: the mean of the last reports, for every value of ``series``."""
    figure, cells = panels(study, trials, options, (3.2, 2.6), header=0.7)
    parameter = study.space[options["x"]]
    ordered = parameter.ordered or (options["x_log"] and all(map(_is_positive, parameter.values() or ())))
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
            name_choices(axes.xaxis, [named(value, options["names"]) for value in values])
    _finish(figure, [axes for axes, _ in cells], seen, options, repeats_of(trials))
    return figure


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and value > 0


def _draw_sweep(
    axes: Axes, points: Sequence[tuple[Any, Floats, int]], seen: dict[str, Line2D], name: str, look: Mapping[str, Any]
) -> None:
    known = sorted([(x, ends) for x, ends, _ in points if len(ends)], key=lambda point: point[0])
    look = dict(look)
    look.setdefault("marker", "o")
    look.setdefault("markersize", 4)
    if known:
        x = np.array([real(x) for x, _ in known], dtype=np.float64)
        low, mean, high = (np.array([of(ends) for _, ends in known]) for of in (np.min, np.mean, np.max))
        (seen[name],) = axes.plot(x, mean, label=name, **look)
        _band(axes, x, low, high, look["color"])
    lost = [real(x) for x, ends, count in points if len(ends) < count]
    if lost:
        where = axes.get_xaxis_transform()
        (seen[LOST],) = axes.plot(lost, [0.03] * len(lost), "x", color=look["color"], transform=where, label=LOST)


def _lines(
    study: Study, trials: Sequence[Trial], group: Sequence[Trial], options: Mapping[str, Any]
) -> Iterator[tuple[str, str, list[Trial], dict[str, Any]]]:
    """Name, metric, trials and look of every line of a panel; a line looks alike in all panels."""
    values = [value for value, _ in split(study, trials, options["series"])][:MOST_LINES]
    index = 0
    for value in values:
        members = [t for t in group if options["series"] is None or same(t.params.get(options["series"]), value)]
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
        wanted = (metric, options["x"] or metric)
        known = [
            (r.step, r.metrics) for r in trial.reports if all(np.isfinite(r.metrics.get(m, np.nan)) for m in wanted)
        ]
        if not known:
            continue
        values = np.array([metrics[metric] for _, metrics in known])
        if options["smoothing"] and len(values) > options["smoothing"]["points"]:
            values = smooth(values, **options["smoothing"])
        for (step, metrics), value in zip(known, values, strict=True):
            x = metrics[options["x"]] if options["x"] else options["first_x"] + step - 1
            found.setdefault(real(x), []).append(real(value))
    x = np.array(sorted(found)[:: -(-len(found) // MOST_POINTS) or 1], dtype=np.float64)
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
            ends.append(float(np.mean([real(value) for value in values[-last:]])))
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
