"""What ``make chapter`` (or ``hpo run studies/fig_6_19.toml``) finds: the rows, each with a test of its name."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import pytest
from small_runs import exact, run

from chapter.results import Results
from chapter.rows import ROWS, Finding, Row
from chapter.running import ROOT, STUDIES, studies
from chapter.writing import verdicts, write_page
from hpo.trial import Trial

pytestmark = pytest.mark.chapter

EVERY = [
    *("X1", "X2"),
    *(f"U{i}" for i in range(1, 17)),
    *(f"W{i}" for i in range(1, 14)),
    *(f"B{i}" for i in range(1, 9)),
    *(f"R{i}" for i in range(1, 10)),
    *(f"H{i}" for i in range(1, 10)),
    "S1",
]
# The chapter makes no experiment of these, and the reference has no check.
UNCHECKED = {"W2", "H7"}
# Tests that do not carry their row in their name.
TESTS = {
    "H3": "test_random_search_sees_more_values_of_what_matters_than_a_grid",
    "H4": "test_log_scale_draws_are_uniform_in_the_logarithm",
    "H5": "test_a_hundred_trials_of_fifty_epochs_complete_without_the_test_images",
    "H8": "test_the_best_trials_lie_in_the_chapters_bands",
    "H9": "test_the_learning_rate_matters_and_weight_decay_does_not",
}
# Studies that take a moment, in full.
QUICK = {
    *("fig-6-3", "fig-6-5", "fig-6-6", "fig-6-7", "fig-6-8"),
    *("fig-6-10", "fig-6-11", "fig-6-13", "fig-6-14", "tanh"),
}
FILES = {study.name: name for name, study in zip(STUDIES, studies(), strict=True)}


def measured(*names: str) -> Results:
    trials: Mapping[str, Sequence[Trial]] = {name: exact(FILES[name]) for name in names}
    return Results(trials)


def named(row: Row) -> object:
    marks = [pytest.mark.mnist] if row.id in ("X2", "W1") else []
    return pytest.param(row, id=row.id, marks=marks)


@pytest.mark.parametrize("row", [named(row) for row in ROWS if not row.studies])
def test_exact_rows_are_as_the_table_says(row: Row) -> None:
    finding = row.measure(Results({}))

    assert finding.inside, finding.measured
    assert finding.holds, finding.measured


@pytest.mark.parametrize("row", [named(row) for row in ROWS if row.studies and set(row.studies) <= QUICK])
@pytest.mark.xdist_group("quick studies")
def test_rows_of_quick_studies_lie_in_their_bands(row: Row) -> None:
    finding = row.measure(measured(*row.studies))

    assert finding.inside, finding.measured
    assert finding.holds, finding.measured


def test_every_row_is_in_the_table_and_has_its_test() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    functions = set(re.findall(r"^def (test_\w+)", text, re.MULTILINE))

    assert [row.id for row in ROWS] == EVERY
    for identity in EVERY:
        own = [name for name in functions if re.match(rf"test_{identity.lower()}_", name)]
        assert own or identity in UNCHECKED or TESTS[identity] in functions, identity


def test_a_value_outside_its_band_is_seen() -> None:
    for row in ROWS:
        if set(row.studies) == {"fig-6-3"}:
            wrong = Results({"fig-6-3": exact("fig_6_5")})
            assert not row.measure(wrong).inside
            return
    raise AssertionError("no row reads fig-6-3 alone")


def test_a_verdict_says_what_is_outside_and_what_does_not_hold() -> None:
    row = Row("X9", "6", "so it is", "1-2", lambda _: Finding("3", inside=False), remark="but see")

    assert row.verdict(Finding("3", inside=False)) == "holds, with a remark"
    assert row.verdict(Finding("3", inside=True, holds=False)) == "does not hold"
    assert "3 **outside the band** | 1-2 | holds, with a remark: but see" in verdicts([(row, row.measure(Results({})))])


def test_a_page_takes_what_it_has_a_place_for(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- measured: one -->\nold\n<!-- end -->\nb\n")

    write_page(page, {"one": r"new \1"})

    assert page.read_text(encoding="utf-8") == "a\n<!-- measured: one -->\nnew \\1\n<!-- end -->\nb\n"
    with pytest.raises(ValueError, match="no place for two"):
        write_page(page, {"two": ""})


@pytest.mark.experiment
@pytest.mark.mnist
@pytest.mark.timeout(7200)
def test_s1_every_row_lies_in_its_band(tmp_path: Path) -> None:
    """The whole chapter: ``python -m chapter`` ends with 1 where one does not."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "chapter.md").write_text((ROOT / "docs" / "chapter.md").read_text(encoding="utf-8"))
    words = ["--folder", str(tmp_path / "work"), "--docs", str(tmp_path / "docs"), "--tracking", "none"]

    ended = subprocess.run(
        [sys.executable, "-m", "chapter", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    assert len(re.findall(r"^[XUWBRHS]\d+ +in the band", ended.stdout, re.MULTILINE)) == len(EVERY)


@pytest.mark.mnist
def test_h6_the_second_round_of_the_chapters_search_is_better_than_the_first(tmp_path: Path) -> None:
    first, second = (
        [float(trial.value) for trial in run(study, tmp_path / f"{study.name}.journal", most=most)]
        for study, most in zip(studies(["fig_6_24", "fig_6_24_second_round"]), (15, 9), strict=True)
    )

    assert median(second) > median(first)
