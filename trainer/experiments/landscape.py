"""The surface of f = x^2 / 20 + y^2 (eq. 6.2) and its gradient, point by point (Figs 6-1 and 6-2)."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from trainer.experiments.descent import angle_off, height, slope
from trainer.experiments.reading import read


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """Parameters of `landscape`: where to look."""

    x: float
    y: float


def landscape(params: Mapping[str, Any], seed: int) -> Iterator[dict[str, float]]:
    """An objective: height and gradient of eq. 6.2 at one point.

    Args:
        params: `x` and `y`.
        seed: not used.

    Yields:
        `height`, `slope_x`, `slope_y` and, except at the minimum itself, `angle_off`: degrees between the direction of
        steepest descent and that of the minimum. Once.

    Raises:
        ValueError: for a missing coordinate.
    """
    del seed
    point = read(Point, params)
    at = np.array([point.x, point.y], dtype=np.float64)
    along_x, along_y = slope(at)
    report = {"height": height(at), "slope_x": float(along_x), "slope_y": float(along_y)}
    yield report | ({"angle_off": angle_off(at)} if at.any() else {})


def check(params: Mapping[str, Any]) -> None:
    """Raises ValueError for a missing coordinate."""
    read(Point, params)


landscape.check = check  # type: ignore[attr-defined]
