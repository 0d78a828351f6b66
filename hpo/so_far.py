"""What a search has reached so far, one finished trial after another: the best value, the front, the running time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from operator import itemgetter

from hpo.trial import Direction, Trial, counts_as_best


class BestSoFar:
    """The values that no others beat, of the complete trials that were added: with one objective, the best value.

    Args:
        *directions: One per objective; further values of trials do not count.

    Attributes:
        front: Values of trials, each better than every other one in some objective.
        since: How many trials were added after the latest that came onto the front, or in all without one.
    """

    def __init__(self, *directions: Direction) -> None:
        self._directions = directions
        self.front: list[tuple[float, ...]] = []
        self.since = 0

    @property
    def value(self) -> float | None:
        """The best value of a single objective; None before the first complete trial."""
        return self.front[0][0] if self.front else None

    def add(self, trial: Trial) -> None:
        """Counts a finished trial."""
        self.since += 1
        if not counts_as_best(trial) or any(self._covers(values, trial.values) for values in self.front):
            return
        self.front = [values for values in self.front if not self._covers(trial.values, values)]
        self.front.append(trial.values)
        self.since = 0

    def _covers(self, one: tuple[float, ...], other: tuple[float, ...]) -> bool:
        """Whether ``other`` is better in no objective."""
        return not any(d.better(theirs, ours) for d, ours, theirs in zip(self._directions, one, other, strict=False))


class RunningTime:
    """For how many seconds at least one trial ran: overlaps count once, and pauses not at all.

    Trials come in any order: a clock may have been set back between them.
    """

    def __init__(self) -> None:
        self._spans: list[tuple[float, float]] = []  # times without a pause, in order
        self.seconds = 0.0

    def add(self, start: float, end: float) -> None:
        """Counts a trial, in seconds since the epoch."""
        end = max(start, end)
        first = bisect_left(self._spans, start, key=itemgetter(1))
        last = bisect_right(self._spans, end, lo=first, key=itemgetter(0))
        touched = self._spans[first:last]
        if touched:
            start, end = min(start, touched[0][0]), max(end, touched[-1][1])
        self._spans[first:last] = [(start, end)]
        self.seconds += end - start - sum(to - since for since, to in touched)

    def including(self, more: Iterable[tuple[float, float]]) -> float:
        """The seconds if more trials were added."""
        other = RunningTime()
        other._spans, other.seconds = self._spans.copy(), self.seconds
        for start, end in more:
            other.add(start, end)
        return other.seconds
