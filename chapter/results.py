"""What the trials of the chapter's studies say, as arrays over their repeats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpo.ledger import snapshots as books
from hpo.ledger.address import parse
from hpo.trial import State, Trial

Floats = np.ndarray[Any, np.dtype[np.float64]]


class Results:
    """The finished trials of several studies.

    Args:
        trials: By the study's name, in order of their numbers.
    """

    def __init__(self, trials: Mapping[str, Sequence[Trial]]) -> None:
        self._trials = trials

    @classmethod
    def read(cls, folder: Path) -> Results:
        """What the ledger of a working folder has."""
        known = books.read_all(parse(str(folder.absolute() / "hpo.journal")), lambda name: True)
        return cls({name: book.trials for name, book in known.items()})

    def has(self, study: str) -> bool:
        return study in self._trials

    def trials(self, study: str, **params: Any) -> list[Trial]:
        """The finished trials with these parameters, by repeat; failed ones too."""
        chosen = [
            trial
            for trial in self._trials[study]
            if trial.finished and all(trial.params.get(name) == value for name, value in params.items())
        ]
        return sorted(chosen, key=lambda trial: (trial.repeat or 0, trial.number))

    def curves(self, study: str, metric: str, **params: Any) -> Floats:
        """A metric of the complete trials with these parameters, shape (trials, reports)."""
        complete = [trial for trial in self.trials(study, **params) if trial.state == State.COMPLETE]
        return np.array([[report.metrics[metric] for report in trial.reports] for trial in complete])

    def last(self, study: str, metric: str, **params: Any) -> Floats:
        """The metric's last value of every complete trial, shape (trials,)."""
        return self.curves(study, metric, **params)[:, -1]

    def only(self, study: str, **params: Any) -> Trial:
        """The one trial with these parameters."""
        (trial,) = self.trials(study, **params)
        return trial

    def path(self, study: str, start: tuple[float, float] = (-7.0, 2.0), **params: Any) -> Floats:
        """The points of a descent, its start included, shape (steps + 1, 2)."""
        reports = self.only(study, **params).reports
        return np.array([start, *((report.metrics["x"], report.metrics["y"]) for report in reports)])
