"""The one loop: ask, dispatch, hear, stop, tell.

It holds the study's pieces together and knows none of their makers: what to try comes from an :class:`Advisor`, what
happens from an :class:`Executor`, what lasts is in the :class:`Ledger`, and who wants to know is a :class:`Watcher`.
"""

from __future__ import annotations

import math
import shutil
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from optuna.trial import FrozenTrial

from hpo.advisor import Advisor
from hpo.budget import Meter
from hpo.errors import HpoError, InputError
from hpo.execution import FINISHED, LOST, RAISED, Ended, Event, Executor, Reported, Started, Task
from hpo.ledger.ledger import Ledger
from hpo.ledger.record import to_trial
from hpo.study import Study
from hpo.trial import COMPLETE, FAILED, PRUNED, Trial

# A run whose first trials all fail is broken; it stops after this many.
HOPELESS = 10
# Seconds between two looks at the clock while nothing happens.
TICK = 0.5


class Watcher(Protocol):
    """Someone who follows a search; must return at once."""

    def update(self, trial: Trial) -> None:
        """A trial has started, reported or ended; the same object every time, final once it is finished."""


class Search:
    """Runs a study until its budget is spent.

    Args:
        study: What to search.
        ledger: Where it is recorded; trials that it already holds are kept, running ones are run again.
        checkpoints: Where objectives that take one get a folder per trial; it is gone when the trial has finished.

    Attributes:
        trials: All trials of the study, in order of their numbers.
        interrupted: Whether :meth:`interrupt` was called.
    """

    def __init__(self, study: Study, ledger: Ledger, checkpoints: Path | None = None) -> None:
        self._study = study
        self._checkpoints = checkpoints
        self._ledger = ledger
        self._executor: Executor
        self._watchers: Sequence[Watcher]
        self.interrupted = False
        self._advisor = Advisor(study, ledger.loaded)
        self.trials = [to_trial(frozen, study.space) for frozen in ledger.loaded]
        self._waiting = deque(self._again(trial) for trial in self.trials if not trial.finished)
        self._running: dict[int, Trial] = {}
        self._stopping: set[int] = set()
        self._heard: dict[int, float] = {}  # when running trials were heard to start, on the driver's clock
        self._meter = Meter(study.budget, study.direction, self.trials)
        self._ended: list[Trial] = []  # the first that ended in this run

    def run(self, executor: Executor, watchers: Sequence[Watcher] = ()) -> None:
        """Searches until the budget is spent, or until an interrupt and the end of what runs.

        Args:
            executor: What runs the trials.
            watchers: Who is told.

        Raises:
            InputError: When the objective never reports the study's metric.
            HpoError: When the first ten trials all failed.
        """
        self._executor, self._watchers = executor, watchers
        while self._running or not (self.done or self.interrupted):
            while executor.free and (trial := self._next()) is not None:
                self._submit(trial)
            for event in executor.poll(TICK):
                self._hear(event)
            self._check_timeouts()

    @property
    def done(self) -> bool:
        """Whether the budget is spent and nothing is left to run."""
        return not self._waiting and not self._running and self.spent is not None

    @property
    def spent(self) -> str | None:
        """Which limit of the budget is reached; None while there is budget left."""
        return self._meter.spent(time.time(), self._running.values())

    def interrupt(self, *, stop: bool = False) -> None:
        """Starts no more trials; :meth:`run` returns when those that run have ended.

        Args:
            stop: End the running trials at their next report; the next run of the study runs them again.
        """
        self.interrupted = True
        if stop:
            for number in self._running:
                self._executor.stop(number)

    # What to run ---------------------------------------------------------------------------------------------------

    def _next(self) -> Trial | None:
        if self.interrupted:
            return None
        if self.spent is None:
            for _ in range(min(self._wanted(), self._study.budget.most - len(self.trials))):
                self._ask()
        return self._waiting.popleft() if self._waiting else None

    def _wanted(self) -> int:
        """How many trials to ask for now: one for a free worker, or a whole batch when all before it have finished.

        A batch is asked for at once, before any of it runs, so that what the sampler knows does not depend on timing.
        """
        if self._study.batch is None:
            return 0 if self._waiting else 1
        rest = -len(self.trials) % self._study.batch  # of a batch that a dead driver left half asked
        return rest if rest or self._waiting or self._running else self._study.batch

    def _ask(self) -> None:
        frozen, params = self._advisor.ask()
        trial = Trial(frozen.number, params, 0, notes=frozen.system_attrs)
        # Trials of one repeat differ in their parameters alone, so that they can be compared pair by pair.
        trial.seed = trial_seed(self._study.seed, frozen.number if trial.repeat is None else trial.repeat)
        self._ledger.begin(frozen, trial)
        self.trials.append(trial)
        self._waiting.append(trial)

    @staticmethod
    def _again(trial: Trial) -> Trial:
        """A trial that a dead driver left running, fresh but for its number, parameters and seed."""
        trial.reports.clear()
        trial.started = trial.ended = trial.worker = trial.error = None
        return trial

    def _submit(self, trial: Trial) -> None:
        self._running[trial.number] = trial
        params = {**self._study.fixed, **trial.params}
        folder = self._checkpoint(trial)
        self._executor.submit(Task(trial.number, trial.attempt, params, trial.seed, str(folder) if folder else None))

    def _checkpoint(self, trial: Trial) -> Path | None:
        return self._checkpoints / self._ledger.uid / str(trial.number) if self._checkpoints else None

    # What happens --------------------------------------------------------------------------------------------------

    def _hear(self, event: Event) -> None:
        trial = self._running.get(event.number)
        if trial is None or trial.attempt != event.attempt:
            return  # the echo of an attempt that is over
        try:
            if isinstance(event, Started):
                trial.started, trial.worker = event.time, event.worker
                self._heard[trial.number] = time.monotonic()
            elif isinstance(event, Reported):
                self._hear_reports(trial, event)
            else:
                self._hear_end(trial, event)
        finally:  # also of the trial with which the search gives up
            for watcher in self._watchers:
                watcher.update(trial)

    def _hear_reports(self, trial: Trial, event: Reported) -> None:
        metric = self._study.metric
        for report in event.reports:
            if trial.number in self._stopping:
                return  # what comes between a decision to stop and its effect does not count
            if not trial.reports and metric not in report.metrics:
                self._finish(trial, FAILED, error=f"never reports {metric!r}")
                raise InputError(
                    f"{self._study.file}: metric: the objective reports {', '.join(report.metrics)}, but not {metric!r}"
                )
            trial.reports.append(report)
            if metric in report.metrics:
                self._advisor.report(trial.number, report.step, report.metrics[metric])
                if self._advisor.should_prune(trial.number):
                    self._stopping.add(trial.number)
                    self._executor.stop(trial.number)

    def _hear_end(self, trial: Trial, event: Ended) -> None:
        trial.ended = event.time
        if trial.number in self._stopping:
            # However it ended: how far it came after the decision is a matter of timing, and must not matter.
            error = event.error if event.how == RAISED else None
            self._finish(trial, PRUNED, value=trial.last(self._study.metric), error=error)
        elif event.how == LOST:
            self._retry(trial, event)
        elif event.how == RAISED:
            self._finish(trial, FAILED, error=event.error)
        elif event.how == FINISHED:
            self._finish_by_value(trial)
        elif self.interrupted:
            del self._running[trial.number]  # unfinished, and so in the ledger: the next run takes it up
            self._heard.pop(trial.number, None)
        else:
            self._finish(trial, FAILED, error=event.error or "stopped from outside")
        self._give_up_if_hopeless()

    def _retry(self, trial: Trial, event: Ended) -> None:
        if trial.attempt > self._study.trial.retries:
            self._finish(trial, FAILED, error=f"lost in attempt {trial.attempt}, its last: {event.error}")
            return
        del self._running[trial.number]
        self._heard.pop(trial.number, None)  # a worker may die before it starts
        self._advisor.forget_reports(trial.number)
        self._waiting.append(self._again(trial))
        trial.attempt += 1

    def _finish_by_value(self, trial: Trial) -> None:
        value = trial.last(self._study.metric)
        if value is None:
            self._finish(trial, FAILED, error=f"ended without reporting {self._study.metric!r}")
        elif not math.isfinite(value):
            self._finish(trial, FAILED, error=f"reported {self._study.metric} = {value} at its last step")
        else:
            self._finish(trial, COMPLETE, value=value)

    def _finish(self, trial: Trial, state: str, value: float | None = None, error: str | None = None) -> None:
        """Durable first, counted afterwards."""
        if value is not None and not math.isfinite(value):
            value = None
        if trial.ended is None:
            trial.ended = time.time()
        trial.value, trial.error = value, error
        frozen: FrozenTrial = self._advisor.tell(trial.number, state, value)
        self._ledger.finish(frozen, trial)
        trial.state = state
        self._meter.add(trial)
        if len(self._ended) <= HOPELESS:
            self._ended.append(trial)
        self._running.pop(trial.number, None)
        self._heard.pop(trial.number, None)
        self._stopping.discard(trial.number)
        if (folder := self._checkpoint(trial)) and folder.exists():
            shutil.rmtree(folder)

    def _give_up_if_hopeless(self) -> None:
        if len(self._ended) == HOPELESS and all(trial.state == FAILED for trial in self._ended):
            raise HpoError(f"the first {HOPELESS} trials all failed, the last one with:\n{self._ended[-1].error}")

    def _check_timeouts(self) -> None:
        limit = self._study.trial.timeout
        if limit is None:
            return
        for trial in list(self._running.values()):
            if time.monotonic() - self._heard.get(trial.number, math.inf) > limit:
                self._executor.kill(trial.number, f"ran longer than {limit:g} s")


def trial_seed(study_seed: int, number: int) -> int:
    """The seed of one trial: 32 bits that depend on the study's seed and the trial's number (or repeat) alone."""
    return int(np.random.SeedSequence((study_seed, number)).generate_state(1)[0])
