"""Searches whose trials do what a script says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpo.execution import Executor, Job, Task
from hpo.ledger import snapshots as books
from hpo.ledger.address import Address
from hpo.ledger.ledger import Ledger
from hpo.search.loop import Search
from hpo.study import Study
from hpo.testing.fakes import Move, Script
from hpo.trial import Trial

JOB = Job("simple_objectives:curve", "score", path=(str(Path(__file__).parent),))


def search(
    address: Address, study: Study, executor: Executor, before: Callable[[Search], object] = lambda search: None
) -> Search:
    """Runs a study on an executor; a ledger that it opened is closed again, as if its driver were gone."""
    ledger = Ledger.open(address, study)
    try:
        run = Search(study, ledger)
        before(run)
        run.run(executor)
        return run
    finally:
        ledger.close()


def written(address: Address, name: str = "small") -> list[Trial]:
    return books.read(address, name).trials


def outcome(trials: list[Trial]) -> list[tuple[Any, ...]]:
    """What must not depend on anything but the study."""
    return [(t.number, t.params, t.seed, t.state, t.value, [(r.step, r.metrics) for r in t.reports]) for t in trials]


def curve(task: Task) -> list[Move]:
    """What simple_objectives.curve reports."""
    from simple_objectives import curve

    return list(curve(task.params, task.seed))


def say(*moves: Move) -> Script:
    return lambda task: moves


class Told:
    def __init__(self, told: list[tuple[int, str]], look: Callable[[Trial], object] = lambda trial: None) -> None:
        self._told, self._look = told, look

    def update(self, trial: Trial) -> None:
        self._told.append((trial.number, trial.state))
        self._look(trial)
