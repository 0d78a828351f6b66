"""What a search makes of requests while it runs, step by step: nothing here depends on time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hpo.errors import SearchFailed
from hpo.ledger.address import parse
from hpo.ledger.inbox import RequestQueue
from hpo.ledger.ledger import Ledger
from hpo.search.loop import Search
from hpo.testing import small_study
from hpo.testing.fakes import ScriptedExecutor

STUDY = small_study(budget={"trials": 9}, trial={"stop_after_failures": 0})


class Pool(ScriptedExecutor):
    """An executor with workers that can be more or fewer."""

    def __init__(self) -> None:
        super().__init__(lambda task: [{"score": 0.5}])
        self.sizes: list[int | None] = []

    def resize(self, workers: int | None) -> None:
        self.sizes.append(workers)

    def limit(self, most: int) -> None:
        pass


class Asker:
    """A search under way, and somebody who asks."""

    def __init__(self, search: Search, queue: RequestQueue) -> None:
        self.search, self._queue = search, queue
        self.search.executor = self.pool = Pool()

    def ask(self, do: str, **given: Any) -> dict[str, Any]:
        request_id = self._queue.send(do, given)
        self.search.requests.take_up(fresh=True)
        answer = self._queue.answer(request_id)
        assert answer is not None
        return answer


@pytest.fixture
def asker(tmp_path: Path) -> Iterator[Asker]:
    where = parse(str(tmp_path / "hpo.journal"))
    with closing(Ledger.open(where, STUDY)) as ledger, closing(RequestQueue(where, "small")) as queue:
        yield Asker(Search(STUDY, ledger), queue)


def test_an_edit_that_is_refused_leaves_the_workers_alone(asker: Asker) -> None:
    answer = asker.ask("set", edits=["workers=3", "sampler.name=nowhere:Sampler"])
    assert "nowhere" in answer["refused"]
    assert asker.pool.sizes == []
    assert asker.ask("set", edits=["workers=3"])["done"]["edits"][0]["now"] is True
    assert asker.pool.sizes == [3]
    assert "must be at most 10000" in asker.ask("set", edits=["workers=1000000000"])["refused"]
    assert asker.ask("set", reset=["workers"])["done"]["reset"] == [{"key": "workers", "before": "3", "now": False}]
    assert asker.pool.sizes == [3]


def test_fewer_failures_than_there_were_already_end_the_search_at_the_next_one(asker: Asker) -> None:
    for number in range(3):
        asker.ask("ask", seconds=60.0)
        asker.ask("tell", trial=number, failed="no memory")
    asker.ask("set", edits=["trial.stop_after_failures=2"])
    asker.ask("ask", seconds=60.0)
    with pytest.raises(SearchFailed, match="the first 4 trials all failed"):
        asker.ask("tell", trial=3, failed="no memory")


def test_advice_on_the_budget_names_the_limit_that_is_reached(asker: Asker) -> None:
    asker.ask("set", edits=["budget.target=0.1"])
    asker.ask("ask", seconds=60.0)
    asker.ask("tell", trial=0, value=0.5)
    refused = asker.ask("add", point={"lr": 1e-3})["refused"]
    assert "the target of 0.1 is reached; to raise the budget: hpo set small budget.KEY=VALUE" in refused
    asker.ask("set", edits=["budget.target=9", "budget.trials=1"])
    refused = asker.ask("add", point={"lr": 1e-3})["refused"]
    assert "the budget is spent: 1 trials; to raise the budget: hpo set small budget.trials=2" in refused


def test_a_value_that_json_cannot_hold_is_refused_and_the_next_request_is_answered(asker: Asker) -> None:
    refused = asker.ask("set", edits=["budget.trials=0x" + "f" * 5000])
    assert refused["refused"].endswith("a number of thousands of digits")
    assert asker.ask("set", edits=["budget.trials=3"])["done"]["edits"]


@pytest.mark.parametrize(
    ("trials", "advice"),
    [(9, ", and the grid has no more points"), (1, "; to raise the budget: hpo set small budget.trials=2")],
)
def test_advice_on_the_budget_of_a_grid_tells_its_end_from_the_limits(tmp_path: Path, trials: int, advice: str) -> None:
    study = small_study(sampler={"name": "grid"}, space={"kind": {"choice": ["a", "b"]}}, budget={"trials": trials})
    where, done = parse(str(tmp_path / "hpo.journal")), min(trials, 2)
    with closing(Ledger.open(where, study)) as ledger, closing(RequestQueue(where, "small")) as queue:
        asker = Asker(Search(study, ledger), queue)
        for number in range(done):
            asker.ask("ask", seconds=60.0)
            asker.ask("tell", trial=number, value=0.5)
        why = asker.ask("ask", seconds=60.0)["done"]["why"]
    assert why == f"the budget is spent: {done} trials{advice}"
