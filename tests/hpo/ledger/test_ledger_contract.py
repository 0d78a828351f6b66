"""What every ledger must do, whatever it is kept in: a journal file, sqlite, PostgreSQL."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
from clerk import Clerk
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from small_study import SPACE, small_study

from hpo.errors import HpoError, InputError
from hpo.ledger import books
from hpo.ledger.address import Address, parse
from hpo.ledger.ledger import Ledger
from hpo.trial import COMPLETE, PRUNED, RUNNING

HOLD = Path(__file__).with_name("hold.py")

READ_SEEDS = """
import json, sys
from hpo.ledger import books
from hpo.ledger.address import parse
book = books.read(parse(sys.argv[1]), "small")
print(json.dumps([[trial.number, trial.state, trial.value, len(trial.reports)] for trial in book.trials]))
"""


@pytest.fixture(params=["journal", "sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Address:
    """An empty place for a ledger, of each kind."""
    if request.param == "journal":
        return parse(str(tmp_path / "hpo.journal"))
    if request.param == "sqlite":
        return parse(f"sqlite:///{tmp_path}/hpo.db")
    return parse(request.getfixturevalue("postgresql_url"))


@pytest.fixture
def clerk(address: Address) -> Iterator[Clerk]:
    clerk = Clerk(address, small_study())
    yield clerk
    clerk.ledger.close()


@contextmanager
def holding(address: Address, *mode: str, name: str = "small") -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the study."""
    command = [sys.executable, str(HOLD), address.url, name, *mode]
    environment = os.environ | {"PYTHONPATH": f"{HOLD.parent}:{HOLD.parents[1]}"}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until_done(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "done\n"


@pytest.fixture
def optunas_own(address: Address) -> Iterator[BaseStorage]:
    """The same storage as Optuna opens it, without hpo."""
    if address.kind == "journal":
        yield JournalStorage(JournalFileBackend(str(address.path)))
        return
    storage = RDBStorage(address.url.replace("postgresql://", "postgresql+psycopg://"))
    yield storage
    storage.engine.dispose()


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


# A study's identity ------------------------------------------------------------------------------------------------


CONTRADICTIONS: list[tuple[dict[str, object], str]] = [
    ({"direction": "minimize"}, 'direction: "maximize" in the ledger, "minimize" in the file'),
    ({"metric": "loss"}, 'metric: "score" in the ledger, "loss" in the file'),
    ({"objective": "a:b"}, 'objective: "simple_objectives:curve" in the ledger, "a:b" in the file'),
    ({"fixed": {"epochs": 3}}, "fixed.epochs: absent in the ledger, 3 in the file"),
    ({"space": SPACE | {"lr": SPACE["lr"] | {"low": 1e-5}}}, "space.lr.low: 1e-06 in the ledger, 1e-05 in the file"),
    ({"space": {"lr": SPACE["lr"]}}, "space.layers: "),
]


def test_a_file_that_contradicts_the_ledger_is_refused_and_the_difference_spelled_out(
    address: Address, clerk: Clerk
) -> None:
    clerk.fill([0.5])
    clerk.ledger.close()

    for change, difference in CONTRADICTIONS:
        with pytest.raises(InputError) as refusal:
            Ledger.open(address, small_study(**change))

        assert difference in str(refusal.value)
        assert "hpo delete small" in str(refusal.value)
    Ledger.open(address, small_study()).close()  # the lock was given back, the study is as it was


def test_what_is_no_identity_may_change(address: Address, clerk: Clerk) -> None:
    clerk.fill([0.5])
    clerk.ledger.close()

    changed = small_study(budget={"trials": 9}, sampler={"name": "tpe"}, trial={"retries": 5})
    Ledger.open(address, changed).close()

    book = books.read(address, "small")
    assert book.study.resolved == changed.resolved
    assert len(book.trials) == 1


def test_a_study_without_any_value_starts_over_when_its_file_is_corrected(
    address: Address, clerk: Clerk, optunas_own: BaseStorage
) -> None:
    uid = clerk.ledger.uid
    clerk.finish(clerk.begin(), "failed", error="no such metric")
    clerk.begin()
    clerk.ledger.close()

    corrected = Clerk(address, small_study(metric="loss", direction="minimize", space={"lr": {"low": 1, "high": 9}}))

    assert corrected.ledger.loaded == []
    assert corrected.ledger.uid != uid
    assert corrected.begin().number == 0
    study = optuna.load_study(study_name="small", storage=optunas_own)
    assert study.direction.name == "MINIMIZE"
    corrected.ledger.close()


def test_a_study_that_failed_only_is_kept_while_its_file_stays_the_same(address: Address, clerk: Clerk) -> None:
    failed = clerk.finish(clerk.begin(), "failed", error="out of luck")
    clerk.ledger.close()

    again = Ledger.open(address, small_study())

    assert len(again.loaded) == 1
    assert books.read(address, "small").trials == [failed]
    again.close()


def test_a_study_that_hpo_did_not_make_is_left_alone(address: Address, optunas_own: BaseStorage) -> None:
    study = optuna.create_study(study_name="small", storage=optunas_own)
    study.tell(study.ask(), 1.0)

    with pytest.raises(InputError, match="holds a study 'small' that hpo did not make; choose another name"):
        Ledger.open(address, small_study())

    assert books.names(address) == []
    assert len(optuna.load_study(study_name="small", storage=optunas_own).trials) == 1


def test_a_driver_that_died_while_it_made_the_study_is_no_hindrance(
    address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    for attribute in ("hpo:uid", "hpo:created", "hpo:study"):
        with monkeypatch.context() as patch:
            dying_at(patch, attribute, die)
            with pytest.raises(KeyboardInterrupt):
                Ledger.open(address, small_study(name=attribute.replace(":", "-")))

        ledger = Ledger.open(address, small_study(name=attribute.replace(":", "-")))

        assert ledger.uid
        assert ledger.created > 0
        ledger.close()


def dying_at(patch: pytest.MonkeyPatch, attribute: str, die: Callable[..., None]) -> None:
    """The next writer dies just before it sets this attribute of a study."""
    from hpo.ledger.journal import Journal
    from hpo.ledger.sql import Sql

    for storage in (Journal, Sql):
        original = storage.set_study_user_attr

        def dying(self, study_id, key, value, original=original):  # type: ignore[no-untyped-def]
            if key == attribute:
                die()
            original(self, study_id, key, value)

        patch.setattr(storage, "set_study_user_attr", dying)


# Many studies ------------------------------------------------------------------------------------------------------


def test_studies_are_listed_and_deleted_by_name(address: Address, clerk: Clerk) -> None:
    clerk.fill([0.5])
    clerk.ledger.close()
    Clerk(address, small_study(name="other")).ledger.close()
    assert books.names(address) == ["other", "small"]

    assert books.delete(address, "small") == 1

    assert books.names(address) == ["other"]
    with pytest.raises(InputError, match="there is no study 'small'"):
        books.read(address, "small")


def test_a_running_study_is_not_deleted(address: Address, clerk: Clerk) -> None:
    with pytest.raises(InputError, match="is being run by"):
        books.delete(address, "small")

    assert books.names(address) == ["small"]


def test_deleting_what_is_not_there_is_refused(address: Address, clerk: Clerk) -> None:
    with pytest.raises(InputError, match=r"there is no study 'smal'.*did you mean 'small'"):
        books.delete(address, "smal")


def test_a_deleted_study_made_again_is_another_one(address: Address, clerk: Clerk) -> None:
    clerk.fill([0.5])
    uid = clerk.ledger.uid
    clerk.ledger.close()
    books.delete(address, "small")

    again = Clerk(address, small_study(direction="minimize"))

    assert again.ledger.loaded == []
    assert again.ledger.uid != uid
    assert again.begin().number == 0
    again.ledger.close()


def test_the_state_of_a_study_follows_its_life(address: Address, clerk: Clerk) -> None:
    clerk.fill([0.5])
    assert books.read(address, "small").state == "running"
    clerk.ledger.close()
    assert books.read(address, "small").state == "stopped"
    clerk = Clerk(address, small_study(budget={"trials": 1}))
    clerk.ledger.close()
    assert books.read(address, "small").state == "complete"


def test_two_studies_written_at_once_by_two_processes_do_not_mix(address: Address) -> None:
    Clerk(address, small_study(name="both")).ledger.close()  # makes the tables, which no two processes do at once
    with holding(address, "fill", "15", name="a") as one, holding(address, "fill", "15", name="b") as two:
        wait_until_done(one)
        wait_until_done(two)

    for name in ("a", "b"):
        trials = books.read(address, name).trials
        assert [(t.number, t.value, t.state) for t in trials] == [(i, float(i), COMPLETE) for i in range(15)]
        assert all([r.metrics["score"] for r in t.reports] == [t.number / 2, t.number] for t in trials)
