"""Optuna's reading of a journal, in linear time, and from a summary on.

Optuna copies all reports of a trial for each one that is added. This replay copies a trial once per reading, so that
what was given out before does not change. Where a summary covers the beginning of the journal, the trials that had
finished by then are only known to be there: nothing may change them any more.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.storages.journal._storage import JournalOperation as Operation
from optuna.storages.journal._storage import JournalStorageReplayResult
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from hpo.ledger import REQUEST, STUDY_ATTR
from hpo.ledger.rows import Place, packed
from hpo.ledger.summary import Summary

# Under which name a line comes with its place in the journal: the first byte, and how many.
PLACE = "place"
# A finished trial of which only a summary knows more.
FINISHED = FrozenTrial(-1, TrialState.COMPLETE, 0.0, None, None, {}, {}, {}, {}, {}, -1)
# What stands for a number in the attribute with all reports: text for NaN and infinities, None where there is none.
_CELLS = {float, int, str, type(None)}


class NeedsFullJournal(Exception):
    """The next lines need more of earlier trials than the summary has: everything must be read."""


@lru_cache(maxsize=1000)
def distribution(text: str) -> BaseDistribution:
    """The trials of a study share the same few distributions, which nothing changes."""
    return json_to_distribution(text)


class Replay(JournalStorageReplayResult):
    """The studies and trials of a journal after the lines that were read so far.

    Args:
        worker: The prefix of the ids that this process writes under.
        summary: What covers the first lines.

    Attributes:
        touched: Ids of the studies of which lines came after the summary.
        places: Where in the journal the reports of trials are, by the trial's id.
    """

    def __init__(self, worker: str, summary: Summary | None = None) -> None:
        super().__init__(worker)
        self.touched: set[int] = set()
        self.places: dict[int, Place] = {}
        self._copied: set[int] = set()
        self._apply = {int(one): getattr(self, f"_apply_{one.name.lower()}", _ignore) for one in Operation}
        self.partial = summary is not None
        if summary is not None:
            self._resume(summary)

    def _resume(self, summary: Summary) -> None:
        resume = summary.resume
        unfinished = {int(trial_id): log for trial_id, log in resume["open"].items()}
        studies = {}
        for entry in summary.studies:
            about = entry.about
            directions = [StudyDirection(direction) for direction in about["directions"]]
            study = FrozenStudy(
                about["name"], None, about["attrs"], about["system_attrs"], about["id"], directions=directions
            )
            studies[about["id"]] = study
            self._study_id_to_trial_ids[about["id"]] = []
        self._studies = studies
        of = {i: entry.about["id"] for entry in summary.studies for i in expanded(entry.about["ids"])}
        for trial_id in range(resume["trials"]):
            if trial_id in unfinished and trial_id in of:
                self._apply_create_trial(unfinished[trial_id])
                continue
            self._trials[trial_id] = FINISHED
            if trial_id in of:
                self._study_id_to_trial_ids[of[trial_id]].append(trial_id)
        self._next_study_id = resume["next_study"]
        self.log_number_read = summary.lines

    def to_resume(self) -> dict[str, Any]:
        """What reading on needs to know of the trials that have not finished."""
        return {
            "next_study": self._next_study_id,
            "trials": len(self._trials),
            "open": {
                trial_id: {"worker_id": "", **created(self._trial_id_to_study_id[trial_id], trial)}
                for trial_id, trial in self._trials.items()
                if not trial.state.is_finished()
            },
        }

    def ids(self, study_id: int) -> Sequence[int]:
        """The ids of a study's trials, in order of their numbers."""
        return self._study_id_to_trial_ids[study_id]

    def trial(self, trial_id: int) -> FrozenTrial:
        return self._trials[trial_id]

    # Reading -------------------------------------------------------------------------------------------------------

    def apply_logs(self, logs: Iterable[dict[str, Any]]) -> None:
        self._copied.clear()
        touched, of = self.touched, self._trial_id_to_study_id
        for log in logs:
            self.log_number_read += 1
            touched.add(log["study_id"] if "study_id" in log else of.get(log.get("trial_id", -1), -1))
            self._apply[log["op_code"]](log)

    def _own(self, log: dict[str, Any]) -> FrozenTrial | None:
        """The trial that a line changes, as a copy that was not given out; None where it must not change."""
        trial_id = log["trial_id"]
        if not self._trial_exists_and_updatable(trial_id, log):
            return None
        if trial_id not in self._copied:
            trial = copy.copy(self._trials[trial_id])
            trial.intermediate_values = dict(trial.intermediate_values)
            trial.user_attrs, trial.system_attrs = dict(trial.user_attrs), dict(trial.system_attrs)
            self._trials[trial_id] = trial
            self._copied.add(trial_id)
        return self._trials[trial_id]

    def _apply_create_trial(self, log: dict[str, Any]) -> None:
        study_id, trial_id = log["study_id"], len(self._trials)
        if not self._study_exists(study_id, log):
            return
        distributions = {name: distribution(text) for name, text in log.get("distributions", {}).items()}
        trial = FrozenTrial(
            number=len(self._study_id_to_trial_ids[study_id]),
            state=TrialState(log.get("state", TrialState.RUNNING.value)),
            value=log.get("value"),
            datetime_start=_local(log.get("datetime_start")),
            datetime_complete=_local(log.get("datetime_complete")),
            params={name: distributions[name].to_external_repr(p) for name, p in log.get("params", {}).items()},
            distributions=distributions,
            user_attrs=log.get("user_attrs", {}),
            system_attrs=log.get("system_attrs", {}),
            intermediate_values={int(step): value for step, value in log.get("intermediate_values", {}).items()},
            trial_id=trial_id,
            values=log.get("values"),
        )
        self._trials[trial_id] = trial
        self._study_id_to_trial_ids[study_id].append(trial_id)
        self._trial_id_to_study_id[trial_id] = study_id
        if PLACE in log and trial.state.is_finished():
            self._find_reports({**log, "trial_id": trial_id}, packed(trial.user_attrs, trial.system_attrs))
        if self._is_issued_by_this_worker(log):
            self._last_created_trial_id_by_this_process = trial_id
            if trial.state == TrialState.RUNNING:
                self._worker_id_to_owned_trial_id[self.worker_id] = trial_id

    def _apply_set_study_user_attr(self, log: dict[str, Any]) -> None:
        super()._apply_set_study_user_attr(log)
        for key, value in log["user_attr"].items():
            if value is None and key.startswith(REQUEST) and log["study_id"] in self._studies:  # it is over
                del self._studies[log["study_id"]].user_attrs[key]

    def _apply_set_trial_intermediate_value(self, log: dict[str, Any]) -> None:
        if trial := self._own(log):
            trial.intermediate_values[log["step"]] = log["intermediate_value"]

    def _apply_set_trial_user_attr(self, log: dict[str, Any]) -> None:
        if trial := self._own(log):
            trial.user_attrs.update(log["user_attr"])
            self._find_reports(log, packed(log["user_attr"], {}))

    def _apply_set_trial_system_attr(self, log: dict[str, Any]) -> None:
        if trial := self._own(log):
            trial.system_attrs.update(log["system_attr"])
            self._find_reports(log, packed({}, log["system_attr"]))

    def _find_reports(self, log: dict[str, Any], reports: Any) -> None:
        if reports is not None:
            self.places.pop(log["trial_id"], None)  # an attempt that begins again has none
        if reports and (count := _count(reports)):
            self.places[log["trial_id"]] = (count, *log[PLACE])

    def _apply_set_trial_param(self, log: dict[str, Any]) -> None:
        study = self._studies.get(self._trial_id_to_study_id.get(log["trial_id"], -1))
        if self.partial and study is not None and STUDY_ATTR in study.user_attrs:
            raise NeedsFullJournal  # whether it is compatible depends on finished trials
        super()._apply_set_trial_param(log)


