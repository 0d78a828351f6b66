"""What a search has reached so far, one finished trial after another: the best value, the front, the running time."""

from __future__ import annotations

from collections.abc import Iterable

from hpo.trial import Direction, Trial, counts_as_best


class BestSoFar:
    """The best value of the complete trials that were added.

    Attributes:
        value: None before the first complete trial.
        since: How many trials were added after the best one, or in all without one.
    """

    def __init__(self, direction: Direction) -> None:
        self._direction = direction
        self.value: float | None = None
        self.since = 0

    def add(self, trial: Trial) -> None:
        """Counts a finished trial."""
        self.since += 1
        if not counts_as_best(trial) or trial.value is None:
            return
        if self.value is None or self._direction.better(trial.value, self.value):
            self.value, self.since = trial.value, 0


class FrontSoFar:
    """The values that no others beat, of the complete trials that were added: with one objective, the best value.

    Args:
        directions: One per objective.

    Attributes:
        front: Values of trials, each better than every other one in some objective.
        since: How many trials were added after the latest that came onto the front, or in all without one.
    """

    def __init__(self, directions: Iterable[Direction]) -> None:
        self._directions = tuple(directions)
        self.front: list[tuple[float, ...]] = []
        self.since = 0

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
        return not any(d.better(theirs, ours) for d, ours, theirs in zip(self._directions, one, other, strict=True))


class RunningTime:
    """For how many seconds at least one trial ran: overlaps count once, and pauses not at all."""

    def __init__(self) -> None:
        # From, to, and the seconds up to there, of times without a pause.
        self._spans: list[tuple[float, float, float]] = []

    @property
    def seconds(self) -> float:
        return self._spans[-1][2] if self._spans else 0.0

    def add(self, start: float, end: float) -> None:
        """Counts a trial, in seconds since the epoch; trials are added in the order in which they end."""
        kept, span = self._joined(start, end)
        self._spans[kept:] = [span]

    def including(self, start: float, end: float) -> float:
        """The seconds if one more trial were added."""
        return self._joined(start, end)[1][2]

    def _joined(self, start: float, end: float) -> tuple[int, tuple[float, float, float]]:
        """How many spans lie before a new one, and the new one joined with those that it touches."""
        kept, end = len(self._spans), max(start, end)
        while kept and self._spans[kept - 1][1] >= start:
            kept -= 1
            start, end = min(start, self._spans[kept][0]), max(end, self._spans[kept][1])
        before = self._spans[kept - 1][2] if kept else 0.0
        return kept, (start, end, before + end - start)
