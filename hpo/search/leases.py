"""Trials that other programs run: leased for some time, and ended by these (``hpo ask``, ``hpo tell``)."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hpo.execution import Ended, Outcome, Reported
from hpo.ledger.ledger import Ledger
from hpo.ledger.rows import REPORTS, pack
from hpo.search.request import Request
from hpo.search.running import Running
from hpo.study.fields import Place, integer, label, number, read_value, show, text
from hpo.text import length
from hpo.trial import LARGEST_STEP, LEASE, Report, State, Trial

if TYPE_CHECKING:
    from hpo.search.loop import Search

# Seconds after which a request for a trial is too old: its sender has given up, and gets no lease.
STALE = 300.0
# The longest lease, in seconds.
MAX_LEASE_SECONDS = 30 * 86400.0
# How a trial ends that gets no value, by what is told.
WITHOUT_VALUE = {"failed": (State.FAILED, Outcome.RAISED), "infeasible": (State.INFEASIBLE, Outcome.INFEASIBLE)}


class Leases:
    """Leases trials of a search, and takes their reports and results.

    Args:
        search: The search.
        ledger: Its ledger.
    """

    def __init__(self, search: Search, ledger: Ledger) -> None:
        self._search, self._ledger = search, ledger
        self._expired: dict[int, Running] = {}

    def expire(self) -> None:
        """Takes back leases that have run out: their trials wait for the next request, or for the driver's workers."""
        for trial_number, running in list(self._search.leased.items()):
            if running.trial.notes[LEASE]["until"] < time.time():
                self._expired[trial_number] = running
                self._search.again(running.trial)
                self._search.publish(trial_number)

    # Asking --------------------------------------------------------------------------------------------------------

    def ask(self, request: Request) -> dict[str, Any] | None:
        """Leases a trial: one that waits, or a new one."""
        search = self._search
        seconds = request.take("seconds", number(0, MAX_LEASE_SECONDS, above=True))
        for running in search.leased.values():
            if running.trial.notes[LEASE]["id"] == request.id:  # by a writer that died before it could answer
                return self._leased(running)
        if search.interrupted:
            return None  # the next process with the lock answers
        if (age := time.time() - request.time) > STALE:
            why = f"the request is {length(round(age))} old, by the clocks of {request.by} and of the driver; ask again"
            return {"number": None, "why": why}
        if (trial := search.take()) is None:
            waits = "the trials of the batch under way must end before the next batch is chosen"
            return {"number": None, "why": request.spent(search) or waits}
        if trial.attempt > 1:  # the reports of the attempt before
            self._ledger.note(trial.number, REPORTS, pack(()))
        now = time.time()
        running = Running(replace(trial, started=now, worker=request.by), started=time.monotonic())
        search.leased[trial.number] = running
        lease = {"id": request.id, "by": request.by, "since": now, "attempt": trial.attempt}
        self._note(running, lease | {"until": now + seconds})
        return self._leased(running)

    def renew(self, request: Request) -> dict[str, Any]:
        """Lets a lease last longer."""
        trial = request.trial(self._search.trials)
        expired = self._expired.get(trial.number)
        if expired and expired.trial.notes[LEASE].get("renewed") == request.id:
            return self._leased(expired)  # by a writer that died before it could answer; it has run out since
        running = self._held(request, trial)
        until = time.time() + request.take("seconds", number(0, MAX_LEASE_SECONDS, above=True))
        self._note(running, running.trial.notes[LEASE] | {"until": until, "renewed": request.id})
        return self._leased(running)

    def _note(self, running: Running, lease: dict[str, Any]) -> None:
        trial_number = running.trial.number
        self._ledger.note(trial_number, LEASE, lease)
        running.trial = replace(running.trial, notes={**running.trial.notes, LEASE: lease})
        self._search.advisor.note(trial_number, LEASE, lease)
        self._search.publish(trial_number)

    def _leased(self, running: Running) -> dict[str, Any]:
        trial, lease = running.trial, running.trial.notes[LEASE]
        asked = {"number": trial.number, "params": dict(trial.params), "fixed": dict(self._search.study.fixed)}
        return asked | {"seed": trial.seed, "attempt": trial.attempt, "lease": lease["id"], "until": lease["until"]}

    def _held(self, request: Request, trial: Trial) -> Running:
        """A trial that is leased to the sender of the request."""
        running = self._search.leased.get(trial.number)
        if running is None:
            why = (
                f"has ended: {trial.state}"
                if trial.finished
                else "is run by the study's own workers"
                if trial.number in self._search.running
                else f"is not leased, or its lease has run out; to lease one: hpo ask {request.study}"
            )
            raise request.refusal(f"trial {trial.number} {why}", value=trial.number)
        lease = request.get("lease")
        if lease is not None and lease != running.trial.notes[LEASE]["id"]:
            rule = (
                f"the lease of trial {trial.number} has run out, and {running.trial.worker} has another one, got "
                f"{show(lease)}; to lease a trial: hpo ask {request.study}"
            )
            raise request.refusal(rule, "lease", lease)
        return running

    # Telling -------------------------------------------------------------------------------------------------------

    def tell(self, request: Request) -> dict[str, Any]:
        """Takes a report of a leased trial, its value, or why it has none; the same twice is harmless."""
        trial = request.trial(self._search.trials)
        ways = [way for way in ("value", "report", *WITHOUT_VALUE) if request.get(way) is not None]
        if len(ways) != 1:
            rule = "needs one of --value, --report, --failed and --infeasible"
            raise request.refusal(f"{rule}, got {' and '.join(ways) or 'none of them'}", "value", ways)
        if ways == ["value"]:
            self._tell_value(request, trial)
        elif ways == ["report"]:
            self._tell_report(request, trial)
        else:
            self._tell_end(request, trial, *ways)
        return self.told(request)

    def told(self, request: Request) -> dict[str, Any]:
        """The answer to :meth:`tell`: what has become of the trial."""
        trial = request.trial(self._search.trials)
        scored = trial.scored(self._search.study.objectives)
        return {"number": trial.number, "state": trial.state, **scored, "stop": trial.state is State.PRUNED}

    def _tell_value(self, request: Request, trial: Trial) -> None:
        study, given = self._search.study, request.get("value")
        values = _metrics(request, "value", given if isinstance(given, Mapping) else {study.metric: given})
        if trial.finished and trial.state is not State.COMPLETE:
            self._check_same(request, trial, State.COMPLETE, same=False, told=given)
        running = None if trial.finished else self._held(request, trial)
        last = running.now() if running else trial
        names = {**study.objectives, **study.bounds}  # what a bound is on may have been reported before
        needed = [*study.objectives, *(name for name in study.bounds if last.last(name) is None)]
        if not values.keys() <= names.keys() or not values.keys() >= {*needed}:
            rule = f"must name {', '.join(needed or names)}"
            if optional := [name for name in names if needed and name not in needed]:
                rule += f", and may name {', '.join(optional)}"
            raise request.error("value", rule, given)
        if not all(map(math.isfinite, values.values())):
            rule = "must be finite; for a trial without a value: --failed TEXT, or --infeasible TEXT"
            raise request.error("value", rule, str(given))
        same = {name: last.last(name) for name in values} == values
        if running is None:
            self._check_same(request, trial, State.COMPLETE, same=same, told=given)
            return
        if not same:
            self._append(running, Report(_next_step(last), time.time(), values))
        self._search.hear(Ended(trial.number, running.trial.attempt, Outcome.FINISHED, None))

    def _tell_end(self, request: Request, trial: Trial, way: str) -> None:
        state, outcome = WITHOUT_VALUE[way]
        error = request.take(way, text)
        if trial.finished:
            self._check_same(request, trial, state, same=trial.error == error, told={way: error})
            return
        running = self._held(request, trial)
        self._search.hear(Ended(trial.number, running.trial.attempt, outcome, None, error))

    def _tell_report(self, request: Request, trial: Trial) -> None:
        search, given = self._search, request.get("report")
        if not isinstance(given, Mapping):
            raise request.error("report", "must be a table of metrics", given)
        metrics = _metrics(request, "report", {key: value for key, value in given.items() if key != "step"})
        wanted = search.study.objectives.keys()
        if trial.finished:
            if trial.state is not State.PRUNED:  # the answer repeats that it is pruned
                same = any(
                    report.step == given.get("step") and _same(report.metrics, metrics) for report in trial.reports
                )
                self._check_same(request, trial, trial.state, same=same, told=given)
            return
        running = self._held(request, trial)
        last = running.now()
        lease = running.trial.notes[LEASE]
        if "step" in given:
            step = read_value(Place(request.command, "report.step"), given["step"], integer(1, LARGEST_STEP))
        elif lease.get("heard") == request.id:  # by a writer that died before it could answer
            step = lease["step"]
        else:
            step = _next_step(last)
            self._note(running, lease | {"heard": request.id, "step": step})
        before = next((report for report in last.reports if report.step == step), None)
        if before is None:
            if step < _next_step(last):
                raise request.error("report.step", f"must be above the last one, {_next_step(last) - 1}", step)
            if not last.reports and wanted.isdisjoint(metrics):
                raise request.error("report", f"the first report must have {' or '.join(wanted)}", given)
            search.hear(Reported(trial.number, running.trial.attempt, (Report(step, time.time(), metrics),)))
            self._ledger.note(trial.number, REPORTS, pack(running.reports))
        elif not _same(before.metrics, metrics):
            raise request.error("report", f"step {step} was reported before, with {show(dict(before.metrics))}", given)
        elif last.reports[-1] is before and metrics.keys() >= wanted and search.advisor.should_prune(trial.number):
            running.stopping = True  # the writer that got the report died before it could answer
        if running.stopping:
            search.hear(Ended(trial.number, running.trial.attempt, Outcome.STOPPED, None))

    def _append(self, running: Running, report: Report) -> None:
        """Adds a report without asking the pruner: the trial ends with it."""
        running.reports.append(report)
        values = [report.metrics[name] for name in self._search.study.objectives]
        self._search.advisor.report(running.trial.number, report.step, values)

    def _check_same(self, request: Request, trial: Trial, state: State, *, same: bool, told: Any) -> None:
        """Checks that what is told of a trial that has ended agrees with the ledger."""
        if trial.state is not state or not same:
            known = f"{trial.state}" + ("" if not trial.values else f" with {', '.join(map(str, trial.values))}")
            rule = (
                f"trial {trial.number} has already ended as {known}; {show(told)} is refused because it differs; "
                f"to exclude the trial: hpo discard {request.study} {trial.number} --why TEXT"
            )
            raise request.refusal(rule, value=told)


def _next_step(trial: Trial) -> int:
    return trial.reports[-1].step + 1 if trial.reports else 1


def _metrics(request: Request, key: str, given: Mapping[str, Any]) -> dict[str, float]:
    """Metrics, from JSON: numbers, or the words nan, inf and -inf, for which JSON has no number."""
    found = {}
    for name, value in given.items():
        try:
            label(name)
            if isinstance(value, bool) or not isinstance(value, int | float | str):
                raise ValueError("must be a number")
            found[name] = float(value)
        except (ValueError, OverflowError) as rule:
            raise request.error(
                f"{key}.{name}", "must be a number" if "float" in str(rule) else str(rule), value
            ) from None
    if not found:
        raise request.error(key, "must have at least one metric", given)
    return found


def _same(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Whether two reports have the same metrics; NaN equals NaN."""
    return one.keys() == other.keys() and all(str(one[name]) == str(other[name]) for name in one)
