"""What the table has no room for: the numbers behind the remarks, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chapter.results import Floats, Results
from chapter.rows.normalisation import FAILED, SCALES, final_accuracies
from chapter.rows.regularisation import gap
from chapter.rows.row import spread
from chapter.rows.search import SEARCH, rank_correlation, values
from hpo.trial import State, Trial

RATES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
OPTIMIZERS = {"sgd": "SGD", "momentum": "Momentum", "nesterov": "Nesterov", "adagrad": "AdaGrad", "rmsprop": "RMSProp"}
OPTIMIZERS |= {"adam": "Adam"}


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def rates(results: Results) -> str:
    """The loss of six optimizers at five rates."""
    losses: dict[tuple[str, float], float] = {}
    rows = []
    for optimizer, name in OPTIMIZERS.items():
        cells = []
        for rate in RATES:
            trials = [t for t in results.trials("rates", optimizer=optimizer) if np.isclose(t.params["lr"], rate)]
            known = [trial.value for trial in trials if trial.value is not None]
            lost = [trial for trial in trials if trial.value is None]
            losses[optimizer, rate] = float(np.mean(known)) if known and not lost else np.inf
            why = "diverged" if all(trial.state is State.INFEASIBLE for trial in lost) else "failed"
            cells.append(f"{np.mean(known):.3g}" if known and not lost else f"{len(lost)} of {len(trials)} {why}")
        rows.append([name, *cells])
    best = {optimizer: min(RATES, key=lambda rate: losses[optimizer, rate]) for optimizer in OPTIMIZERS}
    order = sorted(OPTIMIZERS, key=lambda optimizer: losses[optimizer, best[optimizer]])
    ranked = ", ".join(f"{OPTIMIZERS[o]} {losses[o, best[o]]:.3g} (lr {best[o]:g})" for o in order)
    heads = ["loss, last 100 of 2000 updates", *(f"lr {rate:g}" for rate in RATES)]
    return f"{table(heads, rows)}\n\nEach at its best rate of these: {ranked}."


def scales(results: Results) -> str:
    """Final accuracies of Fig 6-19."""
    with_norm, plain = final_accuracies(results)

    def cell(column: Floats) -> str:
        lost = int((column == FAILED).sum())
        known = column[column != FAILED]
        text = spread(known) if len(known) > 1 else "".join(f"{value:.3f}" for value in known)
        return f"{text}{', ' if lost and len(known) else ''}{f'{lost} of {len(column)} NaN' if lost else ''}"

    rows = [[f"{s:.4g}", cell(with_norm[:, i]), cell(plain[:, i])] for i, s in enumerate(SCALES)]
    return table(["initial scale", "with batch normalisation", "without"], rows)


def regularise(results: Results) -> str:
    """Test accuracy with and without batch normalisation."""
    rows = []
    for rate in (0.01, 0.03, 0.1, 0.3, 1.0):
        cells = [f"{rate:g}"]
        for metric in ("train_accuracy", "test_accuracy"):
            for batch_norm in (True, False):
                trials = results.trials("batch-norm-and-rates", batch_norm=batch_norm, lr=rate)
                known = np.array([trial.last(metric) for trial in trials if trial.value is not None], dtype=np.float64)
                lost = len(trials) - len(known)
                cells.append(f"{lost} of {len(trials)} NaN" if lost else spread(known))
        rows.append(cells)
    return table(["lr", "training, with", "training, without", "test, with", "test, without"], rows)


def generalise(results: Results) -> str:
    """What weight decay and dropout do to both accuracies, and against stopping early."""
    rows = []
    for study, name, label, wanted in (
        ("fig-6-21", "weight_decay", "weight decay .1, 201 epochs", 0.1),
        ("fig-6-23", "dropout", "dropout .15, 301 epochs", 0.15),
        ("fig-6-23", "dropout", "dropout .2, 301 epochs", 0.2),
    ):
        plain, treated = ({name: value} for value in (0.0, wanted))
        change = [
            results.last(study, metric, **treated) - results.last(study, metric, **plain)
            for metric in ("train_accuracy", "test_accuracy")
        ]
        gaps = gap(results, study, **treated) - gap(results, study, **plain)
        early = treated_against_stopped(results, study, plain, treated)
        rows.append([label, spread(change[0]), spread(change[1]), spread(gaps), spread(early)])
    heads = ["against none", "training", "test", "gap, last 20 epochs", "test, against none stopped early"]
    return table(heads, rows)


def treated_against_stopped(results: Results, study: str, plain: dict[str, float], treated: dict[str, float]) -> Floats:
    """Test accuracy minus that of the plain network when it first had the same training accuracy, per seed."""
    curves = {
        metric: (results.curves(study, metric, **plain), results.curves(study, metric, **treated))
        for metric in ("train_accuracy", "test_accuracy")
    }
    gains = []
    for seed in range(len(curves["train_accuracy"][0])):
        level = curves["train_accuracy"][1][seed, -20:].mean()
        stop = int(np.argmax(curves["train_accuracy"][0][seed] >= level))
        gains.append(curves["test_accuracy"][1][seed, -20:].mean() - curves["test_accuracy"][0][seed, stop])
    return np.array(gains)


def axis(results: Results) -> str:
    """Weight decay in the search, and alone."""
    decays = (0.0, 1e-8, 1e-6, 1e-4, 1e-2, 0.1)
    ends = {d: results.curves("weight-decay-axis", "val_accuracy", weight_decay=d)[:, -5:].mean(axis=1) for d in decays}
    rows = [[f"{decay:g}", spread(ends[decay])] for decay in decays]
    correlation = {name: rank_correlation(results, name) for name in ("lr", "weight_decay")}
    best = values(results.trials("weight-decay-axis", weight_decay=1e-6))
    return (
        f"Rank correlation with the accuracy in the search: {correlation['lr']:+.2f} for the learning rate, "
        f"{correlation['weight_decay']:+.2f} for the weight decay ({len(results.trials(SEARCH))} trials). At one "
        f"learning rate, .0092, over the same five seeds:\n\n"
        f"{table(['weight decay', 'validation accuracy, last 5 epochs'], rows)}\n\n"
        f"Repeats of one setting (weight decay 1e-6) end between {best.min():.2f} and {best.max():.2f}."
    )


def held_out(results: Results) -> str:
    """The test images against training images that the network has not seen."""
    rows, same = [], True
    for decay, name in ((0.0, "none"), (0.1, "weight decay .1")):
        tests, validations = (
            {trial.seed: trial for trial in results.trials(study, weight_decay=decay)}
            for study in ("fig-6-21", "fig-6-20-validation")
        )
        seeds = [seed for seed in tests if seed in validations]
        test = np.array([tests[seed].last("test_accuracy") for seed in seeds], dtype=np.float64)
        validation = np.array([validations[seed].last("val_accuracy") for seed in seeds], dtype=np.float64)
        rows.append([name, str(len(seeds)), spread(test), spread(validation), spread(validation - test)])
        same = same and all(_training(tests[seed]) == _training(validations[seed]) for seed in seeds)
    heads = ["last epoch", "seeds", "10,000 test images", "images 301 to 10,300 of the training file", "difference"]
    word = "the same, bit by bit" if same else "not the same"
    return f"{table(heads, rows)}\n\nThe training curves of both studies are {word}."


def _training(trial: Trial) -> list[float]:
    return [report.metrics["train_accuracy"] for report in trial.reports]


REMARKS = {
    "rates": (rates, ["rates"]),
    "scales": (scales, ["fig-6-19"]),
    "regularise": (regularise, ["batch-norm-and-rates"]),
    "generalise": (generalise, ["fig-6-21", "fig-6-23"]),
    "axis": (axis, [SEARCH, "weight-decay-axis"]),
    "held-out": (held_out, ["fig-6-21", "fig-6-20-validation"]),
}
