"""Which sampler and which pruner find more for the same work: the chapter's search on the real MNIST, many times.

Random search, TPE and narrowing with 100 trials each; ASHA and Hyperband over random search with the worker time of
those 100 trials, counted in epochs. Repeat r gives every side the seed r and the validation split r, so the sides are
compared pair by pair. A search that has finished is not run again: the same command goes on, and prints the table.

    HPO_DATA_DIR=... OMP_NUM_THREADS=1 python benchmarks/search.py [--repeats 10] [--processes 2] [--folder DIR]
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from hpo.execution import Job
from hpo.execution.inline import InlineExecutor
from hpo.ledger.address import parse
from hpo.ledger.ledger import Ledger
from hpo.search import Search
from hpo.study import load
from hpo.trial import Trial

FILE = Path(__file__).parents[1] / "studies" / "fig_6_24.toml"
EPOCHS = 50
# What makes each side, beside the file; all options that are not named have their defaults.
SIDES: dict[str, tuple[str, ...]] = {
    "random": (),
    "tpe": ("sampler.name=tpe",),
    "narrowing": ("sampler.name=narrowing",),
    "asha": ("pruner={ name = 'asha', min_resource = 5, max_resource = 50, reduction_factor = 3 }",),
    "hyperband": ("pruner={ name = 'hyperband', min_resource = 5, max_resource = 50, reduction_factor = 3 }",),
}


class Limit:
    """A watcher that ends a search after so many epochs of finished trials."""

    def __init__(self, search: Search, epochs: int) -> None:
        self._search = search
        self._left = epochs
        for trial in search.trials:
            self.update(trial)

    def update(self, trial: Trial) -> None:
        if trial.finished:
            self._left -= len(trial.reports)
        if self._left <= 0:
            self._search.interrupt()


def search(side: str, repeat: int, trials: int, folder: Path) -> list[Trial]:
    """One search in this process, one trial at a time: the same numbers on any machine."""
    overrides = (
        f"name={side}-r{repeat}",
        f"sampler.seed={repeat}",
        f"fixed.split_seed={repeat}",
        f"fixed.epochs={EPOCHS}",
        f"budget.trials={trials * EPOCHS}",  # never reached: the limit is on epochs
    )
    study = load(FILE, [*overrides, *SIDES[side]])
    ledger = Ledger.open(parse(str(folder / f"{side}.journal")), study)
    try:
        one = Search(study, ledger)
        limit = Limit(one, trials * EPOCHS)
        one.run(InlineExecutor(Job(study.objective, study.metric)), [limit])
        return one.trials
    finally:
        ledger.close()


def run(task: tuple[str, int, int, Path]) -> None:
    trials = search(*task)
    print(f"{task[0]}-r{task[1]}: {len(trials)} trials", flush=True)


def run_all(sides: Sequence[str], repeats: int, trials: int, folder: Path, processes: int) -> None:
    tasks = [(side, repeat, trials, folder) for repeat, side in product(range(repeats), sides)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for _ in pool.imap_unordered(run, tasks):
            pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--trials", type=int, default=100, help="of the sides without a pruner")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--sides", nargs="+", choices=list(SIDES), default=list(SIDES))
    parser.add_argument("--folder", type=Path, default=Path("search-quality"), help="where the ledgers are kept")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    run_all(options.sides, options.repeats, options.trials, options.folder, options.processes)


if __name__ == "__main__":
    main()
