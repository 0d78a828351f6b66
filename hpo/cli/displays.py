"""Where progress is shown: a bar on a terminal, a bar under a notebook's cell, or a line now and then."""

from __future__ import annotations

import sys
from html import escape
from typing import Any, Protocol

# Seconds between two lines where there is no terminal, and between two redraws where there is one, or a notebook.
LINE, REDRAW, CELL = 10.0, 0.1, 0.5


class Display(Protocol):
    """Shows how far something is.

    Attributes:
        pause: Seconds between two times.
        live: Whether it shows what goes on between the ends of two trials, and how all ended.
    """

    pause: float
    live: bool

    def show(self, done: int, total: int | None, text: str) -> None:
        """Shows that ``done`` of ``total`` trials have finished (None: nobody knows of how many)."""

    def close(self) -> None: ...


def display(title: str) -> Display:
    """What fits to where this process runs."""
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
        sys.stderr.write(f"{self._title}: {done}/{total or '-'} trials, {text}\n")

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
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task(title, total=None, text="")
        self._bar.start()

    def show(self, done: int, total: int | None, text: str) -> None:
        self._bar.update(self._task, completed=done, total=total, text=text)

    def close(self) -> None:
        self._bar.stop()


class Cell:
    """A bar under the cell of a notebook that runs; it stays there when all is done."""

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
