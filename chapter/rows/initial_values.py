"""Section 6.2: rows W1 to W13."""

from __future__ import annotations

import numpy as np

from chapter.results import Floats, Results
from chapter.rows.row import Finding, Row, between, near, numbers, spread
from trainer import SGD, Network, data, fit
from trainer.initializers import DEFAULT


def layers(results: Results, study: str, metric: str, **params: object) -> Floats:
    """A metric per layer, mean of the seeds, shape (layers,)."""
    return np.asarray(results.curves(study, metric, **params).mean(axis=0))


def _symmetry(results: Results) -> Finding:
    del results
    spreads, accuracies = [], {}
    for value in (0.0, 0.01, None):
        weights, batches = np.random.default_rng(0), np.random.default_rng(1)
        network = Network(784, [100], 10, weights, activation="sigmoid", initializer=0.01, dtype="float64")
        if value is not None:
            network.params[: network.decayed] = value
        x, t = data.load_train("mnist", 1000)
        train = x.astype(np.float64), t
        *_, last = fit(network, train, optimizer=SGD(0.1), rng=batches, epochs=50, updates=10)
        accuracies[value] = last["train_accuracy"]
        if value is not None:
            spreads.append(float(np.ptp(network.parameters["W1"], axis=1).max()))
    text = (
        f"units stay {max(spreads):g} apart; accuracy after 500 steps {accuracies[0.0]:.3f}, {accuracies[0.01]:.3f}, "
        f"against {accuracies[None]:.3f} from random weights (sigmoid)"
    )
    return Finding(text, max(spreads) == 0.0, holds=max(accuracies[0.0], accuracies[0.01]) < accuracies[None] - 0.3)


def _small_weights(results: Results) -> Finding:
    stuck = results.curves("fig-6-15", "loss", initializer=0.01)[:, -100:].mean(axis=1)
    return Finding(f"five layers do not learn from them: loss {spread(stuck)} (W13)", True)


def _sigmoid_1(results: Results) -> Finding:
    edges = layers(results, "fig-6-10", "edges")
    slope = layers(results, "fig-6-10", "mean") - layers(results, "fig-6-10", "mean_square")
    inside = near(edges[0], 0.734, 0.01) and bool(np.allclose(edges[1:], (0.618, 0.618, 0.614, 0.609), atol=0.12))
    return Finding(f"first and last bin hold {numbers(edges)}; mean a(1-a) {numbers(slope)}", inside)


def _sigmoid_001(results: Results) -> Finding:
    std, unit = layers(results, "fig-6-11", "std"), layers(results, "fig-6-11", "unit_std")
    inside = near(std[0], 0.0250, 0.001) and bool(np.allclose(std[1:], (0.0124, 0.0123, 0.0124, 0.0123), atol=0.004))
    inside = inside and bool(np.allclose(unit, (0.025, 6.2e-4, 1.5e-5, 3.9e-7, 9.6e-9), rtol=0.15))
    return Finding(f"std {numbers(std)}; of a single unit {numbers(unit, '.2g')}", inside)


def _sample_std(rule: str, wanted: float) -> Finding:
    network = Network(784, [100], 10, np.random.default_rng(0), initializer=rule, dtype="float64")
    std = float(network.parameters["W1"].std())
    zero = not network.parameters["b1"].any()
    return Finding(f"std of 784 × 100 weights {std:.5f}; biases 0: {zero}", near(std / wanted, 1, 0.011) and zero)


def _sigmoid_xavier(results: Results) -> Finding:
    std, unit = layers(results, "fig-6-13", "std"), layers(results, "fig-6-13", "unit_std")
    inside = near(std[0], 0.208, 0.004) and bool(np.allclose(std[1:], (0.126, 0.122, 0.121, 0.119), atol=0.04))
    inside = inside and bool(np.allclose(unit, (0.208, 0.0484, 0.0114, 0.00267, 6.29e-4), rtol=0.2))
    return Finding(f"std {numbers(std)}; of a single unit {numbers(unit, '.2g')}", inside)


