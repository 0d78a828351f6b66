"""Writes trials into a ledger the way the search does, one call each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hpo.advisor import Advisor
from hpo.ledger.address import Address
from hpo.ledger.ledger import Ledger
from hpo.study import Study
from hpo.trial import COMPLETE, FAILED, PRUNED, Report, Trial

# A moment; whole milliseconds, which is what a report's time is kept in.
NOON = 1_700_000_000.125


class Clerk:
    """A ledger with the decisions' copy beside it."""

    def __init__(self, address: Address, study: Study) -> None:
        self.study = study
        self.ledger = Ledger.open(address, study)
        self.advisor = Advisor(study, self.ledger.loaded)

    def begin(self, seed: int = 0) -> Trial:
        frozen, params = self.advisor.ask()
        trial = Trial(frozen.number, params, seed)
        self.ledger.begin(frozen, trial)
        return trial

    def report(self, trial: Trial, *reports: Mapping[str, float]) -> None:
        for metrics in reports:
            step = len(trial.reports) + 1
            trial.reports.append(Report(step, NOON + step, metrics))
            if self.study.metric in metrics:
                self.advisor.report(trial.number, step, metrics[self.study.metric])

    def finish(self, trial: Trial, state: str, **fields: Any) -> Trial:
        trial.started, trial.ended, trial.worker = NOON, NOON + 60, "host/1"
        for name, value in fields.items():
            setattr(trial, name, value)
        if state != FAILED:
            trial.value = trial.last(self.study.metric)
        frozen = self.advisor.tell(trial.number, state, trial.value)
        trial.state = state
        self.ledger.finish(frozen, trial)
        return trial

    def fill(self, values: Sequence[float]) -> list[Trial]:
        """Complete trials with two reports each."""
        trials = []
        for value in values:
            trial = self.begin()
            self.report(trial, {"score": value / 2}, {"score": value, "loss": -value})
            trials.append(self.finish(trial, COMPLETE))
        return trials

    def one_of_each(self) -> list[Trial]:
        """A complete, a pruned and a failed trial."""
        complete, pruned, failed = self.begin(1), self.begin(2), self.begin(2**32 - 1)
        self.report(complete, {"score": 0.25, "loss": 1.5}, {"loss": 1.25}, {"score": 0.5, "acc": 1.0})
        self.report(pruned, {"score": 0.125})
        self.report(failed, {"score": float("nan"), "loss": float("inf")}, {"score": float("-inf")})
        self.finish(complete, COMPLETE, attempt=3)
        self.finish(pruned, PRUNED)
        self.finish(failed, FAILED, error='Traceback:\n  "ÿ" → 学習率 😀 \\n \x00 {"a": [1]}')
        return [complete, pruned, failed]
