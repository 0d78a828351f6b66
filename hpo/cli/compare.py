"""``hpo compare``: which of several studies is better, from repeats of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from enum import StrEnum
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo import service
from hpo.cli.options import (
    AsJson,
    Overrides,
    Quiet,
    RayAddress,
    Storage,
    Trials,
    Verbose,
    Workers,
    read_path,
    read_workers,
    typed,
    with_trials,
)
from hpo.cli.table import print_table
from hpo.cli.text import print_json, write
from hpo.compare import REPEATS
from hpo.errors import InputError, Interrupted, SearchFailed
from hpo.executors import Executors
from hpo.interrupts import resumable
from hpo.ledger.address import DEFAULT_STORAGE, parse
from hpo.machine import absolute, expand
from hpo.progress import to_stderr
from hpo.text import duration, number
from hpo.trial import Direction

if TYPE_CHECKING:
    from hpo.compare.comparison import Comparison, Contrast
    from hpo.compare.entries import Entry
    from hpo.statistics import Floats
    from hpo.study import Study


class Over(StrEnum):
    """What makes budgets equal."""

    trials = "trials"
    reports = "reports"


Studies = Annotated[
    list[str],
    typer.Argument(
        metavar="STUDY...",
        help="Study files, or names of studies in the ledger (NAME-r0 ... or NAME).",
        show_default=False,
    ),
]
Repeats = Annotated[
    int | None,
    typer.Option(
        "--repeats",
        "-r",
        min=1,
        metavar="R",
        help="How often each file is run; of a name, take the first R.",
        show_default=f"{REPEATS} of a file, all of a name",
    ),
]
EqualOver = Annotated[
    Over | None,
    typer.Option(
        help="What makes budgets equal: trials, or the workers' reports.",
        show_default="trials; reports where the pruners differ",
    ),
]
Target = Annotated[
    float | None,
    typer.Option(metavar="V", help="The value to reach.", show_default="the median best of the first study"),
]
Vary = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="A fixed whole number that grows by 1 with every repeat, as the seed does."),
]
# By default nothing is written there: a comparison has many searches.
Tracking = Annotated[str, typer.Option(metavar="URI", parser=expand, help='The MLflow tracking store, or "none".')]
Out = Annotated[
    Path | None,
    typer.Option(metavar="DIR", parser=read_path, help="Where to write the figure, as PNG and SVG."),
]


def compare(
    studies: Studies,
    repeats: Repeats = None,
    over: EqualOver = None,
    target: Target = None,
    vary: Vary = None,
    trials: Trials = None,
    overrides: Overrides = None,
    workers: Workers = "auto",
    address: RayAddress = None,
    storage: Storage = DEFAULT_STORAGE,
    tracking: Tracking = "none",
    out: Out = None,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Run studies several times, with different seeds, and say which is better; finished searches are not repeated."""
    if target is not None and not math.isfinite(target):
        rule = "must be a finite number"
        raise InputError(f"--target: {rule}, got {target}", key="--target", rule=rule, value=target)
    count, where = read_workers(workers), parse(storage)
    studies = [expand(word) for word in studies]
    home = None if out is None else absolute(out)  # an objective may change the working folder
    from hpo.compare.entries import read_entries, run_repeats

    entries = read_entries(
        studies,
        repeats,
        with_trials(overrides, trials),
        vary,
        where,
        keep=tracking == "none",
        check=lambda study: service.check(study, where),  # the ledger too: nothing is started before all is well
        notify=to_stderr,
    )
    if remark := _too_few_repeats(entries):
        to_stderr(remark)
    command = typed()
    most = max((entry.study.workers for entry in entries), key=lambda resources: resources.cpus)
    executors = Executors(most, count, address, verbose=verbose)
    with resumable(command), closing(executors):
        run = partial(service.run, where=where, executors=executors, tracking=tracking, quiet=quiet)
        if run_repeats(entries, where, run, to_stderr):
            raise Interrupted.during(command)
    study = entries[0].study
    found, metric, reference = _compared(entries, over, target)
    files = [] if home is None or out is None else [out / path.name for path in _draw(found, metric, home)]
    if as_json:
        more = {"objectives": dict(study.objectives), "reference": reference} if reference else {}
        print_json(_to_dict(found, metric) | more | {"files": [str(path) for path in files]})
    else:
        if reference:
            _print_reference(study, reference)
        _print_comparison(found, metric)
        if files:
            write(f"\n{', '.join(map(str, files))}\n")


def _too_few_repeats(entries: Sequence[Entry]) -> str | None:
    """A remark before searches that take their time, and cannot show anything; a single repeat is not meant to."""
    if all(entry.repeats.keys() <= entry.traces.keys() for entry in entries):
        return None  # nothing is to be run
    repeats = [entry.repeats.keys() | entry.traces.keys() for entry in entries]
    pairs = [len(one & two) for one, two in combinations(repeats, 2) if one & two]
    fewest = min(pairs, default=0)
    return _cannot_show(fewest, 2 * len(pairs)) if fewest > 1 else None  # each pair is tested under two measures


