"""A study in a few words: its state, and what ``hpo show --json`` prints first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hpo.best import leading
from hpo.study import Study
from hpo.study.budget import BudgetMeter
from hpo.trial import RETRY_OF, StudyState, Trial, counts, has_failed, nearest


def spent(study: Study, trials: Sequence[Trial]) -> bool:
    """Whether the budget is spent."""
    budget = study.budget_beside(trials) if len(trials) >= study.budget.most else study.budget
    return BudgetMeter(budget, study.objectives, trials).spent() is not None


def state(study: Study, trials: Sequence[Trial], holder: str | None = None) -> StudyState:
    """How a study stands."""
    if holder:
        return StudyState.RUNNING
    if has_failed(trials):
        return StudyState.FAILED
    return StudyState.COMPLETE if spent(study, trials) else StudyState.STOPPED


def head(study: Study, trials: Sequence[Trial], holder: str | None = None, top: int = 5) -> dict[str, Any]:
    """The study as ``hpo show --json`` prints it, with the ``top`` best trials."""
    return {
        "name": study.name,
        "state": state(study, trials, holder),
        **goals(study),
        "budget": dict(study.resolved["budget"]),
        "trials": counts(trials),
        "retried": sum(trial.finished and RETRY_OF in trial.notes for trial in trials),
        "inherited": sum(trial.origin is not None for trial in trials),
        "counted": BudgetMeter.counted(trial for trial in trials if trial.finished),
        **_best(study, trials, top),
    }


def goals(study: Study) -> dict[str, Any]:
    """What is optimized, as every ``--json`` has it."""
    if len(study.objectives) > 1:
        return {"objectives": dict(study.objectives)}
    return {"direction": study.direction, "metric": study.metric}


def _best(study: Study, trials: Sequence[Trial], top: int) -> dict[str, Any]:
    found = leading(trials, study.objectives)
    best: dict[str, Any] = {"best": [trial.head(study.objectives) for trial in found[:top]]}
    if len(study.objectives) > 1:
        best["front"] = len(found)
    if (least := nearest(trials)) is not None:
        best["nearest"] = least.head(study.objectives)
    return best
