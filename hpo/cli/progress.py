"""How far a search is: counted from what its trials do, and shown while it goes on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from hpo.cli.displays import Display, display
from hpo.cli.text import number, seconds
from hpo.ledger.address import Address
from hpo.study import Study
from hpo.trial import COMPLETE, RUNNING, Trial, best_first, counts

if TYPE_CHECKING:
    from hpo.ledger.books import Book


class Progress:
    """A watcher that says how far a search is.

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
        self._display: Display | None = None if quiet else display(study.name)
        self._show("starting")

    @property
    def _finished(self) -> int:
        return sum(count for state, count in self._counts.items() if state != RUNNING)

    def update(self, trial: Trial) -> None:
        if trial.finished or trial.number not in self._states:
            self._count(trial)
        now = time.monotonic()
        if self._display is None or not (trial.finished or self._display.live):
            return
        if now - self._said > self._display.pause or (trial.finished and self._left == 0):
            self._said = now
            self._show(self._text())

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
        if self._display is not None:
            if self._display.live:
                self._show(self._text())
            self._display.close()
            self._display = None

    def _show(self, text: str) -> None:
        if self._display is not None:
            self._display.show(self._finished, self._study.budget.trials, text)

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


def follow(where: Address, name: str, interval: float, *, quiet: bool = False) -> Book:
    """Shows the progress of a study that another process runs, until it runs no more.

    Args:
        where: The ledger.
        name: The study.
        interval: Seconds between two looks at the ledger.
        quiet: Show nothing.

    Returns:
        The study as it is then; at once where nobody runs it.
    """
    from hpo.ledger import books

    book = books.read(where, name)
    done = {trial.number for trial in book.trials if trial.finished}
    if not book.holder:
        return book
    with closing(Progress(book.study, [t for t in book.trials if t.finished], quiet=quiet)) as progress:
        while True:
            for trial in book.trials:
                if trial.number not in done:
                    progress.update(trial)
                if trial.finished:
                    done.add(trial.number)
            if not book.holder:
                return book
            time.sleep(interval)
            book = books.read(where, name)
