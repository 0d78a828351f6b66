"""The journal ledger: Optuna's journal file, made safe against a writer that dies and cheap for whole trials.

Optuna's own file backend appends and syncs every single call, leaves a symbolic link behind when its writer is killed
(which costs the next one 30 s), and fuses the next record with a torn last line. This one appends a trial's reports and
its end in one write, locks with ``flock`` (the kernel drops it with the process), and cuts a torn tail off before it
appends.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial


class JournalFile(JournalFileBackend):
    """A journal file that batches appends and survives a torn tail.

    Args:
        path: The journal; created when absent.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._batch: list[dict[str, Any]] | None = None
        super().__init__(str(path))

    def read_logs(self, log_number_from: int) -> Generator[dict[str, Any], None, None]:
        if self._batch is None:  # nothing of a batch is in the file yet, and nobody else writes this study
            yield from super().read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        if self._batch is not None:
            self._batch.extend(logs)
        else:
            self._append(logs)

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Holds appends back and writes them at once, synced, when the block ends well."""
        logs = self._batch = []
        try:
            yield
        finally:
            self._batch = None
        self._append(logs)

    def _append(self, logs: list[dict[str, Any]]) -> None:
        data = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        with self._path.open("r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = _cut_torn_tail(file.fileno())
            file.seek(size)
            try:
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
                os.fsync(file.fileno())
            except OSError:  # a full disk, say: leave no half record behind
                file.truncate(size)
                raise


def _cut_torn_tail(descriptor: int) -> int:
    """Truncates to the last newline; returns the size."""
    size = end = os.lseek(descriptor, 0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 65536)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        os.ftruncate(descriptor, end)
    return end


class Journal(JournalStorage):
    """Optuna's journal storage with a whole trial's end in one durable write."""

    def __init__(self, path: Path) -> None:
        self._file = JournalFile(path)
        super().__init__(self._file)

    def finish_trial(self, trial_id: int, trial: FrozenTrial, attrs: Mapping[str, Any]) -> None:
        """Writes reports, attributes, state and value of a finished trial, all of them or none."""
        self.check_trial_is_updatable(trial_id, self.get_trial(trial_id).state)
        with self._file.batch():
            for step, value in trial.intermediate_values.items():
                self.set_trial_intermediate_value(trial_id, step, value)
            for key, value in trial.system_attrs.items():
                self.set_trial_system_attr(trial_id, key, value)
            for key, value in attrs.items():
                self.set_trial_user_attr(trial_id, key, value)
            self.set_trial_state_values(trial_id, trial.state, trial.values)

    def close(self) -> None:
        """Nothing stays open between two calls."""
