import io
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from xml.etree import ElementTree

import made
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from hpo.report.figures import FIGURES
from hpo.report.figures.axes import log_ticks
from hpo.report.figures.curves import curve, training_metric
from hpo.report.figures.style import RAMP, THEME
from hpo.report.files import png, svg
from hpo.study import Study
from hpo.study.figures import REPORT_FIGURES
from hpo.trial import Direction, Report, State, Trial, best_first

Case = tuple[Study, Sequence[Trial]]


def accuracy(p: object, rng: object) -> float:
    return float(rng.uniform(0, 0.9))


def nothing() -> Case:
    return made.study(), []


def one_running() -> Case:
    return made.study(), [Trial(0, {"lr": 1e-3, "weight_decay": 1e-6}, 0, started=1.0, worker="a")]


def one() -> Case:
    study = made.study()
    return study, made.trials(study, 1, accuracy)


def two_single_reports() -> Case:
    study = made.study()
    return study, made.trials(study, 2, accuracy, steps=1)


def only_failed() -> Case:
    study = made.study()
    trials = made.trials(study, 3, accuracy)
    return study, [replace(trial, state=State.FAILED, values=(), reports=(), error="no") for trial in trials]


def only_pruned() -> Case:
    study = made.study()
    trials = made.trials(study, 12, accuracy)
    return study, [replace(trial, state=State.PRUNED) for trial in trials]


def all_states_and_kinds_of_parameters() -> Case:
    study = made.study(space=made.MIXED_SPACE, direction=Direction.MINIMIZE, metric="cost x", name="mixed")
    return study, made.mixed_states(made.trials(study, 45, lambda p, rng: rng.normal()))


def diverging_loss() -> Case:
    study = made.study(metric="val_loss", direction=Direction.MINIMIZE)
    trials = made.trials(study, 30, lambda p, rng: float(10 ** rng.uniform(-1, 30)))
    for index, trial in list(enumerate(trials))[::3]:
        first, second, *others = trial.reports
        odd = Report(2, second.time, {"val_loss": math.nan, "loss": math.inf})
        trials[index] = replace(trial, reports=(first, odd, *others))
    trials[4] = replace(trials[4], values=(math.inf,))
    return study, trials


def a_single_parameter() -> Case:
    study = made.study(space={"lr": made.LOG_SPACE["lr"]})
    return study, made.trials(study, 15, accuracy)


def many_parameters() -> Case:
    study = made.study(space={f"p{i}": {"low": 0.0, "high": 1.0 + i} for i in range(14)})
    return study, made.trials(study, 12, accuracy)


def narrowing() -> Case:
    study = made.study(space=made.MIXED_SPACE, sampler={"name": "narrowing", "round": 12})
    return study, made.trials(study, 40, lambda p, rng: -abs(math.log10(p["学习率"]) + 2))


CASES: list[Callable[[], Case]] = [
    nothing,
    one_running,
    one,
    two_single_reports,
    only_failed,
    only_pruned,
    all_states_and_kinds_of_parameters,
    diverging_loss,
    a_single_parameter,
    many_parameters,
    narrowing,
]
# Those of which another one holds most.
LESSER = (one_running, two_single_reports, only_pruned, a_single_parameter, many_parameters, narrowing)


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=pytest.mark.slow) if case in LESSER else case for case in CASES],
    ids=lambda case: case.__name__,
)
def test_every_figure_can_be_drawn_whatever_the_trials_are(case: Callable[[], Case]) -> None:
    study, trials = case()
    for name, draw in FIGURES.items():
        figure = draw(study, trials)
        text = svg(figure, name)
        assert ElementTree.fromstring(text).tag.endswith("svg")
        assert f"{study.metric}\\" not in text  # no escape of ours is left


def test_a_figure_is_a_picture_in_both_formats_and_the_same_every_time() -> None:
    study, trials = all_states_and_kinds_of_parameters()
    figure, again = (FIGURES["slices"](study, trials) for _ in range(2))
    assert svg(figure, "slices") == svg(again, "slices")
    image = Image.open(io.BytesIO(png(figure)))
    assert min(image.size) > 300
    assert len(image.getcolors(1 << 20) or []) > 5


def cells(figure: Figure) -> list[object]:
    return [axes for axes in figure.axes if axes.get_title("left").startswith("Best-")]


