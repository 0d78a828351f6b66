"""How the workers of a study spent their time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from hpo.trial import State, Trial, own


@dataclass(frozen=True)
class Span:
    """A trial on its worker, in seconds since the epoch."""

    start: float
    end: float
    trial: Trial

    @property
    def state(self) -> State:
        return self.trial.standing


@dataclass(frozen=True)
class Worker:
    """What one worker did.

    Attributes:
        spans: Its trials, in order of time.
        present: From and to when it could have worked: the runs of the study in which it had a trial.
    """

    spans: tuple[Span, ...]
    present: tuple[tuple[float, float], ...]

    @property
    def busy(self) -> float:
        """Seconds with a trial."""
        return _covered([(span.start, span.end) for span in self.spans])

    @property
    def available(self) -> float:
        """Seconds in which it could have had one."""
        return sum(end - start for start, end in self.present)


@dataclass(frozen=True)
class Usage:
    """All workers of a study.

    Attributes:
        workers: By name, in order of their first trial.
        runs: From and to when trials ran, without the pauses between two runs of the study.
    """

    workers: dict[str, Worker]
    runs: tuple[tuple[float, float], ...]

    @property
    def seconds(self) -> float:
        """How long the study ran, pauses left out."""
        return sum(end - start for start, end in self.runs)

    @property
    def busy(self) -> float:
        """Seconds of all workers with a trial."""
        return sum(worker.busy for worker in self.workers.values())

    @property
    def idle(self) -> float:
        """Seconds of all workers without one, from the first trial of a run to its last."""
        return max(0.0, sum(worker.available for worker in self.workers.values()) - self.busy)

    @property
    def share(self) -> float:
        """The share of their time for which the workers were busy, in [0, 1]."""
        return self.busy / (self.busy + self.idle) if self.busy else 0.0


def usage(trials: Sequence[Trial]) -> Usage | None:
    """Reads the workers' time out of the trials that ran in this study; None before the first trial has started.

    Attempts that were lost are in no ledger and count as idle time. A running trial ends at its last report. Where no
    worker has a trial for longer than a tenth of the time worked, than ten trials and than ten seconds, the study was
    not being run.
    """
    spans: dict[str, list[Span]] = {}
    for trial in sorted((t for t in own(trials) if t.started is not None), key=lambda t: t.started or 0.0):
        start = trial.started or 0.0
        end = trial.ended if trial.ended is not None else max((r.time for r in trial.reports), default=start)
        spans.setdefault(trial.worker or "?", []).append(Span(start, max(start, end), trial))
    if not spans:
        return None
    runs = _runs([(span.start, span.end) for row in spans.values() for span in row])
    workers = {
        name: Worker(tuple(row), tuple(run for run in runs if any(run[0] <= span.start <= run[1] for span in row)))
        for name, row in spans.items()
    }
    return Usage(workers, tuple(runs))


def _runs(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    long = max(10.0, 10 * median(end - start for start, end in spans), 0.1 * _covered(spans))
    return merged(spans, long)


def _covered(spans: Sequence[tuple[float, float]]) -> float:
    """Seconds that are in at least one of the spans."""
    return sum(end - start for start, end in merged(spans, 0.0))


def merged(spans: Sequence[tuple[float, float]], gap: float) -> list[tuple[float, float]]:
    """Spans joined where they overlap or are at most ``gap`` seconds apart."""
    joined: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if joined and start - joined[-1][1] <= gap:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined
