"""Follows the search in the background: one thread, and a set of trials whose runs are not up to date.

The search's own cost is one entry in a dictionary. What is pending is bounded by the number of trials, however slow the
store is; a store that fails is tried again, later and later, and is complained of once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from hpo.text import redact
from hpo.tracking import Store
from hpo.trial import StudyState, Trial

# Seconds between two rounds of writing while the search goes on, and how long a round may take before what has changed
# meanwhile gets its turn: how far the store may lag behind.
INTERVAL = 1.0
# Seconds before a failing store is tried again: doubled from the first to the second.
BACKOFF = (1.0, 30.0)
# How often a failing store is tried when the search is over.
LAST_TRIES = 2
# Seconds for one trial that are worth a word.
SLOW = 3.0


class Mirror:
    """A tracker that writes to a store from a thread of its own.

    Args:
        make_store: Makes the store; called in the thread, because importing MLflow takes seconds.
        trials: What the ledger already holds; what of it is missing in the store is written first.
        warn: Told once, when the store first fails or is slow.

    Attributes:
        written: How many finished trials were written.
    """

    def __init__(self, make_store: Callable[[], Store], trials: Sequence[Trial], warn: Callable[[str], None]) -> None:
        self._make_store = make_store
        self._known = {trial.number: trial for trial in trials}
        self._warn = warn
        self._lock = threading.Lock()
        self._pending: dict[int, Trial] = {}
        self._writing: list[Trial] = []
        self._finished: list[Trial] = []
        self._running: set[int] = set()
        self._wake = threading.Event()
        self._closing: StudyState | None = None
        self._abandoned = False
        self._store: Store | None = None
        self._synchronized = False
        self._failures = 0
        self._complained = False
        self._done = False
        self.written = 0
        self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)
        self._thread.start()

    def update(self, trial: Trial) -> None:
        with self._lock:
            self._pending[trial.number] = self._known[trial.number] = trial
        self._wake.set()

    def close(self, state: StudyState, limit: float) -> int:
        self._closing = state
        self._wake.set()
        end = time.monotonic() + limit
        while self._thread.is_alive() and time.monotonic() < end:
            self._thread.join(0.05)
        self._abandoned = True
        with self._lock:
            if self._done:
                return 0
            missing = self._known if self._store is None else self._pending.keys() | {t.number for t in self._writing}
            return max(len(missing), 1)

    # In the thread -------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        failed_closing = 0
        while not self._abandoned:
            self._wake.wait()
            self._wake.clear()
            closing = self._closing
            try:
                all_written = self._round()
                if closing is not None and all_written:
                    self._end(closing)
                    return
                self._failures = 0
                pause = INTERVAL if all_written and self._closing is None else 0.0
                if self._pending:
                    self._wake.set()
            except Exception as error:  # no error of the store ends the mirror; it reports the first and tries again
                self._complain(_one_line(error))
                if closing is not None:
                    failed_closing += 1
                    if failed_closing == LAST_TRIES:
                        return
                pause = BACKOFF[0] if closing is not None else min(BACKOFF[0] * 2**self._failures, BACKOFF[1])
                self._failures += 1
                self._synchronized = False
                self._wake.set()
            self._sleep(pause)

    def _end(self, state: StudyState) -> None:
        assert self._store is not None
        self._store.end(state, [trial for trial in self._known.values() if not trial.finished])
        self._done = True

    def _complain(self, reason: str) -> None:
        if not self._complained:
            self._complained = True
            self._warn(reason)

    def _sleep(self, seconds: float) -> None:
        """Waits between two rounds; a search that ends is not kept waiting."""
        end = time.monotonic() + seconds
        was_closing = self._closing is not None
        while time.monotonic() < end and (was_closing or self._closing is None):
            time.sleep(0.05)

    def _round(self) -> bool:
        """Writes what is pending, running trials first; returns whether nothing was left for another round.

        A running trial waits for its second round: most that end within a second are then written once, and whole.
        """
        if not self._synchronized:
            self._synchronize()
        assert self._store is not None
        end = time.monotonic() + INTERVAL
        with self._lock:
            pending = sorted(self._pending.values(), key=lambda trial: trial.finished)
        running = {trial.number for trial in pending if not trial.finished}
        new = running - self._running if self._closing is None else set()
        self._running = self._running - {trial.number for trial in pending} | running
        numbers = [trial.number for trial in pending if trial.number not in new]
        size = self._store.batch
        for start in range(0, len(numbers), size):
            if self._abandoned or time.monotonic() > end:
                break
            self._write(numbers[start : start + size])
        if self._finished:
            self._store.progress(self._finished)
            self._finished = []
        with self._lock:
            return self._pending.keys() <= new

    def _synchronize(self) -> None:
        """Finds out what the store holds: at the start, and after a call that failed and may have been obeyed."""
        store = self._store or self._make_store()
        with self._lock:
            known = list(self._known.values())
        mirrored = store.open(known)
        self._finished = []
        with self._lock:
            for trial in known:
                if trial.number not in mirrored:
                    self._pending.setdefault(trial.number, trial)
                elif self._pending.get(trial.number) is trial:  # and nothing newer
                    del self._pending[trial.number]
        self._store, self._synchronized = store, True

    def _write(self, numbers: list[int]) -> None:
        assert self._store is not None
        with self._lock:  # as they are now: one may have ended since the round began
            self._writing = trials = [self._pending.pop(number) for number in numbers]
        finished = [trial for trial in trials if trial.finished]  # what ends while it is written is updated again
        began = time.monotonic()
        try:
            self._store.write(trials)
        except BaseException:
            with self._lock:
                for trial in trials:
                    self._pending.setdefault(trial.number, trial)
            raise
        self._writing = []
        self._finished += finished
        self.written += len(finished)
        seconds = (time.monotonic() - began) / len(trials)
        if seconds > SLOW:
            self._complain(f"it took {seconds:.1f} s for one trial")


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {redact(' '.join(str(error).split()))[:300]}"
