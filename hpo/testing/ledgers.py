"""What holds for ledgers, in a journal file or in a database."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from hpo.errors import InputError
from hpo.ledger import snapshots
from hpo.ledger.address import Address, parse
from hpo.ledger.ledger import Ledger
from hpo.search.advisor import Advisor
from hpo.study import Study
from hpo.testing.fakes import small_study
from hpo.trial import Report, State, Trial

# A moment; whole milliseconds, which is what a report's time is kept in.
NOON = 1_700_000_000.125


class TrialWriter:
    """Writes trials into a ledger the way the search does, one call each.

    Args:
        address: Where the ledger is.
        study: The study to open there.

    Attributes:
        ledger: The study's ledger; nothing else writes it.
        advisor: Where trials come from.
    """

    def __init__(self, address: Address, study: Study) -> None:
        self.study = study
        self.ledger = Ledger.open(address, study)
        self.advisor = Advisor(study, self.ledger.loaded)

    def begin(self, seed: int = 0) -> Trial:
        trial = replace(self.advisor.ask(), seed=seed)
        self.ledger.begin(trial)
        return trial

    def report(self, trial: Trial, *reports: Mapping[str, float]) -> Trial:
        for step, metrics in enumerate(reports, start=len(trial.reports) + 1):
            trial = replace(trial, reports=(*trial.reports, Report(step, NOON + step, metrics)))
            if metrics.keys() >= self.study.objectives.keys():
                self.advisor.report(trial.number, step, [metrics[name] for name in self.study.objectives])
        return trial

    def finish(self, trial: Trial, state: State, **fields: Any) -> Trial:
        last = [trial.last(name) for name in self.study.objectives]
        values = tuple(value for value in last if value is not None) if state is not State.FAILED else ()
        ended: dict[str, Any] = {
            "started": NOON,
            "ended": NOON + 60,
            "worker": "host/1",
            "state": state,
            "values": values if len(values) == len(last) else (),
        }
        trial = self.advisor.tell(replace(trial, **ended | fields))
        self.ledger.finish(trial)
        return trial

    def fill(self, values: Sequence[float]) -> list[Trial]:
        """Complete trials with two reports each."""
        trials = []
        for value in values:
            trial = self.begin()
            trial = self.report(trial, {"score": value / 2}, {"score": value, "loss": -value})
            trials.append(self.finish(trial, State.COMPLETE))
        return trials

    def one_of_each(self) -> list[Trial]:
        """A complete, a pruned and a failed trial."""
        complete, pruned, failed = self.begin(1), self.begin(2), self.begin(2**32 - 1)
        complete = self.report(complete, {"score": 0.25, "loss": 1.5}, {"loss": 1.25}, {"score": 0.5, "acc": 1.0})
        pruned = self.report(pruned, {"score": 0.125})
        failed = self.report(failed, {"score": float("nan"), "loss": float("inf")}, {"score": float("-inf")})
        complete = self.finish(complete, State.COMPLETE, attempt=3)
        pruned = self.finish(pruned, State.PRUNED)
        failed = self.finish(failed, State.FAILED, error='Traceback:\n  "ÿ" → 学習率 😀 \\n \x00 {"a": [1]}')
        return [complete, pruned, failed]


# Other processes ---------------------------------------------------------------------------------------------------

_HOLD = "import sys; from hpo.testing.ledgers import hold; hold(*sys.argv[1:])"


@contextmanager
def holding(address: Address, *mode: str, name: str = "small") -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the study, and does there what :func:`hold` says."""
    command = [sys.executable, "-c", _HOLD, address.url, name, *mode]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until_done(process: subprocess.Popen[str]) -> None:
    """Waits until a process of :func:`holding` has done what it was started for."""
    assert process.stdout is not None
    assert process.stdout.readline() == "done\n"


def hold(address: str, name: str, mode: str = "", count: str = "0") -> None:
    """Holds a study until standard input ends: prints ``held``, does what ``mode`` says, prints ``done``.

    Args:
        address: Where the ledger is.
        name: The study.
        mode: ``"begin"`` starts a trial, ``"fill"`` completes ``count`` trials.
        count: How many.
    """
    trial_writer = TrialWriter(parse(address), small_study(name=name))
    print("held", flush=True)
    if mode == "begin":
        trial_writer.begin(seed=7)
    elif mode == "fill":
        trial_writer.fill([float(i) for i in range(int(count))])
    print("done", flush=True)
    sys.stdin.read()
    trial_writer.ledger.close()


_READ = """
import json, sys
from hpo.ledger import snapshots
from hpo.ledger.address import parse
snapshot = snapshots.read(parse(sys.argv[1]), "small")
print(json.dumps([[trial.number, trial.state, trial.value, len(trial.reports)] for trial in snapshot.trials]))
"""


