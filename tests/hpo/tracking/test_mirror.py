"""The mirror: never in the search's way, and complete in the end whatever the store does on the way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from hpo.tracking import mirror as module
from hpo.tracking.mirror import Mirror
from hpo.trial import Report, State, StudyState, Trial

PATIENCE = 30.0


class FakeStore:
    """Keeps in memory what it is told; does what ``trouble`` does before, and ``after`` after, it obeys a call.

    Attributes:
        runs: (number, attempt, state, reports) per run; a number that is there twice is a doubled run.
        log: The names of all calls.
    """

    def __init__(
        self,
        trouble: Callable[[str], None] = lambda call: None,
        after: Callable[[str], None] | None = None,
        batch: int = 1,
    ) -> None:
        self._trouble, self._after = trouble, after or (lambda call: None)
        self.runs: list[tuple[int, int, str, int]] = []
        self.log: list[str] = []
        self.threads: set[str] = set()
        self.counted: list[int] = []
        self.state: StudyState | None = None
        self.unfinished: list[int] = []
        self.batch = batch
        self._known: dict[int, tuple[int, int, str, int]] = {}

    def _call(self, name: str, obey: Callable[[], Any]) -> Any:
        self.log.append(name)
        self.threads.add(threading.current_thread().name)
        self._trouble(name)
        answer = obey()
        self._after(name)
        return answer

    def open(self, trials: Iterable[Trial]) -> set[int]:
        def obey() -> set[int]:
            finished = {run_of(trial): trial.number for trial in trials if trial.finished}
            self.runs = [run for run in dict.fromkeys(self.runs) if run in finished]
            return {run[0] for run in self.runs}

        return self._call("open", obey)

    def write(self, trials: Sequence[Trial]) -> None:
        def obey() -> None:
            # As in MLflow, the caller knows a run only once its call has been answered.
            for trial in trials:
                if self._known.get(trial.number) in self.runs:
                    self.runs.remove(self._known[trial.number])
                self.runs.append(run_of(trial))

        self._call("write", obey)
        self._known |= {trial.number: run_of(trial) for trial in trials}

    def progress(self, trials: list[Trial]) -> None:
        self._call("progress", lambda: self.counted.extend(trial.number for trial in trials))

    def end(self, state: StudyState, unfinished: Sequence[Trial]) -> None:
        def obey() -> None:
            self.state, self.unfinished = state, [trial.number for trial in unfinished]

        self._call("end", obey)


def run_of(trial: Trial) -> tuple[int, int, str, int]:
    return trial.number, trial.attempt, trial.state, len(trial.reports)


def a_trial(number: int, state: State = State.COMPLETE) -> Trial:
    trial = Trial(number, {"lr": 0.1}, seed=number, started=1.0, reports=(Report(1, 2.0, {"score": 1.0}),))
    return trial if state is State.RUNNING else ended(trial, state)


def ended(trial: Trial, state: State = State.COMPLETE) -> Trial:
    return replace(trial, ended=3.0, values=(1.0,), state=state)


@pytest.fixture(autouse=True)
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.01)
    monkeypatch.setattr(module, "BACKOFF", (0.01, 0.05))


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What a stuck store waits for; opened at the latest when the test is over."""
    gate = threading.Event()
    yield gate
    gate.set()


def failing(
    times: int, error: Exception | None = None, calls: tuple[str, ...] = ("open", "write", "progress", "end")
) -> Callable[[str], None]:
    """Trouble: each of the calls named fails so many times before it works."""
    left = dict.fromkeys(calls, times)

    def trouble(call: str) -> None:
        if left.get(call, 0):
            left[call] -= 1
            raise error or ConnectionError(f"{call}: no answer")

    return trouble


def whole(store: FakeStore, numbers: Iterable[int]) -> bool:
    return sorted(store.runs) == [(number, 1, State.COMPLETE, 1) for number in numbers]


# A store that is well ----------------------------------------------------------------------------------------------


def test_a_trial_that_ends_before_the_second_round_is_written_once(
    monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.3)
    store = FakeStore()
    mirror = Mirror(lambda: store, [], warnings.append)
    short, long = a_trial(0, State.RUNNING), a_trial(1, State.RUNNING)
    mirror.update(short)
    mirror.update(long)
    mirror.update(ended(short))
    deadline = time.monotonic() + PATIENCE
    while run_of(long) not in store.runs and time.monotonic() < deadline:  # though nothing more is heard of it
        time.sleep(0.01)

    assert store.log.count("write") == 2
    assert sorted(store.runs) == [run_of(ended(short)), run_of(long)]
    mirror.close(StudyState.STOPPED, PATIENCE)


