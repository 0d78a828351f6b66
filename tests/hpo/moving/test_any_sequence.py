"""Whatever is forked, imported, copied and run, and wherever a process dies: what is there is what a model predicts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from histories import finished, study_of
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo import transfers
from hpo.ledger import snapshots
from hpo.ledger.address import Address, parse
from hpo.ledger.copy import copy
from hpo.ledger.journal_file import JournalFile
from hpo.search.edited import open_edited
from hpo.trial import FROM, Origin, Trial

# A trial in the model: its parameter, and where it comes from.
Known = tuple[float, Origin | None]
STEPS = st.tuples(
    st.sampled_from(["run", "import", "fork", "copy"]),
    st.integers(0, 3),  # which study, or how many rows
    st.none() | st.tuples(st.integers(0, 4), st.booleans()),  # the write at which the process dies, before or after it
)


@contextmanager
def dying(death: tuple[int, bool] | None) -> Iterator[None]:
    """A process that dies at a write to a ledger, before or after it."""
    append, count = JournalFile._append, 0

    def write(file: JournalFile, logs: list[dict[str, Any]]) -> None:
        nonlocal count
        count += 1
        if death is None or count != death[0] + 1:
            append(file, logs)
            return
        if death[1]:
            append(file, logs)
        raise KeyboardInterrupt

    with mock.patch.object(JournalFile, "_append", write):
        yield


class Machine:
    """Two ledgers, and what should be in them."""

    def __init__(self, folder: Path) -> None:
        self.one, self.two = parse(str(folder / "one")), parse(str(folder / "two"))
        self.known: dict[str, list[Known]] = {}
        self.copied: dict[str, list[Known]] = {}

    def do(self, step: str, which: int, death: tuple[int, bool] | None) -> None:
        """A step, by a process that perhaps dies, and then once more by one that does not."""
        name = list(self.known)[which % len(self.known)] if self.known else "base"
        if step in ("fork", "copy") and not self.known.get(name):
            return
        new, rows, count = f"fork-{len(self.known)}", range(which + 1), len(self.known.get(name, ()))
        for end in (death, None):
            try:
                with dying(end):
                    getattr(self, f"_{step}")(name, new, rows, count)
            except KeyboardInterrupt:
                continue
            break
        known = self.known.setdefault(name, [])
        if step == "run":
            known.append((0.5, None))
        elif step == "import":
            there = {origin for _, origin in known}
            known += [(lr, origin) for lr, origin in map(self._row, rows) if origin not in there]
        elif step == "fork":
            uid = snapshots.uid(self.one, name)
            self.known[new] = [(lr, origin or Origin(uid, name, n)) for n, (lr, origin) in enumerate(known)]
        else:
            self.copied[name] = list(known)

    def _run(self, name: str, new: str, rows: range, count: int) -> None:
        with closing(open_edited(self.one, study_of(name), lambda text: None)[0]) as ledger:
            if len(ledger.loaded) == count:
                ledger.begin(finished(count, {"lr": 0.5}, 0.5))

    def _import(self, name: str, new: str, rows: range, count: int) -> None:
        found = [
            Trial(
                **{**vars(finished(r, {"lr": str(self._row(r)[0])}, 0.1)), "notes": {FROM: list(self._row(r)[1] or ())}}
            )
            for r in rows
        ]
        transfers.bring_in(study_of(name), self.one, found, {}, word="row", strict=True)

    def _fork(self, name: str, new: str, rows: range, count: int) -> None:
        transfers.fork(study_of(new), self.one, name)

    def _copy(self, name: str, new: str, rows: range, count: int) -> None:
        copy(self.one, name, self.two)

    @staticmethod
    def _row(number: int) -> Known:
        return 0.2 + number / 10, Origin(f"row-{number}", "table", number)

    def check(self) -> None:
        for where, studies in ((self.one, self.known), (self.two, self.copied)):
            assert set(names(where)) == set(studies)
            for name, known in studies.items():
                trials = snapshots.read(where, name).trials
                assert [(trial.params["lr"], trial.origin) for trial in trials] == known
                assert [trial.number for trial in trials] == list(range(len(known)))
        for name in self.copied:
            assert snapshots.uid(self.two, name) == snapshots.uid(self.one, name)


def names(where: Address) -> list[str]:
    return snapshots.names(where) if where.path and where.path.exists() else []


@settings(deadline=None, max_examples=15)
@given(st.lists(STEPS, min_size=2, max_size=7))
def test_any_sequence_of_steps_and_deaths_leaves_what_the_model_says(steps: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(Path(folder))
        for step in steps:
            machine.do(*step)
            machine.check()
