"""What becomes of a study: its page in MLflow with report and model, and its test score."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import hpo
from hpo import objective
from hpo.best import front_of
from hpo.errors import HpoError, InputError, SearchFailed
from hpo.execution.guest import Guest, GuestFailed
from hpo.ledger.address import Address, reason, redact
from hpo.machine import absolute_uri
from hpo.progress import Notify, announced, to_stderr
from hpo.search.folders import FILES, found_folder
from hpo.study import Study
from hpo.study.command import Command
from hpo.study.constraints import why_no_best
from hpo.text import number
from hpo.trial import State, Trial, best_first, counts_as_best

if TYPE_CHECKING:
    from hpo.ledger.snapshots import Snapshot
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
    ranked = front_of(trials, study.objectives)
    if study.model is None or not ranked or page.is_champion(ranked[0]):
        return
    chosen = ranked[0]
    kept = found_folder(where.folder, study.name, uid, chosen.number)
    notice = f"making a model of trial {chosen.number} for MLflow; press Ctrl-C to skip it"
    with announced(notice, notify), TemporaryDirectory() as folder:
        made = guest.call(make_model, study, chosen, folder, kept)
        page.register(chosen, lambda path, ids: guest.call(save_model, path, made, ids))


def make_model(study: Study, chosen: Trial, folder: str, kept: Path | None) -> Mapping[str, Any]:
    """What the study's ``model`` makes of a trial, in ``folder``, from the files that were kept of it."""
    from threadpoolctl import threadpool_limits

    from hpo.tracking.mlflow.page import MODEL_KEYS

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
    from hpo.tracking.mlflow.page import save

    save(path, made, ids)


# The sealed test set ------------------------------------------------------------------------------------------------


def evaluate(
    where: Address,
    name: str,
    *,
    trial_number: int | None = None,
    preference: str | None = None,
    again: bool = False,
    tracking: str = "none",
    notify: Notify = to_stderr,
) -> dict[str, Any]:
    """Scores one trial's parameters with the study's ``evaluate`` function.

    Everything that can be wrong is checked first. Then the access is recorded, and only then is the test set opened.

    Args:
        where: The ledger.
        name: The study.
        trial_number: The trial; None for the best.
        preference: With several objectives, which trial of the front (:func:`hpo.insight.front.prefer`).
        again: Evaluate a study that has been evaluated before; that is recorded too.
        tracking: The MLflow tracking store that gets the score, or ``"none"``.
        notify: Receives a remark when MLflow does not have the study.

    Returns:
        The record: ``time`` (seconds since the epoch), ``trial`` and ``metrics``.

    Raises:
        InputError: When the study cannot be evaluated, or has been evaluated before.
        HpoError: When the evaluation fails; the access is recorded.
    """
    from hpo.ledger import snapshots

    tracking = absolute_uri(tracking)
    snapshot = snapshots.read(where, name)
    trial = _choose(snapshot, trial_number, preference)
    if snapshot.evaluations and not again:
        raise _evaluated_before(name, snapshot.evaluations[0])
    study = snapshot.study
    if study.evaluate is None:
        raise InputError(
            f'{name} has no function to evaluate with; add `evaluate = "package.module:name"` to its file',
            key="evaluate",
        )
    with closing(Guest(study)) as guest:
        try:
            guest.call(check_score, study, trial)
        except GuestFailed as failure:
            rule = f"importing and checking it failed{failure}"
            raise InputError(f"evaluate: {rule}", key="evaluate", rule=rule, value=study.evaluate) from None
        with snapshots.note_evaluation(where, name, trial.number) as entry:
            entry["metrics"].update(_scored(guest, study, trial))
    if tracking != "none":
        from hpo.tracking.mlflow import record_evaluation

        if not record_evaluation(tracking, snapshot.uid, name, entry, len(snapshot.evaluations) + 1):
            notify(f"MLflow at {redact(tracking)} has no study {name}; to write it there: hpo sync {name}")
    return entry


def _evaluated_before(name: str, first: Mapping[str, Any]) -> InputError:
    when = datetime.fromtimestamp(first["time"]).astimezone().isoformat(timespec="seconds")
    return InputError(
        f"{name} was evaluated with trial {first['trial']} at {when}: {metrics_text(first['metrics'])}; a trial "
        "chosen after a look at the test set has no fair test score. Use --again to evaluate it anyway; "
        "that is recorded too",
        key="--again",
        value=first["trial"],
    )


def _scored(guest: Guest, study: Study, trial: Trial) -> dict[str, float]:
    try:
        scored: dict[str, float] = guest.call(score, study, trial)
    except Exception as error:  # a study of a notebook runs here
        what = str(error) if isinstance(error, GuestFailed) else f": {type(error).__name__}: {error}"
        raise HpoError(f"the evaluation failed, and is recorded{what}") from error
    return scored


def metrics_text(metrics: dict[str, float]) -> str:
    """An evaluation's metrics in one line."""
    return ", ".join(f"{key} {number(value)}" for key, value in metrics.items()) or "no result, it was interrupted"


def _choose(snapshot: Snapshot, wanted: int | None, preference: str | None) -> Trial:
    from hpo.insight.front import chosen

    study, trials = snapshot.study, snapshot.trials
    if wanted is not None and preference is not None:
        raise InputError("--prefer: cannot be given together with --trial", key="--prefer", value=preference)
    if not any(map(counts_as_best, trials)):
        raise SearchFailed(why_no_best(study.name, study.bounds, trials))
    if wanted is None:
        return chosen(study, trials, preference)
    found = next((trial for trial in trials if trial.number == wanted), None)
    if found is None or not counts_as_best(found):
        within = f" within the bounds of {' and '.join(found.violations)}" if found and found.violations else ""
        raise InputError(f"--trial: {study.name} has no complete trial {wanted}{within}", key="--trial", value=wanted)
    return found


def check_score(study: Study, trial: Trial) -> None:
    """Imports the study's ``evaluate``, and lets it check the parameters, before the test set is opened."""
    import threadpoolctl  # noqa: F401 -- for `score`, while modules are found: the study's code may change where

    assert study.evaluate is not None
    objective.check(objective.resolve(study.evaluate), [{**study.fixed, **trial.params}])


def score(study: Study, trial: Trial) -> dict[str, float]:
    """What the study's ``evaluate`` reports last, of each metric; trains and scores."""
    from threadpoolctl import threadpool_limits

    assert study.evaluate is not None
    metrics: dict[str, float] = {}
    target, params = objective.resolve(study.evaluate), {**study.fixed, **trial.params}
    with (
        TemporaryDirectory(ignore_cleanup_errors=True) as own,
        threadpool_limits(study.workers.threads),  # as on a worker: the same numbers in the same time
    ):
        places = {"folder": f"{own}/files", "checkpoint": f"{own}/checkpoint", "trial": trial.number}
        for report in objective.reports(target, params, trial.seed, study.metric, **places):
            metrics.update(report)
    return metrics
