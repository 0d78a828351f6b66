"""What all experiments stand on: rows X1 and X2."""

from __future__ import annotations

import numpy as np

from chapter.results import Results
from chapter.rows.row import Finding, Row
from trainer import Network, data
from trainer.numerical import numerical_gradient


def gradient_error(**arguments: object) -> float:
    """Mean absolute difference between a small network's gradients and central differences, in float64."""
    rng = np.random.default_rng(0)
    network = Network(10, [7, 6], 4, rng, dtype="float64", activation="tanh", **arguments)  # type: ignore[arg-type]
    x, t = rng.random((8, 10)), rng.integers(0, 4, 8)
    network.gradient(x, t)
    analytic = network.grads.copy()
    numerical = numerical_gradient(lambda: network.gradient(x, t), network.params)
    return float(np.abs(analytic - numerical).mean())


def _network(_: Results) -> Finding:
    errors = [gradient_error(), gradient_error(weight_decay=0.1), gradient_error(batch_norm=True)]
    rng = np.random.default_rng(0)
    ignorant = Network(784, [100] * 3, 10, rng, initializer=1e-6, dtype="float64")
    loss = ignorant.loss(rng.random((50, 784)), rng.integers(0, 10, 50))
    text = f"gradients off by {max(errors):.1g} at most (plain, weight decay, batch norm); loss {loss:.4f}"
    return Finding(text, max(errors) <= 3e-7 and abs(loss - np.log(10)) < 1e-6)


def _images(_: Results) -> Finding:
    x, t = data.load_train("mnist")
    counts, mean = np.bincount(t[:300]).tolist(), float(x.mean(dtype=np.float64))
    tests = data.describe("mnist").test_size
    wanted = [34, 39, 28, 34, 32, 23, 29, 29, 21, 31]
    text = f"{len(x):,}/{tests:,} images, mean {mean:.4f}, first 300: {', '.join(map(str, counts))}"
    return Finding(text, (len(x), tests) == (60_000, 10_000) and counts == wanted and abs(mean - 0.1307) < 5e-5)


ROWS = (
    Row(
        "X1",
        "all",
        "Backpropagation gives the gradient of the loss",
        "mean difference from central differences ≤ 3e-7; loss of an ignorant network ln 10 = 2.3026",
        _network,
    ),
    Row("X2", "all", "MNIST in its canonical order", "60,000/10,000, mean .1307, counts of the first 300", _images),
)
