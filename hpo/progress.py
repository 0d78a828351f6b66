"""How far a search is: counted from its trials, and shown as a bar, as lines, or under a notebook's cell."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from html import escape
from typing import TYPE_CHECKING, Any, Protocol

from hpo.best import Best
from hpo.ledger.address import Address
from hpo.study import Study
from hpo.text import cut, duration, number, printable
from hpo.trial import State, Trial, counts

if TYPE_CHECKING:
    from hpo.ledger.snapshots import Snapshot


# Receives a remark for the user, one line without a prefix. A leading line break ends a line that shows ^C.
Notify = Callable[[str], None]


# Characters of a remark that are shown; seconds after which a slow step is announced.
MOST, NOTICE = 10_000, 5.0


def to_stderr(text: str) -> None:
    """Writes a remark to standard error; one that cannot be written is dropped, because no search ends for that."""
    line = text.removeprefix("\n")
    prefix = "" if line.startswith("hpo ") else "hpo: "  # a message that begins with the command says it already
    _write(f"{chr(10) * text.startswith(chr(10))}{prefix}{cut(line, MOST)}\n")


def _write(text: str) -> None:
    with suppress(OSError, ValueError, AttributeError):  # full, closed, or not there at all
        sys.stderr.write(printable(text))


@contextmanager
def announced(text: str, notify: Notify) -> Iterator[None]:
    """Announces the block's work when it takes longer than :data:`NOTICE`."""
    notice = threading.Timer(NOTICE, notify, [text])
    notice.daemon = True
    try:
        notice.start()
        yield
    finally:
        notice.cancel()


class Progress:
    """A watcher that shows how far a search is.

    Args:
        study: What is searched.
        trials: What the ledger already holds.
        quiet: Show nothing.
    """

    def __init__(self, study: Study, trials: Sequence[Trial], *, quiet: bool = False) -> None:
        self._study = study
        self._counts = counts(list(trials))
        self._counts[State.RUNNING] = 0
        self._best = Best(study.objectives)
        for trial in trials:
            self._best.add(trial)
        self._states = {trial.number: trial.state for trial in trials if trial.finished}
        self._uncounted = {trial.number for trial in trials if trial.finished and not trial.counted}
        self._before = self._finished
        self._began = time.monotonic()
        self._shown = 0.0
        self._display: Display | None = None if quiet else display(study.name)
        self._show("starting")

    @property
    def _finished(self) -> int:
        return sum(count for state, count in self._counts.items() if state != State.RUNNING)

    @property
    def _spent(self) -> int:
        """How many trials of the budget have finished; those that were run again count once, others not at all."""
        return self._finished - len(self._uncounted)

    def edited(self, study: Study) -> None:
        """From now on shows how far this study is: its budget may have changed."""
        self._study = study

    def update(self, trial: Trial) -> None:
        if trial.finished or trial.number not in self._states:
            self._count(trial)
        now = time.monotonic()
        if self._display is None or not (trial.finished or self._display.live):
            return
        if now - self._shown > self._display.pause or (trial.finished and self._left == 0):
            self._shown = now
            self._show(self._text())

    def _count(self, trial: Trial) -> None:
        before = self._states.get(trial.number)
        if before is not None:
            self._counts[before] -= 1
        self._counts[trial.state] = self._counts.get(trial.state, 0) + 1
        self._states[trial.number] = trial.state
        if trial.finished and not trial.counted:
            self._uncounted.add(trial.number)
        if trial.finished:
            self._best.add(trial)

    def close(self) -> None:
        if self._display is not None:
            if self._display.live:
                self._show(self._text())
            self._display.close()
            self._display = None

    def _show(self, text: str) -> None:
        if self._display is not None:
            self._display.show(self._spent, self._study.budget.trials, text)

    @property
    def _left(self) -> int:
        """How many trials are left; -1 where the budget does not count them."""
        return -1 if self._study.budget.trials is None else max(0, self._study.budget.trials - self._spent)

    def _text(self) -> str:
        parts = []
        best = self._best.trials
        if best and len(self._study.objectives) > 1:
            parts.append(f"{len(best)} on the front")
        elif best:
            parts.append(f"best {number(best[0].value)} (trial {best[0].number})")
        parts += [f"{count} {state}" for state, count in self._counts.items() if count]
        done = self._finished - self._before
        if done:
            rate = done / (time.monotonic() - self._began)
            parts.append(f"{rate:.1f} trials/s" if rate >= 1 else f"{duration(1 / rate)} per trial")
            if self._left > 0:
                parts.append(f"{duration(self._left / rate)} left")
        return ", ".join(parts)


