"""A study's figures and page as files."""

from __future__ import annotations

import base64
import io
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from matplotlib.figure import Figure

from hpo.errors import HpoError
from hpo.execution.guest import Guest, GuestFailed
from hpo.insight.parameters import study_insight
from hpo.report.data import Drawn, panels
from hpo.report.figures import FIGURES, FRONTS
from hpo.report.figures.style import Picture, style
from hpo.report.kinds import draw
from hpo.report.page import render
from hpo.study import Study
from hpo.study.figures import KINDS, FigureSpec
from hpo.text import printable
from hpo.trial import Trial

DPI = 130
# Larger figures have fewer pixels per inch, and longer SVG files hold a picture.
MOST_PIXELS, MOST_TEXT = 5e7, 5_000_000
# The figures that know one objective.
FIRST_ONLY = FIGURES.keys() - {"timeline"}


def png(figure: Figure) -> bytes:
    """A figure as a PNG file."""
    buffer = io.BytesIO()
    fit(figure)
    with style():
        figure.savefig(buffer, format="png", dpi=_dpi(figure))
    return buffer.getvalue()


def _dpi(figure: Figure) -> float:
    width, height = figure.get_size_inches()
    dpi = min(DPI, math.sqrt(MOST_PIXELS / (width * height)), 6e4 / max(width, height))
    if dpi < DPI / 10:
        raise HpoError(f"{width:g} by {height:g} inches are too large to draw")
    if dpi * min(width, height) < 1:
        raise HpoError(f"{width:g} by {height:g} inches are too small to draw")
    return float(dpi)


def fit(figure: Figure) -> None:
    """Gives labels and panels their places, once: Matplotlib would do it again for every file.

    Raises:
        HpoError: When the figure is too large, or too small, to be drawn.
    """
    _dpi(figure)
    if (layout := figure.get_layout_engine()) is not None:
        with style():
            layout.execute(figure)
            figure.set_layout_engine(None)


def svg(figure: Figure, name: str) -> str:
    """A figure as an SVG file: text as text, and ids that no figure of another ``name`` has.

    A figure that would take more than :data:`MOST_TEXT` characters becomes a picture in an SVG file.
    """
    buffer = io.StringIO()
    fit(figure)
    with style(salt=name):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = printable(buffer.getvalue()).translate({0xFFFE: "\ufffd", 0xFFFF: "\ufffd"})  # what XML allows
    if len(text) <= MOST_TEXT:
        return text
    width, height = figure.get_size_inches() * 72
    size, picture = f'width="{width:.0f}pt" height="{height:.0f}pt"', base64.b64encode(png(figure)).decode()
    return (
        f'<svg {size} viewBox="0 0 {width:.0f} {height:.0f}" xmlns="http://www.w3.org/2000/svg">'
        f'<image width="{width:.0f}" height="{height:.0f}" href="data:image/png;base64,{picture}"/></svg>'
    )


def warn(text: str) -> None:
    """A remark on standard error, if that can be written."""
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"hpo: {printable(text)}\n")


def _drawn(name: str, function: Callable[..., Figure], *arguments: Any) -> tuple[bytes, Drawn] | str:
    """A figure as PNG, and as the page shows it; or why it shows nothing."""
    figure = function(*arguments)
    if isinstance(figure, Picture) and figure.nothing:
        return figure.nothing
    image, text = png(figure), svg(figure, name)
    return image, Drawn(text, getattr(figure, "caption", ""), panels(figure))


def _described(study: Study, trials: Sequence[Trial], spec: FigureSpec, guest: Guest) -> tuple[bytes, Drawn] | str:
    """A figure of the study file, drawn by the guest if its function is the study's own."""
    arguments = (spec.name, draw, study, trials, spec)
    found: tuple[bytes, Drawn] | str = _drawn(*arguments) if spec.kind in KINDS else guest.call(_drawn, *arguments)
    return found


def _captioned(study: Study, name: str, drawn: Drawn) -> Drawn:
    """The figure; if it shows only the first of several objectives, its caption names that."""
    if len(study.objectives) == 1 or name not in FIRST_ONLY:
        return drawn
    return drawn._replace(caption=f"By {study.metric}, the first objective. {drawn.caption}")


def write(
    study: Study,
    trials: Sequence[Trial],
    folder: Path,
    *,
    examples: int | None = None,
    guest: Guest | None = None,
    links: Mapping[int, Mapping[str, str]] = MappingProxyType({}),
    remark: Callable[[str], None] = warn,
) -> list[Path]:
    """Writes ``report.html``, and a PNG and an SVG of every figure that has something to show.

    Args:
        study: What was searched.
        trials: In order of their numbers.
        folder: Made if it is not there; files of an earlier report are replaced.
        examples: How many examples the metric is measured on; None for what the study file says.
        guest: Where the study's own functions draw; None for a process that is made for it.
        links: By trial, addresses that its row links, each by its words.
        remark: Called with the reason for every figure that is left out.

    Returns:
        What was written, the page first.
    """
    if guest is None:
        with closing(Guest(study)) as guest:
            return write(study, trials, folder, examples=examples, guest=guest, links=links, remark=remark)
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "report.html"]
    figures: dict[str, Drawn] = {}
    left_out: dict[str, str] = {}
    insight = study_insight(study, trials, examples=examples)
    known = FRONTS | FIGURES if len(study.objectives) > 1 else FIGURES
    drawings: list[tuple[str, Callable[[], tuple[bytes, Drawn] | str]]] = [
        *((spec.name, partial(_described, study, trials, spec, guest)) for spec in study.figures),
        *((name, partial(_drawn, name, function, study, trials, insight)) for name, function in known.items()),
    ]
    for name, drawing in drawings:
        files = folder / f"{name}.png", folder / f"{name}.svg"
        try:
            drawn = drawing()
            if isinstance(drawn, str):
                left_out[name] = drawn
                for file in files:  # of an earlier report
                    file.unlink(missing_ok=True)
                continue
            image, figures[name] = drawn[0], _captioned(study, name, drawn[1])
        except Exception as error:  # of the user's own function, or a limit of Matplotlib: the page is worth more
            why = f"its function failed{error}" if isinstance(error, GuestFailed) else str(error)
            remark(f"figure {name} is left out: {why if isinstance(error, HpoError) else repr(error)[:500]}")
            continue
        written += files
        files[0].write_bytes(image)
        files[1].write_text(figures[name].svg, encoding="utf-8", errors="backslashreplace")

    page = render(study, trials, figures, insight, left_out, links)
    written[0].write_text(page, encoding="utf-8", errors="backslashreplace")
    return written
