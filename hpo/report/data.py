"""What the page's script knows: the rows of the trials, and where each trial stands in every figure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from hpo.report.figures.style import Picture
from hpo.report.figures.thinned import front_then_best
from hpo.study import Study
from hpo.text import number, printable, short
from hpo.trial import State, Trial

# How many trials the table has at most: the best, and then the first of the others.
ROWS = 10_000
STATES = list(State)


class Drawn(NamedTuple):
    """A figure as the page has it: an SVG file's text, what it shows in words, and its panels' trials."""

    svg: str
    caption: str
    panels: Sequence[Mapping[str, Any]]


def panels(figure: Figure) -> list[dict[str, Any]]:
    """Where trials stand in a figure whose labels are fitted, in the units of its SVG file (1/72 inch, from the top).

    Returns:
        For every set of marks: the panel's left, top, right and bottom end, the trials' numbers, and for each of them
        x and y of its points, one after another.
    """
    if not isinstance(figure, Picture):
        return []
    found = []
    for axes, numbers, paths in figure.marks:
        if not paths:
            continue
        unit, height = 72 / figure.dpi, 72 * figure.get_figheight()
        left, bottom, right, top = (float(end) * unit for end in axes.bbox.extents)
        points = np.nan_to_num(axes.transData.transform(np.concatenate(paths))) * unit
        points[:, 0] = np.clip(points[:, 0], left, right)
        points[:, 1] = height - np.clip(points[:, 1], bottom, top)
        parts = np.split(points.round(1), np.cumsum([len(path) for path in paths])[:-1])
        box = [round(end, 1) for end in (left, height - top, right, height - bottom)]
        found.append({"box": box, "trials": numbers, "paths": [part.ravel().tolist() for part in parts]})
    return found


def listed(study: Study, trials: Sequence[Trial]) -> list[Trial]:
    """The trials that have a row, in their order."""
    if len(trials) <= ROWS:
        return list(trials)
    kept = {trial.number for trial in front_then_best(study, trials)[:ROWS]}
    others = [trial.number for trial in trials if trial.number not in kept]
    kept |= set(others[: ROWS - len(kept)])
    return [trial for trial in trials if trial.number in kept]


def script_data(
    objectives: Sequence[str],
    trials: Sequence[Trial],
    names: Sequence[str],
    best: Iterable[int],
    figures: Mapping[str, Drawn],
    links: Mapping[int, Mapping[str, str]],
) -> Markup:
    """The JSON of the page's script, which no text in it can end.

    Args:
        objectives: The study's.
        trials: Those that have a row.
        names: The parameters that have a column.
        best: Numbers of the trials that are tied for the best, or are on the front.
        figures: By name.
        links: By trial, addresses by their words.
    """
    workers = sorted({trial.place for trial in trials})
    place = {worker: index for index, worker in enumerate(workers)}
    rows = [
        [
            trial.number,
            STATES.index(trial.standing),
            *("" if value is None else number(value) for value in trial.named(objectives).values()),
            *(printable(short(trial.params[name], 40)) if name in trial.params else "" for name in names),
            len(trial.reports),
            None if trial.seconds is None else round(trial.seconds, 3),
            place[trial.place],
        ]
        for trial in trials
    ]
    known = {
        "columns": [printable(name) for name in ("trial", "state", *objectives, *names, "steps", "time", "worker")],
        "states": STATES,
        "workers": [printable(short(worker, 80)) for worker in workers],
        "rows": rows,
        "best": sorted(best),
        "links": {trial.number: links[trial.number] for trial in trials if trial.number in links},
        "figures": {name: figure.panels for name, figure in figures.items() if figure.panels},
    }
    text = json.dumps(known, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
