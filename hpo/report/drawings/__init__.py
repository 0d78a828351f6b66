"""The figures that a study file describes in ``[[figure]]``: one function per kind, drawn from the trials alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from matplotlib.figure import Figure

from hpo.drawing import Drawing
from hpo.report.drawings.bars import histograms
from hpo.report.drawings.groups import chosen
from hpo.report.drawings.lines import curves, sweep
from hpo.report.drawings.paths import paths
from hpo.report.drawings.relief import field, surface
from hpo.report.figures.style import blank, styled
from hpo.study import Study
from hpo.trial import Trial

DRAWN: dict[str, Callable[[Study, Sequence[Trial], Drawing], Figure]] = {
    "curves": curves,
    "sweep": sweep,
    "paths": paths,
    "histograms": histograms,
    "surface": surface,
    "field": field,
}


@styled
def draw(study: Study, trials: Sequence[Trial], drawing: Drawing) -> Figure:
    """One figure of a study file, from trials in any state."""
    shown = chosen(study, trials, drawing.options["when"])
    if not any(trial.reports for trial in shown):
        return blank("No trial has reported yet.")
    return DRAWN[drawing.kind](study, shown, drawing)


def draw_each(study: Study, trials: Sequence[Trial]) -> Iterator[tuple[Drawing, Figure]]:
    """Every figure of the study file, in its order."""
    for drawing in study.figures:
        yield drawing, draw(study, trials, drawing)
