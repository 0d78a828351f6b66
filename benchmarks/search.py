"""Which sampler and which pruner find better values for the same work: the search of Fig 6-24 on MNIST, many times.

Random search, TPE and narrowing run 100 trials each. ASHA and Hyperband, with random search, get the same number of
epochs. Repeat r gives every method seed r and validation split r, so that methods are compared pair by pair. The same
command resumes an interrupted benchmark, and prints the table.

    HPO_DATA_DIR=... OMP_NUM_THREADS=1 python benchmarks/search.py [--repeats 10] [--processes 2] [--folder DIR]

With --table it runs nothing, and prints the table of the repeats that all methods have finished.
"""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from hpo.compare.comparison import BEST, REPORTS, TRIALS, Comparison, Contrast, Trace, compare, contrast, correct, trace
from hpo.execution import Job
from hpo.execution.inline import InlineExecutor
from hpo.ledger import snapshots as books
from hpo.ledger.address import parse
from hpo.ledger.ledger import Ledger
from hpo.search.loop import Search
from hpo.study import load
from hpo.trial import Direction, Trial

FILE = Path(__file__).parents[1] / "studies" / "fig_6_24.toml"
EPOCHS = 50
# How each method differs from the file; all other options have their defaults.
SIDES: dict[str, tuple[str, ...]] = {
    "random": (),
    "tpe": ("sampler.name=tpe",),
    "narrowing": ("sampler.name=narrowing",),
    "asha": ("pruner={ name = 'asha', min_resource = 5, max_resource = 50, reduction_factor = 3 }",),
    "hyperband": ("pruner={ name = 'hyperband', min_resource = 5, max_resource = 50, reduction_factor = 3 }",),
}


class Limit:
    """A watcher that ends a search when its finished trials have this many epochs."""

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
        one.run(InlineExecutor(Job(study.objective, study.metric, study.fixed)), [limit])
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


# The table ---------------------------------------------------------------------------------------------------------


def read(sides: Sequence[str], repeats: int, trials: int, folder: Path) -> dict[str, dict[int, Trace]]:
    """The searches of the repeats that every side has finished."""
    found: dict[str, dict[int, Trace]] = {}
    for side in sides:
        known = books.read_all(parse(str(folder / f"{side}.journal")), lambda name: True)
        traces = {
            r: trace(known[f"{side}-r{r}"].trials, Direction.MAXIMIZE)
            for r in range(repeats)
            if f"{side}-r{r}" in known
        }
        found[side] = {r: one for r, one in traces.items() if len(one.reports) and one.reports[-1] >= trials * EPOCHS}
    whole = set.intersection(*(set(traces) for traces in found.values()))
    return {side: {repeat: traces[repeat] for repeat in sorted(whole)} for side, traces in found.items()}


def tables(found: dict[str, dict[int, Trace]], trials: int) -> Iterator[str]:
    ends = [one.best[-1] for one in found["random"].values()]
    target = float(np.median(ends))
    yield f"{len(ends)} repeats; the target is the median best of `random` after {trials} trials, {target:.3g}."
    for axis, names in ((TRIALS, ("random", "tpe", "narrowing")), (REPORTS, ("random", "asha", "hyperband"))):
        if all(name in found for name in names):
            yield from table(compare({name: found[name] for name in names}, Direction.MAXIMIZE, axis, target))
    yield from third(found, trials * EPOCHS)


