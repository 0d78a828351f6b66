"""What Ctrl-C and SIGTERM do to a search: the first lets running trials finish, the second ends it at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum

from hpo.errors import Interrupted
from hpo.progress import Notify


class OnInterrupt(StrEnum):
    """What happens to running trials when a search is interrupted."""

    finish = "finish"
    stop = "stop"


@contextmanager
def resumable(command: str) -> Iterator[None]:
    """Turns the second Ctrl-C into :class:`Interrupted`, which names the command that resumes."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted.during(command) from None


@contextmanager
def handled(interrupt: Callable[[], None], notify: Notify) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM asks the search to end, the second ends it; only the main thread gets signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        notify("\ninterrupted: no new trials start. Press Ctrl-C (or send SIGTERM) again to stop now")
        interrupt()

    before = {sign: signal.signal(sign, handle) for sign in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)
