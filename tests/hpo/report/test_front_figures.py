"""The report of a study with several objectives: its figures, its page, and what the files hold."""

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import made
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hpo.best import front_of
from hpo.errors import InputError
from hpo.fronts import box_of, costs_of, hypervolume
from hpo.report.figures import FIGURES, FRONTS
from hpo.report.figures.style import BLUE, Picture
from hpo.report.figures.thinned import thinned
from hpo.report.files import svg, write
from hpo.study import Study
from hpo.study.figures import FRONT_FIGURES
from hpo.trial import CONSTRAINTS, VIOLATIONS, Report, State, Trial

Case = tuple[Study, Sequence[Trial]]


def nothing() -> Case:
    return made.fronted(0)


def one() -> Case:
    return made.fronted(1)


def only_pruned() -> Case:
    study, trials = made.fronted(9)
    return study, [replace(trial, state=State.PRUNED) for trial in trials]


def all_equal() -> Case:
    study, trials = made.fronted(9)
    return study, [replace(trial, values=(0.5, 100.0)) for trial in trials]


def all_states() -> Case:
    study, trials = made.fronted(45, space=made.MIXED_SPACE, examples=500)
    return study, made.mixed_states(trials)


def huge_and_odd_values() -> Case:
    study, trials = made.fronted(30)
    odd = [(0.5, 1e308), (-1e308, 3.0), (math.inf, 1.0), (math.nan, 1.0), (0.5, 0.0)]
    return study, [replace(t, values=odd[t.number]) if t.number < len(odd) else t for t in trials]


def six_objectives() -> Case:
    return made.fronted(40, objectives=6)


@pytest.mark.parametrize(
    "case",
    [
        *(nothing, one, all_states, huge_and_odd_values),
        *(pytest.param(case, marks=pytest.mark.slow) for case in (only_pruned, all_equal, six_objectives)),
    ],
    ids=lambda case: case.__name__,
)
def test_every_figure_can_be_drawn_whatever_the_trials_are(case: Callable[[], Case]) -> None:
    study, trials = case()
    for name, draw in (FRONTS | FIGURES).items():
        text = svg(draw(study, trials), name)
        assert ElementTree.fromstring(text).tag.endswith("svg")
        assert "nan" not in re.sub(r">[^<]*<", "><", text)


# The numbers behind them -------------------------------------------------------------------------------------------


@given(arrays.arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 3)), elements=st.floats(-50, 50)))
@example(np.array([[1.0], [2.0**-1040], [0.0]]))
def test_what_is_covered_grows_to_the_hypervolume_of_all(costs: np.ndarray) -> None:
    box = box_of(costs)
    covered = box.covered(costs)

    assert (np.diff(covered) >= 0).all()
    extent = np.where(box.worst > box.best, box.worst - box.best, 1.0)
    with np.errstate(over="ignore"):  # a cost far beyond a tiny box
        scaled = (costs - box.best) / extent
    whole = hypervolume(scaled, np.ones(costs.shape[1]))
    assert covered[-1] == pytest.approx(whole, abs=1e-9)
    assert 0 <= covered[-1] <= 1 + 1e-9


def test_the_order_of_the_trials_does_not_change_what_all_of_them_cover() -> None:
    study, trials = made.fronted(40, objectives=3)
    costs = costs_of(trials, study.objectives)
    box = box_of(costs)
    assert box.covered(costs)[-1] == pytest.approx(box.covered(costs[::-1])[-1])


def test_the_estimate_for_many_objectives_is_near_the_exact_volume() -> None:
    study, trials = made.fronted(25, objectives=4)
    costs = costs_of(trials, study.objectives)
    box = box_of(costs)
    exact = hypervolume((costs - box.best) / (box.worst - box.best), np.ones(4))

    covered = box.covered(costs)

    assert (np.diff(covered) >= 0).all()
    assert covered[-1] == pytest.approx(exact, abs=0.015)


def test_a_diverged_trial_does_not_make_the_box_so_large_that_every_front_fills_it() -> None:
    study, trials = made.fronted(40)
    costs = costs_of(trials, study.objectives)
    with_one_more = np.vstack([costs, [1.0, 1e30]])
    assert box_of(with_one_more).worst[1] < 1e4


# The front ---------------------------------------------------------------------------------------------------------


