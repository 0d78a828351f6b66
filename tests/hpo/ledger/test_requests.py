"""Requests to a study's writer, in a ledger of each kind: done once, whoever dies in between."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from functools import partial
from typing import Any

import pytest
from depth import examples
from dying_writer import dies
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo import requests
from hpo.errors import InputError, StudyNotFound
from hpo.execution import Event
from hpo.ledger import REQUEST, snapshots
from hpo.ledger.address import Address, parse
from hpo.ledger.inbox import RequestQueue
from hpo.ledger.ledger import Ledger
from hpo.requests import Connection
from hpo.search.loop import Search
from hpo.testing import small_study
from hpo.testing.fakes import ScriptedExecutor
from hpo.trial import State


@pytest.fixture
def study(address: Address) -> Connection:
    """A study of four trials that nobody runs."""
    Ledger.open(address, small_study(budget={"trials": 4})).close()
    return Connection("small", address)


def states(address: Address) -> list[State]:
    return [trial.state for trial in snapshots.read(address, "small").trials]


def test_a_study_is_run_by_asking_and_telling_alone(study: Connection) -> None:
    told = []
    while asked := study.ask():
        assert not study.report(asked, score=0.25, loss=2.0)
        assert not study.report(asked, step=7, score=0.5)
        study.tell(asked, asked.number / 8)
        told.append(asked)

    snapshot = snapshots.read(study.where, "small")
    assert snapshot.state == "complete"
    assert [trial.value for trial in snapshot.trials] == [0.0, 0.125, 0.25, 0.375]
    assert [trial.params for trial in snapshot.trials] == [asked.params for asked in told]
    assert [[report.step for report in trial.reports] for trial in snapshot.trials] == [[1, 7, 8]] * 4
    assert snapshot.trials[0].reports[0].metrics == {"score": 0.25, "loss": 2.0}


def test_the_suggestions_are_those_of_a_driver(address: Address, study: Connection) -> None:
    asked = [study.ask() for _ in range(4)]

    executor = ScriptedExecutor(lambda task: [{"score": 1.0}])
    with closing(Ledger.open(address, small_study(name="other", budget={"trials": 4}))) as ledger:
        Search(small_study(name="other", budget={"trials": 4}), ledger).run(executor)
    assert [(task.params, task.seed) for task in executor.tasks] == [(one.params, one.seed) for one in asked if one]
    assert study.ask() is None  # leased trials count for the budget


def test_several_askers_at_once_get_different_trials_and_no_more_than_the_budget(study: Connection) -> None:
    found: list[Any] = []

    def work() -> None:
        while asked := study.ask():
            found.append(asked.number)
            study.tell(asked, 1.0)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(found) == [0, 1, 2, 3]
    assert states(study.where) == [State.COMPLETE] * 4


def test_an_expired_lease_is_the_next_askers_with_another_attempt(study: Connection) -> None:
    first = study.ask()
    assert first is not None
    study.report(first, score=0.5)
    study.renew(first, lease=1e-6)

    second = study.ask()

    assert second is not None
    assert (second.number, second.params, second.seed, second.attempt) == (0, first.params, first.seed, 2)
    with pytest.raises(InputError, match=r"the lease of trial 0 has run out, and .* has another one"):
        study.tell(first, 0.25)
    assert study.renew(second, lease=3600).until > time.time() + 3000
    study.tell(second, 0.75)
    (trial,) = snapshots.read(study.where, "small").trials
    assert (trial.attempt, trial.value, len(trial.reports)) == (2, 0.75, 1)


def test_a_pruned_trial_is_said_to_stop_and_the_same_news_twice_change_nothing(study: Connection) -> None:
    study.request("set", edits=["pruner.name=threshold", "pruner.lower=0.5"])
    asked = study.ask()
    assert asked is not None

    assert not study.report(asked, step=1, score=0.75)
    assert not study.report(asked, step=1, score=0.75)
    with pytest.raises(InputError, match="step 1 was reported before"):
        study.report(asked, step=1, score=0.5)
    assert study.report(asked, step=2, score=0.25)
    assert study.report(asked, step=2, score=0.25)

    (trial,) = snapshots.read(study.where, "small").trials
    assert (trial.state, trial.value, len(trial.reports)) == (State.PRUNED, 0.25, 2)
    with pytest.raises(
        InputError, match=r"trial 0 has already ended as pruned with 0\.25; .* refused because it differs"
    ):
        study.tell(asked, 0.9)


def test_a_leased_trial_that_a_driver_finds_is_left_alone_until_the_lease_runs_out(study: Connection) -> None:
    asked = study.ask(lease=1.0)
    assert asked is not None
    executor = ScriptedExecutor(lambda task: [{"score": 1.0}])

    with closing(Ledger.open(study.where, small_study(budget={"trials": 4}))) as ledger:
        Search(small_study(budget={"trials": 4}), ledger).run(executor)

    assert sorted((task.number, task.attempt) for task in executor.tasks) == [(0, 2), (1, 1), (2, 1), (3, 1)]
    assert states(study.where) == [State.COMPLETE] * 4


# Deaths ------------------------------------------------------------------------------------------------------------


REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("set", {"edits": ["budget.trials=9"]}),
    ("add", {"point": {"lr": 1e-4}}),
    ("ask", {"seconds": 60.0}),
    ("tell", {"trial": 0, "report": {"step": 1, "score": 0.5}}),
    ("tell", {"trial": 0, "report": {"score": 0.5}}),
    ("tell", {"trial": 0, "value": 0.5}),
    ("tell", {"trial": 0, "failed": "a full disk"}),
    ("tell", {"trial": 0, "infeasible": "no memory"}),
    ("stop-trial", {"trial": 0}),
    ("discard", {"trial": 1, "why": "a wrong disk"}),
    ("retry", {"trials": []}),
]


@pytest.mark.parametrize(("do", "wanted"), REQUESTS)
def test_what_a_writer_did_before_it_died_is_answered_and_not_done_again(
    study: Connection, monkeypatch: pytest.MonkeyPatch, do: str, wanted: dict[str, Any]
) -> None:
    """The writer dies between each of its writes, and then between the last one and its answer."""
    leased = study.ask()
    ended = study.ask()
    assert leased is not None
    assert ended is not None
    if do == "retry":
        study.fail(ended, "once")
    else:
        study.tell(ended, 0.25)
    before = snapshots.read(study.where, "small")

    with closing(RequestQueue(study.where, "small")) as queue:
        request_id = queue.send(do, wanted)
        for dies_at in range(1, 20):
            if not dies(monkeypatch, dies_at, lambda: requests.answer_without_driver(study.where, "small")):
                break
        answer = queue.answer(request_id)
        assert answer is not None
        assert "done" in answer, answer
        assert dies_at > 2  # it died at least once on the way
        queue.cancel(request_id)

    after = snapshots.read(study.where, "small")
    new = len(after.trials) - len(before.trials)
    assert new == (do in ("add", "ask", "retry"))
    assert len(after.edits) == (do == "set")
    assert after.study.budget.trials == (9 if do == "set" else 4)
    reports = [len(trial.reports) for trial in after.trials]
    assert reports[0] == (do == "tell" and wanted.keys().isdisjoint({"failed", "infeasible"}))
    requests.answer_without_driver(study.where, "small")
    assert snapshots.read(study.where, "small").trials == after.trials


def test_an_edit_is_undone_whoever_dies(study: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    study.request("set", edits=["budget.trials=9", "pruner.name=median"])
    with closing(RequestQueue(study.where, "small")) as queue:
        request_id = queue.send("set", {"reset": ["budget.trials"]})
        answering = partial(requests.answer_without_driver, study.where, "small")
        deaths = next(at - 1 for at in range(1, 20) if not dies(monkeypatch, at, answering))
        answer = queue.answer(request_id)
    assert answer is not None
    assert answer["done"] == {"edits": [], "reset": [{"key": "budget.trials", "before": "9", "now": False}]}
    assert deaths > 1
    after = snapshots.read(study.where, "small")
    assert [edit.ended is None for edit in after.edits] == [False, True]
    assert (after.study.budget.trials, after.study.pruner.name) == (4, "median")


KILLED = """
import os, signal, sys
from hpo import requests
from hpo.ledger.address import parse
from hpo.ledger.ledger import Ledger