def _tanh(results: Results) -> Finding:
    std, skew = layers(results, "tanh", "std"), np.abs(results.curves("tanh", "skew")).max(axis=0)
    sigmoid = results.curves("fig-6-13", "skew").std(axis=0)[1:]
    inside = bool(np.allclose(std, (0.627, 0.485, 0.407, 0.356, 0.320), atol=0.03)) and skew.max() < 0.05
    text = f"std {numbers(std)}; largest |skew| {skew.max():.3f}, where sigmoid's scatters by {numbers(sigmoid, '.2g')}"
    return Finding(text, inside)


def _he(results: Results) -> Finding:
    finding = _sample_std("he", 0.05051)
    he, xavier = (results.curves("fig-6-14", "mean", initializer=name) for name in ("he", "xavier"))
    off = float(np.abs(he / (xavier * 2 ** (np.arange(1, 6) / 2)) - 1).max())
    text = f"{finding.measured}; He's activations are Xavier's × √2 per layer (off {off:.0e})"
    return Finding(text, finding.inside and off < 1e-12)


def _relu_001(results: Results) -> Finding:
    means = results.curves("fig-6-14", "mean", initializer=0.01)
    xavier = results.curves("fig-6-14", "mean", initializer="xavier")
    off = float(np.abs(means / (xavier * 10.0 ** -np.arange(1, 6)) - 1).max())
    found, said = means.mean(axis=0), np.array([0.0396, 0.00290, 0.000197, 1.32e-5, 9.46e-7])
    within = np.abs(found / (0.03985, 0.00290, 2.07e-4, 1.46e-5, 1.05e-6) - 1) < (0.025, 0.25, 0.35, 0.45, 0.55)
    deviations = np.abs(said - found) / means.std(axis=0, ddof=1)
    text = (
        f"means {numbers(found)}; the chapter's lie within {deviations.max():.1f} sd; Xavier's × 10^-l (off {off:.0e})"
    )
    return Finding(text, bool(within.all()) and off < 1e-12, holds=bool(deviations.max() < 3))


def _relu_xavier(results: Results) -> Finding:
    means = layers(results, "fig-6-14", "mean", initializer="xavier")
    within = np.abs(means / (0.398, 0.290, 0.207, 0.146, 0.105) - 1) < (0.025, 0.25, 0.35, 0.45, 0.55)
    return Finding(f"means {numbers(means)}", bool(within.all()), holds=bool((np.diff(means) < 0).all()))


def _relu_he(results: Results) -> Finding:
    means = results.curves("fig-6-14", "mean", initializer="he")
    found, ratio = means.mean(axis=0), float(means[:, 4].mean() / means[:, 0].mean())
    zeros = layers(results, "fig-6-14", "zeros", initializer="he")
    inside = near(found[0], 0.564, 0.01) and near(found[4], 0.593, 0.30) and between(ratio, 0.8, 1.3)
    return Finding(f"means {numbers(found)}, last to first {ratio:.2f}; zeros {numbers(zeros, '.2f')}", inside)


def _defaults(_: Results) -> Finding:
    text = ", ".join(f"{activation}: {rule}" for activation, rule in DEFAULT.items())
    return Finding(text, DEFAULT == {"relu": "he", "sigmoid": "xavier", "tanh": "xavier"})


def below_half(losses: Floats) -> int:
    """The first iteration at which the mean of 11 neighbours is below .5."""
    smoothed = np.convolve(losses, np.ones(11) / 11, mode="valid")
    return int(np.argmax(smoothed < 0.5)) + 5 if (smoothed < 0.5).any() else 10**9