def test_figure_6_24_is_four_by_five_with_validation_solid_and_training_dashed_from_0_to_1() -> None:
    study = made.study()
    trials = made.trials(study, 30, accuracy)
    figure = FIGURES["best_trials"](study, trials)
    ranked = best_first(trials, Direction.MAXIMIZE)
    assert len(figure.axes) == 20
    assert [axes.get_title("left") for axes in figure.axes] == [f"Best-{rank}" for rank in range(1, 21)]
    for axes, trial in zip(figure.axes, ranked, strict=False):
        low, high = axes.get_ylim()
        assert -0.05 < low <= 0
        assert 1 <= high < 1.05
        drawn = {line.get_linestyle(): list(line.get_ydata()) for line in axes.lines}
        assert drawn["-"] == curve(trial, "val_accuracy")[1]
        assert drawn["--"] == curve(trial, "train_accuracy")[1]
    assert figure.axes[0].get_subplotspec().get_gridspec().get_geometry() == (4, 5)


def test_a_study_of_seven_trials_has_seven_cells() -> None:
    study = made.study()
    figure = FIGURES["best_trials"](study, made.trials(study, 7, accuracy))
    assert len(cells(figure)) == 7
    assert sum(axes.axison for axes in figure.axes) == 7


@pytest.mark.parametrize("direction", [Direction.MAXIMIZE, Direction.MINIMIZE])
def test_the_best_so_far_never_gets_worse_and_ends_at_the_best(direction: str) -> None:
    study = made.study(direction=direction)
    trials = made.trials(study, 25, accuracy)
    figure = FIGURES["best_so_far"](study, trials)
    steps = np.asarray(figure.axes[0].lines[0].get_ydata()).tolist()
    assert steps == sorted(steps, reverse=direction == "minimize")
    assert steps[-1] == best_first(trials, direction)[0].value
    assert figure.axes[0].lines[0].get_xdata()[-1] == 25  # to the last trial, whatever it brought


def test_axes_of_logarithmic_parameters_are_logarithmic() -> None:
    study = made.study()
    figure = FIGURES["pairs"](study, made.trials(study, 12, accuracy))
    assert (figure.axes[0].get_xscale(), figure.axes[0].get_yscale()) == ("log", "log")
    study, trials = all_states_and_kinds_of_parameters()
    assert "linear" in {axes.get_xscale() for axes in FIGURES["slices"](study, trials).axes}


def test_the_ranges_of_a_narrowing_search_are_drawn_in() -> None:
    study, trials = narrowing()
    figure = FIGURES["pairs"](study, trials)
    frames = [patch for patch in figure.axes[0].patches if patch.get_fill() is False]
    assert len(frames) == 3  # three rounds of twelve are over
    assert not [patch for axes in FIGURES["pairs"](made.study(), trials[:0] or []).axes for patch in axes.patches]


def test_the_timeline_says_how_well_the_workers_were_used() -> None:
    study = made.study()
    figure = FIGURES["timeline"](study, made.trials(study, 20, accuracy, workers=2))
    assert figure.get_suptitle().startswith("2 workers busy 90.")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["host/0", "host/1"]


def test_colours_are_told_apart_by_their_text_and_lightness_runs_one_way() -> None:
    light = [colours[0] for colours in THEME.values()]
    assert len(set(light)) == len(light)
    brightness = [sum(int(colour[i : i + 2], 16) * w for i, w in ((1, 0.3), (3, 0.59), (5, 0.11))) for colour in RAMP]
    assert brightness == sorted(brightness, reverse=True)  # readable without seeing colours


def test_the_training_curve_is_found_by_its_name() -> None:
    assert training_metric("val_accuracy", ["val_accuracy", "train_accuracy"]) == "train_accuracy"
    assert training_metric("val_loss", ["val_loss", "loss"]) == "loss"
    assert training_metric("eval/acc", ["training/acc"]) == "training/acc"
    assert training_metric("accuracy", ["train_accuracy"]) is None
    assert training_metric("interval", ["inter"]) is None


def test_every_figure_has_a_title() -> None:
    assert list(REPORT_FIGURES) == list(FIGURES)
    assert all(REPORT_FIGURES.values())


