"""Checks, opens, runs and resumes a study: what the command line and the Python API call."""

from __future__ import annotations

import dataclasses
import importlib
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from hpo import interrupts, mirroring
from hpo.errors import TrackingError
from hpo.execution.guest import Guest
from hpo.executors import Executors
from hpo.interrupts import OnInterrupt
from hpo.ledger.address import Address, parse, probe
from hpo.machine import absolute, absolute_uri, normalize_environment, without_database, working_folder
from hpo.progress import Notify, Progress, to_stderr
from hpo.study import Study
from hpo.study.edits import workers
from hpo.text import reason, redact
from hpo.tracking import Tracker
from hpo.tracking import check as check_tracking
from hpo.trial import StudyState, Trial, has_failed

if TYPE_CHECKING:
    from hpo.ledger.ledger import Ledger
    from hpo.search.folders import TrialFolders
    from hpo.search.loop import Search

# Before a search ---------------------------------------------------------------------------------------------------


def open_ledger(storage: str, *, create: bool = False) -> Address:
    """The ledger at an address, after a check that it can be reached.

    Args:
        storage: A journal file, ``sqlite:///PATH`` or ``postgresql://...``.
        create: Whether the ledger will be written, and created when absent.

    Raises:
        StorageUnusable: When it cannot be used.
    """
    where = parse(storage)
    probe(where, create=create)
    return where


def check(study: Study, where: Address, executors: Executors | None = None) -> None:
    """Checks everything that can be found wrong in a fraction of a second, before Ray, Optuna or MLflow is imported.

    Args:
        study: The study.
        where: Its ledger.
        executors: What is to run it; None when that is not known yet.

    Raises:
        InputError: With the study's file, and what is wrong.
        StorageUnusable: When the ledger cannot be used.
    """
    from hpo import checks

    normalize_environment()
    with closing(Executors(study.workers, None)) as none:
        guest = (executors or none).guest(study)
        probe(where, create=True)
        if study.inherits.study is not None:
            _check_inherited(study, where, study.inherits.study)
        # What a search needs is imported while the guest imports the study's code.
        ahead = threading.Thread(target=importlib.import_module, args=("hpo.search.loop",))
        ahead.start()
        try:
            checks.check(study, guest)
        finally:
            ahead.join()


def _check_inherited(study: Study, where: Address, name: str) -> None:
    """Checks that there is something to take over, unless the ledger already has the study."""
    from hpo.ledger import snapshots
    from hpo.moving.take_over import plan

    probe(where, create=False)
    if study.name not in snapshots.names(where):
        plan(study, where, name)


def check_code(study: Study) -> None:
    """The part of :func:`check` that needs neither the ledger nor the data: what the study names is there.

    Raises:
        InputError: With the study's file, and what is wrong.
    """
    from hpo import checks

    normalize_environment()
    with closing(Guest(study)) as guest:
        checks.check(study, guest, values=False)


def enqueue_from(study: Study, where: Address, name: str) -> Study:
    """The study with the best trials of another study of the same ledger at the head of its queue.

    Raises:
        StudyNotFound: When the ledger has no study of this name.
        InputError: When there is nothing to take over, or a value lies outside the study's space.
    """
    from hpo.ledger import snapshots
    from hpo.moving.take_over import warm_start

    other = snapshots.read(where, name)
    return warm_start(study, other.study, other.trials)


