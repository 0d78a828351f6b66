"""What can be found wrong with a study in a fraction of a second, before Ray, Optuna or MLflow is imported.

The study's own code is imported and asked in a process of its own (:class:`hpo.execution.guest.Guest`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from hpo import objective, pruners, samplers
from hpo.errors import InputError
from hpo.execution.guest import Guest, GuestFailed
from hpo.progress import announced, to_stderr
from hpo.publish import MODEL_ARGUMENTS
from hpo.report import kinds
from hpo.study import Study
from hpo.study.fields import Place, duration, is_import_path, show
from hpo.study.trials import is_exception
from hpo.text import length, near

# Seconds that importing and checking one thing may take, and the variable that says otherwise.
LIMIT, LIMIT_VARIABLE = 120.0, "HPO_CHECK_TIMEOUT"


def check(study: Study, guest: Guest, *, values: bool = True) -> None:
    """Checks what does not depend on the machine: sampler, pruner, objective, model and figures exist.

    Args:
        study: The study.
        guest: Where its code is imported.
        values: Let the objective check its parameters too.

    Raises:
        InputError: With the study's file, and what is wrong.
    """
    limit = _limit()
    parts: list[tuple[str, Any, Callable[[Study], object]]] = [
        ("sampler.name", study.sampler.name, _sampler),
        ("pruner.name", study.pruner.name, _pruner),
        ("objective", study.objective, _objective_and_values if values else _objective),
        *([("trial.infeasible", study.objective, _infeasible)] if study.trial.infeasible else []),
        *([("model", study.model, _model)] if study.model is not None else []),
        *([("figure", [spec.kind for spec in study.figures], kinds.check)] if study.figures else []),
    ]
    for key, reference, part in parts:
        own = any(map(is_import_path, reference if isinstance(reference, list) else [reference]))
        what = f"importing and checking {show(reference)}"
        notice = f"{study.file}: {key}: {what} takes long; waiting for up to {length(limit)} ({LIMIT_VARIABLE})"
        try:
            with announced(notice, to_stderr):
                guest.call(part, study, limit=limit) if own else part(study)
        except GuestFailed as failure:
            rule = f"{what} failed{failure}"
            raise InputError(
                f"{study.file}: {key}: {rule}", file=study.file, key=key, rule=rule, value=reference
            ) from None
        except InputError as error:
            raise (error if error.file else error.within(study.file)) from error


def _limit() -> float:
    given = os.environ.get(LIMIT_VARIABLE)
    try:
        return LIMIT if given is None else duration(given)
    except ValueError as rule:
        raise InputError(
            f"{LIMIT_VARIABLE}: {rule}, got {given!r}", key=LIMIT_VARIABLE, rule=str(rule), value=given
        ) from None


def _sampler(study: Study) -> None:
    samplers.check(study.sampler.name, study.seed, study.space, study.sampler.options)


def _pruner(study: Study) -> None:
    pruners.check(study.pruner.name, study.pruner.options)


def _objective(study: Study) -> None:
    objective.resolve(study.objective)


def _objective_and_values(study: Study) -> None:
    points = [{**study.fixed, **corner} for corner in study.space.corners()]
    objective.check(objective.resolve(study.objective), points)


def _infeasible(study: Study) -> None:
    """Refuses an exception that its module does not have; a module that is not imported by now may come later."""
    for name in study.trial.infeasible:
        module, _, last = name.rpartition(".")
        there = sys.modules.get(module)
        if there is not None and not is_exception(getattr(there, last, None)):
            known = [other for other, found in vars(there).items() if is_exception(found)]
            place = Place(study.file, "trial.infeasible")
            raise place.error(f"{module} has no exception {last!r}{near(last, known)}", name, got="")


def _model(study: Study) -> None:
    assert study.model is not None
    objective.resolve(study.model, MODEL_ARGUMENTS)  # it is called only when all the work is done
