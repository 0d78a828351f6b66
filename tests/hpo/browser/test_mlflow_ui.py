"""The MLflow UI in a real browser, over a study that was run for real: what people see where ``hpo ui`` takes them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from hpo.ledger import snapshots as books
from hpo.ledger.address import parse
from hpo.ledger.snapshots import Snapshot
from hpo.tracking.mlflow import views
from hpo.trial import Direction, State, Trial, best_first

# One worker starts server and browser, and runs the study, once.
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("mlflow ui")]

STUDY = """
name = "seen"
objective = "seen:objective"
metric = "val_accuracy"
direction = "maximize"
pruner = { name = "median", n_startup_trials = 3, n_min_trials = 3 }
sampler = { name = "random", seed = 4 }
budget.trials = 14
[space]
lr = { low = 1e-4, high = 1.0, log = true }
optimizer = { choice = ["sgd", "momentum"] }
"""
# Low rates learn slowly and are pruned, high ones fail.
OBJECTIVE = """
def objective(params, seed):
    if params["lr"] > 0.5:
        raise FloatingPointError("diverged")
    for epoch in range(1, 6):
        seen = min(1.0, 40 * params["lr"] * epoch)
        yield {"val_accuracy": 0.8 * seen, "train_accuracy": 0.9 * seen}
"""
# Milliseconds that the UI may take, on a machine that does other things too.
PATIENCE = 60_000


class Seen(NamedTuple):
    """A study that was run, and where the UI shows it."""

    book: Snapshot
    server: str
    place: views.Place

    @property
    def ranked(self) -> list[Trial]:
        return best_first(self.book.trials, Direction.MAXIMIZE)


@pytest.fixture(scope="module")
def seen(mlflow_server: str, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    folder = tmp_path_factory.mktemp("seen")
    (folder / "study.toml").write_text(STUDY)
    (folder / "seen.py").write_text(OBJECTIVE)
    words = [sys.executable, "-m", "hpo", "run", "study.toml", "--workers", "0", "--tracking", mlflow_server, "-q"]
    ended = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=200)
    assert ended.returncode == 0, ended.stderr
    place = views.find(mlflow_server, "seen")
    assert place is not None
    return Seen(books.read(parse(str(folder / "hpo.journal")), "seen"), mlflow_server, place)


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 1500, "height": 1000})
    page.set_default_timeout(PATIENCE)
    page.crashes = []
    page.on("pageerror", lambda error: page.crashes.append(str(error)))
    yield page
    assert page.crashes == []
    page.close()


def rows(page: Any) -> list[dict[str, str]]:
    """The table of runs as it is shown, top to bottom: texts by the UI's names of the columns."""
    page.wait_for_selector(".ag-row .ag-cell")
    found = page.evaluate(
        """() => {
            const rows = {};
            for (const row of document.querySelectorAll(".ag-row")) {
                const cells = rows[row.getAttribute("row-index")] ??= {};
                for (const cell of row.querySelectorAll(".ag-cell"))
                    cells[cell.getAttribute("col-id")] = cell.innerText.trim();
            }
            return rows;
        }"""
    )
    return [found[index] for index in sorted(found, key=int)]


def name(row: dict[str, str]) -> str:
    """A run's name: the cell begins with the run's colour."""
    return row["attributes.`Run Name`"].splitlines()[-1]


def curves(page: Any, count: int) -> list[dict[str, Any]]:
    """The lines that Plotly has drawn, when there are ``count`` charts."""
    page.wait_for_function(f"document.querySelectorAll('.js-plotly-plot').length >= {count}")
    found: list[dict[str, Any]] = page.evaluate(
        """() => [...document.querySelectorAll(".js-plotly-plot")].map(plot => ({
            type: plot.data[0].type,
            lines: plot.data.filter(d => d.y).map(d => ({name: d.name, x: [...d.x].map(Number), y: [...d.y]})),
        }))"""
    )
    return found


def test_the_study_has_every_state(seen: Seen) -> None:
    assert {trial.state for trial in seen.book.trials} == {State.COMPLETE, State.PRUNED, State.FAILED}


def test_the_table_shows_state_value_and_parameters_of_every_trial_best_first_without_a_click(
    seen: Seen, page: Any
) -> None:
    page.goto(views.link(seen.server, seen.place))
    page.get_by_role("link", name="trial 0", exact=True).wait_for()
    shown = {name(row): row for row in rows(page)}
    assert set(shown) == {f"trial {trial.number}" for trial in seen.book.trials}
    values = [float(row["metrics.`objective`"]) for row in shown.values() if row["tags.`hpo.state`"] == State.COMPLETE]
    assert values == [trial.value for trial in seen.ranked]
    for trial in seen.book.trials:
        row = shown[f"trial {trial.number}"]
        assert row["tags.`hpo.state`"] == trial.state
        assert float(row["params.`lr`"]) == trial.params["lr"]
        assert row["params.`optimizer`"] == trial.params["optimizer"]
        assert row["metrics.`objective`"] == ("-" if trial.value is None else str(trial.value))


