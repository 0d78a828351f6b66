"""Paths of the optimizers on f = x^2 / 20 + y^2 (eq. 6.2; Figs 6-1 to 6-8)."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from trainer import optimizers
from trainer.arrays import Floats
from trainer.experiments.reading import read
from trainer.optimizers import Optimizer


def height(point: Floats) -> float:
    """f(x, y) = x^2 / 20 + y^2 (eq. 6.2)."""
    x, y = point
    return float(x * x / 20.0 + y * y)


def slope(point: Floats) -> Floats:
    """Gradient of eq. 6.2: (x / 10, 2 y)."""
    x, y = point
    return np.array([x / 10.0, 2.0 * y])


def angle_off(point: Floats) -> float:
    """Degrees between the direction of steepest descent at `point` and that of the minimum (Fig 6-2)."""
    downhill, home = -slope(point), -point
    cosine = np.dot(downhill, home) / (np.linalg.norm(downhill) * np.linalg.norm(home))
    return math.degrees(math.acos(np.clip(cosine, -1.0, 1.0)))


def path(optimizer: Optimizer, steps: int, start: tuple[float, float] = (-7.0, 2.0)) -> Floats:
    """The start and the points after each of `steps` updates, shape (steps + 1, 2)."""
    point = np.array(start, dtype=np.float64)
    points = [point.copy()]
    for _ in range(steps):
        optimizer.update(point, slope(point))
        points.append(point.copy())
    return np.array(points)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Descent:
    """Parameters of `descend`.

    Attributes:
        optimizer: name of the optimizer; its arguments are further parameters.
        steps: updates, >= 1.
        start_x: where the path begins.
        start_y: where the path begins.
    """

    optimizer: str
    optimizer_options: Mapping[str, float] = dataclasses.field(default_factory=dict)
    steps: int = 30
    start_x: float = -7.0
    start_y: float = 2.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"`1 <= steps` must hold, but got (steps={self.steps})")
        self.make_optimizer()

    def make_optimizer(self) -> Optimizer:
        """The optimizer of this setting, new."""
        return optimizers.OPTIMIZERS[self.optimizer](**self.optimizer_options)


def descend(params: Mapping[str, Any], seed: int) -> Iterator[dict[str, float]]:
    """An objective: the path of one optimizer on eq. 6.2.

    Args:
        params: by the names of `Descent`'s attributes and of the optimizer's arguments.
        seed: not used; nothing here is random.

    Yields:
        `x`, `y`, `height` and the `path_length` so far, after each update.

    Raises:
        ValueError: for a bad setting, before any work.
    """
    del seed
    setting = read(Descent, params)
    points = path(setting.make_optimizer(), setting.steps, (setting.start_x, setting.start_y))
    lengths = np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))
    for point, length in zip(points[1:], lengths, strict=True):
        x, y = point
        yield {"x": float(x), "y": float(y), "height": height(point), "path_length": float(length)}


def check(params: Mapping[str, Any]) -> None:
    """Raises ValueError for a bad setting."""
    read(Descent, params)


descend.check = check  # type: ignore[attr-defined]
