"""Follows the search in the background: one thread, and a set of trials whose runs are not up to date.

The search's own cost is one entry in a dictionary. What is pending is bounded by the number of trials, however slow the
store is; a store that fails is tried again, later and later, and is complained of once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from hpo.ledger.address import redact
from hpo.tracking import Store
from hpo.trial import Trial

# Seconds between two rounds of writing while the search goes on: how far the store may lag behind.
INTERVAL = 1.0
# Seconds before a failing store is tried again: doubled from the first to the second.
BACKOFF = (1.0, 30.0)
# How often a failing store is tried when the search is over.
LAST_TRIES = 2


class Mirror:
    """A tracker that writes to a store from a thread of its own.

    Args:
        make_store: Makes the store; called in the thread, because importing MLflow takes seconds.
        trials: What the ledger already holds; what of it is missing in the store is written first.
        warn: Told once when the store first fails.
    """

    def __init__(self, make_store: Callable[[], Store], trials: Sequence[Trial], warn: Callable[[str], None]) -> None:
        self._make_store = make_store
        self._known = {trial.number: trial for trial in trials}
        self._warn = warn
        self._lock = threading.Lock()
        self._pending: dict[int, Trial] = {}
        self._finished: list[Trial] = []
        self._wake = threading.Event()
        self._closing: str | None = None
        self._abandoned = False
        self._progressed = time.monotonic()
        self._store: Store | None = None
        self._in_step = False
        self._failures = 0
        self._done = False
        self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)
        self._thread.start()

    def update(self, trial: Trial) -> None:
        with self._lock:
            self._pending[trial.number] = self._known[trial.number] = trial
        self._wake.set()

    def close(self, status: str, patience: float) -> int:
        self._closing = status
        self._wake.set()
        began = time.monotonic()
        while self._thread.is_alive() and time.monotonic() - max(began, self._progressed) < patience:
            self._thread.join(0.05)
        self._abandoned = True
        with self._lock:
            if self._done:
                return 0
            return max(len(self._known if self._store is None else self._pending), 1)

    # In the thread -------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        failed_closing = 0
        while not self._abandoned:
            self._wake.wait()
            self._wake.clear()
            closing = self._closing
            try:
                self._round()
                if closing is not None:
                    assert self._store is not None
                    self._store.end(closing)
                    self._done = True
                    return
                self._failures = 0
                pause = INTERVAL
            except Exception as error:  # whatever the store raises must not end the mirror; it is told, and tried again
                if not self._failures:
                    self._warn(_one_line(error))
                if closing is not None:
                    failed_closing += 1
                    if failed_closing == LAST_TRIES:
                        return
                pause = BACKOFF[0] if closing is not None else min(BACKOFF[0] * 2**self._failures, BACKOFF[1])
                self._failures += 1
                self._in_step = False
                self._wake.set()
            self._sleep(pause)

    def _sleep(self, seconds: float) -> None:
        """Waits between two rounds; a search that ends is not kept waiting."""
        end = time.monotonic() + seconds
        was_closing = self._closing is not None
        while time.monotonic() < end and (was_closing or self._closing is None):
            time.sleep(0.05)

    def _round(self) -> None:
        if not self._in_step:
            self._get_in_step()
        assert self._store is not None
        finished: list[Trial] = []
        with self._lock:
            batch = list(self._pending.values())
        try:
            for trial in batch:
                if self._abandoned:
                    return
                self._write(trial, finished)
        finally:
            self._finished += finished
        if self._finished:
            self._store.progress(self._finished)
            self._finished = []

    def _get_in_step(self) -> None:
        """Finds out what the store holds: at the start, and after a call that failed and may have been obeyed."""
        store = self._store or self._make_store()
        with self._lock:
            known = list(self._known.values())
        mirrored = store.open(known)
        self._finished = []
        with self._lock:
            for trial in known:
                if trial.number in mirrored:
                    self._pending.pop(trial.number, None)
                else:
                    self._pending.setdefault(trial.number, trial)
        self._store, self._in_step = store, True

    def _write(self, trial: Trial, finished: list[Trial]) -> None:
        assert self._store is not None
        with self._lock:
            self._pending.pop(trial.number, None)
        try:
            was_finished = trial.finished  # before writing: what ends meanwhile is updated again
            self._store.write(trial)
        except BaseException:
            with self._lock:
                self._pending.setdefault(trial.number, trial)
            raise
        self._progressed = time.monotonic()
        if was_finished:
            finished.append(trial)


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {redact(' '.join(str(error).split()))[:300]}"
