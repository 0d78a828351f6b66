"""What a search finds in its ledger: trials that are leased, that were cut off, and that failed."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile

from hpo.search.running import Running, fresh
from hpo.trial import LEASE, RETRY_OF, State, Trial, by_end, own


def leases(trials: Iterable[Trial]) -> dict[int, Running]:
    """The leased trials of a ledger, by number; a lease may have run out."""
    found = {}
    for trial in trials:
        if not trial.finished and LEASE in trial.notes:
            lease = trial.notes[LEASE]
            own = replace(trial, reports=(), started=lease["since"], worker=lease["by"], attempt=lease["attempt"])
            found[trial.number] = Running(
                own, list(trial.reports), started=time.monotonic() - max(0.0, time.time() - lease["since"])
            )
    return found


def as_found(trials: Iterable[Trial], leased: Mapping[int, Running]) -> list[Trial]:
    """The trials of a ledger as the search has them: unfinished ones that are not leased are to run again."""
    return [
        leased[trial.number].now() if trial.number in leased else trial if trial.finished else fresh(trial)
        for trial in trials
    ]


def to_retry(trials: Sequence[Trial], limit: int, everything: bool | None) -> list[Trial]:
    """The failed trials that this run of the study runs again, in the order in which they ended.

    Args:
        trials: All trials.
        limit: How many failures in a row stop the study; 0 for any number.
        everything: True for all of them, None for none, False for those that stopped the study.
    """
    if everything is None:
        return []
    again = {trial.notes.get(RETRY_OF) for trial in trials}
    ended = [trial for trial in by_end(own(trials)) if trial.number not in again]
    if everything:
        return [trial for trial in ended if trial.state is State.FAILED]
    ended = [trial for trial in ended if trial.state is not State.INFEASIBLE]
    streak = list(takewhile(lambda trial: trial.state is State.FAILED, reversed(ended)))[::-1]
    return streak if len(streak) == len(ended) or (limit and len(streak) >= limit) else []
