"""A search's progress: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hpo.cli.text import number, seconds
from hpo.study import Study
from hpo.trial import COMPLETE, RUNNING, Trial, best_first, counts

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

# Seconds between two lines where there is no terminal, and between two redraws where there is one.
LINE, REDRAW = 10.0, 0.1


class Progress:
    """A watcher that says how far a search is, on standard error.

    Args:
        study: What is searched.
        trials: What the ledger already holds.
        quiet: Say nothing.
    """

    def __init__(self, study: Study, trials: Sequence[Trial], *, quiet: bool = False) -> None:
        self._study = study
        self._counts = counts(list(trials))
        self._counts[RUNNING] = 0
        best = best_first(list(trials), study.direction)
        self._best: Trial | None = best[0] if best else None
        self._states: dict[int, str] = {}
        self._before = self._finished
        self._began = time.monotonic()
        self._said = 0.0
        self._quiet = quiet
        self._bar: Bar | None = None
        self._task: Any = None
        if not quiet and sys.stderr.isatty():
            self._open_bar()
        elif not quiet:
            self._say("starting")

    @property
    def _finished(self) -> int:
        return sum(count for state, count in self._counts.items() if state != RUNNING)

    def update(self, trial: Trial) -> None:
        if trial.finished or trial.number not in self._states:
            self._count(trial)
        now = time.monotonic()
        if self._bar is not None:
            if trial.finished or now - self._said > REDRAW:
                self._said = now
                self._bar.update(self._task, completed=self._finished, text=self._text())
        elif not self._quiet and trial.finished and (now - self._said > LINE or self._left == 0):
            self._said = now
            self._say(self._text())

    def _say(self, text: str) -> None:
        sys.stderr.write(f"{self._study.name}: {self._finished}/{self._study.budget.trials or '-'} trials, {text}\n")

    def _count(self, trial: Trial) -> None:
        before = self._states.get(trial.number)
        if before is not None:
            self._counts[before] -= 1
        self._counts[trial.state] += 1
        self._states[trial.number] = trial.state
        if trial.state == COMPLETE:
            candidates = [trial] if self._best is None else [self._best, trial]
            self._best = best_first(candidates, self._study.direction)[0]

    def close(self) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=self._finished, text=self._text())
            self._bar.stop()
            self._bar = None

    @property
    def _left(self) -> int:
        """How many trials are left; -1 where the budget does not count them."""
        return -1 if self._study.budget.trials is None else max(0, self._study.budget.trials - self._finished)

    def _text(self) -> str:
        parts = []
        if self._best is not None:
            parts.append(f"best {number(self._best.value)} (trial {self._best.number})")
        parts += [f"{count} {state}" for state, count in self._counts.items() if count]
        done = self._finished - self._before
        if done:
            rate = done / (time.monotonic() - self._began)
            parts.append(f"{rate:.1f} trials/s" if rate >= 1 else f"{seconds(1 / rate)} per trial")
            if self._left > 0:
                parts.append(f"{seconds(self._left / rate)} left")
        return ", ".join(parts)

    def _open_bar(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            console=Console(stderr=True),
        )
        total = self._study.budget.trials
        self._task = self._bar.add_task(self._study.name, total=total, completed=self._finished, text="starting")
        self._bar.start()
