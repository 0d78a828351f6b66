"""``[[figure]]`` tables: what is read, and what is refused with file, key, rule and value."""

from __future__ import annotations

import re
from typing import Any

import pytest
from small_study import small_study

from hpo.errors import InputError
from hpo.report import kinds
from hpo.study import parse
from hpo.study.figures import FORMER_KINDS, REPORT_FIGURES

SMALLEST: dict[str, dict[str, Any]] = {
    "curves": {"y": "score"},
    "sweep": {"x": "lr", "y": ["score"]},
    "chapter.figures.paths:paths": {"x": "score", "y": "cost"},
    "chapter.figures.histograms:histograms": {},
    "chapter.figures.relief:surface": {"x": "lr", "y": "layers", "z": "score"},
    "chapter.figures.relief:field": {"x": "lr", "y": "layers", "slope": ["a", "b"]},
}


def figure(kind: str, **changes: Any) -> dict[str, Any]:
    return {"kind": kind} | SMALLEST[kind] | changes


@pytest.mark.parametrize("kind", SMALLEST)
def test_a_figure_is_kept_with_its_defaults_and_read_back(kind: str) -> None:
    study = small_study(figure=[figure(kind), figure(kind, name="other", title="T $x$", when={"layers": [1, 2]})])

    again = parse(study.resolved, file="ledger")

    kinds.check(study)
    assert [figure.name for figure in study.figures] == ["small", "other"]
    assert again.figures == study.figures
    assert again.resolved == study.resolved


def test_a_figure_is_no_part_of_what_makes_trials_comparable() -> None:
    assert small_study(figure=[figure("curves")]).identity() == small_study().identity()


@pytest.mark.parametrize("name", [*REPORT_FIGURES, "report"])
def test_no_figure_takes_a_file_of_the_reports_own(name: str) -> None:
    with pytest.raises(InputError, match=r"figure\[0\].name: must not be a name of the report's own files"):
        small_study(figure=[figure("curves", name=name)])
    with pytest.raises(InputError, match=r"figure\[0\].name: must not be a name of the report's own files"):
        small_study(name=name, figure=[figure("curves")])


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ("curves", "figure: must be a list of tables"),
        ([3], r"figure\[0\]: must be a table, got 3"),
        ([{}], r"figure\[0\].kind: must be one of curves, .*, got null"),
        ([{"kind": "curvs"}], "kind: must be one of .*, got \"curvs\"; did you mean 'curves'"),
        ([{"kind": "chapter.figures"}], 'kind: must be one of curves, sweep, or "package.module:function", got'),
        ([{"kind": "curves"}], r"figure\[0\].y: is missing; it must be a list of metrics"),
        ([figure("curves", yy=1)], r"figure\[0\].yy: unknown key"),
        ([figure("curves", z="score")], "z: unknown key"),
        ([figure("curves"), figure("curves")], r'figure\[1\].name: must be a name of its own, got "small" again'),
        ([figure("curves", name="Best")], "name: must be 1 to 60 small letters"),
        ([figure("curves", name="slices")], "name: must not be a name of the report's own files"),
        ([figure("curves", series="optimizer")], 'series: must be a parameter of the space, got "optimizer"'),
        ([figure("sweep", x="layer")], "x: must be a parameter of the space, got \"layer\"; did you mean 'layers'"),
        ([figure("curves", panels="hiden")], "panels: .*; did you mean 'hidden'"),
        ([figure("curves", when={"layer": 1})], "when.layer: is no parameter of the space; did you mean 'layers'"),
        ([figure("curves", when={"layers": 9})], "when.layers: must be a value that layers can have, got 9"),
        ([figure("curves", y_range=[1, 0])], "y_range: must be low and high, low below high, got"),
        ([figure("curves", y_range=[0])], "y_range: must be a list of 2 numbers"),
        ([figure("curves", smoothing=11)], "smoothing: must be a table such as"),
        ([figure("curves", smoothing={"points": 10, "beta": 2.0})], "points must be odd"),
        ([figure("curves", styles=["solid"])], r'styles: must be one of .*, got \["solid"\]'),
        ([figure("curves", markers=["oo"])], r'markers: must be one of .*, got \["oo"\]'),
        ([figure("curves", legend="left")], 'legend: must be one of .*, got "left"'),
    ],
)
def test_a_figure_that_cannot_be_is_refused(tables: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"small.toml: .*{message}|small.toml: {message}"):
        small_study(figure=tables)


PATHS, SURFACE, FIELD = (
    "chapter.figures.paths:paths",
    "chapter.figures.relief:surface",
    "chapter.figures.relief:field",
)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (figure(FIELD, slope=["a"]), "slope: must be a list of 2 metrics"),
        (figure(PATHS, bowl=[0, 1]), "bowl: must be above 0"),
        (figure(PATHS, strat=[0, 1]), "strat: unknown key; did you mean 'start'"),
        (
            figure(PATHS, panels="layer"),
            "panels: must be a parameter of the space, got \"layer\"; did you mean 'layers'",
        ),
        (figure(SURFACE, x="layer"), "x: must be a parameter of the space, got \"layer\"; did you mean 'layers'"),
        ({"kind": SURFACE, "x": "lr", "y": "layers"}, "z: is missing"),
        ({"kind": "absent.figures:draw"}, "kind: cannot import 'absent.figures:draw': there is no module 'absent'"),
        ({"kind": "chapter.figures.relief:surfaec"}, "kind: .*there is no 'surfaec' in .*; did you mean 'surface'"),
        ({"kind": "chapter.figures.relief:Floats"}, "kind: .*must accept"),
        ({"kind": "chapter.figures.relief:blank"}, r"kind: .*blank must accept \(study, trials, options\)"),
    ],
)
def test_a_figure_of_an_imported_kind_is_read_and_only_refused_before_it_runs(table: Any, message: str) -> None:
    study = small_study(figure=[figure("curves", name="first"), table])

    with pytest.raises(InputError, match=rf"^small.toml: figure\[1\].{message}"):
        kinds.check(study)


@pytest.mark.parametrize("size", [[1e9, 1e9], [8.0, 1e-4], [501.0, 1.0]])
def test_a_size_that_cannot_be_drawn_is_read_from_a_ledger_but_does_not_start(size: list[float]) -> None:
    study = small_study(figure=[figure("curves", name="first", size=[500, 0.1]), figure("curves", size=size)])

    assert parse(study.resolved, file="ledger").figures == study.figures
    rule = f"small.toml: figure[1].size: must be 0.1 to 500 inches, width and height, got {size}"
    with pytest.raises(InputError, match=re.escape(rule)):
        kinds.check(study)


@pytest.mark.parametrize("kind", FORMER_KINDS)
def test_a_kind_that_was_built_in_is_read_from_a_ledger_but_does_not_start(kind: str) -> None:
    study = small_study(figure=[{"kind": kind, "x": "a", "bowl": [1, 2]}])

    assert parse(study.resolved, file="ledger").figures == study.figures
    with pytest.raises(InputError, match=rf'figure\[0\].kind: "{kind}" is no longer built in; name the function'):
        kinds.check(study)
