import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import made
import pytest

from hpo.insight.parameters import study_insight
from hpo.report.files import write
from hpo.report.page import render
from hpo.study.parameters import Choice, Float, Int, in_words

# One worker makes the report and starts the browser, once.
pytestmark = pytest.mark.xdist_group("report page")

HOSTILE = "</pre><script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">"


def mixed() -> tuple[Any, list[Any]]:
    study = made.study(space=made.MIXED_SPACE, fixed={"note": HOSTILE}, examples=100)
    trials = made.mixed_states(made.trials(study, 24, lambda p, rng: round(rng.uniform(0.2, 0.9), 2)))
    trials[4] = replace(trials[4], error=f"Traceback\n{HOSTILE}\nValueError: {HOSTILE}")
    trials[5] = replace(trials[5], worker=HOSTILE)
    return study, trials


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    study, trials = mixed()
    write(study, trials, folder)
    return folder


class Outline(HTMLParser):
    """The tags of a page, and whether every one is closed."""

    VOID = ("meta", "link", "br", "img", "image", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_every_id_is_its_own(folder: Path) -> None:
    outline = Outline((folder / "report.html").read_text(encoding="utf-8"))
    assert outline.open == []
    ids = [attrs["id"] for _, attrs in outline.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    used = {attrs[key] for _, attrs in outline.tags for key in ("href", "xlink:href") if key in attrs}
    assert {str(name)[1:] for name in used if str(name).startswith("#")} <= set(ids)


def test_the_page_needs_nothing_from_elsewhere(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    for tag, attrs in Outline(text).tags:
        assert tag not in ("link", "iframe", "object")
        for key in ("src", "href", "xlink:href"):
            assert str(attrs.get(key, "#")).startswith(("#", "data:")), (tag, attrs)
    assert "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))


def test_what_users_wrote_is_text_and_no_markup(folder: Path) -> None:
    outline = Outline((folder / "report.html").read_text(encoding="utf-8"))
    assert [attrs.get("type") for tag, attrs in outline.tags if tag == "script"] == ["application/json", None]
    assert not any(tag == "img" for tag, _ in outline.tags)
    assert not any(key.startswith("on") for _, attrs in outline.tags for key in attrs)


def test_every_figure_is_written_as_png_and_svg_and_stands_in_the_page(folder: Path) -> None:
    names = {path.stem for path in folder.glob("*.png")}
    assert len(names) == 7
    assert names == {path.stem for path in folder.glob("*.svg")}
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert all(f'id="figure-{name}"' in text for name in names)
    assert text.count("<svg") == 7


def test_the_page_has_both_themes_and_no_colour_of_a_figure_is_fixed(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in text
    fixed = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", text))
    assert fixed <= {"#000000"}  # the outline of markers that have none


def test_the_page_of_a_study_without_trials_says_so() -> None:
    study = made.study(objective=["run", "<it>"])
    text = render(study, [], {}, study_insight(study, []))
    assert "No trial is complete yet." in text
    assert "run &lt;it&gt;" in text


def test_a_range_is_described_in_a_few_words() -> None:
    assert in_words(Float("lr", 1e-6, 1e-2, log=True)) == "1e-06 to 0.01, logarithmic"
    assert in_words(Float("p", 0.0, 1.0, step=0.25)) == "0 to 1, step 0.25"
    assert in_words(Int("n", 1, 9)) == "1 to 9"
    assert in_words(Choice("o", ("a", "b"), {"n": 3})) == "a, b, when n is 3"


# In a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture
def page(browser: Any, folder: Path) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    page.said = []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("request", lambda request: page.said.append(request.url) if "report.html" not in request.url else None)
    page.goto((folder / "report.html").as_uri())
    yield page
    page.close()


def column(page: Any, place: int) -> list[str]:
    cells = page.locator(f"table.sortable tbody tr td:nth-child({place})").all_inner_texts()
    return [cell.strip() for cell in cells]


def test_the_page_renders_without_a_word_on_the_console_and_asks_for_nothing(page: Any) -> None:
    assert page.title() == "made: val_accuracy"
    assert page.locator("figure svg").count() == 7
    for figure in page.locator("figure svg").all():
        box = figure.bounding_box()
        assert box["width"] > 300
        assert box["height"] > 50
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.said == []


def test_a_click_on_a_head_sorts_and_another_click_turns_the_order(page: Any) -> None:
    head = page.locator("table.sortable th", has_text="val_accuracy")
    before = column(page, 3)
    head.get_by_role("button").click()
    rising = [float(text) for text in column(page, 3) if text]
    assert rising == sorted(rising)
    assert head.get_attribute("aria-sort") == "ascending"
    head.get_by_role("button").click()
    falling = [float(text) for text in column(page, 3) if text]
    assert falling == sorted(falling, reverse=True) != rising
    missing = before.count("")
    assert missing > 0
    assert set(column(page, 3)[-missing:]) == {""}  # what has no value stays at the end
    assert head.get_attribute("aria-sort") == "descending"
    assert page.locator("table.sortable th[aria-sort]").count() == 1
    assert page.said == []


def test_words_and_numbers_sort_each_in_their_own_way(page: Any) -> None:
    page.locator("table.sortable th", has_text="state").get_by_role("button").click()
    states = column(page, 2)
    assert states == sorted(states)
    page.locator("table.sortable th", has_text="trial").get_by_role("button").click()
    assert column(page, 1) == [str(number) for number in range(24)]


def test_a_dark_browser_shows_light_text_on_dark_paper(page: Any) -> None:
    def light(selector: str, what: str) -> int:
        colour = page.locator(selector).first.evaluate(f"element => getComputedStyle(element).{what}")
        return sum(int(part) for part in re.findall(r"\d+", colour)[:3])

    assert light("body", "backgroundColor") > 600 > light("body", "color")
    page.emulate_media(color_scheme="dark")
    assert light("body", "backgroundColor") < 150 < light("body", "color")
    assert light("figure svg text", "fill") > 450
    assert page.said == []


def spot(page: Any, figure: str, trial: int) -> tuple[float, float]:
    """Where a trial stands in the first panel of a figure that has it, on the screen."""
    page.locator(f"#figure-{figure}").scroll_into_view_if_needed()
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


def marked(page: Any) -> list[str]:
    """The figures in which a trial is marked."""
    found: list[str] = page.evaluate(
        "[...document.querySelectorAll('figure:has(.over .marked)')].map(figure => figure.id.slice(7))"
    )
    return found


def test_a_pointer_over_a_point_shows_its_trial(page: Any) -> None:
    page.mouse.move(*spot(page, "slices", 1))
    tip = page.locator(".tip")
    assert tip.is_visible()
    assert tip.inner_text().splitlines()[:2] == ["trial 1", "state: complete"]
    assert "val_accuracy: 0." in tip.inner_text()
    page.mouse.move(5, 5)
    assert not tip.is_visible()
    assert page.said == []


def test_a_click_marks_a_trial_in_every_figure_and_in_the_table_and_another_takes_it_back(page: Any) -> None:
    page.mouse.click(*spot(page, "best_so_far", 1))
    assert marked(page) == ["best_trials", "slices", "pairs", "best_so_far", "learning_curves", "timeline"]
    assert page.locator("table.sortable tr.marked td").first.inner_text() == "1"
    assert page.locator("#filter span").inner_text() == "Trial 1 is marked."
    page.mouse.click(*spot(page, "pairs", 1))
    assert marked(page) == []
    page.locator("table.sortable tbody tr", has_text="complete").last.click()  # a row does the same
    assert len(marked(page)) >= 5
    page.keyboard.press("Escape")
    assert marked(page) == []
    assert page.said == []


def test_a_frame_in_one_figure_leaves_its_trials_alone_in_the_others_and_in_the_table(page: Any) -> None:
    x, y = spot(page, "best_so_far", 1)
    box = page.locator("#figure-best_so_far svg").bounding_box()
    page.mouse.move(x - 3, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(x + 3, y + 4, steps=4)
    assert page.locator(".frame").count() == 1
    page.mouse.up()
    assert page.locator(".frame").count() == 0
    assert column(page, 1) == ["1"]
    assert page.locator("#filter span").inner_text() == "1 in the frame."
    assert page.locator("svg.filtered").count() == page.locator("svg:has(.over)").count() == 6
    assert page.locator("#figure-pairs .kept").count() > 0
    page.get_by_role("button", name="Show all").click()
    assert len(column(page, 1)) == 24
    assert page.locator("svg.filtered").count() == 0
    assert page.said == []


def test_what_users_wrote_is_text_in_what_the_script_shows(page: Any) -> None:
    page.mouse.move(*spot(page, "best_so_far", 5))
    assert "worker: </pre><script>" in page.locator(".tip").inner_text()
    assert page.locator(".tip img, .tip script, table.sortable img").count() == 0
    assert page.title() == "made: val_accuracy"


def test_without_javascript_the_page_shows_figures_and_rows(browser: Any, folder: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((folder / "report.html").as_uri())
    assert page.locator("figure svg").count() == 7
    assert column(page, 1) == [str(number) for number in range(24)]
    assert not page.locator("#filter").is_visible()
    assert not page.locator("#pager").is_visible()
    context.close()


def test_a_study_of_thousands_has_a_table_in_pages(browser: Any, tmp_path: Path) -> None:
    study = made.study()
    trials = made.mixed_states(made.trials(study, 10_000, lambda p, rng: float(rng.uniform(0.9, 0.97))))
    (file, *_) = write(study, trials, tmp_path, links={999: {"log": "a%22/output.log", "files": "a/files"}})
    assert file.stat().st_size <= 3_000_000
    page = browser.new_page()
    page.goto(file.as_uri())
    for _ in range(9):
        page.get_by_role("button", name="Next").click()
    linked = page.locator("table.sortable a")
    assert [(a.inner_text(), a.get_attribute("href")) for a in linked.all()] == [
        ("log", "a%22/output.log"),
        ("files", "a/files"),
    ]
    assert linked.first.locator("xpath=../..").locator("td").first.inner_text() == "999 log files"
    page.locator("table.sortable th", has_text="val_accuracy").get_by_role("button").click()
    page.locator("table.sortable th", has_text="val_accuracy").get_by_role("button").click()
    assert page.locator("#pager span").inner_text() == "1 to 100 of 10000"
    best = max(trials, key=lambda trial: (trial.state == "complete") * (trial.value or 0.0))
    assert column(page, 1)[0] == str(best.number)
    page.get_by_role("button", name="Next").click()
    assert page.locator("#pager span").inner_text() == "101 to 200 of 10000"
    assert len(column(page, 1)) == 100
    page.close()
