"""Learning-rate schedules: functions from the time in epochs to a factor of the learning rate.

Time advances with every update; 2.5 is the middle of the third epoch. Sorted by increasing complexity.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

Schedule: TypeAlias = Callable[[float], float]


def constant() -> Schedule:
    """Always 1."""
    return lambda _: 1.0


def exponential(factor: float) -> Schedule:
    """Shrinks the rate by `factor`, in (0, 1], every epoch: factor ** time."""
    _check_factor(factor)
    return lambda time: factor**time


def step(factor: float, every: float) -> Schedule:
    """Drops by `factor`, in (0, 1], every so many epochs: factor ** floor(time / every)."""
    _check_factor(factor)
    if not 0 < every < math.inf:
        raise ValueError(f"`0 < every < inf` must hold, but got (every={every})")
    return lambda time: factor ** math.floor(time / every)


def cosine(epochs: float) -> Schedule:
    """Half a cosine from 1 to 0 over `epochs` (Loshchilov and Hutter 2017, without restarts)."""
    if not 0 < epochs < math.inf:
        raise ValueError(f"`0 < epochs < inf` must hold, but got (epochs={epochs})")
    return lambda time: 0.5 * (1.0 + math.cos(math.pi * min(time / epochs, 1.0)))


def warm_up(epochs: float, after: Schedule) -> Schedule:
    """Grows linearly from 0 to 1 over `epochs`, times the schedule `after`, whose time also starts at 0.

    The first update would have factor 0, so time 0 counts as a thousandth of the warm-up.
    """
    if not 0 < epochs < math.inf:
        raise ValueError(f"`0 < epochs < inf` must hold, but got (epochs={epochs})")
    return lambda time: min(max(time / epochs, 1e-3), 1.0) * after(time)


def _check_factor(factor: float) -> None:
    if not 0 < factor <= 1:
        raise ValueError(f"`0 < factor <= 1` must hold, but got (factor={factor})")