def test_a_pruned_trial_does_not_look_like_a_failure_and_the_best_one_is_marked(seen: Seen, page: Any) -> None:
    page.goto(views.link(seen.server, seen.place))
    page.get_by_role("link", name="trial 0", exact=True).wait_for()
    (best,) = [row for row in rows(page) if row["tags.`hpo.best`"] == "best"]
    assert (name(best), best["tags.`hpo.state`"]) == (f"trial {seen.ranked[0].number}", State.COMPLETE)
    signs = page.evaluate(
        """() => {
            const signs = {}, rows = {};
            for (const cell of document.querySelectorAll(".ag-row .ag-cell"))
                (rows[cell.closest(".ag-row").getAttribute("row-index")] ??= {})[cell.getAttribute("col-id")] = cell;
            for (const cells of Object.values(rows)) {
                const [state, made] = [cells["tags.`hpo.state`"], cells["runDateAndNestInfo"]];
                (signs[state.innerText.trim()] ??= []).push(made.querySelector("svg").outerHTML);
            }
            return signs;
        }"""
    )
    assert set(signs[State.PRUNED]) == set(signs[State.COMPLETE])
    assert not set(signs[State.PRUNED]) & set(signs[State.FAILED])


def test_in_a_fresh_browser_the_study_is_three_clicks_from_the_root_of_a_bare_server(seen: Seen, page: Any) -> None:
    page.goto(seen.server)
    page.get_by_role("link", name="seen", exact=True).click()
    page.get_by_role("button", name="Got it").click()  # MLflow shows an experiment of language models, with a hint
    with page.expect_popup() as opened:
        page.get_by_role("link", name="trials", exact=True).click()
    opened.value.get_by_role("link", name=f"trial {seen.ranked[0].number}", exact=True).wait_for(timeout=PATIENCE)
    opened.value.close()


def test_the_study_opens_over_its_trials(seen: Seen, page: Any) -> None:
    page.goto(views.link(seen.server, seen.place, views.STUDY))
    page.get_by_role("link", name="seen", exact=True).last.wait_for()
    (study,) = rows(page)
    assert name(study) == "seen"
    assert float(study["metrics.`best_objective`"]) == seen.ranked[0].value
    assert study["metrics.`trials_finished`"] == "14"
    page.locator(".ag-row").first.locator("button").first.click()
    page.get_by_role("link", name="trial 0", exact=True).wait_for()
    first, *children = rows(page)
    assert name(first) == "seen"
    assert {(name(row), row["tags.`hpo.state`"]) for row in children} == {
        (f"trial {trial.number}", trial.state) for trial in seen.book.trials
    }


def test_charts_show_the_objective_over_the_parameters_and_the_best_curves(seen: Seen, page: Any) -> None:
    page.goto(views.link(seen.server, seen.place, charts=True))
    page.get_by_text("lr vs. objective").wait_for()
    page.wait_for_function(
        """() => [...document.querySelectorAll("svg")].some(svg => {
            const words = [...svg.querySelectorAll("text")].map(text => text.textContent);
            return ["lr", "optimizer", "objective"].every(axis => words.includes(axis));
        })"""
    )  # the parallel coordinates
    points = [set(zip(line["x"], line["y"], strict=True)) for chart in curves(page, 3) for line in chart["lines"]]
    assert any({(trial.params["lr"], trial.value) for trial in seen.ranked} <= found for found in points)
    curve = {(report.step, report.metrics["val_accuracy"]) for report in seen.ranked[0].reports}
    assert curve in points


def test_the_study_s_charts_show_the_best_so_far(seen: Seen, page: Any) -> None:
    page.goto(views.link(seen.server, seen.place, views.STUDY, charts=True))
    page.get_by_text("best_objective").first.wait_for()
    best = curves(page, 2)[0]["lines"][0]["y"]
    assert best == sorted(best)
    assert best[-1] == seen.ranked[0].value


def test_a_trial_s_page_shows_both_curves(seen: Seen, page: Any) -> None:
    best = seen.ranked[0]
    page.goto(views.link(seen.server, seen.place))
    page.get_by_role("link", name=f"trial {best.number}", exact=True).click()
    page.get_by_role("tab", name="Model metrics").click()
    page.get_by_text("train_accuracy").first.wait_for()
    shown = [line["y"] for chart in curves(page, 2) for line in chart["lines"]]
    for metric in ("val_accuracy", "train_accuracy"):
        assert [report.metrics[metric] for report in best.reports] in shown


def test_the_study_s_page_shows_its_description_and_the_report_s_figures(seen: Seen, page: Any) -> None:
    page.goto(views.link(seen.server, seen.place, views.STUDY))
    page.locator(".ag-row").get_by_role("link", name="seen", exact=True).click()
    page.get_by_role("tab", name="Artifacts").wait_for()
    described = page.locator("table", has_text="optimizer").filter(has_text="val_accuracy")
    described.first.wait_for()
    assert f"{seen.ranked[0].value:.6g}" in described.first.inner_text()
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("report", exact=True).first.click()
    page.get_by_text("best_trials.png").click()
    page.wait_for_function("[...document.images].some(image => image.naturalWidth > 600)")