def follow(where: Address, name: str, interval: float) -> Snapshot:
    """Shows the progress of a study that another process runs, until that process ends.

    Args:
        where: The ledger.
        name: The study.
        interval: Seconds between two looks at the ledger.

    Returns:
        The study as it is then; returned immediately when no process runs it.
    """
    from hpo.ledger import snapshots

    snapshot = snapshots.read(where, name)
    done = {trial.number for trial in snapshot.trials if trial.finished}
    if not snapshot.holder:
        return snapshot
    with closing(Progress(snapshot.study, [t for t in snapshot.trials if t.finished])) as progress:
        while True:
            for trial in snapshot.trials:
                if trial.number not in done:
                    progress.update(trial)
                if trial.finished:
                    done.add(trial.number)
            if not snapshot.holder:
                return snapshot
            time.sleep(interval)
            snapshot = snapshots.read(where, name)


# Displays ----------------------------------------------------------------------------------------------------------

# Seconds between two updates: of lines, of a bar on a terminal, and of a notebook's cell.
LINE, REDRAW, CELL = 10.0, 0.1, 0.5


class Display(Protocol):
    """Shows the progress of a search.

    Attributes:
        pause: Seconds between two updates.
        live: Whether it is also updated while trials run, and once more at the end.
    """

    pause: float
    live: bool

    def show(self, done: int, total: int | None, text: str) -> None:
        """Shows that ``done`` of ``total`` trials have finished (None where the budget does not count trials)."""

    def close(self) -> None: ...


def display(title: str) -> Display:
    """The display that fits where this process runs: a notebook, a terminal, or neither."""
    if _in_notebook():
        return Cell(title)
    return Bar(title) if sys.stderr.isatty() else Lines(title)


def _in_notebook() -> bool:
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None


class Lines:
    """A line on standard error."""

    pause, live = LINE, False

    def __init__(self, title: str) -> None:
        self._title = title

    def show(self, done: int, total: int | None, text: str) -> None:
        _write(f"{self._title}: {done}/{total or '-'} trials, {text}\n")

    def close(self) -> None:
        pass


class Bar:
    """A bar on the terminal that standard error is."""

    pause, live = REDRAW, True

    def __init__(self, title: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task(printable(title), total=None, text="")
        self._bar.start()

    def show(self, done: int, total: int | None, text: str) -> None:
        self._bar.update(self._task, completed=done, total=total, text=printable(text))

    def close(self) -> None:
        self._bar.stop()


class Cell:
    """A bar under a notebook's running cell; it stays there afterwards."""

    pause, live = CELL, True

    def __init__(self, title: str) -> None:
        self._title = title
        self._handle: Any = None

    def show(self, done: int, total: int | None, text: str) -> None:
        from IPython.display import HTML, display

        share = f'value="{done}" max="{total}"' if total else ""
        bar = f'<progress {share} style="width: 16em; vertical-align: middle"></progress>'
        words = f"{done}/{total or '-'} trials, {escape(text)}"
        html = HTML(f"<div><b>{escape(self._title)}</b> {bar} {words}</div>")  # type: ignore[no-untyped-call]
        if self._handle is None:
            self._handle = display(html, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(html)

    def close(self) -> None:
        pass