def drawn(figure: Picture) -> dict[str, int]:
    """How many trials of each kind the legend counts."""
    labels = figure.axes[0].get_legend_handles_labels()[1]
    return {words.split(" ", 1)[1]: int(words.split(" ", 1)[0]) for words in labels if words[0].isdigit()}


def test_the_front_stands_out_and_all_complete_trials_can_be_marked() -> None:
    study, trials = made.fronted(60)
    figure = FRONTS["pareto_front"](study, trials)
    assert isinstance(figure, Picture)

    front = front_of(trials, study.objectives)
    assert drawn(figure) == {"on the front": len(front), "beaten": 60 - len(front)}
    assert sorted(number for _, numbers, _ in figure.marks for number in numbers) == list(range(60))
    (whole,) = [line for line in figure.axes[0].lines if line.get_color() == BLUE]
    corners = set(zip(*whole.get_data(), strict=True))
    assert {trial.values for trial in front} <= corners


def test_the_lines_are_the_fronts_after_a_quarter_half_and_all_trials() -> None:
    study, trials = made.fronted(60)
    figure = FRONTS["pareto_front"](study, trials)
    assert [line.get_label() for line in figure.axes[0].lines] == [f"front after {n} trials" for n in (15, 30, 60)]
    for line, count in zip(figure.axes[0].lines, (15, 30, 60), strict=True):
        corners = set(zip(*line.get_data(), strict=True))
        assert {trial.values for trial in front_of(trials[:count], study.objectives)} <= corners


def test_noisy_values_have_bars_and_places_within_the_error_look_different() -> None:
    study, trials = made.fronted(60, examples=500)
    kinds = drawn(FRONTS["pareto_front"](study, trials))
    assert kinds["on the front, uncertain"] > 0
    assert kinds["perhaps on the front"] > 0
    assert "95% intervals on 500 examples" in FRONTS["pareto_front"](study, trials).caption


def test_three_objectives_have_three_panels() -> None:
    study, trials = made.fronted(30, objectives=3)
    figure = FRONTS["pareto_front"](study, trials)
    assert sum(axes.axison for axes in figure.axes) == 3
    assert len(figure.marks) == 3 * len(drawn(figure))


def test_a_trial_beyond_its_bounds_is_a_triangle_and_not_on_the_front() -> None:
    study, trials = made.fronted(30)
    first = front_of(trials, study.objectives)[0]
    notes = {CONSTRAINTS: [0.5], VIOLATIONS: {"memory": 256.0}}
    trials[first.number] = replace(first, notes=notes)

    kinds = drawn(FRONTS["pareto_front"](study, trials))

    assert kinds["infeasible"] == 1
    assert kinds["on the front"] == len(front_of(trials, study.objectives))
    assert first.number not in {trial.number for trial in front_of(trials, study.objectives)}


def test_a_diverged_trial_stands_at_the_edge_and_the_caption_says_so() -> None:
    study, trials = made.fronted(40)
    assert "at its edge" not in FRONTS["pareto_front"](study, trials).caption
    figure = FRONTS["pareto_front"](study, [*trials, replace(trials[0], number=40, values=(0.1, 8000.0))])
    assert "Trials beyond an axis are drawn at its edge." in figure.caption
    assert figure.axes[0].get_ylim()[1] < 4000


def test_a_diverged_trial_on_the_front_stands_at_the_edge_too() -> None:
    study, trials = made.fronted(40)
    first = max(trial.values[0] for trial in trials)
    figure = FRONTS["pareto_front"](study, [*trials, replace(trials[0], number=40, values=(first + 0.01, 1e30))])
    assert 40 in {
        trial.number
        for trial in front_of([*trials, replace(trials[0], number=40, values=(first + 0.01, 1e30))], study.objectives)
    }
    assert "Trials beyond an axis are drawn at its edge." in figure.caption
    assert figure.axes[0].get_ylim()[1] < 1e6


def test_of_many_trials_the_front_is_always_drawn() -> None:
    study, trials = made.fronted(3000)
    front = {trial.number for trial in front_of(trials, study.objectives)}
    assert front <= {trial.number for trial in thinned(study, trials)}
    assert "1,000 of 3,000 trials are drawn" in FRONTS["pareto_front"](study, trials).caption