def table(judged: Comparison) -> Iterator[str]:
    unit = {TRIALS: "trials", REPORTS: "epochs"}[judged.axis]
    yield f"\nEqual {unit}: {judged.common[judged.axis]:,}\n"
    yield (
        "| side | trials | epochs | best | mean of best so far | reached the target | trials to it | epochs to it |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    for side in judged.sides:
        traces = side.traces.values()
        cells = [
            side.name,
            f"{np.median([len(one.best) for one in traces]):.0f}",
            f"{np.median([one.reports[-1] for one in traces]):,.0f}",
            middle(side.best),
            middle(side.area),
            f"{side.reached} of {len(traces)}",
            *("-" if (count := side.to_target[key]) is None else f"{count:,.0f}" for key in (TRIALS, REPORTS)),
        ]
        yield "| " + " | ".join(cells) + " |"
    yield from differences(judged.contrasts)


def third(found: dict[str, dict[int, Trace]], epochs: int) -> Iterator[str]:
    """Is a third of the epochs enough for the best value of a search that prunes nothing?"""
    ends = {repeat: one.best[-1] for repeat, one in found["random"].items()}
    yield f"\nEpochs until the best value that `random` had after {epochs:,} epochs of the same repeat\n"
    yield "| side | reached | median [quartiles] | within a third |\n|---|---|---|---|"
    for name, traces in found.items():
        taken = np.array([until(one, ends[repeat]) for repeat, one in traces.items()])
        cells = (name, f"{np.isfinite(taken).sum()} of {len(taken)}", ordered(taken), f"{sum(taken <= epochs / 3)}")
        yield "| " + " | ".join(cells) + " |"
    less = np.array([epochs // 3])
    base = np.array([*ends.values()])
    rows = []
    for name in ("asha", "hyperband"):
        if name in found:
            own = np.array([one.at(less, REPORTS, 0.0)[0] for one in found[name].values()])
            rows.append(
                contrast(
                    BEST, (f"{name} after {less[0]:,} epochs", own), ("random after all", base), Direction.MAXIMIZE
                )
            )
    yield from differences(correct(rows, Direction.MAXIMIZE))


def until(one: Trace, value: float) -> float:
    """Epochs until a value; infinite when it is never reached."""
    there = np.flatnonzero(one.best >= value)
    return float(one.reports[there[0]]) if len(there) else np.inf


def ordered(taken: np.ndarray) -> str:
    """Median and quartiles that may be infinite: no means of two are taken."""
    low, median, high = np.quantile(taken, [0.25, 0.5, 0.75], method="inverted_cdf")
    return f"{median:,.0f} [{low:,.0f}, {high:,.0f}]".replace("inf", "never")


def differences(contrasts: Sequence[Contrast]) -> Iterator[str]:
    yield (
        "\n| first - second | measure | mean difference [95% interval] | first ahead | p (Holm) | verdict |\n"
        "|---|---|---|---|---|---|"
    )
    for one in contrasts:
        interval = "-" if one.interval is None else "[{:+.3f}, {:+.3f}]".format(*one.interval)
        verdict = "no difference shown" if one.better is None else f"{one.better.split()[0]} is better"
        yield (
            f"| {one.first} - {one.second} | {one.measure} | {one.difference:+.3f} {interval} "
            f"| {one.superiority:.0%} | {one.corrected:.2g} | {verdict} |"
        )


def middle(values: np.ndarray) -> str:
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{median:.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--trials", type=int, default=100, help="of the sides without a pruner")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--sides", nargs="+", choices=list(SIDES), default=list(SIDES), help="random is always one")
    parser.add_argument("--folder", type=Path, default=Path("search-quality"), help="where the ledgers are kept")
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument("--figure", type=Path, help="draw all sides into this PNG file")
    options = parser.parse_args()
    options.sides = list(dict.fromkeys(["random", *options.sides]))
    if not options.table:
        options.folder.mkdir(parents=True, exist_ok=True)
        run_all(options.sides, options.repeats, options.trials, options.folder, options.processes)
    found = read(options.sides, options.repeats, options.trials, options.folder)
    if not found["random"]:
        parser.error("no repeat is finished on every side")
    print("\n".join(tables(found, options.trials)))
    if options.figure is not None:
        from hpo.compare.figure import comparison
        from hpo.report.files import png

        options.figure.write_bytes(png(comparison(compare(found, Direction.MAXIMIZE, REPORTS), "val_accuracy")))


if __name__ == "__main__":
    main()
