"""``python -m chapter``: runs the studies, draws the figures, writes the table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from chapter.running import ROOT, STUDIES, run, studies


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chapter", description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "chapter", help="working folder of the studies")
    parser.add_argument("--workers", type=int, default=None, help="trials at once (one per core)")
    parser.add_argument("--tracking", default=None, help="an MLflow store, or none (a database in the folder)")
    parser.add_argument("--only", nargs="+", choices=STUDIES, default=STUDIES, metavar="STUDY", help="run these alone")
    asked = parser.parse_args()
    run(studies(asked.only), asked.folder, workers=asked.workers, tracking=asked.tracking)
    return 0


if __name__ == "__main__":
    sys.exit(main())