def test_every_trial_is_there_once_when_the_mirror_is_closed(warnings: list[str]) -> None:
    store = FakeStore()
    mirror = Mirror(lambda: store, [], warnings.append)
    for number in range(50):
        trial = a_trial(number, State.RUNNING)
        mirror.update(trial)
        mirror.update(ended(trial))

    assert mirror.close(StudyState.COMPLETE, PATIENCE) == 0
    assert whole(store, range(50))
    assert sorted(store.counted) == list(range(50))
    assert store.state is StudyState.COMPLETE
    assert warnings == []


def test_a_running_trial_is_there_while_it_runs(warnings: list[str]) -> None:
    store = FakeStore()
    mirror = Mirror(lambda: store, [], warnings.append)
    trial = a_trial(0, State.RUNNING)
    mirror.update(trial)

    deadline = time.monotonic() + 30
    while store.runs != [(0, 1, State.RUNNING, 1)] and time.monotonic() < deadline:
        time.sleep(0.01)
    mirror.update(replace(trial, reports=(*trial.reports, Report(2, 3.0, {"score": 2.0}))))
    while store.runs != [(0, 1, State.RUNNING, 2)] and time.monotonic() < deadline:
        time.sleep(0.01)

    assert store.runs == [(0, 1, State.RUNNING, 2)]
    assert mirror.close(StudyState.STOPPED, PATIENCE) == 0
    assert store.state is StudyState.STOPPED


def test_a_trial_that_ends_while_another_one_of_its_round_is_written_is_there_as_it_ended(
    monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.3)
    trials = [a_trial(number, State.RUNNING) for number in range(2)]

    def meanwhile(call: str) -> None:
        if call == "write" and store.log.count("write") == 1:
            mirror.update(ended(trials[1]))

    store = FakeStore(meanwhile)
    mirror = Mirror(lambda: store, [], warnings.append)
    for trial in trials:
        mirror.update(trial)
    deadline = time.monotonic() + PATIENCE
    while run_of(ended(trials[1])) not in store.runs and time.monotonic() < deadline:
        time.sleep(0.01)

    assert sorted(store.runs) == [run_of(trials[0]), run_of(ended(trials[1]))]
    assert mirror.close(StudyState.STOPPED, PATIENCE) == 0


def test_a_trial_that_is_discarded_while_the_store_is_looked_through_is_there_as_discarded(warnings: list[str]) -> None:
    trial = a_trial(0)

    def meanwhile(call: str) -> None:
        if call == "open":
            mirror.update(replace(trial, state=State.DISCARDED))

    store = FakeStore(meanwhile)
    store.runs = [run_of(trial)]
    store._known = {0: run_of(trial)}
    made = threading.Event()

    def make() -> FakeStore:
        made.wait(PATIENCE)
        return store

    mirror = Mirror(make, [trial], warnings.append)
    made.set()

    assert mirror.close(StudyState.COMPLETE, PATIENCE) == 0
    assert store.runs == [(0, 1, State.DISCARDED, 1)]


def test_what_the_ledger_holds_and_the_store_lacks_is_written_too(warnings: list[str]) -> None:
    store = FakeStore()
    store.runs = [run_of(a_trial(1))]

    mirror = Mirror(lambda: store, [a_trial(number) for number in range(4)], warnings.append)

    assert mirror.close(StudyState.COMPLETE, PATIENCE) == 0
    assert whole(store, range(4))
    assert sorted(store.counted) == [0, 2, 3]


def test_a_mirror_with_nothing_to_do_still_opens_and_ends_its_parent(warnings: list[str]) -> None:
    store = FakeStore()

    assert Mirror(lambda: store, [], warnings.append).close(StudyState.COMPLETE, PATIENCE) == 0
    assert store.log == ["open", "end"]


def test_closing_at_any_moment_ends(warnings: list[str]) -> None:
    for number in range(100):
        store = FakeStore()
        mirror = Mirror(lambda store=store: store, [], warnings.append)  # type: ignore[misc]
        mirror.update(a_trial(number))
        if number % 3:
            time.sleep(number % 7 / 1000)
        assert mirror.close(StudyState.COMPLETE, PATIENCE) == 0
        assert whole(store, [number])


# Never in the way --------------------------------------------------------------------------------------------------


def test_the_search_waits_for_no_call(warnings: list[str], gate: threading.Event) -> None:
    store = FakeStore(lambda call: gate.wait() and None)
    mirror = Mirror(lambda: store, [], warnings.append)

    for number in range(1000):  # returns though not one call has been answered
        mirror.update(a_trial(number))

    assert not store.runs
    gate.set()
    assert mirror.close(StudyState.COMPLETE, PATIENCE) == 0
    assert whole(store, range(1000))
    assert store.threads == {"mirror"}


