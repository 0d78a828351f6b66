"""Trials beyond the bounds of their metrics, and infeasible ones, in the report: marked, and never the best."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import made
import numpy as np
import pytest
from matplotlib.figure import Figure

from hpo.report.figures import FIGURES, FRONTS
from hpo.report.figures.style import INK, Picture
from hpo.report.files import write
from hpo.study import Study
from hpo.study.constraints import judged
from hpo.trial import State, Trial, best_first

BOUNDS = {"metrics": {"memory": {"max": 0.6}}}


def bounded(count: int = 20) -> tuple[Study, list[Trial]]:
    """The accuracy rises with the memory: every trial above 0.6 is beyond the bound. Two trials are infeasible."""
    study = made.study(constraints=BOUNDS)
    trials = []
    for trial in made.trials(study, count, lambda p, rng: float(rng.uniform(0.1, 1.0))):
        reports = tuple(r._replace(metrics={**r.metrics, "memory": trial.values[0]}) for r in trial.reports)
        trial = replace(trial, reports=reports)
        trials.append(replace(trial, notes=judged(study.bounds, trial.last)))
    for number in (3, 7):
        trials[number] = replace(trials[number], state=State.INFEASIBLE, values=(), notes={}, error="Diverged")
    return study, trials


def beyond(trials: Sequence[Trial]) -> list[Trial]:
    return [trial for trial in trials if trial.standing is State.INFEASIBLE]


def legend(figure: Figure) -> list[str]:
    found = [text.get_text() for axes in figure.axes for text in (axes.get_legend().texts if axes.get_legend() else ())]
    return found + [text.get_text() for one in figure.legends for text in one.texts]


def test_the_cases_are_what_they_should_be() -> None:
    _, trials = bounded()
    assert len([trial for trial in trials if trial.violations]) > 3
    assert len([trial for trial in trials if trial.feasible]) > 3


def test_learning_curves_count_them_as_infeasible_and_colour_no_other() -> None:
    study, trials = bounded()
    figure = FIGURES["learning_curves"](study, trials)
    lost = len(beyond(trials))
    assert legend(figure) == [f"{len(trials) - lost} complete", f"{lost} infeasible"]
    assert "Infeasible trials end in a triangle." in figure.caption


def test_the_best_so_far_has_them_at_the_bottom() -> None:
    study, trials = bounded()
    figure = FIGURES["best_so_far"](study, trials)
    assert "infeasible" in legend(figure)
    (axes,) = figure.axes
    (marks,) = [points for points in axes.collections if points.get_label() == "infeasible"]
    assert len(marks.get_offsets()) == len(beyond(trials))
    ((_, numbers, _),) = figure.marks
    assert sorted(numbers) == [trial.number for trial in trials if trial not in beyond(trials)]
    (line,) = axes.get_lines()
    best = best_first(trials, study.direction)[0]
    assert np.max(np.asarray(line.get_ydata(), dtype=float)) == best.value


@pytest.mark.parametrize("name", ["slices", "pairs"])
def test_slices_and_pairs_have_triangles(name: str) -> None:
    study, trials = bounded()
    figure = FIGURES[name](study, trials)
    assert "nfeasible trials are triangles" in figure.caption
    triangles = [
        points
        for axes in figure.axes
        for points in axes.collections
        if len(points.get_offsets()) == len(beyond(trials)) and _is(points, INK)
    ]
    assert len(triangles) == {"slices": 2, "pairs": 1}[name]


def _is(points: Any, colour: str) -> bool:
    from matplotlib.colors import to_hex

    return {to_hex(face) for face in points.get_facecolor()} == {to_hex(colour)}


def test_the_timeline_names_them() -> None:
    study, trials = bounded()
    assert legend(FIGURES["timeline"](study, trials)) == ["complete", "infeasible", "idle"]


def test_the_page_marks_them_and_counts_them(tmp_path: Path) -> None:
    study, trials = bounded()
    write(study, trials, tmp_path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")

    lost = {trial.number for trial in beyond(trials)}
    rows = re.findall(r'<tr( class="best")?><td>(\d+)</td><td><span class="state (\w+)">', text)
    assert {int(number) for _, number, state in rows if state == "infeasible"} == lost
    assert not {int(number) for best, number, _ in rows if best} & lost
    assert f"{len(trials) - len(lost)} complete, {len(lost)} infeasible" in text
    top = text[text.index('<h2 id="best">') : text.index('<h2 id="parameters">')]
    ranked = [int(number) for number in re.findall(r'Best-\d+</th><td class="number">(\d+)', top)]
    assert ranked == [trial.number for trial in best_first(trials, study.direction)[:5]]
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert data is not None
    known = json.loads(data[1])
    states = {row[0]: known["states"][row[1]] for row in known["rows"]}
    assert {number for number, state in states.items() if state == "infeasible"} == lost


@pytest.mark.parametrize("several", [False, True])
def test_without_a_feasible_trial_page_and_figures_name_the_nearest(several: bool, tmp_path: Path) -> None:
    study, trials = made.fronted(6, constraints=BOUNDS) if several else bounded(8)
    trials = [trial for trial in trials if trial.state is State.COMPLETE]
    values = {trial.number: 1.0 + trial.number for trial in trials}
    trials = [
        replace(t, reports=(t.reports[0]._replace(metrics={**t.reports[0].metrics, "memory": values[t.number]}),))
        for t in trials
    ]
    trials = [replace(trial, notes=judged(study.bounds, trial.last)) for trial in trials]

    why = "No trial satisfies memory &lt;= 0.6; the nearest is trial 0: memory is 1."
    write(study, trials, tmp_path)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    top = text[text.index('<h2 id="best">') : text.index('<h2 id="parameters">')]
    assert f'<p class="muted">{why}</p>' in top
    assert text.count(why) >= 2  # for the figures that are left out, too
    assert "No trial is complete yet" not in text
    for figure in (FRONTS if several else {"best_trials": FIGURES["best_trials"]}).values():
        drawn = figure(study, trials)
        assert isinstance(drawn, Picture)
        assert drawn.nothing == why.replace("&lt;", "<")
