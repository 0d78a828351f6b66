"""Any sequence of operations, drivers and deaths leaves the history that a simple model of them predicts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpo import requests, transfers
from hpo.errors import InputError
from hpo.ledger import snapshots
from hpo.ledger.address import Address, parse
from hpo.ledger.inbox import RequestQueue
from hpo.ledger.journal_file import JournalFile
from hpo.ledger.ledger import Ledger
from hpo.moving.export import report_rows, trial_rows
from hpo.search.loop import Search
from hpo.study import Study
from hpo.testing import small_study
from hpo.testing.fakes import Died, ScriptedExecutor
from hpo.trial import FROM, LEASE, RETRY_OF, Report, State, Trial

# Polls that one trial of a driver takes: its start, its report, its end.
POLLS = 3
# What a fork takes over, and where a row of a table comes from.
TELLING, TABLE = ("complete", "pruned", "infeasible"), "table"


def study_of(name: str) -> Study:
    space = {"lr": {"low": 1e-5, "high": 1.0, "log": True}}
    return small_study(name=name, space=space, budget={"trials": 3}, trial={"stop_after_failures": 0})


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


@dataclass
class Known:
    """What the model knows of a trial; ``state`` is also "waiting", "leased" or "expired"."""

    state: str = "waiting"
    value: float | None = None
    reports: list[float] = field(default_factory=list)
    retry_of: int | None = None
    stopped: bool = False
    discarded: bool = False
    origin: tuple[str, int] | None = None

    @property
    def ended(self) -> bool:
        return self.state not in ("waiting", "leased", "expired")


class Refused(Exception):
    pass


class One:
    """The history of a study as it must be. It knows nothing of ledgers, locks or samplers."""

    def __init__(self) -> None:
        self.trials: list[Known] = []
        self.budget, self.edited = 3, False

    def one(self, number: int) -> Known:
        if number >= len(self.trials):
            raise Refused
        return self.trials[number]

    def room(self) -> bool:
        return sum(trial.retry_of is None and trial.origin is None for trial in self.trials) < self.budget

    def next(self) -> int | None:
        for state in ("waiting", "expired"):
            for number, trial in enumerate(self.trials):
                if trial.state == state:
                    return number
        if not self.room():
            return None
        self.trials.append(Known())
        return len(self.trials) - 1

    def add(self) -> None:
        if not self.room():
            raise Refused
        self.trials.append(Known())

    def ask(self) -> None:
        if (number := self.next()) is not None:
            self.trials[number].state = "leased"

    def renew(self, number: int) -> None:
        if self.one(number).state != "leased":
            raise Refused

    def expire(self, number: int) -> None:
        self.renew(number)
        self.trials[number].state, self.trials[number].reports = "expired", []

    def report(self, number: int, value: float) -> None:
        trial = self.one(number)
        if trial.ended and (trial.discarded or trial.state != "pruned"):
            raise Refused
        if not trial.ended:
            if trial.state != "leased":
                raise Refused
            trial.reports.append(value)

    def tell(self, number: int, value: float) -> None:
        trial = self.one(number)
        if trial.ended:
            if (trial.state, trial.value, trial.discarded) != ("complete", value, False):
                raise Refused
            return
        if trial.state != "leased":
            raise Refused
        if trial.reports[-1:] != [value]:
            trial.reports.append(value)
        trial.state, trial.value = "complete", value

    def fail(self, number: int, state: str = "failed") -> None:
        trial = self.one(number)
        if trial.ended:
            if trial.state != state or trial.discarded:
                raise Refused
            return
        if trial.state != "leased":
            raise Refused
        trial.state = state

    def infeasible(self, number: int) -> None:
        self.fail(number, "infeasible")

    def stop(self, number: int) -> None:
        trial = self.one(number)
        if trial.ended:
            if not trial.stopped:
                raise Refused
            return
        trial.state, trial.value, trial.stopped = "pruned", trial.reports[-1] if trial.reports else None, True

    def discard(self, number: int, undo: bool) -> None:
        trial = self.one(number)
        if not trial.ended:
            raise Refused
        trial.discarded = not undo

    def retry(self) -> None:
        again = {trial.retry_of for trial in self.trials}
        for number, trial in list(enumerate(self.trials)):
            if trial.state == "failed" and not trial.discarded and number not in again:
                self.trials.append(Known(retry_of=number))

    def set(self, budget: int) -> None:
        self.budget, self.edited = budget, True

    def reset(self) -> None:
        if not self.edited:
            raise Refused
        self.budget, self.edited = 3, False

    def drive(self, polls: int) -> None:
        """One worker runs trial after trial until its driver dies at this poll."""
        while (number := self.next()) is not None and polls >= POLLS:
            polls -= POLLS
            trial = self.trials[number]
            trial.state, trial.value, trial.reports = "complete", 0.5, [0.5]

    def history(self) -> list[tuple[Any, ...]]:
        return [
            (
                "discarded" if trial.discarded else trial.state if trial.ended else "running",
                trial.value,
                list(trial.reports),
                trial.retry_of,
                trial.origin,
            )
            for trial in self.trials
        ]


class Model:
    """Two ledgers of studies."""

    def __init__(self) -> None:
        self.studies = {"base": One()}
        self.copies: dict[str, list[tuple[Any, ...]]] = {}

    def fork(self, name: str, by_name: bool) -> None:
        taken = [
            replace(trial, origin=trial.origin or (name, number), retry_of=None, stopped=False)
            for number, trial in enumerate(self.studies[name].trials)
            if trial.state in TELLING and not trial.discarded
        ]
        if not taken:
            raise Refused
        new = self.studies[f"fork-{len(self.studies)}"] = One()
        new.trials = taken

    def bring_in(self, name: str, rows: int) -> None:
        trials = self.studies[name].trials
        there = {trial.origin for trial in trials}
        new = [row for row in range(rows) if (TABLE, row) not in there]
        trials += [Known("complete", row / 8, [row / 8], origin=(TABLE, row)) for row in new]

    def copy(self, name: str) -> None:
        study = self.studies[name]
        self.copies[name] = study.history()


class Real:
    """The same with hpo; whoever writes dies before or after some of its writes, and another process does it again."""

    def __init__(self, folder: Path) -> None:
        self.ledger, self.other = parse(str(folder / "hpo.journal")), parse(str(folder / "other.journal"))
        Ledger.open(self.ledger, study_of("base")).close()

    def request(self, name: str, do: str, deaths: list[Any], **given: Any) -> None:
        with closing(RequestQueue(self.ledger, name)) as queue:
            request_id = queue.send(do, given)
            self._again(lambda: requests.answer_without_driver(self.ledger, name), deaths)
            answer = queue.answer(request_id)
            assert answer is not None
            queue.cancel(request_id)
        if "refused" in answer:
            raise Refused

    def fork(self, name: str, deaths: list[Any], by_name: bool) -> None:
        """When the fork has died, somebody forks again; or comes by the name of the new study."""
        new, begun = f"fork-{len(names(self.ledger))}", False

        def work() -> None:
            nonlocal begun
            if begun and by_name and new in names(self.ledger):
                requests.answer_without_driver(self.ledger, new)
            else:
                begun = True
                transfers.fork(study_of(new), self.ledger, name)

        self._again(work, deaths)

    def bring_in(self, name: str, deaths: list[Any], rows: int) -> None:
        found = [Trial(row, {"lr": "1e-4"}, 10 + row, State.COMPLETE, (row / 8,), 1.0, 2.0) for row in range(rows)]
        found = [
            replace(
                trial,
                reports=(Report(1, 1.5, {"score": trial.number / 8}),),
                notes={FROM: [f"row-{trial.number}", TABLE, trial.number]},
            )
            for trial in found
        ]
        study = snapshots.read(self.ledger, name).study
        self._again(lambda: transfers.import_trials(study, self.ledger, found, {}, word="row", strict=True), deaths)

    def copy(self, name: str, deaths: list[Any]) -> None:
        self._again(lambda: transfers.copy(self.ledger, name, self.other), deaths)

    @staticmethod
    def _again(work: Callable[[], object], deaths: list[Any]) -> None:
        for death in (*deaths, None):
            try:
                with dying(death):
                    work()
                return
            except KeyboardInterrupt:
                continue
            except InputError:
                raise Refused from None

    def drive(self, name: str, deaths: list[Any], polls: int) -> None:
        with closing(Ledger.open(self.ledger, snapshots.read(self.ledger, name).study)) as ledger:
            executor = ScriptedExecutor(lambda task: [{"score": 0.5}], die_at=polls)
            with suppress(Died):
                Search(ledger.study, ledger, retry_failed=None).run(executor)

    def history(self, where: Address, name: str) -> list[tuple[Any, ...]]:
        trials = snapshots.read(where, name).trials
        assert [trial.number for trial in trials] == list(range(len(trials)))
        exported, reports = trial_rows(trials), report_rows(trials)
        assert [(row["number"], row["state"], row["value"]) for row in exported] == [
            (trial.number, str(trial.state), trial.value) for trial in trials
        ]
        return [
            (
                str(trial.state),
                trial.value,
                [row["metrics.score"] for row in reports if row["number"] == trial.number and known(trial)],
                trial.notes.get(RETRY_OF),
                trial.origin and (trial.origin.name, trial.origin.number),
            )
            for trial in trials
        ]


def known(trial: Trial) -> bool:
    """Whether its reports count: those of a lease that has run out do not."""
    return trial.finished or (LEASE in trial.notes and trial.notes[LEASE]["until"] > time.time())


def names(where: Address) -> list[str]:
    return snapshots.names(where) if where.path and where.path.exists() else []


NUMBERS, VALUES = st.integers(0, 5), st.sampled_from([0.25, 0.75])
STEPS = st.one_of(
    st.tuples(st.just("ask")),
    st.tuples(st.just("add")),
    st.tuples(st.just("retry")),
    st.tuples(st.just("renew"), NUMBERS),
    st.tuples(st.just("expire"), NUMBERS),
    st.tuples(st.just("report"), NUMBERS, VALUES),
    st.tuples(st.just("tell"), NUMBERS, VALUES),
    st.tuples(st.just("fail"), NUMBERS),
    st.tuples(st.just("infeasible"), NUMBERS),
    st.tuples(st.just("stop"), NUMBERS),
    st.tuples(st.just("discard"), NUMBERS, st.booleans()),
    st.tuples(st.just("set"), st.integers(1, 6)),
    st.tuples(st.just("reset")),
    st.tuples(st.just("drive"), st.integers(0, 8)),
    st.tuples(st.just("fork"), st.booleans()),
    st.tuples(st.just("bring_in"), st.integers(1, 3)),
    st.tuples(st.just("copy")),
)
ASKED: dict[str, Callable[..., tuple[str, dict[str, Any]]]] = {
    "ask": lambda: ("ask", {"seconds": 9999.0}),
    "add": lambda: ("add", {"point": {"lr": 1e-4}}),
    "retry": lambda: ("retry", {"trials": []}),
    "renew": lambda number: ("renew", {"trial": number, "seconds": 8888.0}),
    "expire": lambda number: ("renew", {"trial": number, "seconds": 1e-6}),
    "report": lambda number, value: ("tell", {"trial": number, "report": {"score": value}}),
    "tell": lambda number, value: ("tell", {"trial": number, "value": value}),
    "fail": lambda number: ("tell", {"trial": number, "failed": "no memory"}),
    "infeasible": lambda number: ("tell", {"trial": number, "infeasible": "it diverged"}),
    "stop": lambda number: ("stop-trial", {"trial": number}),
    "discard": lambda number, undo: ("discard", {"trial": number, "why": "x", "undo": undo}),
    "set": lambda budget: ("set", {"edits": [f"budget.trials={budget}"]}),
    "reset": lambda: ("set", {"reset": ["budget"]}),
}


def check(folder: Path, steps: list[tuple[int, tuple[Any, ...], list[Any]]]) -> None:
    model, real = Model(), Real(folder)
    for which, (do, *given_), deaths in steps:
        name = list(model.studies)[which % len(model.studies)]
        expected = outcome(lambda: predict(model, name, do, given_))  # noqa: B023 (called at once)
        found = outcome(lambda: act(real, name, do, given_, deaths))  # noqa: B023
        step = (name, do, given_, deaths)
        assert found == expected, step
        assert set(names(real.ledger)) == set(model.studies), step
        assert set(names(real.other)) == set(model.copies), step
        for study, one in model.studies.items():
            assert real.history(real.ledger, study) == one.history(), step
        for study, history in model.copies.items():
            assert real.history(real.other, study) == history, step
            assert snapshots.uid(real.other, study) == snapshots.uid(real.ledger, study), step


def outcome(work: Callable[[], object]) -> str:
    try:
        work()
    except Refused:
        return "refused"
    return "done"


def predict(model: Model, name: str, do: str, given_: list[Any]) -> None:
    if do in ("fork", "bring_in", "copy"):
        getattr(model, do)(name, *given_)
    else:
        getattr(model.studies[name], do)(*given_)


def act(real: Real, name: str, do: str, given_: list[Any], deaths: list[Any]) -> None:
    if do in ASKED:
        request, arguments = ASKED[do](*given_)
        real.request(name, request, deaths, **arguments)
    else:
        getattr(real, do)(name, deaths, *given_)


# Which study, what is done, and the writes at which processes die, before or after them.
DEATHS = st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=2)
LIST = st.lists(st.tuples(st.integers(0, 3), STEPS, DEATHS), min_size=1, max_size=15)


@given(LIST)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_sequence_with_deaths_leaves_the_history_of_the_model(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any]
) -> None:
    check(tmp_path_factory.mktemp("history"), steps)


@pytest.mark.campaign
@pytest.mark.timeout(900)
@given(LIST)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_many_sequences_with_deaths_leave_the_history_of_the_model(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any]
) -> None:
    check(tmp_path_factory.mktemp("history"), steps)


SCRIPT: list[Any] = [
    (0, ("ask",), [(0, True)]),
    (0, ("report", 0, 0.25), [(0, True), (1, False)]),
    (0, ("expire", 0), [(1, True)]),
    (0, ("ask",), [(1, False)]),
    (0, ("renew", 0), [(0, True)]),
    (0, ("tell", 0, 0.75), [(1, True)]),
    (0, ("bring_in", 2), [(0, True)]),
    (0, ("drive", 4), []),
    (0, ("copy",), [(4, True), (6, False)]),
    (0, ("fork", True), [(5, True)]),
    (1, ("ask",), []),
    (1, ("stop", 3), [(1, True)]),
    (1, ("discard", 0, False), [(0, True)]),
    (1, ("retry",), []),
    (1, ("fork", False), [(6, True), (6, False)]),
    (2, ("bring_in", 3), [(0, False)]),
    (2, ("set", 1), [(1, True)]),
    (2, ("ask",), []),
    (2, ("fail", 5), [(1, True)]),
    (2, ("retry",), [(0, True)]),
    (1, ("copy",), [(2, True)]),
    (1, ("discard", 0, True), []),
    (1, ("copy",), []),
]


def test_one_sequence_of_all_operations_leaves_the_history_of_the_model(tmp_path: Path) -> None:
    """What a random sequence seldom reaches: a fork of a fork, a copy that is refused, a lease that ran out."""
    check(tmp_path, SCRIPT)


@pytest.mark.parametrize("death", [(0, False), (0, True), (1, False), (1, True)])
def test_a_lease_that_is_over_before_its_renewal_could_be_answered_was_renewed(
    tmp_path: Path, death: tuple[int, bool]
) -> None:
    check(tmp_path, [(0, ("ask",), []), (0, ("expire", 0), [death]), (0, ("renew", 0), []), (0, ("ask",), [])])


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize(
    "write", [write if write % 3 == 0 else pytest.param(write, marks=pytest.mark.slow) for write in range(14)]
)
def test_a_fork_that_dies_at_any_write_is_whole(tmp_path: Path, write: int, after: bool, by_name: bool) -> None:
    check(tmp_path, [(0, ("bring_in", 2), []), (0, ("fork", by_name), [(write, after)]), (1, ("add",), [])])
