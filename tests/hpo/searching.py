"""Runs a study to its end with a fake executor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from fake_executor import FakeExecutor, Objective

from hpo.ledger.address import parse as parse_address
from hpo.ledger.ledger import Ledger
from hpo.search import Search
from hpo.study import Study
from hpo.trial import Trial


def search(
    study: Study, objective: Objective, ledger: Path, *, workers: int = 1, timing: int = 0, **faults: Any
) -> list[Trial]:
    """The study's trials; a driver that was to die is started anew until the search is over."""
    for attempt in range(1000):
        opened = Ledger.open(parse_address(str(ledger)), study)
        try:
            run = Search(study, opened)
            run.run(FakeExecutor(objective, workers, np.random.default_rng((timing, attempt)), **faults))
            return run.trials
        except KeyboardInterrupt:
            continue
        finally:
            opened.close()
    raise AssertionError("the search does not end")


def outcome(trials: list[Trial]) -> list[tuple[Any, ...]]:
    """What must not depend on timing."""
    return [(t.number, t.params, t.seed, t.state, t.value) for t in trials]