def _cannot_show(pairs: int, tests: int) -> str | None:
    """The remark that there are too few paired repeats for so many tests; None where there are enough."""
    from hpo.statistics import fewest_pairs

    if pairs >= (fewest := fewest_pairs(tests)):
        return None
    return f"{pairs} paired repeats cannot show any difference here; it takes at least {fewest}"


def _compared(
    entries: Sequence[Entry], over: Over | None, target: float | None
) -> tuple[Comparison, str, dict[str, float]]:
    """The comparison, what it compares, and the reference point of the hypervolume where it compares that."""
    from hpo.compare import comparison
    from hpo.compare.entries import common_axis

    axis = over.value if over is not None else common_axis(entries)
    study, sides = entries[0].study, {entry.name: entry.traces for entry in entries}
    metric, direction = study.metric, study.direction
    reference: dict[str, float] = {}
    try:
        if len(study.objectives) > 1:
            sides, reference = comparison.in_hypervolume(sides, study.objectives)
            metric, direction = comparison.HYPERVOLUME, Direction.MAXIMIZE
        return comparison.compare(sides, direction, axis, target), metric, reference
    except ValueError as error:
        raise SearchFailed(str(error)) from None


def _draw(found: Comparison, metric: str, folder: Path) -> list[Path]:
    from hpo.compare import figure

    try:
        return figure.write(found, metric, folder)
    except OSError as error:
        raise InputError(f"--out: cannot write {error.filename}: {error.strerror}", key="--out") from None


def _print_reference(study: Study, reference: Mapping[str, float]) -> None:
    worst = ", ".join(f"{name} {number(value)}" for name, value in reference.items())
    write(
        f"{study.goals}: compared by hypervolume: the share of the region between the best values and the reference "
        f"point ({worst}) that a front dominates\n\n"
    )


def _print_comparison(found: Comparison, metric: str) -> None:
    from hpo.compare.comparison import AXES

    budget = f"{found.common[found.axis]} {found.axis}"
    rows = [
        [
            side.name,
            str(len(side.traces)) + (f" ({side.failed} failed)" if side.failed else ""),
            _middle(side.best),
            _middle(side.area),
            f"{side.reached}/{len(side.traces)}",
            *(number(side.to_target[axis]) for axis in AXES),
            duration(side.to_target["seconds"]),
        ]
        for side in found.sides
    ]
    write(f"{metric}, {found.direction}, on a common budget of {budget}; medians [quartiles]\n\n")
    heads = ["", "repeats", "best", "mean of best so far", f"reached {found.target:.4g}", "trials", "reports", "time"]
    print_table(heads, rows)
    write("\n")
    if not found.contrasts:
        write("no two studies have a repeat in common: nothing to test\n")
        return
    print_table(
        ["", "measure", "verdict", "difference", "ahead", "p"],
        [_row(contrast, budget) for contrast in found.contrasts],
        words=True,
    )
    write(
        "\nDifferences: first - second, mean over paired repeats with a 95% bootstrap interval; p: paired sign-flip "
        f"test, two-sided, corrected for {len(found.contrasts)} tests (Holm)\n"
    )
    if remark := _cannot_show(min(c.pairs for c in found.contrasts), len(found.contrasts)):
        write(f"{remark}\n")


def _row(contrast: Contrast, budget: str) -> list[str]:
    from hpo.compare.comparison import BEST

    difference = f"{contrast.difference:+.3g}"
    if contrast.interval is not None:
        difference += " [{:+.3g}, {:+.3g}]".format(*contrast.interval)
    return [
        f"{contrast.first} - {contrast.second}",
        f"best after {budget}" if contrast.measure == BEST else contrast.measure,
        f"{contrast.better} is better" if contrast.better else "no difference shown",
        difference,
        f"{contrast.superiority:.0%} of {contrast.pairs}",
        f"{contrast.corrected:.2g}",
    ]


def _middle(values: Floats) -> str:
    from hpo.statistics import quantiles

    low, middle, high = quantiles(values)
    return f"{middle:.4g} [{low:.4g}, {high:.4g}]"


def _to_dict(found: Comparison, metric: str) -> dict[str, Any]:
    from hpo.statistics import ALPHA, fewest_pairs

    return {
        "metric": metric,
        "direction": found.direction,
        "over": found.axis,
        "common": dict(found.common),
        "target": found.target,
        "studies": [
            {
                "name": side.name,
                "repeats": list(side.traces),
                "failed": side.failed,
                "best": side.best.tolist(),
                "mean_best_so_far": side.area.tolist(),
                "target": {"reached": side.reached, **side.to_target},
            }
            for side in found.sides
        ],
        "contrasts": [asdict(contrast) for contrast in found.contrasts],
        "alpha": ALPHA,
        "fewest_repeats": fewest_pairs(len(found.contrasts)),
    }
