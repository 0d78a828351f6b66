"""The figures of every report: ``FIGURES`` maps a file's name to a function of ``(study, trials, insight)``.

``FRONTS`` has those of a study with several objectives, which stand before the others.

Each takes any number of trials in any state, and returns a ``matplotlib.figure.Figure`` of its own; pyplot and its
global state are never touched. ``insight`` is what the trials say, where that has been read already: reading it takes
longer than drawing.
"""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.figure import Figure

from hpo.report.figures import curves, fronts, parameters
from hpo.study.figures import FRONT_FIGURES, REPORT_FIGURES

# In the page's order; each function stands in one of the two modules under the name of its file.
FIGURES: dict[str, Callable[..., Figure]] = {
    name: getattr(curves, name, None) or getattr(parameters, name) for name in REPORT_FIGURES
}
FRONTS: dict[str, Callable[..., Figure]] = {name: getattr(fronts, name) for name in FRONT_FIGURES}
