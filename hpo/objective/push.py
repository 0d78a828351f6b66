"""Objectives that push their reports: ``objective(params, seed, report)`` calls ``report(metrics)``.

What calls it may be a callback deep inside a training library, where nothing can be yielded. The objective runs in a
greenlet: a second stack of the same thread, which a report leaves and the next step of the generator enters again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextvars import copy_context
from typing import Any

from greenlet import getcurrent, greenlet

Report = Callable[[Any], None]


class Stopped(Exception):
    """Raised by ``report`` where the trial is to end: it is pruned, or the search ends. Clean up, and let it pass."""


def pushed(
    objective: Callable[[Report], Any], check: Callable[[Any], Mapping[str, float]]
) -> Generator[dict[str, float], None, None]:
    """Runs an objective as a generator of what it reports; closing the generator raises :class:`Stopped` in it.

    Args:
        objective: Called with the function ``report``. What it returns is one more report, unless it is None.
        check: Makes a report of what was reported, or raises ``TypeError``.
    """
    stopping = False

    def report(metrics: Any) -> None:
        if getcurrent() is not inner:
            raise RuntimeError("report() must be called by the thread that runs the objective")
        if stopping:
            raise Stopped
        outer.switch(dict(check(metrics)))
        if stopping:
            raise Stopped

    inner = greenlet(lambda: objective(report))
    outer = inner.parent
    assert outer is not None
    # Its own context would be empty: decimal's precision and NumPy's error states are there.
    copy_context()  # makes one where the thread has none yet
    inner.gr_context = outer.gr_context
    try:
        while True:
            inner.parent = outer = getcurrent()
            result = inner.switch()
            if inner.dead:
                break
            yield result
    finally:
        stopping = True
        while not inner.dead:
            inner.parent = outer = getcurrent()
            try:
                inner.switch()
            except Stopped:
                break
    if result is not None:
        yield dict(check(result))