class LedgerContract:
    """Any ledger: what it was given is durable and comes back as it was; it has one writer.

    A fixture ``address`` gives a place for a ledger, empty for every test: a folder of a file system, or a database.
    """

    @pytest.fixture
    def trial_writer(self, address: Address) -> Iterator[TrialWriter]:
        trial_writer = TrialWriter(address, small_study())
        yield trial_writer
        trial_writer.ledger.close()

    # What is written

    def test_every_field_of_every_state_survives(self, address: Address, trial_writer: TrialWriter) -> None:
        written = trial_writer.one_of_each()

        read = snapshots.read(address, "small").trials

        assert repr(read) == repr(written)  # NaN is not equal to itself, but its text is
        assert [type(trial.params["hidden"]) for trial in read] == [list] * 3

    def test_another_process_sees_a_trial_as_soon_as_begin_and_finish_return(
        self, address: Address, trial_writer: TrialWriter
    ) -> None:
        trial_writer.fill([0.5])
        trial_writer.begin()

        seen = subprocess.run([sys.executable, "-c", _READ, address.url], capture_output=True, text=True, check=True)

        assert json.loads(seen.stdout) == [[0, State.COMPLETE, 0.5, 2], [1, State.RUNNING, None, 0]]

    def test_a_reader_beside_the_writer_sees_each_step(self, address: Address, trial_writer: TrialWriter) -> None:
        trial = trial_writer.begin(seed=3)
        assert snapshots.read(address, "small").trials == [trial]

        trial = trial_writer.report(trial, {"score": 1.0})
        assert snapshots.read(address, "small").trials[0].reports == ()

        trial = trial_writer.finish(trial, State.PRUNED)
        assert snapshots.read(address, "small").trials == [trial]

    def test_a_reopened_ledger_gives_back_what_was_written_and_counts_on(
        self, address: Address, trial_writer: TrialWriter
    ) -> None:
        written = trial_writer.fill([0.1, 0.2])
        uid, created = trial_writer.ledger.uid, trial_writer.ledger.created
        trial_writer.ledger.close()

        again = TrialWriter(address, small_study())

        assert [t.number for t in again.ledger.loaded] == [0, 1]
        assert (again.ledger.uid, again.ledger.created) == (uid, created)
        third = again.begin()
        assert third.number == 2
        assert snapshots.read(address, "small").trials == [*written, third]
        again.ledger.close()

    def test_parameters_come_back_to_the_last_bit(self, address: Address, trial_writer: TrialWriter) -> None:
        written = [trial_writer.begin().params for _ in range(20)]

        assert [trial.params for trial in snapshots.read(address, "small").trials] == written

    def test_a_long_trial_survives(self, address: Address, trial_writer: TrialWriter) -> None:
        trial = trial_writer.begin()
        trial = trial_writer.report(
            trial, *({"score": step / 7, f"metric {step % 3}": 1e-300 * step} for step in range(3000))
        )
        trial = trial_writer.finish(trial, State.COMPLETE, error="x" * 100_000)

        assert snapshots.read(address, "small").trials == [trial]

    # A writer that died

    def test_a_trial_that_a_dead_writer_left_running_is_found(self, address: Address) -> None:
        with holding(address, "begin") as process:
            wait_until_done(process)
            process.kill()
            process.wait()
            ledger = Ledger.open(address, small_study())

        (trial,) = ledger.loaded
        assert (trial.number, trial.state, trial.seed) == (0, State.RUNNING, 7)
        ledger.close()

    def test_the_lock_of_a_killed_holder_is_taken_over_at_once(self, address: Address) -> None:
        with holding(address) as process:
            process.kill()
            process.wait()
            Ledger.open(address, small_study()).close()

    def test_a_second_writer_is_refused_and_told_host_pid_and_start(self, address: Address) -> None:
        with holding(address) as process:
            with pytest.raises(InputError) as refusal:
                Ledger.open(address, small_study())
            holder = snapshots.read(address, "small").holder

        message = str(refusal.value)
        assert message.startswith("study 'small' is being run by")
        for part in (f"pid {process.pid}", platform.node()[:20], time.strftime("%Y-%m-%dT")):
            assert part in message
            assert part in str(holder)

    def test_a_second_writer_in_the_same_process_is_refused_until_the_first_closes(
        self, address: Address, trial_writer: TrialWriter
    ) -> None:
        with pytest.raises(InputError, match=f"being run by pid {os.getpid()}"):
            Ledger.open(address, small_study())

        trial_writer.ledger.close()
        Ledger.open(address, small_study()).close()

    def test_nobody_holds_a_study_that_is_not_run(self, address: Address) -> None:
        TrialWriter(address, small_study()).ledger.close()

        assert snapshots.read(address, "small").holder is None
