"""The figures that a study file describes: what holds for every kind."""

from __future__ import annotations

from typing import Any

import made
import pytest

from hpo.report.kinds import draw
from hpo.trial import Report, State, Trial

SPACE = {"x": {"low": 0.0, "high": 3.0}, "y": {"low": 0.0, "high": 3.0}}
OPTIONS: dict[str, dict[str, Any]] = {
    "curves": {"y": ["m"]},
    "sweep": {"x": "x", "y": ["m"]},
    "chapter.figures.paths:paths": {"x": "px", "y": "py"},
    "chapter.figures.histograms:histograms": {},
    "chapter.figures.relief:surface": {"x": "x", "y": "y", "z": "m"},
    "chapter.figures.relief:field": {"x": "x", "y": "y", "slope": ["px", "py"]},
}


def metrics(x: int, y: int, step: int) -> dict[str, float]:
    return {"m": x * y + step, "px": x * step, "py": y + step, "count_0": 3, "count_1": 5}


def grid() -> list[Trial]:
    """Trials on four by four points, with three reports each that every kind of figure finds its metrics in."""
    return [
        Trial(
            number=4 * x + y,
            params={"x": float(x), "y": float(y)},
            seed=0,
            state=State.COMPLETE,
            values=(float(x * y),),
            reports=[Report(step, float(step), metrics(x, y, step)) for step in (1, 2, 3)],
        )
        for x in range(4)
        for y in range(4)
    ]


@pytest.mark.parametrize("kind", OPTIONS)
def test_every_kind_obeys_the_ranges_of_the_file(kind: str) -> None:
    figure = {"kind": kind, **OPTIONS[kind], "x_range": [0.25, 2.25], "y_range": [0.5, 2.75]}
    study = made.study(metric="m", space=SPACE, figure=[figure])

    drawn = draw(study, grid(), study.figures[0])

    assert drawn.axes
    for axes in drawn.axes:
        assert axes.get_xlim() == (0.25, 2.25)
        assert axes.get_ylim() == (0.5, 2.75)
    drawn.canvas.draw()
