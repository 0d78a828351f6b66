"""A study's page in MLflow: description, data sets, files, report and model."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import hpo
from hpo import objective
from hpo.best import front_of
from hpo.execution.guest import Guest, GuestFailed
from hpo.ledger.address import Address
from hpo.progress import Notify, announced, to_stderr
from hpo.search.folders import FILES, found_folder
from hpo.study import Study
from hpo.study.command import Command
from hpo.text import reason
from hpo.trial import State, Trial, best_first

if TYPE_CHECKING:
    from hpo.tracking.mlflow.page import Page

# The arguments of a study's `model`.
MODEL_ARGUMENTS = ("params", "seed", "folder")

# The parts of a study's page that can wait, and all parts.
LATER = ("description", "data sets", "files", "report")
PARTS = (*LATER, "model")


def publish(
    where: Address,
    study: Study,
    uid: str,
    trials: Sequence[Trial],
    tracking: str,
    parts: Sequence[str] = PARTS,
    *,
    notify: Notify = to_stderr,
) -> list[str]:
    """Completes the page of a study whose runs are all in MLflow. A part that fails is reported, and breaks nothing.

    Args:
        where: The ledger.
        study: What was searched.
        uid: The ledger's identity of the study.
        trials: The trials whose runs are in MLflow.
        tracking: The tracking store.
        parts: Which of :data:`PARTS`.
        notify: Receives one message per part that failed, and announces slow steps.

    Returns:
        The parts that failed.
    """
    from hpo.tracking.mlflow.page import Page

    failed = []
    with closing(Guest(study)) as guest:
        steps: dict[str, Callable[[Page], None]] = {
            "description": lambda page: page.describe(trials),
            "data sets": lambda page: page.log_data(_data(study, trials, guest)),
            "files": lambda page: _files(where, study, uid, trials, page),
            "report": lambda page: _report(study, trials, page, guest, notify),
            "model": lambda page: _model(where, study, uid, trials, page, guest, notify),
        }
        for name in parts:
            try:
                steps[name](Page(tracking, study, uid))
            except Exception as error:  # from MLflow, matplotlib or the study's own functions: the search is done
                own = f"the study's own code failed{error}" if isinstance(error, GuestFailed) else None
                why = reason(own or f"{type(error).__name__}: {error}")
                notify(f"the {name} of {study.name} is not in MLflow: {why}; to retry: hpo sync {study.name}")
                failed.append(name)
    return failed


def data_of(reference: str | Command, params: Mapping[str, Any]) -> list[objective.Data]:
    """The data that the objective of this name uses; imports it."""
    return objective.data(objective.resolve(reference), params)


def _data(study: Study, trials: Sequence[Trial], guest: Guest) -> list[objective.Data]:
    ranked = best_first(list(trials), study.direction)
    params = ranked[0].params if ranked else next(iter(study.space.corners()))
    found: list[objective.Data] = guest.call(data_of, study.objective, {**study.fixed, **params})
    return found


def examples(study: Study, trials: Sequence[Trial], guest: Guest | None = None) -> int | None:
    """How many examples the objectives are measured on: from the study file, or else from the data.

    Without the key in the study file this imports and calls the study's own code, by ``guest`` or else in a process
    that is made for it. None where neither gives a number, or where that code cannot run here.
    """
    from hpo.insight.precision import counted, possible_shares

    if study.examples is not None or not possible_shares(study, trials):
        return study.examples
    if guest is None:
        with closing(Guest(study)) as guest:
            return examples(study, trials, guest)
    try:
        return counted(study, trials, _data(study, trials, guest))
    except Exception:  # of the study's own code, which may be missing where its ledger is read
        return None


def _report(study: Study, trials: Sequence[Trial], page: Page, guest: Guest, notify: Notify) -> None:
    content = [(t.number, t.state, *t.values, t.ended) for t in trials], study.resolved, hpo.__version__
    of = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]
    if page.has_report(of):
        return
    from hpo.report.files import write

    notice = "drawing the report for MLflow; press Ctrl-C to skip it"
    with announced(notice, notify), TemporaryDirectory() as folder:
        write(study, trials, Path(folder), examples=examples(study, trials, guest), guest=guest)
        page.attach(Path(folder), of)


def _files(where: Address, study: Study, uid: str, trials: Sequence[Trial], page: Page) -> None:
    """Attaches logs and files of the trials whose files are kept, and the logs of failed ones."""
    for trial in trials:
        folder = found_folder(where.folder, study.name, uid, trial.number) if trial.finished else None
        if folder and (trial.state is State.FAILED or (folder / FILES).exists()):
            page.attach_files(trial, folder)


def _model(
    where: Address, study: Study, uid: str, trials: Sequence[Trial], page: Page, guest: Guest, notify: Notify
) -> None:
    """Makes a model of the best trial, trained again or from its kept files, unless it is the champion already.

    With several objectives this is the trial of the front that is best by the first.
    """
    from hpo.tracking.mlflow.registry import is_champion, register

    ranked = front_of(trials, study.objectives)
    if study.model is None or not ranked or is_champion(page, ranked[0]):
        return
    chosen = ranked[0]
    kept = found_folder(where.folder, study.name, uid, chosen.number)
    notice = f"making a model of trial {chosen.number} for MLflow; press Ctrl-C to skip it"
    with announced(notice, notify), TemporaryDirectory() as folder:
        made = guest.call(make_model, study, chosen, folder, kept)
        register(page, chosen, lambda path, ids: guest.call(save_model, path, made, ids))


def make_model(study: Study, chosen: Trial, folder: str, kept: Path | None) -> Mapping[str, Any]:
    """What the study's ``model`` makes of a trial, in ``folder``, from the files that were kept of it."""
    from threadpoolctl import threadpool_limits

    from hpo.tracking.mlflow.registry import MODEL_KEYS

    assert study.model is not None
    make = objective.resolve(study.model, MODEL_ARGUMENTS)
    files = {"files": str(kept / FILES)} if kept and objective.takes(make, "files") else {}
    with threadpool_limits(study.workers.threads):
        made: object = make(copy.deepcopy({**study.fixed, **chosen.params}), chosen.seed, folder, **files)
    if not isinstance(made, Mapping) or set(made) != set(MODEL_KEYS):
        raise TypeError(f"{study.model} must return a mapping of {', '.join(MODEL_KEYS)}, got {made!r:.200}")
    return dict(made)


def save_model(path: Path, made: Mapping[str, Any], ids: Mapping[str, str]) -> None:
    """Saves what :func:`make_model` made; MLflow imports the study's loader for that."""
    from hpo.tracking.mlflow.registry import save

    save(path, made, ids)
