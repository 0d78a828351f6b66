"""Any sequence of requests, drivers and deaths leaves the history that a simple model of them predicts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from dying_writer import dies
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpo import requests
from hpo.ledger import snapshots
from hpo.ledger.address import Address, parse
from hpo.ledger.inbox import Letters
from hpo.ledger.ledger import Ledger
from hpo.search.loop import Search
from hpo.testing import small_study
from hpo.testing.fakes import Died, ScriptedExecutor
from hpo.trial import RETRY_OF

STUDY = small_study(budget={"trials": 3}, trial={"stop_after_failures": 0})
# Polls that one trial of a driver takes: its start, its report, its end.
POLLS = 3


@dataclass
class Known:
    """What the model knows of a trial; ``state`` is also "waiting" or "leased"."""

    state: str = "waiting"
    value: float | None = None
    reports: list[float] = field(default_factory=list)
    retry_of: int | None = None
    stopped: bool = False
    discarded: bool = False

    @property
    def ended(self) -> bool:
        return self.state not in ("waiting", "leased")


class Refused(Exception):
    pass


class Model:
    """The history as it must be. It knows nothing of ledgers, locks or samplers."""

    def __init__(self) -> None:
        self.trials: list[Known] = []
        self.budget, self.edited = 3, False

    def one(self, number: int) -> Known:
        if number >= len(self.trials):
            raise Refused
        return self.trials[number]

    def room(self) -> bool:
        return sum(trial.retry_of is None for trial in self.trials) < self.budget

    def next(self) -> int | None:
        for number, trial in enumerate(self.trials):
            if trial.state == "waiting":
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
        shown = {"waiting": "running", "leased": "running"}
        return [
            (
                "discarded" if trial.discarded else shown.get(trial.state, trial.state),
                trial.value,
                trial.reports if trial.state != "waiting" else [],
                trial.retry_of,
            )
            for trial in self.trials
        ]


class Real:
    """The same with hpo; whoever writes dies before some of its writes."""

    def __init__(self, address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
        self._address, self._monkeypatch = address, monkeypatch
        Ledger.open(address, STUDY).close()

    def request(self, do: str, deaths: list[int], **given: Any) -> bool:
        """Whether the request was not refused; writers die before their writes with the numbers in ``deaths``."""
        with closing(Letters(self._address, "small")) as letters:
            letter = letters.post(do, given)
            for at in deaths:
                dies(self._monkeypatch, at, lambda: requests.settle(self._address, "small"))
            requests.settle(self._address, "small")
            answer = letters.answer(letter)
            assert answer is not None
            letters.withdraw(letter)
            return "done" in answer

    def drive(self, polls: int, deaths: list[int]) -> None:
        def run() -> None:
            with closing(Ledger.open(self._address, snapshots.read(self._address, "small").study)) as ledger:
                executor = ScriptedExecutor(lambda task: [{"score": 0.5}], die_at=polls)
                with suppress(Died):
                    Search(ledger.study, ledger, retry_failed=None).run(executor)

        run()

    def history(self) -> list[tuple[Any, ...]]:
        snapshot = snapshots.read(self._address, "small")
        return [
            (str(t.state), t.value, [report.metrics["score"] for report in t.reports], t.notes.get(RETRY_OF))
            for t in snapshot.trials
        ]


NUMBERS, VALUES = st.integers(0, 5), st.sampled_from([0.25, 0.75])
STEPS = st.one_of(
    st.tuples(st.just("ask")),
    st.tuples(st.just("add")),
    st.tuples(st.just("retry")),
    st.tuples(st.just("report"), NUMBERS, VALUES),
    st.tuples(st.just("tell"), NUMBERS, VALUES),
    st.tuples(st.just("fail"), NUMBERS),
    st.tuples(st.just("infeasible"), NUMBERS),
    st.tuples(st.just("stop"), NUMBERS),
    st.tuples(st.just("discard"), NUMBERS, st.booleans()),
    st.tuples(st.just("set"), st.integers(1, 6)),
    st.tuples(st.just("reset")),
    st.tuples(st.just("drive"), st.integers(0, 8)),
)
ASKED: dict[str, Callable[..., tuple[str, dict[str, Any]]]] = {
    "ask": lambda: ("ask", {"seconds": 9999.0}),
    "add": lambda: ("add", {"point": {"lr": 1e-4}}),
    "retry": lambda: ("retry", {"trials": []}),
    "report": lambda number, value: ("tell", {"trial": number, "report": {"score": value}}),
    "tell": lambda number, value: ("tell", {"trial": number, "value": value}),
    "fail": lambda number: ("tell", {"trial": number, "failed": "no memory"}),
    "infeasible": lambda number: ("tell", {"trial": number, "infeasible": "it diverged"}),
    "stop": lambda number: ("stop-trial", {"trial": number}),
    "discard": lambda number, undo: ("discard", {"trial": number, "why": "x", "undo": undo}),
    "set": lambda budget: ("set", {"edits": [f"budget.trials={budget}"]}),
    "reset": lambda: ("set", {"reset": ["budget"]}),
}


def check(folder: Path, monkeypatch: pytest.MonkeyPatch, steps: list[tuple[Any, ...]], deaths: list[int]) -> None:
    model, real = Model(), Real(parse(str(folder / "hpo.journal")), monkeypatch)
    for do, *given_ in steps:
        if do == "drive":
            model.drive(*given_)
            real.drive(*given_, deaths)
        else:
            try:
                getattr(model, do)(*given_)
                accepted = True
            except Refused:
                accepted = False
            name, arguments = ASKED[do](*given_)
            assert real.request(name, deaths, **arguments) == accepted, (do, given_)
        assert real.history() == model.history(), (do, given_)


DEATHS = st.lists(st.integers(1, 4), max_size=3)
LIST = st.lists(STEPS, min_size=1, max_size=15)


@given(LIST, DEATHS)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_sequence_with_deaths_leaves_the_history_of_the_model(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    steps: list[tuple[Any, ...]],
    deaths: list[int],
) -> None:
    check(tmp_path_factory.mktemp("history"), monkeypatch, steps, deaths)


@pytest.mark.campaign
@pytest.mark.timeout(900)
@given(LIST, DEATHS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_many_sequences_with_deaths_leave_the_history_of_the_model(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    steps: list[tuple[Any, ...]],
    deaths: list[int],
) -> None:
    check(tmp_path_factory.mktemp("history"), monkeypatch, steps, deaths)
