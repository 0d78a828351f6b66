"""How a comparison of studies looks: a table and one sentence per contrast, or JSON."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

import numpy as np

from hpo.cli.text import number, print_table, seconds
from hpo.verdict import ALPHA, AXES, BEST, Comparison, Contrast, Floats, Side, fewest_pairs


def print_comparison(found: Comparison, metric: str) -> None:
    budget = f"{found.common[found.axis]} {found.axis}"
    rows = [
        [
            side.name,
            str(len(side.traces)) + (f" ({side.failed} failed)" if side.failed else ""),
            _middle(side.best),
            _middle(side.area),
            f"{side.reached}/{len(side.traces)}",
            *(number(side.to_target[axis]) for axis in AXES),
            seconds(side.to_target["seconds"]),
        ]
        for side in found.sides
    ]
    sys.stdout.write(f"{metric}, {found.direction}, on a common budget of {budget}; medians [quartiles]\n\n")
    heads = ["", "repeats", "best", "mean of best so far", f"reached {found.target:.4g}", "trials", "reports", "time"]
    print_table(heads, rows)
    sys.stdout.write("\n")
    if not found.contrasts:
        sys.stdout.write("no two studies have a repeat in common: nothing to test\n")
        return
    print_table(
        ["", "measure", "verdict", "difference", "ahead", "p"],
        [_row(contrast, budget) for contrast in found.contrasts],
        words=True,
    )
    sys.stdout.write(
        "\nDifferences: first - second, mean over paired repeats with a 95% bootstrap interval; p: paired sign-flip "
        f"test, two-sided, corrected for {len(found.contrasts)} tests (Holm)\n"
    )
    pairs, fewest = min(c.pairs for c in found.contrasts), fewest_pairs(len(found.contrasts))
    if pairs < fewest:
        sys.stdout.write(f"{pairs} paired repeats cannot show any difference here; it takes at least {fewest}\n")


def _row(contrast: Contrast, budget: str) -> list[str]:
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
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return f"{middle:.4g} [{low:.4g}, {high:.4g}]"


def to_dict(found: Comparison, metric: str) -> dict[str, Any]:
    return {
        "metric": metric,
        "direction": found.direction,
        "over": found.axis,
        "common": dict(found.common),
        "target": found.target,
        "studies": [_side_to_dict(side) for side in found.sides],
        "contrasts": [asdict(contrast) for contrast in found.contrasts],
        "alpha": ALPHA,
        "fewest_repeats": fewest_pairs(len(found.contrasts)),
    }


def _side_to_dict(side: Side) -> dict[str, Any]:
    return {
        "name": side.name,
        "repeats": list(side.traces),
        "failed": side.failed,
        "best": side.best.tolist(),
        "mean_best_so_far": side.area.tolist(),
        "target": {"reached": side.reached, **side.to_target},
    }
