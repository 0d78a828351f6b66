"""Every file in ``studies/`` is a study that could run, and every figure in it can be drawn from real trials."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import QUICK, STUDIES, run, small

from chapter import running
from chapter.running import ROOT
from hpo import samplers
from hpo.objective import contract as objective
from hpo.report.files import write
from hpo.report.kinds import draw
from hpo.study import load
from hpo.trial import State

pytestmark = [pytest.mark.chapter, pytest.mark.mnist]
# Searches beyond the chapter.
OTHERS = {"accuracy_and_size", "digits", "mnist_full"}


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_is_valid_and_its_objective_accepts_it(name: str) -> None:
    study = load(ROOT / "studies" / f"{name}.toml")

    samplers.check(study.sampler.name, study.seed, study.space, study.sampler.options)
    target = objective.resolve(study.objective)
    objective.check(target, [{**study.fixed, **corner} for corner in study.space.corners()])
    assert study.pruner.name == "none" or name in OTHERS


def test_the_chapter_runs_every_study_that_is_its_own() -> None:
    assert set(running.STUDIES) == set(STUDIES) - OTHERS
    assert len(set(running.STUDIES)) == len(running.STUDIES)
    assert len({load(ROOT / "studies" / f"{name}.toml").name for name in STUDIES}) == len(STUDIES)


def test_conditions_with_repeats_are_run_whole() -> None:
    for study in running.studies():
        size = study.points
        assert size in (None, study.resolved["budget"]["trials"]), study.file


DRAWN = [name for name in running.STUDIES if load(ROOT / "studies" / f"{name}.toml").figures]


@pytest.mark.parametrize("name", DRAWN)
def test_every_figure_draws_from_a_small_real_run(name: str, tmp_path: Path) -> None:
    study = small(name)
    assert str(study.objective).partition(":")[2] in QUICK

    trials = run(study, tmp_path / "hpo.journal", most=24)

    assert {trial.state for trial in trials} <= {State.COMPLETE, State.INFEASIBLE, State.FAILED}
    assert any(trial.state == State.COMPLETE for trial in trials)
    for drawing in study.figures:
        figure = draw(study, trials, drawing)
        assert figure.axes, drawing.name
        marks = sum(
            len(a.lines) + len(a.collections) + len(a.patches) + len(getattr(a, "artists", ())) for a in figure.axes
        )
        assert marks > 0, drawing.name
        figure.canvas.draw()


def test_the_report_begins_with_the_studys_own_figures(tmp_path: Path) -> None:
    study = small("fig_6_14")
    trials = run(study, tmp_path / "hpo.journal")

    written = write(study, trials, tmp_path / "report")

    assert [path.name for path in written[:3]] == ["report.html", "fig_6_14.png", "fig_6_14.svg"]
    page = written[0].read_text()
    assert page.index("Fig 6-14: ReLU") < page.index("Each parameter")
