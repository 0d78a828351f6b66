"""Which trials belong together: those that differ in their repeat alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpo.report.figures.style import INK, new_figure, plain
from hpo.report.scale import label
from hpo.space import Choice, Parameter
from hpo.study import Study
from hpo.trial import Trial

Floats = np.ndarray[Any, np.dtype[np.float64]]


def chosen(study: Study, trials: Sequence[Trial], when: Mapping[str, Any]) -> list[Trial]:
    """The trials whose parameters have the values, or one of the values, that ``when`` gives."""
    return [
        trial
        for trial in trials
        if all(
            any(trial.params.get(name) == value for value in (wanted if isinstance(wanted, list) else [wanted]))
            for name, wanted in when.items()
        )
    ]


def split(study: Study, trials: Sequence[Trial], name: str | None) -> list[tuple[Any, list[Trial]]]:
    """The trials by their values of a parameter: a choice's in the order of the file, numbers from the lowest on.

    Without a parameter all belong together, under None; trials that do not have it are left out.
    """
    if name is None:
        return [(None, list(trials))]
    parameter = parameter_of(study, name)
    having = [trial for trial in trials if name in trial.params]
    if isinstance(parameter, Choice):
        values = [value for value in parameter.choices if any(trial.params[name] == value for trial in having)]
    else:
        values = sorted({trial.params[name] for trial in having})
    return [(value, [trial for trial in having if trial.params[name] == value]) for value in values]


def parameter_of(study: Study, name: str) -> Parameter:
    return next(parameter for parameter in study.space.parameters if parameter.name == name)


def named(value: Any, names: Mapping[str, str]) -> str:
    """How a figure calls a parameter's value or a metric: as its ``names`` say, else as it is."""
    text = ("true" if value else "false") if isinstance(value, bool) else str(value)
    return plain(names.get(text, text if isinstance(value, str | bool) else label(value)))


def repeats_of(trials: Sequence[Trial]) -> int:
    """How many repeats the trials belong to; 1 where there are none."""
    return max(1, len({trial.repeat for trial in trials if trial.repeat is not None}))


def panels(
    study: Study, trials: Sequence[Trial], options: Mapping[str, Any], cell: tuple[float, float], room: float = 0.4
) -> tuple[Figure, list[tuple[Axes, list[Trial]]]]:
    """One pair of axes per value of the parameter ``panels``, with shared scales, or a single one.

    Args:
        study: For the order of the values.
        trials: What is to be drawn.
        options: Of the drawing.
        cell: Width and height of one panel in inches, where there are several.
        room: Inches above the panels, for title and legend.
    """
    groups = split(study, trials, options["panels"])
    columns = min(options["columns"], len(groups))
    rows = -(-len(groups) // columns)
    width, height = (6.4, 4.2) if len(groups) == 1 else (columns * cell[0] + 0.4, rows * cell[1] + room)
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
