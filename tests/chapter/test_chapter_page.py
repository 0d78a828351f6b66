"""``docs/chapter.md`` is whole: every row, every measured part, every figure, and nothing outside its band."""

from __future__ import annotations

import re

import pytest
from test_rows import EVERY

from chapter.remarks import REMARKS
from chapter.running import ROOT, studies
from chapter.writing import REPORTED

pytestmark = pytest.mark.chapter

PAGE = (ROOT / "docs" / "chapter.md").read_text(encoding="utf-8")
PARTS = dict(re.findall(r"^<!-- measured: (\S+) -->\n(.*?)^<!-- end -->", PAGE, re.MULTILINE | re.DOTALL))


def test_every_row_has_its_verdict_and_none_lies_outside_its_band() -> None:
    assert re.findall(r"^\| ([XUWBRHS]\d+) \|", PARTS["table"], re.MULTILINE) == EVERY
    assert "outside the band" not in PARTS["table"]


def test_every_measured_part_is_there() -> None:
    assert set(PARTS) == {"table", "times", *REMARKS}
    assert all(part.strip() for part in PARTS.values())


def test_every_figure_is_shown() -> None:
    shown = set(re.findall(r"images/chapter/(\w+)\.png", PAGE))
    drawn = {drawing.name for study in studies() for drawing in study.figures} | {name for _, name in REPORTED.values()}

    assert shown == drawn


def test_every_link_within_the_page_leads_to_a_heading() -> None:
    headings = {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^#+ (.*)$", PAGE, re.M)}

    assert set(re.findall(r"\]\(#([^)]+)\)", PAGE)) <= headings
