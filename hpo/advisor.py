"""What to try next and what to stop: the study's sampler and pruner over a copy of the ledger in memory.

Optuna's in-memory storage answers a TPE ask in a millisecond where a database takes twenty, so decisions are taken
on the copy and only whole trials are written to the ledger. Numbers agree because one driver writes both.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from hpo import samplers
from hpo.ledger.record import DIRECTIONS
from hpo.pruners import PRUNERS
from hpo.samplers.listed import FIXED
from hpo.samplers.narrowing import NarrowingSampler
from hpo.study import Study
from hpo.trial import COMPLETE, FAILED, PRUNED

_STATES = {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED, FAILED: TrialState.FAIL}


@contextmanager
def _quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


class Advisor:
    """Asks the sampler, listens to reports, asks the pruner.

    Args:
        study: What to search.
        loaded: The ledger's trials, in order of their numbers.
    """

    def __init__(self, study: Study, loaded: Iterable[FrozenTrial] = ()) -> None:
        self._space = study.space
        with _quietly():
            self._sampler = samplers.build(study.sampler.name, study.seed, study.space, study.sampler.options)
        storage = InMemoryStorage()
        self._study = optuna.create_study(
            storage=storage,
            study_name=study.name,
            direction=DIRECTIONS[study.direction],
            sampler=self._sampler,
            pruner=PRUNERS[study.pruner.name].build(study.pruner.options, study.batch),
        )
        self._prunes = study.pruner.name != "none"
        self._storage = storage
        self._ids: dict[int, int] = {}
        self._queue = [study.space.encode(point) for point in study.enqueue]
        for frozen in loaded:
            self._ids[frozen.number] = storage.create_new_trial(self._study._study_id, template_trial=frozen)
            if frozen.system_attrs.get(FIXED) in self._queue:
                self._queue.remove(frozen.system_attrs[FIXED])

    def ask(self) -> tuple[FrozenTrial, dict[str, Any]]:
        """A new trial, as Optuna keeps it, and its parameters as the objective sees them."""
        with _quietly():
            if self._queue:
                self._study.enqueue_trial(self._queue.pop(0))
            trial = self._study.ask()
            # The one sampler that may leave the study's ranges, where it is told to.
            space = self._sampler.space if isinstance(self._sampler, NarrowingSampler) else self._space
            params = space.suggest(trial)
        self._ids[trial.number] = trial._trial_id
        return self._storage.get_trial(trial._trial_id), params

    def report(self, number: int, step: int, value: float) -> None:
        """Notes the metric's value at one step."""
        self._storage.set_trial_intermediate_value(self._ids[number], step, value)

    def forget_reports(self, number: int) -> None:
        """Drops the reports of an attempt that was lost."""
        self._storage.get_trial(self._ids[number]).intermediate_values = {}

    def should_prune(self, number: int) -> bool:
        """Whether the pruner would end the trial now."""
        return self._prunes and self._study.pruner.prune(self._study, self._storage.get_trial(self._ids[number]))

    def tell(self, number: int, state: str, value: float | None) -> FrozenTrial:
        """Ends a trial; returns it as the ledger is to keep it. A pruned trial's value is its last report."""
        with _quietly():
            return self._study.tell(number, value if state == COMPLETE else None, state=_STATES[state])
