"""Section 6.4: rows R1 to R9."""

from __future__ import annotations

import numpy as np

from chapter.results import Floats, Results
from chapter.rows.row import Finding, Row, between, near, spread
from trainer import SGD, Network, fit, norms
from trainer.dropout import Dropout

DOUBLE = np.dtype(np.float64)


def gap(results: Results, study: str, **params: object) -> Floats:
    """Training minus test accuracy, mean of the last 20 epochs, per seed."""
    return np.asarray(results.curves(study, "gap", **params)[:, -20:].mean(axis=1))


def from_then_on(values: Floats, level: float) -> int:
    """The first index from which all values are at least ``level``."""
    below = np.nonzero(values < level)[0]
    return int(below[-1]) + 1 if len(below) else 0


def _overfit(results: Results) -> Finding:
    train = results.curves("fig-6-21", "train_accuracy", weight_decay=0.0)
    test = results.last("fig-6-21", "test_accuracy", weight_decay=0.0)
    gaps, perfect = gap(results, "fig-6-21", weight_decay=0.0), [from_then_on(curve, 0.99) for curve in train]
    inside = max(perfect) <= 120 and bool((train[:, -1] == 1).all()) and between(float(gaps.mean()), 0.17, 0.32)
    text = (
        f"training {train[:, -1].mean():.3f}, ≥ .99 for good from epoch {min(perfect)}-{max(perfect)}; test "
        f"{spread(test)}; gap {spread(gaps)}"
    )
    return Finding(text, inside)


def _penalty(_: Results) -> Finding:
    plain, decayed = (
        Network(10, [7, 6], 4, np.random.default_rng(0), dtype="float64", weight_decay=decay) for decay in (0.0, 0.1)
    )
    rng = np.random.default_rng(1)
    x, t = rng.random((8, 10)), rng.integers(0, 4, 8)
    squares = sum(float((decayed.parameters[f"W{i}"] ** 2).sum()) for i in (1, 2, 3))
    off = abs(decayed.loss(x, t) - plain.loss(x, t) - 0.05 * squares)
    plain.gradient(x, t)
    decayed.gradient(x, t)
    biases = all(np.array_equal(plain.gradients[f"b{i}"], decayed.gradients[f"b{i}"]) for i in (1, 2, 3))
    return Finding(f"off λ/2 Σ W² by {off:.0e}; biases untouched: {biases}", off < 1e-6 and biases)


def _norms(_: Results) -> Finding:
    found = [norm(np.array([3.0, -4.0])) for norm in (norms.l2, norms.l1, norms.maximum)]
    return Finding(f"L2 {found[0]:g}, L1 {found[1]:g}, max {found[2]:g} of (3, -4)", found == [5.0, 7.0, 4.0])


def _weight_decay(results: Results) -> Finding:
    plain, decayed = (gap(results, "fig-6-21", weight_decay=decay) for decay in (0.0, 0.1))
    change = decayed - plain
    highest = float(results.curves("fig-6-21", "train_accuracy", weight_decay=0.1).max())
    norm = np.mean(
        results.last("fig-6-21", "weight_norm", weight_decay=0.1)
        / results.last("fig-6-21", "weight_norm", weight_decay=0.0)
    )
    test = results.last("fig-6-21", "test_accuracy", weight_decay=0.1) - results.last(
        "fig-6-21", "test_accuracy", weight_decay=0.0
    )
    inside = between(float(change.mean()), -0.095, -0.04) and change.max() < 0 and highest < 0.97
    text = (
        f"gap changes by {spread(change)}, shrinks in {int((change < 0).sum())} of {len(change)}; highest training "
        f"accuracy {highest:.3f}; weight norm × {norm:.3f}; test accuracy changes by {spread(test)}"
    )
    return Finding(text, inside and near(float(norm), 0.563, 0.01), holds=bool(change.max() < 0))


def _dropout_layer(_: Results) -> Finding:
    layer = Dropout(1000, DOUBLE, 0.15, np.random.default_rng(0))
    x = np.ones((1000, 1000))
    out = layer.forward_training(x).copy()
    kept, test = float(out.mean()), float(layer.forward(x[:1])[0, 0])
    same = np.array_equal(layer.backward(np.ones((1000, 1000))) > 0, out > 0)
    text = f"keeps {kept:.4f} at rate .15, test pass × {test:.2f}; the same mask backwards: {same}"
    return Finding(text, near(kept, 0.85, 0.002) and near(test, 0.85, 1e-12) and same)


