"""The distribution of activations in each layer before training (Figs 6-10 to 6-14)."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from trainer.activations import ACTIVATIONS
from trainer.arrays import Floats
from trainer.experiments.reading import read
from trainer.initializers import DEFAULT, standard_deviation

BINS = 30
"""Bins of the chapter's histograms."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spread:
    """Parameters of `spread`.

    Attributes:
        activation: "relu", "sigmoid" or "tanh".
        initializer: "he", "xavier" or a standard deviation; None takes the one that suits the activation.
        layers: hidden layers.
        units: units of each layer, and elements of each example.
        examples: rows of the input, drawn from the standard normal distribution.
    """

    activation: str
    initializer: float | str | None = None
    layers: int = 5
    units: int = 100
    examples: int = 1000

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"`activation` must be one of {tuple(ACTIVATIONS)}, but got {self.activation!r}")
        if self.initializer is not None:
            standard_deviation(self.initializer, self.units)
        for name in ("layers", "units", "examples"):
            if getattr(self, name) < 1:
                raise ValueError(f"`1 <= {name}` must hold, but got ({name}={getattr(self, name)})")


def activations(setting: Spread, rng: np.random.Generator) -> Iterator[Floats]:
    """The activations of each layer, shape (examples, units); layers without biases, in float64."""
    initializer = DEFAULT[setting.activation] if setting.initializer is None else setting.initializer
    std = standard_deviation(initializer, setting.units)
    z = rng.standard_normal((setting.examples, setting.units))
    for _ in range(setting.layers):
        layer = ACTIVATIONS[setting.activation](setting.units, z.dtype)
        z = layer.forward(z @ (rng.standard_normal((setting.units, setting.units)) * std))
        yield z


def spread(params: Mapping[str, Any], seed: int) -> Iterator[dict[str, float]]:
    """An objective: statistics of the activations, one report per layer.

    Args:
        params: by the names of `Spread`'s attributes.
        seed: decides the input and the weights.

    Yields:
        `mean`, `mean_square`, `std` (over all elements), `unit_std` (mean over the units of the deviation over
        the examples: how differently a unit answers different examples), `skew`, `kurtosis` (in excess of a normal
        distribution's), `zeros` (share of exact zeros), and a histogram of 30 bins over the activation's range,
        (-1, 1) for tanh, else (0, 1): `count_00` to `count_29`, and `edges`, the share of the first and last bin.

    Raises:
        ValueError: for a bad setting, before any work.
    """
    setting = read(Spread, params)
    low = -1.0 if setting.activation == "tanh" else 0.0
    for a in activations(setting, np.random.default_rng(seed)):
        counts, _ = np.histogram(a, BINS, (low, 1.0))
        std = a.std()
        standard = (a - a.mean()) / std if std > 0 else np.zeros_like(a)
        yield {
            "mean": float(a.mean()),
            "mean_square": float(np.mean(a * a)),
            "std": float(std),
            "unit_std": float(a.std(axis=0).mean()),
            "skew": float(np.mean(standard**3)),
            "kurtosis": float(np.mean(standard**4) - 3.0),
            "zeros": float(np.mean(a == 0.0)),
            "edges": float(counts[0] + counts[-1]) / a.size,
            **{f"count_{index:02}": float(count) for index, count in enumerate(counts)},
        }


def check(params: Mapping[str, Any]) -> None:
    """Raises ValueError for a bad setting."""
    read(Spread, params)


spread.check = check  # type: ignore[attr-defined]