def _ignore(log: dict[str, Any]) -> None:
    """What Optuna only defines for other programs."""


def _count(reports: Any) -> int:
    """How many reports an attribute holds; 0 where it is not as hpo writes it."""
    try:
        count, columns = len(reports["time"]), reports["metrics"].values()
        sound = all(len(column) == count and set(map(type, column)) <= _CELLS for column in columns)
    except (TypeError, KeyError, AttributeError):
        return 0
    return count if sound else 0


def created(study_id: int, trial: FrozenTrial) -> dict[str, Any]:
    """What a line says that makes a trial as it is."""
    return {
        "study_id": study_id,
        "datetime_start": _moment(trial.datetime_start),
        **({"datetime_complete": _moment(trial.datetime_complete)} if trial.datetime_complete else {}),
        "state": int(trial.state),
        "values": trial.values,
        "distributions": {name: distribution_to_json(d) for name, d in trial.distributions.items()},
        "params": {name: trial.distributions[name].to_internal_repr(value) for name, value in trial.params.items()},
        "user_attrs": trial.user_attrs,
        "system_attrs": trial.system_attrs,
        "intermediate_values": trial.intermediate_values,
    }


def _local(moment: str | None) -> datetime | None:
    return None if moment is None else datetime.fromisoformat(moment).astimezone().replace(tzinfo=None)


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="microseconds")


def shortened(ids: Sequence[int]) -> list[list[int]]:
    """Ascending numbers as runs: the first, and how many."""
    runs: list[list[int]] = []
    for number in ids:
        if runs and runs[-1][0] + runs[-1][1] == number:
            runs[-1][1] += 1
        else:
            runs.append([number, 1])
    return runs


def expanded(runs: Iterable[Sequence[int]]) -> Iterator[int]:
    """What :func:`shortened` shortened."""
    for first, count in runs:
        yield from range(first, first + count)