def _inverted(_: Results) -> Finding:
    layer = Dropout(1000, DOUBLE, 0.15, np.random.default_rng(0), inverted=True)
    x = np.ones((1000, 1000))
    mean = float(layer.forward_training(x).mean())
    untouched = np.array_equal(layer.forward(x[:1]), x[:1])
    return Finding(f"mean {mean:.4f} in training; test pass untouched: {untouched}", near(mean, 1, 0.003) and untouched)


def _trainer(_: Results) -> Finding:
    rng = np.random.default_rng(0)
    train = rng.random((30, 6)), rng.integers(0, 3, 30)

    def accuracies(epochs: int, updates: int, accuracy_after: str) -> list[float]:
        network = Network(6, [5], 3, np.random.default_rng(1), dtype="float64")
        reports = fit(
            network,
            train,
            optimizer=SGD(0.5),
            rng=np.random.default_rng(2),
            epochs=epochs,
            updates=updates,
            batch_size=10,
            accuracy_after=accuracy_after,
        )
        return [report["train_accuracy"] for report in reports]

    every_update = accuracies(60, 1, "last")
    first = accuracies(20, 3, "first")
    return Finding(f"{len(first)} values, those after updates 1, 4, 7, ...", first == every_update[::3])


def _dropout(results: Results) -> Finding:
    plain = gap(results, "fig-6-23", dropout=0.0)
    changes = {rate: gap(results, "fig-6-23", dropout=rate) - plain for rate in (0.15, 0.2)}
    highest = max(float(results.curves("fig-6-23", "train_accuracy", dropout=rate).max()) for rate in (0.15, 0.2))
    bounds = {0.15: -0.01, 0.2: -0.05}
    inside = highest < 0.97 and all(
        (change < 0).sum() >= 4 and change.mean() <= bounds[rate] for rate, change in changes.items()
    )
    tests = {rate: results.last("fig-6-23", "test_accuracy", dropout=rate) for rate in (0.0, 0.15, 0.2)}
    text = (
        f"gap changes by {spread(changes[0.15])} (rate .15), {spread(changes[0.2])} (.2), shrinks in "
        f"{sum(int((c < 0).sum()) for c in changes.values())} of {sum(map(len, changes.values()))}; highest training "
        f"accuracy {highest:.3f}; test {', '.join(f'{values.mean():.3f}' for values in tests.values())}"
    )
    return Finding(text, bool(inside))


def _ensemble(results: Results) -> Finding:
    gain, together = results.last("ensemble", "gain"), results.last("ensemble", "test_accuracy")
    single = results.last("ensemble", "mean_single")
    text = f"{spread(together)} together, {spread(single)} alone: {100 * gain.mean():+.1f} points"
    return Finding(text, bool((gain > 0.01).all() and (gain < 0.08).all()))


ROWS = (
    Row(
        "R1",
        "6.4.1",
        "Fig 6-20: training accuracy near 100% past epoch 100, far above test",
        "≥ .99 for good from epoch ≤ 120, 1.000 at the end, gap .17-.32",
        _overfit,
        ["fig-6-21"],
    ),
    Row("R2", "6.4.2", "Weight decay adds λ/2 W² to the loss", "once per weight matrix, not for biases", _penalty),
    Row("R3", "6.4.2", "L2, L1, maximum norm", "5, 7, 4", _norms),
    Row(
        "R4",
        "6.4.2",
        "Fig 6-21: with λ = .1 the gap shrinks, training accuracy does not reach 1",
        "gap by -.095 to -.04, in every seed; training < .97; weight norm × .563 ± .01",
        _weight_decay,
        ["fig-6-21"],
        "the gap narrows because training accuracy falls more than test accuracy, which falls too "
        "([details](#a-narrower-gap-is-not-better-generalisation))",
    ),
    Row("R5", "6.4.3", "Dropout removes in training, scales in the test pass", "1 - p kept, ± .002", _dropout_layer),
    Row("R6", "6.4.3", "The scaling can be moved to training", "same expectation, test pass untouched", _inverted),
    Row("R7", "6.4.3", "One trainer in place of the loops", "an accuracy per epoch, after its first update", _trainer),
    Row(
        "R8",
        "6.4.3",
        "Fig 6-23: with dropout the gap shrinks, training accuracy stays below 100%",
        "gap: negative in ≥ 4 of 5, mean ≤ -.01 (.15), ≤ -.05 (.2); training < .97",
        _dropout,
        ["fig-6-23"],
        "after 301 epochs the networks with dropout still improve, and their test accuracy is lower; the caption says "
        "a rate of .15, the code .2",
    ),
    Row(
        "R9",
        "6.4.3",
        "Five networks together gain a few percent",
        "+1 to +8 points",
        _ensemble,
        ["ensemble"],
    ),
)
