"""The report of a study with several objectives and bounds in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import made
import pytest

from hpo.best import front_of
from hpo.report.files import write
from hpo.study import Study
from hpo.study.figures import FRONT_FIGURES
from hpo.trial import CONSTRAINTS, VIOLATIONS, Trial

# One worker makes the report and starts the browser, once.
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("front report")]

BEYOND = 5


class Shown(NamedTuple):
    """A report, and what it is of."""

    study: Study
    trials: list[Trial]
    file: Path

    @property
    def front(self) -> list[int]:
        return [trial.number for trial in front_of(self.trials, self.study.objectives)]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    study, trials = made.fronted(40, constraints={"metrics": {"memory": {"max": 512}}}, examples=500)
    feasible, violating = {CONSTRAINTS: [-0.5], VIOLATIONS: {}}, {CONSTRAINTS: [0.5], VIOLATIONS: {"memory": 256.0}}
    trials = [replace(t, notes=violating if t.number == BEYOND else feasible) for t in trials]
    (file, *_) = write(study, trials, tmp_path_factory.mktemp("report"))
    return Shown(study, trials, file)


@pytest.fixture
def page(browser: Any, shown: Shown) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.said = []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.goto(shown.file.as_uri())
    yield page
    assert page.said == []
    page.close()


def spot(page: Any, figure: str, trial: int) -> tuple[float, float]:
    """Where a trial stands in the first panel of a figure, on the screen."""
    x, y = page.evaluate(
        """([name, trial]) => {
            const svg = document.querySelector(`#figure-${name} svg`);
            const {trials, paths} = figures[name].find(panel => panel.trials.includes(trial));
            const [x, y] = paths[trials.indexOf(trial)].slice(-2);
            svg.scrollIntoView({block: "center"});
            const now = new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());
            return [now.x, now.y];
        }""",
        [figure, trial],
    )
    return x, y


def states(page: Any, number: int) -> str:
    row = page.locator("table.sortable tbody tr").filter(has=page.locator(f"td:first-child:text-is('{number}')"))
    return str(row.locator("td").nth(1).inner_text())


def test_the_front_comes_first_in_words_table_and_figures(page: Any, shown: Shown) -> None:
    assert page.title() == "made: val_accuracy, size"
    assert page.locator("nav a").first.inner_text() == "The Pareto front"
    best = page.locator("#best ~ .card").first.locator("tbody tr td:nth-child(2)").all_inner_texts()
    assert [int(number) for number in best] == shown.front
    ids = page.evaluate("[...document.querySelectorAll('figure')].map(figure => figure.id.slice(7))")
    assert ids[:3] == list(FRONT_FIGURES)
    for name in FRONT_FIGURES:
        box = page.locator(f"#figure-{name} svg").bounding_box()
        assert box["width"] > 300
        assert box["height"] > 100
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_table_of_trials_has_both_objectives_and_marks_the_front(page: Any, shown: Shown) -> None:
    heads = [head.partition(" ")[0] for head in page.locator("table.sortable th").all_inner_texts()]
    assert heads[:4] == ["trial", "state", "val_accuracy", "size"]
    marked = page.locator("table.sortable tr.best td:first-child").all_inner_texts()
    assert sorted(map(int, marked)) == sorted(shown.front)
    assert states(page, BEYOND) == "infeasible"
    assert BEYOND not in shown.front
    page.locator("table.sortable th", has_text="size").get_by_role("button").click()
    sizes = [float(text) for text in page.locator("table.sortable tbody td:nth-child(4)").all_inner_texts()]
    assert sizes == sorted(sizes)


def test_a_trial_of_the_front_is_marked_in_every_figure_of_the_front(page: Any, shown: Shown) -> None:
    trial = shown.front[len(shown.front) // 2]
    page.mouse.move(*spot(page, "pareto_front", trial))
    assert page.locator(".tip b").inner_text() == f"trial {trial}"
    assert "size: " in page.locator(".tip").inner_text()
    page.mouse.click(*spot(page, "pareto_front", trial))
    found = page.evaluate(
        "[...document.querySelectorAll('figure:has(.over .marked)')].map(figure => figure.id.slice(7))"
    )
    assert {"pareto_front", "parallel_coordinates"} <= set(found)
    assert page.locator("table.sortable tr.marked td").first.inner_text() == str(trial)
    page.keyboard.press("Escape")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_infeasible_trial_that_is_left_alone_in_a_frame_can_be_seen(page: Any, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    stroke, fill, ink = page.evaluate(
        """number => {
            filter(new Set([number]));
            const style = name => getComputedStyle(document.querySelector(name));
            const line = style("#figure-learning_curves .over polyline");
            return [line.stroke, style("#figure-pareto_front .over circle").fill, style("body").color];
        }""",
        BEYOND,
    )
    assert stroke == fill == ink  # light on dark paper, dark on light paper
