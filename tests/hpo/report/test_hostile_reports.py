"""Reports of what users bring: texts that no page may hold, the largest and smallest numbers, and great sizes."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

import made
import pytest
from depth import examples
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from small_study import small_study

from hpo.execution.guest import Guest
from hpo.insight.parameters import study_insight
from hpo.insight.precision import Point
from hpo.report import files
from hpo.report.figures import FIGURES
from hpo.report.figures.axes import LARGEST
from hpo.report.files import svg, write
from hpo.report.page import render
from hpo.study import Study
from hpo.study.figures import REPORT_FIGURES
from hpo.trial import Report, State, Trial

ME = __name__
# Control characters, an escape sequence that writes to the clipboard, halves of characters, what XML forbids, what ends
# a CDATA section or a script, marks that turn the direction of writing, and a formula that is none.
ODD = "\x1b]52;c;aGk=\x07 \x00\x0b\x85\r \udce9\ud800 \ufffe\uffff ]]> </script><!-- \u202egnp\u2066 $\\frac$ &amp;"
FORBIDDEN = set("\x00\x07\x0b\x1b\x85\u202e\u2066")
EXTREME = [-1.7e308, 1.7e308, 1e308, 5e-324, 1e-310, 0.0, -0.0, 1.0, math.nan, math.inf, -math.inf]

texts = st.lists(
    st.sampled_from([ODD, *ODD.split(), "\n", "a", "学", "\U0001f600", "x" * 300]) | st.text(max_size=5), max_size=6
).map("".join)
values = st.lists(st.sampled_from(EXTREME) | st.floats(), min_size=1, max_size=6)


class Page(HTMLParser):
    """A page whose tags are all closed, in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.scripts = 0
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        if tag not in ("meta", "image"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check_files(written: list[Path], most: int = 3_000_000) -> str:
    """Checks every file of a report; returns the page's text."""
    for path in written:
        assert path.stat().st_size <= most, path.name
        if path.suffix == ".svg":
            ElementTree.fromstring(path.read_bytes())
    text = written[0].read_text(encoding="utf-8")
    assert not FORBIDDEN & set(text)
    assert Page(text).scripts == 2  # the page's own, and its data
    return text


def left_out(page: Path) -> list[str]:
    """The names of the report's figures that a page leaves out."""
    said = re.search(r"Left out: (.*)</p>", page.read_text(encoding="utf-8"))
    titles = re.findall(r"<b>([^<]*)</b>: [^<]*\.", said[1]) if said else []
    return [name for name, title in REPORT_FIGURES.items() if title in titles]


@pytest.fixture(autouse=True)
def every_warning_is_an_error() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def one_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports with one figure only: drawing takes the time, and is tested figure by figure."""
    monkeypatch.setattr(files, "FIGURES", {"timeline": FIGURES["timeline"]})


@pytest.mark.timeout(1200)
@given(st.data())
@settings(
    max_examples=examples(25),
    deadline=None,
    suppress_health_check=[*HealthCheck],
    phases=[Phase.explicit, Phase.generate],
)
def test_whatever_trials_hold_the_report_is_whole_and_of_bounded_size(data: st.DataObject) -> None:
    choices = data.draw(st.lists(texts, min_size=1, max_size=4, unique=True))
    figure = {"name": "own", "kind": "curves", "y": ["m"], "series": "c", "panels": "c"}
    labels = {key: data.draw(texts) for key in ("title", "panel_label", "x_label", "y_label")}
    study = made.study(
        metric="m",
        direction=data.draw(st.sampled_from(["minimize", "maximize"])),
        objective=["run", "x" + data.draw(texts)],
        fixed={"note": data.draw(texts)},
        space={
            "c": {"choice": choices},
            "x": {"low": 1e-300, "high": 1e300, "log": True},
            "y": {"low": 0.0, "high": 1e300},
        },
        figure=[figure | labels],
    )
    numbers = data.draw(values)
    trials = made.trials(study, data.draw(st.sampled_from([8, 12])), lambda p, rng: float(rng.choice(numbers)))
    if data.draw(st.booleans()):
        trials = made.mixed_states(trials)
    error, worker = data.draw(texts), data.draw(texts)
    trials[3] = replace(trials[3], state=State.FAILED, values=(), error=error * 1000, worker=worker)
    name = data.draw(st.sampled_from(sorted(FIGURES)))
    remarks: list[str] = []
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "FIGURES", {name: FIGURES[name]})
        written = write(study, trials, Path(folder), remark=remarks.append)
        check_files(written)
        assert remarks == []
        assert (len(written) == 5) is (name not in left_out(written[0]))


@pytest.mark.parametrize("name", ["slices", "best_so_far", "learning_curves"])
def test_axes_of_extreme_values_have_finite_limits_and_show_the_others(name: str) -> None:
    study = made.study(metric="loss", direction="minimize")
    trials = made.trials(study, 11, lambda p, rng: 0.0)
    trials = [replace(trial, values=(value,)) for trial, value in zip(trials, EXTREME, strict=True)]
    figure = FIGURES[name](study, trials)
    for axes in figure.axes:
        assert all(math.isfinite(end) and abs(end) <= 2 * LARGEST for end in (*axes.get_xlim(), *axes.get_ylim()))
    ElementTree.fromstring(svg(figure, name))


@pytest.mark.usefixtures("one_figure")
def test_an_error_of_megabytes_is_shown_by_its_end(tmp_path: Path) -> None:
    study = made.study()
    trials = made.trials(study, 3, lambda p, rng: 0.5)
    error = f"first{ODD}" + "x" * 5_000_000 + f"\nValueError: the last words {ODD}"
    trials[0] = replace(trials[0], state=State.FAILED, values=(), error=error)
    trials[1] = replace(trials[1], state=State.FAILED, values=(), error=" \n ")
    text = check_files(write(study, trials, tmp_path), 200_000)
    assert "the last words \\x1b]52" in text
    assert "\\udce9" in text
    assert "Trial 1: unknown" in text


@pytest.mark.slow
@pytest.mark.usefixtures("one_figure")
def test_hundreds_of_parameters_have_tables_that_can_be_read(tmp_path: Path) -> None:
    study = made.study(space={f"p{i}": {"low": 0.0, "high": 1.0} for i in range(500)})
    trials = made.trials(study, 12, lambda p, rng: p["p7"])
    text = check_files(write(study, trials, tmp_path), 1_000_000)
    assert "<code>hpo show made --json</code> prints the other 460" in text
    assert text.count('<th scope="row" title="p') == 500  # every verdict is there


def test_a_choice_of_thousands_of_values_has_readable_axes_and_few_panels(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(files, "FIGURES", {"slices": FIGURES["slices"]})
    study = made.study(
        metric="m",
        space={"c": {"choice": [f"value {i}" for i in range(3000)]}},
        figure=[{"name": "own", "kind": "sweep", "x": "c", "y": ["m"]}],
    )
    trials = made.trials(study, 60, lambda p, rng: float(rng.uniform()))
    check_files(write(study, trials, tmp_path), 500_000)
    figure = FIGURES["slices"](study, trials)
    assert len(figure.axes[0].get_xticks()) <= 24


def test_verdicts_on_more_choices_than_trials_are_given_without_a_traceback() -> None:
    study = made.study(space={"c": {"choice": list(range(3000))}, "x": {"low": 0.0, "high": 1.0}})
    about = study_insight(study, made.trials(study, 200, lambda p, rng: p["x"]), resamples=0).parameters
    assert [p.effect for p in about] == [False, True]


def test_the_mean_of_repeats_is_a_number_where_their_sum_is_none() -> None:
    point = Point({}, [1.7e308, 1.7e308, 1.6e308], 3)
    assert point.mean == pytest.approx(1.6667e308, rel=1e-3)
    assert point.deviation == pytest.approx(5.77e306, rel=1e-2)


@pytest.mark.usefixtures("one_figure")
@pytest.mark.parametrize(
    ("size", "why"), [((1e9, 1e9), "1e+09 by 1e+09 inches are too large"), ((8, 1e-4), "too small")]
)
def test_a_size_that_an_older_ledger_may_hold_is_left_out_with_the_reason(
    tmp_path: Path, size: tuple[float, float], why: str
) -> None:
    study = small_study(figure=[{"kind": "curves", "name": "own", "y": "score", "size": list(size)}])
    remarks: list[str] = []
    files.write(study, [Trial(0, {}, 0, reports=(Report(1, 0.0, {"score": 1.0}),))], tmp_path, remark=remarks.append)
    (remark,) = remarks
    assert remark.startswith("figure own is left out: ")
    assert f"{why} to draw" in remark


def huge(study: Study, trials: list[Trial], options: dict[str, Any]) -> Figure:
    return Figure(figsize=(5000, 4000))


def crowded(study: Study, trials: list[Trial], options: dict[str, Any]) -> Figure:
    figure = Figure()
    figure.subplots().scatter(range(60_000), range(60_000), c=range(60_000))
    return figure


def odd_text(study: Study, trials: list[Trial], options: dict[str, Any]) -> Figure:
    figure = Figure()
    figure.text(0, 0, "\x1b \x00 \ufffe end")
    return figure


def unprintable(study: Study, trials: list[Trial], options: dict[str, Any]) -> Figure:
    figure = Figure()
    figure.text(0, 0, "$\\frac$")
    return figure


@pytest.mark.slow
@pytest.mark.usefixtures("one_figure")
def test_figures_of_the_users_own_are_whole_or_left_out(tmp_path: Path) -> None:
    kinds = ("huge", "unprintable", "odd_text", "crowded")
    study = made.study(figure=[{"kind": f"{ME}:{kind}", "name": kind} for kind in kinds])
    remarks: list[str] = []
    here = Guest(study, here=True)  # this module is no other process's
    written = write(study, made.trials(study, 3, lambda p, rng: 0.5), tmp_path, guest=here, remark=remarks.append)
    check_files(written, 6_000_000)
    assert [path.stem for path in written[1::2]] == ["odd_text", "crowded", "timeline"]
    assert remarks[0] == "figure huge is left out: 5000 by 4000 inches are too large to draw"
    assert remarks[1].startswith("figure unprintable is left out: ")
    assert "data:image/png" in (tmp_path / "crowded.svg").read_text(encoding="utf-8")


def test_a_report_whose_figures_all_fail_still_has_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any) -> Figure:
        raise MemoryError("no room")

    monkeypatch.setattr(files, "FIGURES", dict.fromkeys(FIGURES, failing))
    study = made.study()
    remarks: list[str] = []
    written = write(study, made.trials(study, 3, lambda p, rng: 0.5), tmp_path, remark=remarks.append)
    assert [path.name for path in written] == ["report.html"]
    assert len(remarks) == len(FIGURES)
    assert remarks[0] == "figure best_trials is left out: MemoryError('no room')"
    assert "Best-1" in check_files(written)


def test_a_page_of_many_trials_and_parameters_has_a_bounded_number_of_cells() -> None:
    study = made.study(space={f"p{i}": {"low": 0.0, "high": 1.0} for i in range(60)})
    params = {f"p{i}": 0.5 for i in range(60)}
    trials = [Trial(n, params, n, State.COMPLETE, (0.5,), worker=ODD * 20) for n in range(10_000)]
    text = render(study, trials, {}, study_insight(study, [], resamples=0))
    assert text.count("<td") < 300_000
    assert len(text) < 30_000_000