# A search ----------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """How a search ended.

    Attributes:
        trials: All trials of the study, in order of their numbers.
        interrupted: Whether the user ended it before its budget was spent.
        unwritten: How many trials are not in MLflow yet.
    """

    trials: Sequence[Trial]
    interrupted: bool
    unwritten: int


def run(
    study: Study,
    where: Address,
    executors: Executors,
    *,
    tracking: str,
    checkpoints: Path | None = None,
    on_interrupt: OnInterrupt = OnInterrupt.finish,
    quiet: bool = False,
    publish: bool = False,
    wait: bool = True,
    retry_failed: bool = False,
    notify: Notify = to_stderr,
    searched: Callable[[Study, Sequence[Trial]], None] = lambda study, trials: None,
) -> SearchResult:
    """Runs a study, or resumes it: finished trials are kept and count.

    Args:
        study: What to search.
        where: The ledger.
        executors: What runs the trials.
        tracking: The MLflow tracking store, or ``"none"``.
        checkpoints: Where objectives save checkpoints; None for a folder beside the ledger.
        on_interrupt: What happens to running trials at the first Ctrl-C or SIGTERM.
        quiet: No progress.
        publish: Complete the study's page in MLflow, with report and model, when the search has ended.
        wait: Complete all of the page before returning; leave nothing to a process of its own that outlives this one.
        retry_failed: Run all failed trials again.
        notify: Receives remarks for the user.
        searched: Called with the edited study and its trials after the search, before the mirror writes the rest.

    Raises:
        StudyLocked: When another process runs the study.
        StudyConflict: When the study file contradicts the ledger.
        ClusterUnusable: When no cluster is where one is named.
        HpoError: When the search fails.
        KeyboardInterrupt: At the second Ctrl-C; see :func:`hpo.interrupts.resumable`.
    """
    from hpo import background
    from hpo.search.loop import Search
    from hpo.search.opening import open_edited

    tracking = absolute_uri(tracking)  # trials in this process may change the working folder
    check_tracking(tracking)
    _check_cluster(study, where, executors)
    ledger, edits = open_edited(where, study, notify)
    with closing(ledger):
        study, uid = ledger.study, ledger.uid
        executors.prefer(workers(edits))
        folders = _folders(ledger, where, checkpoints, executors.echo, notify)
        search = Search(study, ledger, folders, retry_failed=retry_failed)
        if not search.done:
            executors.prepare()
        with mirroring.mirrored(search, uid, ledger.created, tracking, notify) as mirror:
            _search(search, executors, folders, uid, mirror, on_interrupt, quiet=quiet, notify=notify)
        searched(search.study, search.trials)
        unwritten, later = _publish(where, search, uid, mirror, tracking, whole=publish, wait=wait, notify=notify)
    if later:  # the study is no longer locked
        background.start(where, search.study, uid, tracking, notify)
    return SearchResult(search.trials, search.interrupted, unwritten)


def _check_cluster(study: Study, where: Address, executors: Executors) -> None:
    """Refuses a cluster that does not answer before the ledger has the study; a finished study needs no cluster."""
    if executors.uses_cluster:
        from hpo.ledger import snapshots

        there = where.path is None or where.path.exists()
        if not (there and study.name in snapshots.names(where)):
            executors.check()


def _folders(
    ledger: Ledger, where: Address, checkpoints: Path | None, echo: Callable[[str], None] | None, notify: Notify
) -> TrialFolders:
    """The folders of the study's trials, without those of trials that the ledger has just cleared."""
    from hpo.search.folders import TrialFolders, forget, own_folder

    study, uid, home = ledger.study, ledger.uid, absolute(where.folder)
    checkpoints = absolute(checkpoints or home / "checkpoints")
    if ledger.cleared is not None:
        forget(home, study.name, ledger.cleared, notify)
    own = own_folder(home, study.name, uid)
    return TrialFolders(checkpoints / uid, own, study.trial.kept, study.objectives, notify, echo)


def _search(
    search: Search,
    executors: Executors,
    folders: TrialFolders,
    uid: str,
    mirror: Tracker,
    on_interrupt: OnInterrupt,
    *,
    quiet: bool,
    notify: Notify,
) -> None:
    """Searches until the budget is spent or the user interrupts, and fetches the trials' folders from other nodes."""
    if not search.done:
        with (
            working_folder(),  # a trial in this process may change the working folder
            interrupts.handled(lambda: search.interrupt(stop=on_interrupt is OnInterrupt.stop), notify),
            executors.open(search.study) as executor,
            folders.gathering(executors.nodes(), search.trials, uid),
            closing(Progress(search.study, search.trials, quiet=quiet)) as progress,
        ):
            search.edited = progress.edited
            search.run(executor, (progress, mirror))
    elif folders.remote.places:  # the driver ended before they had arrived
        with folders.gathering(executors.nodes(), search.trials, uid):
            pass


def _publish(
    where: Address, search: Search, uid: str, mirror: Tracker, tracking: str, *, whole: bool, wait: bool, notify: Notify
) -> tuple[int, bool]:
    """Has the mirror write the rest, and completes the study's page in MLflow: the ``whole`` one, or its description.

    Returns:
        How many trials are not in MLflow; and whether parts of the page are left to a process that outlives this one.
    """
    from hpo import background
    from hpo import publish as publishing

    study, trials = search.study, search.trials
    state = StudyState.STOPPED if search.interrupted else StudyState.COMPLETE
    state = StudyState.FAILED if has_failed(trials) else state
    unwritten = mirroring.drain(mirror, state, study.name, notify, interrupted=search.interrupted)
    if tracking == "none" or unwritten:
        return unwritten, False
    if search.interrupted or not whole:
        publishing.publish(where, study, uid, trials, tracking, ("description",), notify=notify)
        return 0, False
    later = not wait and background.outlives()
    parts = tuple(part for part in publishing.PARTS if not (later and part in publishing.LATER))
    background.complete(where, study, uid, trials, tracking, parts, notify)
    return 0, later


# After a search ----------------------------------------------------------------------------------------------------


def delete(where: Address, name: str, tracking: str) -> tuple[int, bool]:
    """Deletes a study from the ledger, with its trials' folders, and moves its runs in MLflow to MLflow's trash.

    Returns:
        How many trials it had, and whether there was an experiment.

    Raises:
        StudyNotFound: When there is no such study.
        StudyLocked: When it is being run.
        TrackingError: When the experiment could not be deleted; the study is deleted from the ledger.
    """
    from hpo.ledger import snapshots
    from hpo.search.folders import forget

    tracking = absolute_uri(tracking)
    check_tracking(tracking)
    uid = snapshots.uid(where, name)
    count = snapshots.delete(where, name)
    forget(where.folder, name, uid, to_stderr)
    if tracking == "none" or without_database(tracking):
        return count, False
    from hpo.tracking.mlflow import delete as delete_experiment

    try:
        return count, bool(delete_experiment(tracking, uid, name))
    except Exception as error:  # MLflow raises many kinds
        raise TrackingError(
            f"{name} was deleted from {where}, but its MLflow experiment in {redact(tracking)} was not; "
            f"delete it there: {reason(error)}"
        ) from error
