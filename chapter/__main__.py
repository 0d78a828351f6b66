"""``python -m chapter``: runs the studies, draws the figures, writes the table."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from chapter.results import Results
from chapter.running import ROOT, STUDIES, run, studies
from hpo.errors import HpoError, Interrupted


def main() -> int:
    """Returns 0, or 1 where a claim lies outside its band."""
    parser = argparse.ArgumentParser(prog="python -m chapter", description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "chapter", help="working folder of the studies")
    parser.add_argument("--workers", type=int, default=None, help="trials at once (one per core)")
    parser.add_argument("--tracking", default=None, help="an MLflow store, or none (a database in the folder)")
    parser.add_argument("--only", nargs="+", choices=STUDIES, default=STUDIES, metavar="STUDY", help="these studies")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where chapter.md and its figures are")
    asked = parser.parse_args()
    begun = time.monotonic()
    wanted = studies(asked.only)
    try:
        run(wanted, asked.folder, workers=asked.workers, tracking=asked.tracking)
    except (HpoError, Interrupted) as error:
        sys.stderr.write(f"hpo: {error}\n")
        return 130 if isinstance(error, Interrupted) else 1
    ran = time.monotonic() - begun
    code = write(wanted, asked.folder, asked.docs)
    sys.stdout.write(f"studies: {ran / 60:.1f} minutes, in all {(time.monotonic() - begun) / 60:.1f} minutes\n")
    return code


def write(wanted: list, folder: Path, docs: Path) -> int:  # type: ignore[type-arg]
    """Figures and page; returns 1 where a claim lies outside its band."""
    from chapter.writing import judge, measured, write_figures, write_page  # not before the search: matplotlib

    results = Results.read(folder)
    found = judge(results)
    for row, finding in found:
        band = "in the band" if finding.inside else "OUTSIDE THE BAND"
        sys.stdout.write(f"{row.id:4} {band}, {row.verdict(finding)}: {finding.measured}\n")
    write_page(docs / "chapter.md", measured(results, wanted, found))
    figures = write_figures(results, wanted, docs / "images" / "chapter")
    size = sum(path.stat().st_size for path in figures)
    sys.stdout.write(f"{docs / 'chapter.md'}: {len(found)} claims; {len(figures)} figures, {size / 1024:.0f} kB\n")
    return 0 if all(finding.inside for _, finding in found) else 1


if __name__ == "__main__":
    sys.exit(main())
