"""What every ledger must do, whatever it is kept in: a journal file, sqlite, PostgreSQL."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time

import optuna
import pytest
from clerk import Clerk
from holding import holding, wait_until_done
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from small_study import small_study

from hpo.errors import HpoError, InputError
from hpo.ledger import books
from hpo.ledger.address import Address
from hpo.ledger.ledger import Ledger
from hpo.trial import COMPLETE, PRUNED, RUNNING

READ_SEEDS = """
import json, sys
from hpo.ledger import books
from hpo.ledger.address import parse
book = books.read(parse(sys.argv[1]), "small")
print(json.dumps([[trial.number, trial.state, trial.value, len(trial.reports)] for trial in book.trials]))
"""


# What is written ---------------------------------------------------------------------------------------------------


def test_every_field_of_every_state_survives(address: Address, clerk: Clerk) -> None:
    written = clerk.one_of_each()

    read = books.read(address, "small").trials

    assert repr(read) == repr(written)  # NaN is not equal to itself, but its text is
    assert [type(trial.params["hidden"]) for trial in read] == [list] * 3


def test_another_process_sees_a_trial_as_soon_as_begin_and_finish_return(address: Address, clerk: Clerk) -> None:
    clerk.fill([0.5])
    clerk.begin()

    seen = subprocess.run([sys.executable, "-c", READ_SEEDS, address.url], capture_output=True, text=True, check=True)

    assert json.loads(seen.stdout) == [[0, COMPLETE, 0.5, 2], [1, RUNNING, None, 0]]


def test_a_reader_beside_the_writer_sees_each_step(address: Address, clerk: Clerk) -> None:
    trial = clerk.begin(seed=3)
    assert books.read(address, "small").trials == [trial]

    clerk.report(trial, {"score": 1.0})
    assert books.read(address, "small").trials[0].reports == []

    clerk.finish(trial, PRUNED)
    assert books.read(address, "small").trials == [trial]


def test_a_reopened_ledger_gives_back_what_was_written_and_counts_on(address: Address, clerk: Clerk) -> None:
    written = clerk.fill([0.1, 0.2])
    uid, created = clerk.ledger.uid, clerk.ledger.created
    clerk.ledger.close()

    again = Clerk(address, small_study())

    assert [t.number for t in again.ledger.loaded] == [0, 1]
    assert (again.ledger.uid, again.ledger.created) == (uid, created)
    third = again.begin()
    assert third.number == 2
    assert books.read(address, "small").trials == [*written, third]
    again.ledger.close()


def test_parameters_come_back_to_the_last_bit(address: Address, clerk: Clerk) -> None:
    written = [clerk.begin().params for _ in range(20)]

    assert [trial.params for trial in books.read(address, "small").trials] == written


def test_a_long_trial_survives(address: Address, clerk: Clerk) -> None:
    trial = clerk.begin()
    clerk.report(trial, *({"score": step / 7, f"metric {step % 3}": 1e-300 * step} for step in range(3000)))
    clerk.finish(trial, COMPLETE, error="x" * 100_000)

    assert books.read(address, "small").trials == [trial]


def test_a_pruned_trial_that_ended_at_infinity_has_no_value(address: Address, clerk: Clerk) -> None:
    trial = clerk.begin()
    clerk.report(trial, {"score": float("inf")})
    trial.value = None
    clerk.advisor.tell(trial.number, PRUNED, None)
    clerk.ledger.finish(clerk.advisor._storage.get_trial(clerk.advisor._ids[0]), trial)

    read = books.read(address, "small").trials[0]

    assert (read.state, read.value) == (PRUNED, None)
    assert read.reports == trial.reports


def test_finishing_twice_is_refused(clerk: Clerk) -> None:
    trial = clerk.begin()
    clerk.report(trial, {"score": 1.0})
    frozen = clerk.advisor.tell(trial.number, COMPLETE, 1.0)
    clerk.ledger.finish(frozen, trial)

    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        clerk.ledger.finish(frozen, trial)


def test_a_trial_of_somebody_else_in_between_is_noticed(
    address: Address, clerk: Clerk, optunas_own: BaseStorage
) -> None:
    optuna.load_study(study_name="small", storage=optunas_own).ask()

    with pytest.raises(HpoError, match="trial 0 got the number 1: something else writes to this study"):
        clerk.begin()


def test_optuna_itself_reads_the_study(address: Address, clerk: Clerk, optunas_own: BaseStorage) -> None:
    clerk.one_of_each()

    study = optuna.load_study(study_name="small", storage=optunas_own)

    assert study.direction.name == "MAXIMIZE"
    assert study.best_value == 0.5
    assert [t.state for t in study.trials] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    complete, pruned, failed = study.trials
    assert complete.intermediate_values == {1: 0.25, 3: 0.5}
    assert (pruned.value, pruned.intermediate_values) == (0.125, {1: 0.125})
    assert repr(failed.intermediate_values) == "{1: nan, 2: -inf}"
    assert complete.user_attrs.items() >= {"seed": 1, "attempt": 3, "worker": "host/1"}.items()
    assert json.dumps(complete.user_attrs["reports"]["metrics"]["loss"]) == "[1.5, 1.25, null]"
    assert study.user_attrs["hpo:study"]["metric"] == "score"


# A writer that died ------------------------------------------------------------------------------------------------


def test_a_trial_that_a_dead_writer_left_running_is_found(address: Address) -> None:
    with holding(address, "begin") as process:
        wait_until_done(process)
        process.kill()
        process.wait()
        ledger = Ledger.open(address, small_study())

    (frozen,) = ledger.loaded
    assert (frozen.number, frozen.state, frozen.user_attrs["seed"]) == (0, TrialState.RUNNING, 7)
    ledger.close()


def test_the_lock_of_a_killed_holder_is_taken_over_at_once(address: Address) -> None:
    with holding(address) as process:
        process.kill()
        process.wait()
        Ledger.open(address, small_study()).close()


def test_a_second_writer_is_refused_and_told_host_pid_and_start(address: Address) -> None:
    with holding(address) as process:
        with pytest.raises(InputError) as refusal:
            Ledger.open(address, small_study())
        holder = books.read(address, "small").holder

    message = str(refusal.value)
    assert message.startswith("study 'small' is being run by")
    for part in (f"pid {process.pid}", platform.node()[:20], time.strftime("%Y-%m-%dT")):
        assert part in message
        assert part in str(holder)


def test_a_second_writer_in_the_same_process_is_refused_until_the_first_closes(address: Address, clerk: Clerk) -> None:
    with pytest.raises(InputError, match=f"being run by pid {os.getpid()}"):
        Ledger.open(address, small_study())

    clerk.ledger.close()
    Ledger.open(address, small_study()).close()


def test_another_study_of_the_same_ledger_is_free(address: Address, clerk: Clerk) -> None:
    other = Clerk(address, small_study(name="other"))
    other.fill([0.25])
    clerk.fill([0.5])

    assert [t.value for t in books.read(address, "other").trials] == [0.25]
    assert [t.value for t in books.read(address, "small").trials] == [0.5]
    other.ledger.close()


def test_looking_at_a_study_never_keeps_a_writer_out(address: Address) -> None:
    Clerk(address, small_study()).ledger.close()
    looker = subprocess.Popen(
        [sys.executable, "-c", LOOK, address.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert looker.stdout is not None
    assert looker.stdout.readline() == "looking\n"

    for _ in range(15):
        Ledger.open(address, small_study()).close()

    looker.communicate("")
    assert looker.returncode == 0


LOOK = """
import sys, threading, time
from hpo.ledger import lock
from hpo.ledger.address import parse
address = parse(sys.argv[1])
lock.holder(address, "small")
over = threading.Thread(target=sys.stdin.read)
over.start()
print("looking", flush=True)
while over.is_alive():
    lock.holder(address, "small")
    time.sleep(0.001)
"""


def test_nobody_holds_a_study_that_is_not_run(address: Address) -> None:
    Clerk(address, small_study()).ledger.close()

    assert books.read(address, "small").holder is None
