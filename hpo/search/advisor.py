"""What to try next and what to stop: the study's sampler and pruner over a copy of the ledger in memory.

Optuna's in-memory storage answers a TPE ask in a millisecond where a database takes twenty. Decisions are taken on the
copy, and only whole trials are written to the ledger. Numbers agree because one driver writes both.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import optuna
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial

from hpo import pruners, samplers
from hpo.errors import HpoError
from hpo.imports import look_in, raised
from hpo.ledger.record import DIRECTIONS, TO_OPTUNA, Records
from hpo.pruners.several import VALUES
from hpo.search import penalty
from hpo.search.suggestion import suggest
from hpo.study import Study
from hpo.study.fields import is_import_path
from hpo.trial import FIXED, REPEAT, RETRY_OF, State, Trial


@contextmanager
def _without_experimental_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", "Constraints have been set")  # it is shown values that take them into account
        yield


@contextmanager
def _errors_named(key: str, name: str) -> Iterator[None]:
    """Names a sampler or pruner, given by its import path, that raises what nobody expects."""
    try:
        yield
    except HpoError:
        raise
    except Exception as error:
        if not is_import_path(name):
            raise
        raise HpoError(f"{key}: {name} failed{raised(error)}") from error


class Advisor:
    """Asks the sampler, collects reports, asks the pruner.

    Args:
        study: What to search.
        trials: The ledger's trials, in order of their numbers.
    """

    def __init__(self, study: Study, trials: Iterable[Trial] = ()) -> None:
        self._study = study
        if any(is_import_path(named) for named in (study.sampler.name, study.pruner.name)):
            look_in(Path.cwd(), study.folder)
        with _without_experimental_warnings():
            sampler = samplers.build(study.sampler.name, study.seed, study.space, study.sampler.options)
        self._storage = InMemoryStorage()
        self._optuna = optuna.create_study(
            storage=self._storage,
            study_name=study.name,
            directions=[DIRECTIONS[direction] for direction in study.objectives.values()],
            sampler=sampler,
            pruner=pruners.build(study.pruner.name, study.pruner.options, study.batch),
        )
        self._infeasible: list[int] = []
        self._ids: dict[int, int] = {}
        self._queue = [study.space.encode(point) for point in study.enqueue]
        records = Records(study)
        for trial in trials:
            stored = records.to_optuna(trial)
            # No sampler reads what hpo keeps there, and copying it takes time.
            stored.user_attrs, stored.system_attrs = {}, dict(trial.notes)
            if len(study.objectives) > 1:
                stored.user_attrs[VALUES] = records.values_by_step(trial)
            self._ids[trial.number] = self._add(stored)
            if trial.state is State.INFEASIBLE:
                self._infeasible.append(trial.number)
            if trial.notes.get(FIXED) in self._queue:
                self._queue.remove(trial.notes[FIXED])

    def _add(self, stored: FrozenTrial) -> int:
        """Adds a trial without the deep copy that Optuna makes of it: most of the time that a resumed search waits."""
        stored._trial_id = self._storage.create_new_trial(self._optuna._study_id)
        self._storage._set_trial(stored._trial_id, stored)
        self._storage._update_cache(stored._trial_id, self._optuna._study_id)
        return stored._trial_id

    def ask(self, point: Mapping[str, Any] | None = None, notes: Mapping[str, Any] = MappingProxyType({})) -> Trial:
        """A new trial.

        Args:
            point: Some of its parameters; None for the next enqueued point, or else the sampler's choice.
            notes: What is to be noted with it.
        """
        study, sampler = self._study, self._study.sampler
        with _without_experimental_warnings(), self._penalty(), _errors_named("sampler.name", sampler.name):
            if point is not None:
                self._optuna.enqueue_trial(study.space.encode(point))
            elif self._queue:
                self._optuna.enqueue_trial(self._queue.pop(0))
            asked = self._optuna.ask()
            space = self._optuna.sampler.space if sampler.algorithm.widens else study.space  # type: ignore[union-attr]
            params = suggest(self._optuna, asked, space, study.seed, nearest=sampler.algorithm.learns)
        self._ids[asked.number] = asked._trial_id
        for key, value in notes.items():
            self.note(asked.number, key, value)
        notes = dict(self._storage.get_trial(asked._trial_id).system_attrs)
        # Trials of one repeat differ in their parameters alone, so that they can be compared pair by pair.
        seed = trial_seed(study.seed, notes.get(REPEAT, asked.number))
        return Trial(asked.number, params, seed, notes=notes)

    @contextmanager
    def _penalty(self) -> Iterator[None]:
        """While the block lasts, shows infeasible trials to the sampler as :mod:`hpo.search.penalty` describes."""
        sampler, bounds = self._study.sampler.algorithm, len(self._study.bounds)
        # One that learns from pruned trials, or not at all, needs no help.
        trials = self._optuna.get_trials(deepcopy=False) if sampler.ignores_pruned else []
        shown = penalty.shown(
            trials, self._infeasible, self._optuna.directions, bounds, knows_bounds=sampler.knows_bounds
        )
        for trial in shown:
            self._storage._set_trial(trial._trial_id, trial)
        try:
            yield
        finally:
            for trial in shown:
                self._storage._set_trial(trial._trial_id, trials[trial.number])

    def ask_again(self, failed: Trial, notes: Mapping[str, Any] = MappingProxyType({})) -> Trial:
        """A new trial with the parameters and the seed of one that has failed."""
        kept = {key: value for key, value in failed.notes.items() if key == REPEAT}
        trial = self.ask(failed.params, {**kept, RETRY_OF: failed.number, **notes})
        return replace(trial, seed=failed.seed)

    def note(self, number: int, key: str, value: Any) -> None:
        """Notes something with a trial that has not finished; it is part of what :meth:`tell` returns."""
        self._storage.set_trial_system_attr(self._ids[number], key, value)

    def report(self, number: int, step: int, values: Sequence[float]) -> None:
        """Keeps the values of all objectives at one step."""
        # In place: the storage's own method copies all reports of the trial for each one.
        trial = self._storage.get_trial(self._ids[number])
        trial.intermediate_values[step] = values[0]
        if len(values) > 1:
            trial.user_attrs.setdefault(VALUES, {})[step] = tuple(values)

    def forget_reports(self, number: int) -> None:
        """Drops the reports of an attempt that was lost."""
        trial = self._storage.get_trial(self._ids[number])
        trial.intermediate_values, trial.user_attrs = {}, {}

    def should_prune(self, number: int) -> bool:
        """Whether the pruner would end the trial now."""
        pruner = self._study.pruner
        if not pruner.algorithm.prunes:
            return False
        with _errors_named("pruner.name", pruner.name):
            return self._optuna.pruner.prune(self._optuna, self._storage.get_trial(self._ids[number]))

    def tell(self, trial: Trial) -> Trial:
        """Ends a trial; returns it with what the sampler has noted at its end."""
        if trial.state is State.INFEASIBLE:
            self.forget_reports(trial.number)
            self._infeasible.append(trial.number)
        with _without_experimental_warnings(), _errors_named("sampler.name", self._study.sampler.name):
            values = trial.values if trial.state is State.COMPLETE else None
            told = self._optuna.tell(trial.number, values, state=TO_OPTUNA[trial.state])
        return replace(trial, notes=told.system_attrs)


def trial_seed(study_seed: int, number: int) -> int:
    """The seed of one trial: 32 bits that depend on the study's seed and the trial's number (or repeat) alone."""
    return int(np.random.SeedSequence((study_seed, number)).generate_state(1)[0])
