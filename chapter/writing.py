"""Writes what was found: the figures, and the measured parts of ``docs/chapter.md``."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from chapter.remarks import REMARKS, table
from chapter.results import Results
from chapter.rows import ROWS
from chapter.rows.row import Finding, Row
from hpo.insight.usage import usage
from hpo.report.figures import FIGURES
from hpo.report.files import png
from hpo.report.kinds import draw
from hpo.study import Study

# Figures of every report that the chapter has too.
REPORTED = {"fig-6-24": ("best_trials", "fig_6_24"), "fig-6-24-narrowing": ("pairs", "fig_6_24_narrowing")}
WIDEST = 1000
COLOURS = 128


def write_figures(results: Results, wanted: Sequence[Study], folder: Path) -> list[Path]:
    """Draws every figure of the studies; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for study in wanted:
        trials = results.trials(study.name)
        figures = [(spec.name, draw(study, trials, spec)) for spec in study.figures]
        if study.name in REPORTED:
            kind, name = REPORTED[study.name]
            figures.append((name, FIGURES[kind](study, trials)))
        for name, figure in figures:
            written.append(folder / f"{name}.png")
            written[-1].write_bytes(small(figure))
    return written


def small(figure: Figure) -> bytes:
    """A figure as a PNG of a page's width and few colours."""
    image = Image.open(io.BytesIO(png(figure))).convert("RGB")
    if image.width > WIDEST:
        image = image.resize((WIDEST, round(image.height * WIDEST / image.width)), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.quantize(COLOURS).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def judge(results: Results, rows: Sequence[Row] = ROWS) -> list[tuple[Row, Finding]]:
    """What was found for every row whose studies have been run."""
    return [(row, row.measure(results)) for row in rows if all(results.has(study) for study in row.studies)]


def verdicts(found: Sequence[tuple[Row, Finding]]) -> str:
    """The table of claims."""
    rows = []
    for row, finding in found:
        inside = "" if finding.inside else " **outside the band**"
        verdict = f"{row.verdict(finding)}{f': {row.remark}' if row.remark else ''}"
        rows.append([row.id, row.section, row.claim, finding.measured + inside, row.band, verdict])
    return table(["", "section", "the chapter says", "measured here", "reference band", "verdict"], rows)


def times(results: Results, wanted: Sequence[Study]) -> str:
    """How long the studies ran."""
    rows = []
    total = wall = 0.0
    count = 0
    for study in wanted:
        trials = results.trials(study.name)
        worked, used = sum(trial.seconds or 0.0 for trial in trials), usage(trials)
        total, wall, count = total + worked, wall + (used.seconds if used else 0.0), count + len(trials)
        rows.append([f"`{study.name}`", str(len(trials)), f"{worked:.0f} s"])
    head = f"{count:,} trials ran for {total / 60:.1f} minutes of worker time in {wall / 60:.1f} minutes."
    return f"{head}\n\n{table(['study', 'trials', 'worker time'], rows)}"


def write_page(page: Path, parts: dict[str, str]) -> None:
    """Puts the measured parts into a page, between ``<!-- measured: NAME -->`` and ``<!-- end -->``.

    Raises:
        ValueError: For a part that the page has no place for.
    """
    text = page.read_text(encoding="utf-8")
    for name, part in parts.items():
        begin = f"<!-- measured: {name} -->"
        if begin not in text:
            raise ValueError(f"{page} has no place for {name}: {begin} ... <!-- end -->")
        pattern = re.escape(begin) + r".*?<!-- end -->"
        text = re.sub(pattern, lambda _, whole=f"{begin}\n{part}\n<!-- end -->": whole, text, flags=re.DOTALL)  # type: ignore[misc]
    page.write_text(text, encoding="utf-8")


def measured(results: Results, wanted: Sequence[Study], found: Sequence[tuple[Row, Finding]]) -> dict[str, str]:
    """Every measured part of the page, by name."""
    parts = {"table": verdicts(found), "times": times(results, wanted)}
    for name, (remark, studies) in REMARKS.items():
        if all(results.has(study) for study in studies):
            parts[name] = remark(results)
    return parts