def _three_on_mnist(results: Results) -> Finding:
    bands = {0.01: (2.295, 2.307), "xavier": (0.255, 0.33), "he": (0.18, 0.215)}
    losses = {name: results.curves("fig-6-15", "loss", initializer=name) for name in bands}
    ends = {name: values[:, -100:].mean(axis=1) for name, values in losses.items()}
    reached = {name: np.array([below_half(each) for each in losses[name]]) for name in ("xavier", "he")}
    faster = reached["xavier"] >= 1.6 * reached["he"]
    inside = all(between(float(ends[name].mean()), *band) for name, band in bands.items()) and bool(faster.all())
    text = (
        f"loss of the last 100: std .01 {spread(ends[0.01])}, Xavier {spread(ends['xavier'])}, He "
        f"{spread(ends['he'])}; below .5 after {reached['xavier'].mean():.0f} and {reached['he'].mean():.0f} iterations"
    )
    return Finding(text, inside)


ROWS = (
    Row(
        "W1",
        "6.2.1",
        "From equal weights a network learns nothing: they stay equal",
        "largest difference between units exactly 0",
        _symmetry,
    ),
    Row(
        "W2",
        "6.2.1",
        "Small weights, 0.01 × randn, guard against over-fitting",
        "no experiment",
        _small_weights,
        ["fig-6-15"],
        "neither the chapter nor this page measures that; in deep networks they guard against learning (W4, W9, W13)",
    ),
    Row(
        "W3",
        "6.2.2",
        "Fig 6-10: sigmoid with std 1 piles up at 0 and 1",
        "end bins .734 ± .01, then .618, .618, .614, .609 ± .12",
        _sigmoid_1,
        ["fig-6-10"],
    ),
    Row(
        "W4",
        "6.2.2",
        "Fig 6-11: with std .01 all gathers round .5",
        "std .0250 ± .001, then .0124 ± .004; of a unit .025, 6.2e-4, 1.5e-5, 3.9e-7, 9.6e-9",
        _sigmoid_001,
        ["fig-6-11"],
    ),
    Row("W5", "6.2.2", "Xavier: std √(1/n)", ".03571 ± 1.1%", lambda _: _sample_std("xavier", 0.03571)),
    Row(
        "W6",
        "6.2.2",
        "Fig 6-13: with Xavier activations spread widely",
        "std .208 ± .004, then .126, .122, .121, .119 ± .04",
        _sigmoid_xavier,
        ["fig-6-13"],
        "the spread of deep layers is between units: one unit answers all inputs alike "
        "([the figure](#figs-6-10-6-11-and-6-13-sigmoid))",
    ),
    Row(
        "W7",
        "6.2.2",
        "tanh gives a neat bell shape",
        "std .627, .485, .407, .356, .320 ± .03; |skew| < .05",
        _tanh,
        ["tanh", "fig-6-13"],
    ),
    Row("W8", "6.2.3", "He: std √(2/n), for ReLU halves the signal", ".05051 ± 1.1%; √2 per layer", _he, ["fig-6-14"]),
    Row(
        "W9",
        "6.2.3",
        "Fig 6-14, top: ReLU with std .01; means .0396, .00290, 1.97e-4, 1.32e-5, 9.46e-7",
        ".0399, .00290, 2.07e-4, 1.46e-5, 1.05e-6 within 2.5, 25, 35, 45, 55%; Xavier × 10^-l exactly",
        _relu_001,
        ["fig-6-14"],
    ),
    Row(
        "W10",
        "6.2.3",
        "Fig 6-14, middle: with Xavier the bias towards 0 grows with depth",
        ".398, .290, .207, .146, .105, within as W9",
        _relu_xavier,
        ["fig-6-14"],
    ),
    Row(
        "W11",
        "6.2.3",
        "Fig 6-14, bottom: with He the spread stays even",
        "first .564 ± .01, last .593 ± .30, ratio .8-1.3",
        _relu_he,
        ["fig-6-14"],
    ),
    Row("W12", "6.2.3", "ReLU: He; sigmoid and tanh: Xavier", "the defaults", _defaults),
    Row(
        "W13",
        "6.2.4",
        "Fig 6-15: std .01 does not learn, Xavier and He do, He faster",
        "2.295-2.307, .255-.33, .18-.215; He first, by ≥ 1.6 times",
        _three_on_mnist,
        ["fig-6-15"],
    ),
)
