"""Does a pruner find better fronts for the same training? Accuracy against the size of the network, on MNIST.

The study is `studies/accuracy_and_size.toml`, with MNIST's first 1,250 images instead of scikit-learn's digits. One
side runs every trial to its end; the others prune. All get the same number of epochs. Repeat r gives every side seed r
and validation split r, so that sides are compared pair by pair: by the hypervolume of the complete trials' front, as a
share of one box that all trials of all searches make, as `hpo compare` does. The number of parameters spans a factor of
a hundred, so that it counts once as it is and once by its logarithm. The same command resumes an interrupted benchmark,
and prints the table.

    HPO_DATA_DIR=... OMP_NUM_THREADS=1 python -m benchmarks.pruned_fronts [--repeats 10] [--sides asha] [--folder DIR]

With --table it runs nothing, and prints the table of the repeats that all sides have finished.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from benchmarks.search import Limit, differences, middle
from hpo.compare.comparison import REPORTS, Side, Trace, compare, correct, follow, in_hypervolume
from hpo.execution import Job
from hpo.execution.inline import InlineExecutor
from hpo.ledger import snapshots
from hpo.ledger.address import parse
from hpo.ledger.ledger import Ledger
from hpo.search.loop import Search
from hpo.study import load
from hpo.trial import Direction

FILE = Path(__file__).parents[1] / "studies" / "accuracy_and_size.toml"
EPOCHS, TRIALS = 27, 24  # of a whole trial, and how many of those the budget pays for
ALL = "all epochs"
RUNGS = "min_resource = 3, max_resource = 27, reduction_factor = 3"
SIDES: dict[str, str] = {
    ALL: "{ name = 'none' }",
    "asha": f"{{ name = 'asha', {RUNGS} }}",
    "hyperband": f"{{ name = 'hyperband', {RUNGS} }}",
    "median": "{ name = 'median', n_warmup_steps = 3 }",
}


def ledger_of(side: str, folder: Path) -> str:
    return str(folder / f"{side.replace(' ', '-')}.journal")


def search(side: str, repeat: int, sampler: str, folder: Path) -> None:
    """One search in this process, one trial at a time: the same numbers on any machine."""
    overrides = (
        f"name=r{repeat}",
        f"sampler={{ name = '{sampler}', seed = {repeat} }}",
        f"pruner={SIDES[side]}",
        "fixed.dataset=mnist",
        "fixed.train_size=1250",
        f"fixed.split_seed={repeat}",
        f"fixed.epochs={EPOCHS}",
        "examples=250",
        f"budget.trials={TRIALS * EPOCHS}",  # never reached: the limit is on epochs
    )
    study = load(FILE, overrides)
    ledger = Ledger.open(parse(ledger_of(side, folder)), study)
    try:
        one = Search(study, ledger)
        limit = Limit(one, TRIALS * EPOCHS)
        one.run(InlineExecutor(Job(study.objective, study.metric, study.fixed)), [limit])
        print(f"{side}, repeat {repeat}: {len(one.trials)} trials", flush=True)
    finally:
        ledger.close()


# The table ---------------------------------------------------------------------------------------------------------


def read(sides: Sequence[str], repeats: int, folder: Path) -> dict[str, dict[int, Trace]]:
    """The searches of the repeats that every side has finished."""
    found: dict[str, dict[int, Trace]] = {}
    for side in sides:
        known = snapshots.read_all(parse(ledger_of(side, folder)), lambda name: True)
        traces = {
            r: follow(known[f"r{r}"].trials, known[f"r{r}"].study.objectives)
            for r in range(repeats)
            if f"r{r}" in known
        }
        found[side] = {r: one for r, one in traces.items() if one.reports[-1:].sum() >= TRIALS * EPOCHS}
    whole = set.intersection(*(set(traces) for traces in found.values()))
    return {side: {repeat: traces[repeat] for repeat in sorted(whole)} for side, traces in found.items()}


def by_logarithm(one: Trace) -> Trace:
    """The same search where the second objective counts by its logarithm."""
    assert one.costs is not None
    return replace(one, costs=np.column_stack([one.costs[:, 0], np.log10(one.costs[:, 1])]))


def tables(found: dict[str, dict[int, Trace]]) -> Iterator[str]:
    yield f"{len(found[ALL])} repeats of {TRIALS * EPOCHS} epochs; medians [quartiles]\n"
    yield "| side | trials | complete | `parameters` as it is | its logarithm |\n|---|---|---|---|---|"
    logs = {side: {r: by_logarithm(one) for r, one in traces.items()} for side, traces in found.items()}
    goals = {"val_accuracy": Direction.MAXIMIZE, "parameters": Direction.MINIMIZE}
    judged = [compare(in_hypervolume(sides, goals)[0], Direction.MAXIMIZE, REPORTS) for sides in (found, logs)]
    for plain, logarithm in zip(judged[0].sides, judged[1].sides, strict=True):
        trials, complete = counts(plain)
        yield f"| {plain.name} | {trials} | {complete} | {middle(plain.best)} | {middle(logarithm.best)} |"
    contrasts = [
        replace(one, measure=f"{one.measure}, {scale}")
        for comparison, scale in zip(judged, ("as it is", "logarithm"), strict=True)
        for one in comparison.contrasts
        if ALL in (one.first, one.second)
    ]
    yield from differences(correct(contrasts, Direction.MAXIMIZE))


def counts(side: Side) -> tuple[str, str]:
    """The medians of the trials, and of those that are complete."""
    finished = [one.costs for one in side.traces.values() if one.costs is not None]
    complete = [np.isfinite(costs).all(axis=1).sum() for costs in finished]
    return f"{np.median([len(costs) for costs in finished]):.0f}", f"{np.median(complete):.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--sides", nargs="+", choices=list(SIDES), default=["asha"], help=f"beside {ALL!r}")
    parser.add_argument("--sampler", default="random", help="of all sides; a folder holds searches with one of them")
    parser.add_argument("--folder", type=Path, default=Path("pruned-fronts"), help="where the ledgers are kept")
    parser.add_argument("--table", action="store_true", help="run nothing")
    options = parser.parse_args()
    sides = list(dict.fromkeys([ALL, *options.sides]))
    if not options.table:
        options.folder.mkdir(parents=True, exist_ok=True)
        for repeat, side in product(range(options.repeats), sides):
            search(side, repeat, options.sampler, options.folder)
    found = read(sides, options.repeats, options.folder)
    if not found[ALL]:
        parser.error("no repeat is finished on every side")
    print("\n".join(tables(found)))


if __name__ == "__main__":
    main()
