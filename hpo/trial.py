"""One trial as every part of hpo sees it: the loop, the ledger, the mirror, the terminal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import zip_longest
from typing import Any, NamedTuple, overload

# The note of a trial that belongs to a repeat of an experiment: which one, from 0.
REPEAT = "hpo:repeat"
# The note of a trial that was enqueued: what of it the study file says. (Optuna's name.)
FIXED = "fixed_params"
# The note of a trial whose first parameters broke a constraint: how often the sampler was asked again.
REDRAW = "hpo:redraw"
# The notes of a trial whose metrics have bounds: how far beyond each of them it is, as a share of the bound, 0 or less
# inside (Optuna's name); and by how much it violates which.
CONSTRAINTS, VIOLATIONS = "constraints", "hpo:violations"
# The note of a trial that runs a failed one again: the number of that one, which no longer counts.
RETRY_OF = "hpo:retry-of"
# The note of a trial that somebody has asked for: to whom it is leased, and until when (``hpo ask``).
LEASE = "hpo:lease"
# The note of a trial that was added, retried or stopped by hand: by which request, by whom and when.
BY_HAND = "hpo:by-hand"
# The note of a trial that was taken over, and not run in this study: an :class:`Origin` as a list.
FROM = "hpo:from"
# The note of one that the budget counts all the same.
COUNTED = "hpo:counted"


# The largest step that is taken from elsewhere: databases keep 32 bits of it, and there may be further ones.
LARGEST_STEP = 10**9


class State(StrEnum):
    """What became of a trial; the words are those of ``hpo show --json``."""

    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    INFEASIBLE = "infeasible"  # its parameters do not work: it ended with an exception that the study names
    FAILED = "failed"
    DISCARDED = "discarded"  # it has finished, and a person has said that it does not count

    @property
    def finished(self) -> bool:
        return self is not State.RUNNING


class StudyState(StrEnum):
    """How a study stands; the words are those of ``hpo show --json``."""

    RUNNING = "running"
    COMPLETE = "complete"  # its budget is spent
    STOPPED = "stopped"  # it can be resumed
    FAILED = "failed"  # trials have finished, and none is complete


class Direction(StrEnum):
    """Whether lower or higher values of the metric are better."""

    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"

    @property
    def sign(self) -> float:
        """What turns a value into a cost: ``sign * value`` is lower for better values."""
        return 1.0 if self is Direction.MINIMIZE else -1.0

    def better(self, one: float, other: float) -> bool:
        """Whether ``one`` is better than ``other``; False where one of them is NaN."""
        return self.sign * one < self.sign * other


class Report(NamedTuple):
    """What an objective yielded once.

    Attributes:
        step: 1 for the first report of a trial.
        time: Seconds since the epoch, on the worker's clock.
        metrics: Metric names to numbers.
    """

    step: int
    time: float
    metrics: Mapping[str, float]


class Reports(Sequence[Report]):
    """The reports that a running trial has sent so far.

    It shows the first items of a list that only grows, so that it never changes and costs no copy.

    Args:
        reports: The list; its owner only appends to it.
    """

    def __init__(self, reports: list[Report]) -> None:
        self._reports, self._count = reports, len(reports)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Report: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Report, ...]: ...
    def __getitem__(self, index: int | slice) -> Report | tuple[Report, ...]:
        if isinstance(index, slice):
            return tuple(self._reports[i] for i in range(*index.indices(self._count)))
        return self._reports[range(self._count)[index]]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(tuple(self))


class Origin(NamedTuple):
    """Where a trial comes from that did not run in its study.

    Attributes:
        uid: The identity of that place: of another study, or of a source's row.
        name: The place's name.
        number: The trial's number there.
    """

    uid: str
    name: str
    number: int


@dataclass(frozen=True)
class Trial:
    """A trial as it was at one moment; nothing changes it, so that any thread may keep it.

    Attributes:
        number: The same in ledger, MLflow and terminal; from 0.
        params: The searched parameters, as the objective sees them.
        seed: The seed handed to the objective.
        state: What has become of it so far.
        values: What it last reported of each objective, in their order, once it is complete or pruned; else empty.
        started: Seconds since the epoch; None while it waits for a worker.
        ended: Seconds since the epoch; None while it runs.
        worker: Where it ran.
        attempt: 1, and one more for every time it was run again.
        reports: In order of their steps.
        error: Why it failed, or is infeasible: a traceback or a reason.
        notes: What the sampler wrote down when it chose the parameters (Optuna's system attributes).
    """

    number: int
    params: Mapping[str, Any]
    seed: int
    state: State = State.RUNNING
    values: tuple[float, ...] = ()
    started: float | None = None
    ended: float | None = None
    worker: str | None = None
    attempt: int = 1
    reports: Sequence[Report] = ()
    error: str | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        return self.state.finished

    @property
    def value(self) -> float | None:
        """The value of the first objective, often the only one; None without any."""
        return self.values[0] if self.values else None

    @property
    def repeat(self) -> int | None:
        """Which repeat of the experiment it belongs to, from 0; None where the study has no repeats."""
        return self.notes.get(REPEAT)

    @property
    def violations(self) -> Mapping[str, float]:
        """By how much its metrics are beyond which bounds; empty for a feasible trial."""
        found: Mapping[str, float] = self.notes.get(VIOLATIONS, {})
        return found

    @property
    def feasible(self) -> bool | None:
        """Whether its metrics are within their bounds; None where it was not judged."""
        return not self.violations if CONSTRAINTS in self.notes else None

    @property
    def violation(self) -> float:
        """How far it is from being feasible, as shares of the bounds together; 0 for a feasible trial."""
        return violation_of(self.notes.get(CONSTRAINTS, ()))

    @property
    def standing(self) -> State:
        """Its state for people: a complete trial that violates bounds is shown as infeasible."""
        return State.INFEASIBLE if self.state is State.COMPLETE and self.violations else self.state

    @property
    def origin(self) -> Origin | None:
        """Where it comes from; None for one that ran in this study."""
        return Origin(*self.notes[FROM]) if FROM in self.notes else None

    @property
    def place(self) -> str:
        """Where it ran: its worker, or as what trial of which study."""
        return f"{origin.name}, trial {origin.number}" if (origin := self.origin) else self.worker or ""

    @property
    def counted(self) -> bool:
        """Whether the budget counts it: one that runs a failed one again counts in its place."""
        return RETRY_OF not in self.notes and (FROM not in self.notes or COUNTED in self.notes)

    @property
    def seconds(self) -> float | None:
        if self.started is None or self.ended is None:
            return None
        return self.ended - self.started

    def last(self, metric: str) -> float | None:
        """The last reported value of ``metric``."""
        return next((r.metrics[metric] for r in reversed(self.reports) if metric in r.metrics), None)

    def named(self, objectives: Iterable[str]) -> dict[str, float | None]:
        """Its values by the names of the objectives; None where it has none."""
        return dict(zip_longest(objectives, self.values))

    def scored(self, objectives: Collection[str]) -> dict[str, Any]:
        """Its ``value`` for JSON; with several objectives its ``values`` by name."""
        return {"values": self.named(objectives)} if len(objectives) > 1 else {"value": self.value}

    def head(self, objectives: Collection[str] = ()) -> dict[str, Any]:
        """The trial as ``hpo show --json`` prints it.

        Args:
            objectives: The names of the study's objectives.
        """
        return {
            "number": self.number,
            **self.scored(objectives),
            "params": self.params,
            "state": self.state,
            "seconds": None if self.seconds is None else round(self.seconds, 3),
            **({} if self.feasible is None else {"feasible": self.feasible, "violations": dict(self.violations)}),
            **({"from": origin._asdict()} if (origin := self.origin) else {}),
        }


def violation_of(excesses: Iterable[float]) -> float:
    """The total violation: the sum of all positive excesses."""
    return sum(excess for excess in excesses if excess > 0)


def numbered(trials: Sequence[Trial], number: Any) -> Trial | None:
    """Of all trials of a study, the one of this number; None where there is none."""
    return trials[number] if type(number) is int and 0 <= number < len(trials) else None


def known_numbers(trials: Sequence[Trial]) -> str:
    """Which numbers all trials of a study have, in words."""
    return f"its trials are 0 to {len(trials) - 1}" if trials else "it has no trials yet"


def nearest(trials: Iterable[Trial]) -> Trial | None:
    """Of complete trials that all violate bounds, the one that does so least; None where one is feasible."""
    complete = [trial for trial in trials if trial.state is State.COMPLETE]
    if not all(trial.violations for trial in complete):
        return None
    return min(complete, key=lambda trial: (trial.violation, trial.number), default=None)


def counts_as_best(trial: Trial) -> bool:
    """Whether a trial may be among the best: it is complete and feasible, and its values are numbers."""
    there = trial.state is State.COMPLETE and not trial.violations and bool(trial.values)
    return there and all(map(math.isfinite, trial.values))


def best_first(trials: Iterable[Trial], direction: Direction) -> list[Trial]:
    """The complete trials, best value (of the first objective) first, the earlier of two equals first."""
    return sorted(filter(counts_as_best, trials), key=lambda t: (direction.sign * (t.value or 0.0), t.number))


def counts(trials: Iterable[Trial], *, standing: bool = False) -> dict[State, int]:
    """How many trials are in each state, the usual ones first; infeasible and discarded ones where there are any.

    Args:
        trials: The trials.
        standing: Count complete trials that violate bounds as infeasible, as figures show them.
    """
    found = Counter(trial.standing if standing else trial.state for trial in trials)
    always = (State.COMPLETE, State.PRUNED, State.FAILED, State.RUNNING)
    rare = (State.INFEASIBLE, State.DISCARDED)
    return {state: found[state] for state in (*always, *rare) if state in always or found[state]}


def has_failed(trials: Iterable[Trial]) -> bool:
    """Whether trials of its own have finished, and none of them is complete: such a study has failed."""
    finished = [trial for trial in own(trials) if trial.finished]
    return bool(finished) and all(trial.state is not State.COMPLETE for trial in finished)


def own(trials: Iterable[Trial]) -> list[Trial]:
    """The trials that ran in their study."""
    return [trial for trial in trials if FROM not in trial.notes]


def origins(trials: Iterable[Trial]) -> str:
    """Where the other ones come from, in words: ``40 from old``; empty without any."""
    places = Counter(origin.name for trial in trials if (origin := trial.origin))
    return ", ".join(f"{count} from {name}" for name, count in places.items())


def by_end(trials: Iterable[Trial]) -> list[Trial]:
    """The finished trials in the order in which they ended."""
    return sorted((t for t in trials if t.finished), key=lambda t: (t.ended or 0.0, t.number))