setting = Ledger.set
def killed(ledger, key, value):
    if "answer" in value:
        os.kill(os.getpid(), signal.SIGKILL)
    setting(ledger, key, value)
Ledger.set = killed
requests.answer_without_driver(parse(sys.argv[1]), "small")
"""


def test_a_writer_that_is_killed_between_its_work_and_its_answer_is_not_obeyed_twice(study: Connection) -> None:
    with closing(RequestQueue(study.where, "small")) as queue:
        request_id = queue.send("add", {"point": {"lr": 1e-4}})
        killed = subprocess.run([sys.executable, "-c", KILLED, study.where.url], timeout=120, check=False)
        assert killed.returncode == -signal.SIGKILL
        assert len(states(study.where)) == 1
        assert queue.answer(request_id) is None

        assert study.add(lr=1e-3) == 1  # it does what is left over, too

        answer = queue.answer(request_id)
        assert answer is not None
        assert answer["done"]["number"] == 0
    assert len(states(study.where)) == 2


def test_requests_leave_nothing_behind_and_damaged_ones_are_refused(address: Address, study: Connection) -> None:
    with closing(Ledger.open(address, small_study(budget={"trials": 4}))) as ledger:
        ledger.set(f"{REQUEST}damaged", {"do": "dance", "time": 1.0})
        ledger.set(f"{REQUEST}half", {"do": "add", "time": 1.0})
        ledger.set(f"{REQUEST}odd", {"do": ["dance"], "with": [], "time": "noon", "answer": {}})
        ledger.set(
            f"{REQUEST}older", {"do": "add", "with": {"point": {"lr": 1e-4}}, "time": 1.0, "by": "x", "answer": {}}
        )
    study.add(lr=1e-3)

    with closing(Ledger.reopen(address, "small")) as ledger:
        left = ledger.inbox.fresh()
        assert left.keys() == {f"{REQUEST}damaged", f"{REQUEST}half"}
        unknown = "unknown request 'dance'; this version of hpo does not have it"
        about = {"file": None, "key": "do", "rule": unknown, "value": "dance"}
        assert left[f"{REQUEST}damaged"]["answer"] == {"refused": f"small: {unknown}", "about": about}
        half = "the request 'add' must have with, time and by"
        about = {"file": None, "key": "do", "rule": half, "value": "add"}
        assert left[f"{REQUEST}half"]["answer"] == {"refused": f"small: {half}", "about": about}
    with pytest.raises(StudyNotFound, match="there is no study 'smal'"):
        Connection("smal", address).ask()


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-1, 3), st.floats(), st.sampled_from(["", "score", "x=1", "nan"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(["lr", "score", "step", ""]), inner, max_size=2)
    ),
    max_leaves=4,
)
KEYS = (
    *("trial", "trials", "value", "report", "failed", "infeasible", "why", "undo", "point", "edits", "reset"),
    *("seconds", "lease"),
)
DO = ("set", "add", "stop-trial", "discard", "retry", "ask", "renew", "tell", "dance")


@given(do=st.sampled_from(DO), given_=st.dictionaries(st.sampled_from(KEYS), JSON, max_size=3))
@settings(deadline=None, max_examples=examples(200))
def test_no_request_ends_its_writer(tmp_path_factory: pytest.TempPathFactory, do: str, given_: dict[str, Any]) -> None:
    address = parse(str(tmp_path_factory.getbasetemp() / "strange.journal"))
    if address.path is not None and not address.path.exists():
        Ledger.open(address, small_study(budget={"trials": 3})).close()
    study = Connection("small", address)
    with suppress(InputError):
        study.request(do, **given_)
    assert snapshots.read(address, "small").trials is not None


def test_a_driver_does_what_is_asked_while_it_runs(address: Address, study: Connection) -> None:
    """A driver in this process, on a thread: what it runs ends only when it is told to."""
    stop = threading.Event()

    class Held(ScriptedExecutor):
        def poll(self, timeout: float) -> list[Event]:
            return super().poll(timeout) if stop.wait(0.01) else []

    def drive() -> None:
        with closing(Ledger.open(address, small_study(budget={"trials": 4}))) as ledger:
            Search(small_study(budget={"trials": 4}), ledger).run(Held(lambda task: [{"score": 1.0}]))

    driver = threading.Thread(target=drive)
    driver.start()
    try:
        while not states(address):
            time.sleep(0.05)
        study.request("set", edits=["budget.trials=2"])
        asked = study.ask()
        assert asked is not None
        assert asked.number == 1
        study.tell(asked, 3.0)
        assert study.ask() is None
    finally:
        stop.set()
        driver.join()

    assert [trial.value for trial in snapshots.read(address, "small").trials] == [1.0, 3.0]
