"""The one loop: ask, dispatch, hear, stop, tell.

It holds a study's pieces together: the :class:`~hpo.search.advisor.Advisor` says what to try, the
:class:`~hpo.execution.Executor` runs it, the :class:`~hpo.ledger.ledger.Ledger` keeps it. A :class:`Watcher`
follows.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NoReturn, Protocol

from hpo.errors import ObjectiveError, SearchFailed
from hpo.execution import Ended, Event, Executor, Outcome, Printed, Reported, Resizable, Started, Task
from hpo.ledger.ledger import Ledger
from hpo.search.advisor import Advisor
from hpo.search.folders import TrialFolders
from hpo.search.request_handler import RequestHandler
from hpo.search.resumed import as_found, leases, to_retry
from hpo.search.running import Running, fresh
from hpo.study import Study
from hpo.study.budget import BudgetMeter
from hpo.study.constraints import judged
from hpo.text import length
from hpo.trial import Report, State, Trial, own

# Seconds for which the loop waits for an event before it checks the time limits.
TICK = 0.5


class Watcher(Protocol):
    """Something that follows a search; it must return at once."""

    def update(self, trial: Trial) -> None:
        """A trial has started, reported or ended; ``trial`` is how it is now."""


class Search:
    """Runs a study until its budget is spent.

    Args:
        study: What to search.
        ledger: Where it is recorded; trials that it already holds are kept, running ones are run again.
        folders: The folders of its trials; None for trials without any.
        retry_failed: True runs all failed trials again, None runs none. False runs those again that stopped the study:
            the latest failures in a row, when they are as many as ``trial.stop_after_failures``, or all its trials.

    Attributes:
        trials: All trials of the study, in order of their numbers.
        interrupted: Whether :meth:`interrupt` was called.
        leased: The trials that run elsewhere, for those who have asked for them (``hpo ask``).
        executor: What runs the others; None before :meth:`run`.
        requests: Takes up what other processes ask of the search.
        edited: Called with the study when it has been edited.
    """

    def __init__(
        self,
        study: Study,
        ledger: Ledger,
        folders: TrialFolders | None = None,
        *,
        retry_failed: bool | None = False,
    ) -> None:
        self._ledger, self._folders = ledger, folders
        self.executor: Executor | None = None
        self.edited: Callable[[Study], object] = lambda study: None
        self._watchers: Sequence[Watcher] = ()
        self.interrupted = False
        self.running: dict[int, Running] = {}
        self.leased = leases(ledger.loaded)
        self.trials = as_found(ledger.loaded, self.leased)
        self.waiting = deque(trial for trial in self.trials if not (trial.finished or trial.number in self.leased))
        self._adopt(study)
        self.retries = deque(to_retry(self.trials, study.trial.stop_after_failures, retry_failed))
        self.requests = RequestHandler(self, ledger)
        if folders is not None:
            folders.tidy(self.trials)
        self._ended = self._failures = 0  # trials of this run, and how many of the latest have failed in a row

    def run(self, executor: Executor, watchers: Sequence[Watcher] = ()) -> None:
        """Searches until the budget is spent, or after an interrupt until the running trials have ended.

        Args:
            executor: What runs the trials.
            watchers: What follows them.

        Raises:
            ObjectiveError: When the first report has no objective of the study.
            SearchFailed: When as many trials in a row have failed as the study allows.
        """
        self.executor, self._watchers = executor, watchers
        while self.running or not (self.done or self.interrupted):
            self.requests.take_up()
            while executor.free and (trial := self.take()) is not None:
                self._submit(trial)
            for event in executor.poll(TICK):
                self.hear(event)
            self._check_timeouts()
            if self.leased and not self.running:  # an executor without trials does not wait
                time.sleep(TICK / 5)

    @property
    def done(self) -> bool:
        """Whether the budget is spent and nothing is left to run."""
        return not (self.waiting or self.running or self.leased or self.retries) and self.spent is not None

    @property
    def spent(self) -> str | None:
        """Which limit of the budget is reached; None while there is budget left."""
        now = time.monotonic()
        return self._meter.spent(
            [
                (running.trial.started, now - running.started)
                for running in (*self.running.values(), *self.leased.values())
                if running.trial.started
            ]
        )

    def interrupt(self, *, stop: bool = False) -> None:
        """Starts no more trials; :meth:`run` returns when the running ones have ended.

        Args:
            stop: End the running trials at their next report; the next run of the study runs them again.
        """
        self.interrupted = True
        self._ledger.shorten_waits()
        if stop:
            for number in self.running:
                self._stop(number)

    def adopt(self, study: Study) -> None:
        """Continues with an edited study or with marked trials, as a resumed search would.

        Raises:
            InputError: When its sampler or pruner cannot be made; then nothing has changed.
        """
        self._adopt(study)
        if isinstance(self.executor, Resizable):
            self.executor.limit(min(self._budget.most, study.batch or self._budget.most))
        self.edited(study)

    def _adopt(self, study: Study) -> None:
        self.advisor, self.study = Advisor(study, self.trials), study
        self._budget = self.study.budget_beside(self.trials)
        self._meter = BudgetMeter(self._budget, self.study.objectives, self.trials)

    # What to run ---------------------------------------------------------------------------------------------------

    def take(self) -> Trial | None:
        """The next trial to run; None when there is none now."""
        if self.interrupted:
            return None
        if self.retries and not self.waiting:
            self.begin(self.advisor.ask_again(self.retries.popleft()))
        if self.spent is None:
            for _ in range(min(self._wanted(), self.remaining)):
                self.begin(self.advisor.ask())
        return self.waiting.popleft() if self.waiting else None

    @property
    def remaining(self) -> int:
        """How many more trials the budget allows to begin."""
        under_way = (running.trial for running in (*self.running.values(), *self.leased.values()))
        unfinished = self._meter.counted([*self.waiting, *under_way])
        return self._budget.most - self._meter.finished - unfinished

    def _wanted(self) -> int:
        """How many trials to ask for now: one for a free worker, or a whole batch when all before it have finished.

        A batch is asked for at once, before any of it runs, so that what the sampler knows does not depend on timing.
        """
        if self.study.batch is None:
            return 0 if self.waiting else 1
        rest = -len(own(self.trials)) % self.study.batch  # of a batch that a dead driver asked for in part
        return rest if rest or self.waiting or self.running or self.leased else self.study.batch

    def begin(self, trial: Trial) -> None:
        """Records a new trial, which then waits to be run."""
        self._ledger.begin(trial)
        self.trials.append(trial)
        self.waiting.append(trial)

    def _submit(self, trial: Trial) -> None:
        self.running[trial.number] = Running(trial)
        task = Task(trial.number, trial.attempt, trial.params, trial.seed)
        if self._folders is not None:
            checkpoint, folder = self._folders.checkpoint(trial.number), self._folders.own(trial.number)
            uid = self._folders.remote.uid
            task = replace(task, checkpoint=str(checkpoint), folder=str(folder), uid=uid)
            self._folders.begin(trial.number, trial.attempt)
        assert self.executor is not None
        self.executor.submit(task)

    def _stop(self, number: int) -> None:
        if self.executor is not None:
            self.executor.stop(number)

    # What happens --------------------------------------------------------------------------------------------------

    def hear(self, event: Event) -> None:
        """Handles an event of a trial, from the executor or from `hpo tell`."""
        running = self.running.get(event.number) or self.leased.get(event.number)
        if running is None or running.trial.attempt != event.attempt:
            return  # a late event of an attempt that is over
        if isinstance(event, Printed):
            if self._folders is not None:
                self._folders.printed(event.number, event.text)
            return
        try:
            if isinstance(event, Started):
                running.trial = replace(running.trial, started=event.time, worker=event.worker)
                running.started = time.monotonic()
            elif isinstance(event, Reported):
                self._hear_reports(running, event)
            else:
                self._hear_end(running, event)
        finally:  # watchers also see the trial after which the search gives up
            self.publish(event.number)

    def publish(self, number: int) -> None:
        """Shows the watchers a trial as it is now."""
        running = self.running.get(number) or self.leased.get(number)
        if running is not None:
            self.trials[number] = running.now()
        for watcher in self._watchers:
            watcher.update(self.trials[number])

    def _hear_reports(self, running: Running, event: Reported) -> None:
        wanted, number = tuple(self.study.objectives), event.number
        for report in event.reports:
            if running.stopping:
                return  # reports between the decision to stop and its effect do not count
            if not running.reports and report.metrics.keys().isdisjoint(wanted):
                self._misnamed(running, report)
            running.reports.append(report)
            if report.metrics.keys() >= {*wanted}:
                self.advisor.report(number, report.step, [report.metrics[metric] for metric in wanted])
                if self.advisor.should_prune(number):
                    running.stopping = True
                    self._stop(number)

    def _misnamed(self, running: Running, report: Report) -> NoReturn:
        names, several = " or ".join(map(repr, self.study.objectives)), len(self.study.objectives) > 1
        self.finish(running, State.FAILED, error=f"never reports {names}")
        rule = f"the objective reports {', '.join(report.metrics)}, but not {names}"
        file, key = self.study.file, "objectives" if several else "metric"
        raise ObjectiveError(f"{file}: {key}: {rule}", file=file, key=key, rule=rule, value=self.study.metric)

    def stop(self, running: Running) -> None:
        """Prunes a trial: at its next report, or at once where it is leased."""
        running.stopping = True
        self._stop(running.trial.number)

    def _hear_end(self, running: Running, event: Ended) -> None:
        running.trial, running.place = replace(running.trial, ended=event.time), event.place
        if running.stopping:
            # However it ended: how far it came after the decision depends on timing, which must change nothing.
            error = event.error if event.how in (Outcome.RAISED, Outcome.INFEASIBLE) else None
            self.finish(running, State.PRUNED, running.last(self.study.objectives).values(), error)
        elif event.how is Outcome.LOST:
            self._retry(running.trial, event)
        elif event.how is Outcome.RAISED:
            self.finish(running, State.FAILED, error=event.error)
        elif event.how is Outcome.INFEASIBLE:
            self.finish(running, State.INFEASIBLE, error=event.error)
        elif event.how is Outcome.FINISHED:
            self._finish_by_value(running)
        elif self.interrupted:
            self._release(running.trial)  # it stays unfinished in the ledger, and the next run takes it up
        else:
            self.finish(running, State.FAILED, error=event.error or "stopped from outside")
        failed = self.trials[event.number].state is State.FAILED
        if failed and 0 < self.study.trial.stop_after_failures <= self._failures:
            which = "the first {} trials all" if self._failures == self._ended else "{} trials in a row"
            raise SearchFailed(
                f"{which.format(self._failures)} failed; run the study again to retry them. The last error:\n"
                f"{self.trials[event.number].error}"
            )

    def _retry(self, trial: Trial, event: Ended) -> None:
        if trial.attempt > self.study.trial.retries:
            error = f"lost in attempt {trial.attempt}, its last: {event.error}"
            self.finish(self.running[trial.number], State.FAILED, error=error)
            return
        self.again(trial)

    def again(self, trial: Trial) -> None:
        """Queues a trial whose attempt was lost for its next attempt."""
        self.advisor.forget_reports(trial.number)
        self._release(replace(trial, attempt=trial.attempt + 1))
        self.waiting.append(self.trials[trial.number])

    def _release(self, trial: Trial) -> None:
        """Takes an unfinished trial from what runs; it can be run again."""
        self._remove_running(trial.number)
        self.trials[trial.number] = fresh(trial)

    def _remove_running(self, number: int) -> None:
        self.running.pop(number, None)
        self.leased.pop(number, None)

    def _finish_by_value(self, running: Running) -> None:
        last = running.last(self.study.objectives)
        for metric, value in (last | running.last(self.study.bounds)).items():
            if value is None or not math.isfinite(value):
                why = "ended without reporting {!r}" if value is None else "reported {} = {} at its last step"
                self.finish(running, State.FAILED, error=why.format(metric, value))
                return
        self.finish(running, State.COMPLETE, last.values())

    def finish(
        self, running: Running, state: State, values: Iterable[float | None] = (), error: str | None = None
    ) -> None:
        """Ends a trial: the ledger has it before the budget counts it."""
        known = tuple(value for value in values if value is not None and math.isfinite(value))
        trial = replace(
            running.trial,
            state=state,
            values=known if len(known) == len(self.study.objectives) else (),
            ended=running.moment() if running.trial.ended is None else running.trial.ended,
            reports=tuple(running.reports),
            error=error,
        )
        if state in (State.COMPLETE, State.PRUNED):
            for key, note in judged(self.study.bounds, trial.last).items():
                self.advisor.note(trial.number, key, note)
        trial = self.advisor.tell(trial)
        if self._folders is not None and running.place is not None:
            self._folders.remote.add(trial.number, running.place)
        self._ledger.finish(trial)
        self._remove_running(trial.number)
        self.trials[trial.number] = trial
        self._meter.add(trial)
        self._ended += 1
        if state is not State.INFEASIBLE:  # which says nothing of whether the others work
            self._failures = self._failures + 1 if state is State.FAILED else 0
        if self._folders is not None:
            self._folders.tidy(self.trials, trial)

    def _check_timeouts(self) -> None:
        if (limit := self.study.trial.timeout) is None or self.executor is None:
            return
        for number, running in list(self.running.items()):
            if time.monotonic() - running.started > limit:
                self.executor.kill(number, f"ran longer than {length(limit)}")