def test_pyplot_is_never_imported_and_settings_of_matplotlib_stay_as_they_were() -> None:
    code = """
import sys, matplotlib
before = matplotlib.rcParams.copy()
from hpo.study import parse
from hpo.report.figures import FIGURES
from hpo.report.files import svg
study = parse({"name": "a", "objective": "a:b", "metric": "m", "direction": "minimize",
               "space": {"x": {"low": 0, "high": 9}}, "budget": {"trials": 1}}, file="a")
for name, draw in FIGURES.items():
    svg(draw(study, []), name)
assert "matplotlib.pyplot" not in sys.modules
assert matplotlib.rcParams.copy() == before
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_verdicts_need_neither_matplotlib_nor_scikit_learn() -> None:
    bad = {"matplotlib", "sklearn", "mlflow", "ray"}
    code = f"import sys, hpo.insight.parameters; sys.exit(str({bad} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "set()"


def test_an_axis_fits_the_values_and_always_holds_the_best() -> None:
    study = made.study()
    narrow = made.trials(study, 40, lambda p, rng: float(rng.uniform(0.93, 0.97)))
    low, high = FIGURES["slices"](study, narrow).axes[0].get_ylim()
    assert 0.92 < low < 0.93 < 0.97 < high < 0.98
    skewed = [replace(t, values=(0.1 + 0.001 * t.number if t.number < 36 else 0.2 * (t.number - 35),)) for t in narrow]
    assert FIGURES["slices"](study, skewed).axes[0].get_ylim()[1] >= 0.8
    diverged = [*narrow[1:], replace(narrow[0], values=(0.01,))]
    assert FIGURES["slices"](study, diverged).axes[0].get_ylim()[0] > 0.7  # the others are not squashed


def test_pruned_trials_do_not_squash_the_curves_of_complete_ones() -> None:
    study = made.study()
    trials = made.trials(study, 30, lambda p, rng: 0.9)
    flat = [replace(t, reports=tuple(Report(r.step, r.time, {"val_accuracy": 0.9}) for r in t.reports)) for t in trials]
    low = Report(1, 1.0, {"val_accuracy": 0.05})
    pruned = [replace(t, state=State.PRUNED, reports=(low,), values=(0.05,)) if t.number % 2 else t for t in flat]
    assert FIGURES["learning_curves"](study, pruned).axes[0].get_ylim()[0] > 0.5


@pytest.mark.parametrize(("low", "high"), [(1e-6, 1e-2), (0.8e-3, 1.1e-3), (1.0, 64.0), (1e-3, 0.09), (1e-300, 1e300)])
def test_ticks_of_a_logarithmic_axis_are_a_few_and_far_apart(low: float, high: float) -> None:
    ticks = log_ticks(low, high)
    assert 2 <= len(ticks) <= 6
    apart = np.diff(np.log10(ticks)) / (math.log10(high) - math.log10(low))
    assert apart.min() > 0.15
    assert low * 0.999 <= ticks[0]
    assert ticks[-1] <= high * 1.001


def test_captions_speak_of_what_is_there_alone() -> None:
    study = made.study()
    complete = made.trials(study, 20, accuracy)
    assert "runed" not in FIGURES["pairs"](study, complete).caption + FIGURES["slices"](study, complete).caption
    mixed = made.mixed_states(complete)
    assert "Pruned trials are hollow. Failed trials are crosses." in FIGURES["pairs"](study, mixed).caption


def test_a_figure_with_nothing_to_show_says_why() -> None:
    study, trials = two_single_reports()
    for name in ("best_trials", "learning_curves"):
        assert FIGURES[name](study, trials).nothing == "Every trial reported val_accuracy only once."


def test_figures_of_thousands_of_trials_show_the_extremes_and_say_how_many() -> None:
    study = made.study()
    trials = made.trials(study, 3000, accuracy, steps=1)
    figure = FIGURES["best_so_far"](study, trials)
    ((_, numbers, _),) = figure.marks
    ranked = best_first(trials, Direction.MAXIMIZE)
    ends = [end(trials, key=lambda t: t.params["lr"]) for end in (min, max)]
    assert len(numbers) == 1000
    assert {t.number for t in (*ranked[:100], ranked[-1], *ends)} <= set(numbers)
    assert "1,000 of 3,000 trials are drawn" in figure.caption
