"""A study's trials as arrays: one row per trial, in order of their numbers; a new trial costs one row."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers._tpe.sampler import _split_complete_trials_multi_objective
from optuna.search_space.group_decomposed import _SearchSpaceGroup
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.samplers.tpe.mixture import Rows
from hpo.statistics import Floats

# Why a trial counts. Failed and waiting trials do not count: 0.
_COMPLETE, _PRUNED, _INFEASIBLE, _RUNNING = 1, 2, 3, 4
_KINDS = {TrialState.COMPLETE: _COMPLETE, TrialState.PRUNED: _PRUNED, TrialState.RUNNING: _RUNNING}


class History:
    """What TPE needs to know of one study's trials. It follows from the trials alone, and can always be made anew.

    Attributes:
        finished: How many trials are complete or pruned.
        shared: The parameters that all of these have, with the same distribution; None without any.
    """

    _of: Study

    def __init__(self) -> None:
        self._clear()
        self._study: tuple[Any, int] | None = None

    def _clear(self) -> None:
        self.finished = 0
        self.shared: dict[str, BaseDistribution] | None = None
        self._count = 0
        self._kind = np.zeros(0, np.int8)
        self._keys = np.zeros((2, 0))  # trials of one kind are sorted by these two, the best one first
        self._columns: dict[str, Floats] = {}  # parameters in Optuna's internal representation, NaN where there is none
        self._written: list[int] = []  # the trials in the order in which they were written, again or for the first time
        self._sorted: dict[str, tuple[int, Rows]] = {}  # trials by a parameter's value, as of so many that were written
        self._open: dict[int, FrozenTrial] = {}  # trials that may still change, as they were last seen
        self._first_with: dict[tuple[str, ...], tuple[int, dict[str, BaseDistribution]]] = {}
        self._distributions: dict[str, BaseDistribution] = {}

    def update(self, study: Study, params_of: Callable[[FrozenTrial], Mapping[str, Any]]) -> None:
        """Reads what is new.

        Args:
            study: The study.
            params_of: The parameters of a trial, also those that a running one has not suggested yet.
        """
        trials = study._get_trials(deepcopy=False, use_cache=True)  # one list for all that is drawn for a trial
        if self._study != (study._storage, study._study_id) or len(trials) < self._count:
            self._clear()
            self._study = (study._storage, study._study_id)
        self._of = study
        sign = -1.0 if study.directions[0] is StudyDirection.MAXIMIZE else 1.0
        self._grow(len(trials))
        for number in [*self._open, *range(self._count, len(trials))]:
            trial = trials[number]
            if self._open.get(number) is not trial:
                self._write(number, trial, sign, params_of)
        self._count = len(trials)

    def _grow(self, count: int) -> None:
        if count > self._kind.size:
            more = max(2 * self._kind.size, count) - self._kind.size
            self._kind = np.append(self._kind, np.zeros(more, np.int8))
            self._keys = np.append(self._keys, np.zeros((2, more)), axis=1)
            self._columns = {n: np.append(column, np.full(more, np.nan)) for n, column in self._columns.items()}

    def _write(
        self, number: int, trial: FrozenTrial, sign: float, params_of: Callable[[FrozenTrial], Mapping[str, Any]]
    ) -> None:
        if number in self._open:
            for column in self._columns.values():
                column[number] = np.nan
        self._open[number] = trial
        self._written.append(number)
        self._kind[number], self._keys[:, number] = _rank(trial, sign)
        if trial.state.is_finished():
            del self._open[number]
        if not self._kind[number]:
            return
        if trial.state.is_finished():
            self.finished += 1
            before, now = self.shared, trial.distributions
            self.shared = now if before is None else {n: d for n, d in before.items() if now.get(n) == d}
            names = tuple(trial.distributions)
            if names not in self._first_with or number < self._first_with[names][0]:
                self._first_with[names] = (number, trial.distributions)
        self._distributions.update(trial.distributions)
        for name, value in params_of(trial).items():
            if name not in self._columns:
                self._columns[name] = np.full(self._kind.size, np.nan)
            self._columns[name][number] = self._distributions[name].to_internal_repr(value)

    def groups(self) -> _SearchSpaceGroup:
        """The parameters that always occur together; as Optuna finds them, but each kind of trial is seen once."""
        groups = _SearchSpaceGroup()
        for _, distributions in sorted(self._first_with.values(), key=lambda first: first[0]):
            groups.add_distributions(distributions)
        return groups

    def split(self, asked: int, best: int, *, running: bool) -> tuple[Rows, Rows]:
        """The best trials and all others, each in order of their numbers.

        Complete trials come first, by value; then pruned ones, by how far they came; then infeasible ones. Of several
        objectives, complete trials are chosen as Optuna does, by rank and by what they add to the hypervolume, and
        pruned ones that came as far as each other by the first.

        Args:
            asked: The number of the trial that is asked for; it belongs to neither.
            best: How many are the best.
            running: Whether running trials are among the others.
        """
        kind = self._kind[: self._count]
        below: list[Rows] = []
        for which in (_COMPLETE, _PRUNED, _INFEASIBLE):
            choose = self._best_of_all if which == _COMPLETE and len(self._of.directions) > 1 else self._best
            below.append(choose(np.flatnonzero(kind == which), best))
            best -= below[-1].size
        is_above = (kind > 0) if running else (kind > 0) & (kind != _RUNNING)
        chosen = np.sort(np.concatenate(below))
        is_above[chosen] = False
        above = np.flatnonzero(is_above)
        return chosen, above[above != asked]

    def _best(self, rows: Rows, count: int) -> Rows:
        if count >= rows.size:
            return rows
        first, second = self._keys[:, rows]
        if count:  # only a few have to be sorted
            near = np.flatnonzero(first <= np.partition(first, count - 1)[count - 1])
            rows, first, second = rows[near], first[near], second[near]
        return rows[np.lexsort((second, first))[:count]]

    def _best_of_all(self, rows: Rows, count: int) -> Rows:
        trials = self._of.get_trials(deepcopy=False)
        complete = [trials[row] for row in rows]
        chosen, _ = _split_complete_trials_multi_objective(complete, self._of, min(count, rows.size))
        return np.array([trial.number for trial in chosen], dtype=np.intp)

    def having(self, rows: Rows, names: Iterable[str]) -> Rows:
        """Those of some trials that have all of these parameters."""
        there = ~np.any([np.isnan(self._column(name)[rows]) for name in names], axis=0)
        return rows if there.all() else rows[there]

    def observations(self, rows: Rows, names: Iterable[str]) -> dict[str, Floats]:
        """The parameters of some trials: one array for each, shape (trials,)."""
        return {name: self._column(name)[rows] for name in names}

    def orders(self, rows: Rows, names: Iterable[str]) -> list[Rows]:
        """The places of some trials in order of each parameter, in any order where values are equal.

        Args:
            rows: Trials that have all of the parameters, in order of their numbers.
            names: The parameters.
        """
        place = np.full(self._kind.size, -1)
        place[rows] = np.arange(rows.size)
        orders = (place[self._by_value(name)] for name in names)
        return [order[order >= 0] for order in orders]

    def _column(self, name: str) -> Floats:
        return self._columns[name] if name in self._columns else np.full(self._kind.size, np.nan)

    def _by_value(self, name: str) -> Rows:
        """All trials with a parameter, by its value: what was written since is sorted into the last such order."""
        column = self._column(name)
        count, rows = self._sorted.get(name, (0, np.zeros(0, np.intp)))
        new = np.array(sorted(set(self._written[count:])), np.intp)
        is_new = np.zeros(self._kind.size, bool)
        is_new[new] = True
        rows, new = rows[~is_new[rows]], new[~np.isnan(column[new])]
        new = new[np.argsort(column[new])]
        rows = np.insert(rows, np.searchsorted(column[rows], column[new]), new)
        self._sorted[name] = len(self._written), rows
        return rows


def _rank(trial: FrozenTrial, sign: float) -> tuple[int, tuple[float, float]]:
    """A trial's kind, and what sorts it among those of its kind: by the first number, then the second, then its own."""
    kind = _KINDS.get(trial.state, 0)
    if kind in (0, _RUNNING):
        return kind, (0.0, 0.0)
    violation = sum(value for value in trial.constraints.values() if value > 0)
    if violation > 0:
        return _INFEASIBLE, (violation, 0.0)
    if kind == _COMPLETE:
        return kind, (sign * trial.values[0], 0.0)
    if not trial.intermediate_values:
        return kind, (1.0, 0.0)
    step, value = max(trial.intermediate_values.items())
    return kind, (-step, math.inf if math.isnan(value) else sign * value)
