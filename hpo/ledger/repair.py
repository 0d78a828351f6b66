"""Repairs a journal with bad lines: keeps what is sound, and a copy of the original."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from optuna.storages.journal._storage import JournalOperation, JournalStorageReplayResult
from optuna.trial import TrialState

from hpo.errors import StorageUnusable, StudyLocked
from hpo.ledger import lock
from hpo.ledger.address import Address
from hpo.ledger.journal_file import appending
from hpo.ledger.lines import Sequence, encode, pieces_of, rewritten, writer_of


@dataclass(frozen=True)
class Repair:
    """What :func:`repair` did.

    Attributes:
        kept: How many lines were kept.
        studies: How many studies they make.
        trials: How many trials these have.
        changes: What was left out, and why, a sentence each; empty when the journal is sound.
        copy: The journal as it was; None when nothing was changed.
    """

    kept: int
    studies: int
    trials: int
    changes: list[str]
    copy: Path | None


def repair(path: Path) -> Repair:
    """Rewrites a journal without its bad lines, and keeps a copy of the original.

    A line that began a trial is replaced by a failed trial, so that what follows stays with its own trials. Where it is
    not known what was lost, nothing behind it is kept: it could belong to other trials.

    Raises:
        StorageUnusable: When the file cannot be read or written.
        StudyLocked: While one of its studies is being run.
    """
    try:
        with appending(path) as file:
            recovered = _Recovered(path.read_bytes())
            if not recovered.records and path.stat().st_size:
                rule = f"{path} has no sound line of an Optuna journal; it is left as it is"
                raise StorageUnusable.about("--repair", rule, str(path))
            for study in recovered.replay.get_all_studies():
                if holder := lock.holder(Address("journal", str(path), path), study.study_name):
                    raise StudyLocked(f"study {study.study_name!r} is being run by {holder}; stop it before the repair")
            copy: Path | None = None
            if recovered.changes:
                copy = path.with_name(f"{path.name}.damaged-{datetime.now():%Y%m%d-%H%M%S}")
                shutil.copy2(path, copy)
                draft = path.resolve().with_name(f"{path.name}.repaired")
                with draft.open("wb") as new:
                    new.writelines(recovered.lines())
                    new.flush()
                    os.fchmod(new.fileno(), os.fstat(file.fileno()).st_mode & 0o777)
                    os.fsync(new.fileno())
                draft.replace(path.resolve())
    except OSError as error:
        there = "make it, and its folder, writable" if path.exists() else "name a journal that is there"
        rule = f"{path} cannot be repaired: {error.strerror or error}; {there}"
        raise StorageUnusable.about("--repair", rule, str(path)) from error
    trials = sum(len(recovered.replay.get_all_trials(s._study_id, None)) for s in recovered.replay.get_all_studies())
    return Repair(len(recovered.records), len(recovered.replay.get_all_studies()), trials, recovered.changes, copy)


class _Recovered:
    """What can be kept of a journal."""

    def __init__(self, data: bytes) -> None:
        self.records: list[dict[str, Any]] = []
        self.changes: list[str] = []
        self.replay = JournalStorageReplayResult("")
        self._sequence = Sequence()
        self._lost = 0  # lines whose loss explains a gap in a writer's sequence
        lines = BytesIO(data).readlines()
        checked = not (lines and rewritten(lines[0]))
        for number, line in enumerate(lines, start=1):
            pieces = list(pieces_of(line, checked=checked)) if line.endswith(b"\n") else []
            if not pieces or b"".join(text for _, text in pieces) != line:
                if not pieces and not any(any(pieces_of(later, checked=checked)) for later in lines[number:]):
                    self.changes.append(f"line {number}: from here to the end nothing can be read; cut off")
                    return
                if not self._lose(number, line, fused=bool(pieces)):
                    self.changes[-1] += f"; the {len(lines) - number} lines after it are left out"
                    return
            for record, text in pieces:
                if not self._keep(number, record, text):
                    self.changes[-1] += f"; this line and the {len(lines) - number} after it are left out"
                    return

    def lines(self) -> Iterator[bytes]:
        """The kept records, numbered anew."""
        written: dict[str, int] = {}
        for record in self.records:
            if "seq" in record:
                written[writer_of(record)] = seq = written.get(writer_of(record), 0) + 1
                bare = {key: value for key, value in record.items() if key not in ("seq", "crc")}
                yield encode(bare, seq)
            else:
                yield json.dumps(record, separators=(",", ":")).encode() + b"\n"

    def _keep(self, number: int, record: dict[str, Any], line: bytes) -> bool:
        """Takes a sound record; False when it is not known what is missing before it."""
        missing = self._sequence.missing(record)
        if missing > self._lost:
            self.changes.append(f"line {number}: {missing} lines of the same writer before it are missing")
            return False
        if missing > 0:
            self._lost -= missing
            self._sequence.accept(record | {"seq": record["seq"] - 1})
        try:
            self._sequence.follow(record, line)
            self.replay.apply_logs([record])
            self.records.append(record)
        except Exception as error:  # Optuna checks no record before it applies it
            self.changes.append(f"line {number}: {error if isinstance(error, ValueError) else repr(error)}; left out")
        return True

    def _lose(self, number: int, line: bytes, *, fused: bool) -> bool:
        """Leaves a line out, or a part of it; False when it is not known what it was."""
        self._lost += 1
        operation = re.match(rb'\{"op_code":(\d+),', line)
        kind = int(operation[1]) if operation else None
        study = re.search(rb'"study_id":(\d+)', line)
        # The lines after a fused part were written by a process that could not read that part either.
        if fused or kind not in (None, JournalOperation.CREATE_STUDY, JournalOperation.CREATE_TRIAL):
            self.changes.append(f"line {number}: {'a part ' if fused else ''}cannot be read; left out")
            return True
        if kind == JournalOperation.CREATE_TRIAL and study:
            record = _lost_trial(int(study[1]), number)
            self.replay.apply_logs([record])
            self.records.append(record)
            self.changes.append(f"line {number}: cannot be read; it began a trial, which now counts as failed")
            return True
        self.changes.append(f"line {number}: cannot be read, and it is not known what it was")
        return False


def _lost_trial(study_id: int, line: int) -> dict[str, Any]:
    now = datetime.now().astimezone().isoformat(timespec="microseconds")
    empty: dict[str, Any] = {"distributions": {}, "params": {}, "system_attrs": {}, "intermediate_values": {}}
    return {
        "op_code": int(JournalOperation.CREATE_TRIAL),
        "worker_id": "hpo-repair",
        "study_id": study_id,
        "datetime_start": now,
        "datetime_complete": now,
        "state": int(TrialState.FAIL),
        "value": None,
        "values": None,
        "user_attrs": {"error": f"lost: line {line} of the journal could not be read"},
        **empty,
    }