# Hypervolume and parallel coordinates ------------------------------------------------------------------------------


def test_the_hypervolume_states_its_reference_point_and_marks_the_trials_that_raised_it() -> None:
    study, trials = made.fronted(50)
    figure = FRONTS["hypervolume"](study, trials)

    steps = np.asarray(figure.axes[0].lines[0].get_ydata(), dtype=float)
    assert (np.diff(steps) >= 0).all()
    worst = max(trial.values[1] for trial in trials)
    assert f"size {worst:.4g}" in figure.caption
    ((_, numbers, _),) = figure.marks
    assert {t.number for t in front_of(trials, study.objectives)} - set(numbers) <= set(_ends(study, trials))


def _ends(study: Study, trials: Sequence[Trial]) -> list[int]:
    """Trials at the reference point in some objective: they cover nothing."""
    costs = costs_of(trials, study.objectives)
    worst = box_of(costs).worst
    return [trial.number for trial, own in zip(trials, costs, strict=True) if (own >= worst).any()]


def test_every_trial_on_the_front_is_a_line_through_parameters_and_objectives() -> None:
    study, trials = made.fronted(50, space=made.MIXED_SPACE)
    figure = FRONTS["parallel_coordinates"](study, trials)

    front = front_of(trials, study.objectives)
    assert [numbers[0] for _, numbers, _ in figure.marks] == [trial.number for trial in reversed(front)]
    for _, (number,), (path,) in figure.marks:
        missing = len(study.space.parameters) - len(trials[number].params)
        assert len(path) == len(study.space.parameters) + 2 - missing
        assert ((path[:, 1] >= 0) & (path[:, 1] <= 1)).all()
    best = next(path for _, (number,), (path,) in figure.marks if number == front[0].number)
    assert best[-2, 1] == 1.0  # its first objective, better is higher
    assert best[-1, 1] == 0.0  # its second, the largest on the front


# The page ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, list[Trial], Path]:
    study, trials = made.fronted(40, examples=500)
    folder = tmp_path_factory.mktemp("report")
    write(study, trials, folder)
    return study, trials, folder


def test_the_page_has_the_front_first_and_a_column_per_objective(page: tuple[Study, list[Trial], Path]) -> None:
    study, trials, folder = page
    text = (folder / "report.html").read_text(encoding="utf-8")
    front = front_of(trials, study.objectives)

    assert "maximize <b>val_accuracy</b>, minimize <b>size</b>" in text
    top = text[text.index('<h2 id="best">') : text.index('<h2 id="parameters">')]
    assert re.findall(r'Front-\d+</th><td class="number">(\d+)', top) == [str(trial.number) for trial in front]
    assert "Standard error on 500 examples" in top
    assert [name in text for name in FRONT_FIGURES.values()] == [True, True, True]
    assert text.index("The Pareto front</h3>") < text.index("The best trials</h3>")
    assert "By val_accuracy, the first objective." in text
    assert "<b>Best so far</b>: Several objectives have no single best value" in text
    assert {path.name for path in folder.iterdir()} >= {f"{name}.svg" for name in FRONT_FIGURES}


def test_the_script_knows_every_objective_and_the_front(page: tuple[Study, list[Trial], Path]) -> None:
    study, trials, folder = page
    text = (folder / "report.html").read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert found
    known = json.loads(found[1])

    assert known["columns"][:4] == ["trial", "state", "val_accuracy", "size"]
    assert known["best"] == sorted(trial.number for trial in front_of(trials, study.objectives))
    assert known["figures"].keys() >= {*FRONT_FIGURES}


def test_a_study_with_one_objective_may_have_a_figure_of_such_a_name_and_one_with_several_may_not() -> None:
    own = [{"kind": "curves", "name": "hypervolume", "y": "size"}]
    assert made.study(figure=own).figures[0].name == "hypervolume"
    with pytest.raises(InputError, match="must not be a name of the report's own files"):
        made.fronted(0, figure=own)


def test_reports_that_lack_an_objective_are_drawn_by_the_first() -> None:
    study, trials = made.fronted(5)
    trials = [replace(t, reports=(Report(1, t.started or 0.0, {"size": 3.0}), *t.reports[1:])) for t in trials]
    assert not FIGURES["learning_curves"](study, trials).nothing