def test_a_trial_that_reports_often_while_the_store_is_slow_is_pending_once(
    warnings: list[str], gate: threading.Event
) -> None:
    store = FakeStore(lambda call: gate.wait() and None)
    mirror = Mirror(lambda: store, [], warnings.append)
    trial = a_trial(0, State.RUNNING)
    for step in range(2, 5000):
        trial = replace(trial, reports=(*trial.reports, Report(step, 2.0, {"score": 1.0})))
        mirror.update(trial)
    gate.set()

    assert mirror.close(StudyState.COMPLETE, PATIENCE) == 0
    assert store.runs == [(0, 1, State.RUNNING, 4999)]
    assert store.log.count("write") <= 2


def test_what_changes_while_it_is_written_is_written_again(warnings: list[str], gate: threading.Event) -> None:
    inside = threading.Event()

    def stall_in_write(call: str) -> None:
        if call == "write":
            inside.set()
            gate.wait()

    trial = a_trial(0, State.RUNNING)
    store = FakeStore(after=stall_in_write)
    mirror = Mirror(lambda: store, [], warnings.append)
    mirror.update(trial)
    assert inside.wait(30)
    mirror.update(ended(trial))
    gate.set()

    assert mirror.close(StudyState.COMPLETE, PATIENCE) == 0
    assert (0, 1, State.COMPLETE, 1) in store.runs
    assert store.counted == [0]


# A store that fails ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("obeys", [False, True], ids=["and did nothing", "though it obeyed"])
def test_a_store_that_fails_for_a_while_has_every_trial_once_in_the_end(warnings: list[str], obeys: bool) -> None:
    trouble = failing(3)
    store = FakeStore(after=trouble) if obeys else FakeStore(trouble)
    mirror = Mirror(lambda: store, [a_trial(100)], warnings.append)
    for number in range(20):
        mirror.update(a_trial(number))
        time.sleep(0.01)
    deadline = time.monotonic() + 30
    while len(store.runs) < 21 and time.monotonic() < deadline:
        time.sleep(0.01)

    for _ in range(5):  # the parent's end fails too, and is tried a few times only
        missing = mirror.close(StudyState.COMPLETE, PATIENCE)
    assert missing in (0, 1)
    assert whole(store, [*range(20), 100])


def test_one_warning_says_the_first_reason(warnings: list[str]) -> None:
    mirror = Mirror(lambda: FakeStore(failing(10**6)), [], warnings.append)
    for number in range(20):
        mirror.update(a_trial(number))
        time.sleep(0.01)

    assert mirror.close(StudyState.COMPLETE, PATIENCE) == 20
    assert warnings == ["ConnectionError: open: no answer"]


def test_a_store_that_cannot_even_be_made_costs_nothing_but_a_warning(warnings: list[str]) -> None:
    def make_store() -> FakeStore:
        raise OSError("no such database")

    mirror = Mirror(make_store, [a_trial(number) for number in range(7)], warnings.append)
    mirror.update(a_trial(7))

    assert mirror.close(StudyState.COMPLETE, PATIENCE) == 8
    assert warnings == ["OSError: no such database"]


def test_a_store_that_never_answers_is_left_behind(warnings: list[str], gate: threading.Event) -> None:
    mirror = Mirror(lambda: FakeStore(lambda call: gate.wait() and None), [], warnings.append)
    for number in range(3):
        mirror.update(a_trial(number))

    assert mirror.close(StudyState.COMPLETE, 0.2) == 3


def test_a_store_that_stops_answering_in_the_middle_is_counted_exactly(
    warnings: list[str], gate: threading.Event
) -> None:
    written = iter(range(1000))

    def stall(call: str) -> None:
        if call == "write" and next(written) == 4:
            gate.wait()

    store = FakeStore(stall)
    mirror = Mirror(lambda: store, [a_trial(number) for number in range(10)], warnings.append)

    missing = mirror.close(StudyState.COMPLETE, 0.3)

    assert len(store.runs) == 4
    assert missing in (5, 6)  # the one that is on its way may arrive


def test_after_a_failure_the_store_is_asked_what_it_holds(warnings: list[str]) -> None:
    store = FakeStore(after=failing(1, calls=("write",)))
    mirror = Mirror(lambda: store, [], warnings.append)
    mirror.update(a_trial(0))

    assert mirror.close(StudyState.COMPLETE, PATIENCE) == 0
    assert whole(store, [0])
    assert store.log.count("open") == 2


def test_a_password_in_what_the_store_says_is_never_passed_on(warnings: list[str]) -> None:
    error = ConnectionError("API request to http://me:secret@tracking:5000/api failed\nHTTPConnectionPool(...)")
    mirror = Mirror(lambda: FakeStore(failing(10**6, error)), [], warnings.append)
    mirror.update(a_trial(0, State.FAILED))

    assert mirror.close(StudyState.COMPLETE, PATIENCE) == 1
    assert warnings == [
        "ConnectionError: API request to http://me:***@tracking:5000/api failed HTTPConnectionPool(...)"
    ]
