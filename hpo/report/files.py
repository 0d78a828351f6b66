"""A study's figures and page as files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from matplotlib.figure import Figure

from hpo.report.drawings import draw_each
from hpo.report.figures import draw_all
from hpo.report.figures.style import style
from hpo.report.insight import study_insight
from hpo.report.page import render
from hpo.study import Study
from hpo.trial import Trial

DPI = 130


def png(figure: Figure) -> bytes:
    """A figure as a PNG file."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def svg(figure: Figure, name: str) -> str:
    """A figure as an SVG file: text as text, and ids that no figure of another ``name`` has."""
    buffer = io.StringIO()
    with style(salt=name):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def write(study: Study, trials: Sequence[Trial], folder: Path) -> list[Path]:
    """Writes ``report.html``, and a PNG and an SVG of every figure.

    Args:
        study: What was searched.
        trials: In order of their numbers.
        folder: Made if it is not there; files of an earlier report are replaced.

    Returns:
        What was written, the page first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "report.html"]
    drawings = {}
    insight = study_insight(study, trials)
    own = ((drawing.name, figure) for drawing, figure in draw_each(study, trials))
    for name, figure in chain(own, draw_all(study, trials, insight)):
        image = png(figure)
        figure.set_layout_engine("none")  # the labels are fitted; to do it again would take as long as all the rest
        drawings[name] = svg(figure, name)
        written += [folder / f"{name}.png", folder / f"{name}.svg"]
        written[-2].write_bytes(image)
        written[-1].write_text(drawings[name], encoding="utf-8")

    written[0].write_text(render(study, trials, drawings, insight), encoding="utf-8")
    return written
