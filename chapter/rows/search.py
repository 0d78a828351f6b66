"""Section 6.5: rows H1 to H9, and S1."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import kstest, spearmanr

from chapter.results import Floats, Results
from chapter.rows.row import Finding, Row, between, numbers
from hpo.samplers.random import uniform
from hpo.trial import Direction, State, Trial, best_first
from trainer import data

SEARCH, SECOND = "fig-6-24", "fig-6-24-second-round"
BANDS = (  # learning rates from, to, and the mean accuracy of the reference
    (1e-6, 1e-4, 0.10),
    (1e-4, 1e-3, 0.15),
    (1e-3, 3e-3, 0.31),
    (3e-3, 5e-3, 0.55),
    (5e-3, 7.5e-3, 0.74),
    (7.5e-3, 1e-2, 0.79),
)


def values(trials: list[Trial]) -> Floats:
    return np.array([trial.value for trial in trials if trial.state == State.COMPLETE], dtype=np.float64)


def rank_correlation(results: Results, name: str) -> float:
    trials = [trial for trial in results.trials(SEARCH) if trial.state == State.COMPLETE]
    return float(spearmanr([math.log10(t.params[name]) for t in trials], values(trials)).statistic)


def by_rate(results: Results) -> list[tuple[int, float]]:
    """How many trials of both rounds lie in each band of learning rates, and their mean accuracy."""
    trials = [t for study in (SEARCH, SECOND) for t in results.trials(study) if t.state == State.COMPLETE]
    groups = [values([t for t in trials if low <= t.params["lr"] < high]) for low, high, _ in BANDS]
    return [(len(group), float(group.mean())) for group in groups]


def _split(_: Results) -> Finding:
    t = np.arange(60_000, dtype=np.int64)
    x = t[:, None].astype(np.float32)
    train, validation = data.split_validation(data.Examples(x, t), 0.2, np.random.default_rng(0))
    both = np.concatenate([train[1], validation[1]])
    inside = len(validation[1]) == 12_000 and np.array_equal(np.sort(both), t)
    inside = inside and all(np.array_equal(part[0][:, 0], part[1]) for part in (train, validation))
    return Finding(f"{len(validation[1]):,} / {len(train[1]):,}, disjoint, complete, pairs kept", bool(inside))


def _roles(results: Results) -> Finding:
    names = {name for trial in results.trials(SEARCH) for report in trial.reports for name in report.metrics}
    text = f"the search reports {', '.join(sorted(names))}; it runs where the test images are missing (a test does)"
    return Finding(text, not any("test" in name for name in names))


def _grid(results: Results) -> Finding:
    found = {}
    for study in (SEARCH, "fig-6-24-grid"):
        trials = results.trials(study)
        found[study] = (len({t.params["lr"] for t in trials}), best_first(trials, Direction.MAXIMIZE)[0].value or 0.0)
    (random, best), (grid, best_grid) = found.values()
    text = f"of 100 trials {random} and {grid} learning rates; best {best:.2f} and {best_grid:.2f}"
    return Finding(text, (random, grid) == (100, 10))


def _logarithm(_: Results) -> Finding:
    exponents = [-3 + 6 * uniform(0, number, "x") for number in range(10_000)]
    p_value = float(kstest(exponents, "uniform", args=(-3, 6)).pvalue)
    return Finding(f"mean exponent {np.mean(exponents):.3f}, Kolmogorov-Smirnov p = {p_value:.2f}", p_value > 0.01)


def _epochs(results: Results) -> Finding:
    lengths = {len(trial.reports) for trial in results.trials(SEARCH)}
    return Finding(f"{', '.join(map(str, lengths))} epochs in every trial", lengths == {50})


def _rounds(results: Results) -> Finding:
    first, second = values(results.trials(SEARCH)), values(results.trials(SECOND))
    text = (
        f"median {np.median(first):.2f}, then {np.median(second):.2f}; {np.mean(first >= 0.7):.0%}, then "
        f"{np.mean(second >= 0.7):.0%} of the trials reach .7"
    )
    return Finding(text, bool(np.median(second) > np.median(first)))


def _bayes(results: Results) -> Finding:
    random, tpe = (values(results.trials(study)) for study in (SEARCH, "fig-6-24-tpe"))
    text = (
        f"best {random.max():.2f} (random), {tpe.max():.2f} (TPE); {np.mean(random >= 0.7):.0%} and "
        f"{np.mean(tpe >= 0.7):.0%} of the trials reach .7"
    )
    return Finding(text, True, holds=bool(np.mean(tpe >= 0.7) > np.mean(random >= 0.7)))


def _search(results: Results) -> Finding:
    best = best_first(results.trials(SEARCH), Direction.MAXIMIZE)[:5]
    correlation = rank_correlation(results, "lr")
    rates = [trial.params["lr"] for trial in best]
    inside = between(best[0].value or 0.0, 0.65, 0.95) and min(rates) > 1e-3 and correlation >= 0.45
    text = f"best five {numbers([t.value or 0.0 for t in best], '.2f')} at lr {numbers(rates, '.2g')}; "
    return Finding(f"{text}rank correlation with lr {correlation:.2f}", inside)


def _ranges(results: Results) -> Finding:
    found = by_rate(results)
    within = all(abs(mean - wanted) <= 0.10 for (_, mean), (_, _, wanted) in zip(found, BANDS, strict=True))
    decay = rank_correlation(results, "weight_decay")
    means, counts = numbers([mean for _, mean in found], ".2f"), numbers([count for count, _ in found], "d")
    text = f"mean accuracy by learning rate {means} ({counts} trials); rank correlation with weight decay {decay:+.2f}"
    return Finding(text, within and abs(decay) < 0.30, holds=False)


SUMMED_UP = ("U15", "W13", "B8", "R4", "R8", "H8")


def _summary(results: Results) -> Finding:
    from chapter.rows import ROWS as ALL  # this row is one of them

    found = {row.id: row.measure(results) for row in ALL if row.id in SUMMED_UP}
    text = f"{sum(finding.inside for finding in found.values())} of {len(found)} in their bands"
    every = found.values()
    return Finding(text, all(finding.inside for finding in every), all(finding.holds for finding in every))


ROWS = (
    Row("H1", "6.5.1", "A validation share is split off after shuffling", "20%: 12,000 / 48,000, exactly", _split),
    Row("H2", "6.5.1", "Never tune on the test data", "the search cannot read it", _roles, [SEARCH]),
    Row(
        "H3",
        "6.5.2",
        "Random sampling beats a grid",
        "n against √n distinct learning rates",
        _grid,
        [SEARCH, "fig-6-24-grid"],
        "one search each shows what they see, not which is better; [ten each](measurements/search-quality.md) would",
    ),
    Row("H4", "6.5.2", "Draw on a logarithmic scale", "10,000 draws: KS p > .01", _logarithm),
    Row("H5", "6.5.2", "Few epochs per trial", "exactly 50", _epochs, [SEARCH]),
    Row(
        "H6",
        "6.5.2",
        "Steps 0 to 3: sample, look, narrow, again",
        "median of round 2 above that of round 1",
        _rounds,
        [SEARCH, SECOND],
        "through the learning rate; the narrowed range of the weight decay rests on noise (H9)",
    ),
    Row(
        "H7",
        "6.5.2",
        "Bayesian optimisation is the refined alternative",
        "no experiment",
        _bayes,
        [SEARCH, "fig-6-24-tpe"],
        "one search each; ten each are in [search-quality.md](measurements/search-quality.md)",
    ),
    Row(
        "H8",
        "6.5.3",
        "Fig 6-24: best five .83, .78, .77, .74, .73 of 100 random trials",
        "best .65-.95; best five at lr > .001; rank correlation with lr ≥ .45",
        _search,
        [SEARCH],
    ),
    Row(
        "H9",
        "6.5.3",
        "Good ranges: lr .001-.01, weight decay 1e-8 to 1e-6",
        ".10, .15, .31, .55, .74, .79 ± .10 by learning rate; |correlation| with weight decay < .30",
        _ranges,
        [SEARCH, SECOND],
        "true of the learning rate; the weight decay does nothing that can be measured "
        "([details](#the-weight-decay-axis-is-flat))",
    ),
    Row(
        "S1",
        "6.6",
        "The summary's six points",
        ", ".join(SUMMED_UP),
        _summary,
        ["fig-6-9", "fig-6-15", "fig-6-19", "fig-6-21", "fig-6-23", SEARCH],
        "with the remarks of these rows",
    ),
)
