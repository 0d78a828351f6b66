import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import made
import pytest

from hpo.report.files import write
from hpo.report.insight import study_insight
from hpo.report.page import describe, render
from hpo.space import Choice, Float, Int

# One worker makes the report and starts the browser, once.
pytestmark = pytest.mark.xdist_group("report page")

HOSTILE = "</pre><script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\">"


def mixed() -> tuple[Any, list[Any]]:
    study = made.study(space=made.MIXED_SPACE, fixed={"note": HOSTILE, "train_size": 500, "validation_rate": 0.2})
    trials = made.mixed_states(made.trials(study, 24, lambda p, rng: round(rng.uniform(0.2, 0.9), 2)))
    trials[4].error = f"Traceback\n{HOSTILE}\nValueError: {HOSTILE}"
    trials[5].worker = HOSTILE
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
    assert sum(tag == "script" for tag, _ in outline.tags) == 1
    assert not any(tag == "img" for tag, _ in outline.tags)
    assert not any(key.startswith("on") for _, attrs in outline.tags for key in attrs)


def test_every_figure_is_written_as_png_and_svg_and_stands_in_the_page(folder: Path) -> None:
    names = {path.stem for path in folder.glob("*.png")}
    assert len(names) == 8
    assert names == {path.stem for path in folder.glob("*.svg")}
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert all(f'id="figure-{name}"' in text for name in names)
    assert text.count("<svg") == 8


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
    assert describe(Float("lr", 1e-6, 1e-2, log=True)) == "1e-06 to 0.01, logarithmic"
    assert describe(Float("p", 0.0, 1.0, step=0.25)) == "0 to 1, step 0.25"
    assert describe(Int("n", 1, 9)) == "1 to 9"
    assert describe(Choice("o", ("a", "b"), {"n": 3})) == "a, b, when n is 3"


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
    assert page.locator("figure svg").count() == 8
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
