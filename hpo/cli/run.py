"""``hpo run``: a study from its file to its best trials."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from hpo import service
from hpo.cli import options
from hpo.cli.table import print_best
from hpo.cli.text import browsed, print_json, write
from hpo.cli.trials import failures
from hpo.errors import HpoError, Interrupted, SearchFailed
from hpo.execution import in_cluster_job
from hpo.executors import Executors
from hpo.interrupts import OnInterrupt, resumable
from hpo.ledger.address import DEFAULT_STORAGE, Address, parse
from hpo.progress import to_stderr
from hpo.study import Study, load
from hpo.study.remarks import before_run
from hpo.text import redact
from hpo.tracking import DEFAULT_TRACKING
from hpo.trial import State, Trial, counts, has_failed


def run(
    study_file: options.StudyFile,
    trials: options.Trials = None,
    overrides: options.Overrides = None,
    workers: options.Workers = "auto",
    address: options.RayAddress = None,
    on_interrupt: options.WhenInterrupted = OnInterrupt.finish,
    checkpoints: options.Checkpoints = None,
    enqueue_from: options.EnqueueFrom = None,
    storage: options.Storage = DEFAULT_STORAGE,
    tracking: options.Tracking = DEFAULT_TRACKING,
    retry_failed: options.RetryFailed = False,
    wait: options.Wait = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    as_json: options.AsJson = False,
) -> None:
    """Run a study, or resume it: finished trials are kept and count."""
    overrides, wait = options.with_trials(overrides, trials), options.waits(wait)
    study, count, where = load(study_file, overrides), options.read_workers(workers), parse(storage)
    if in_cluster_job():
        from hpo.submit.launch import check_durable

        check_durable(study, where, tracking, checkpoints, to_stderr)
    unprinted: list[HpoError | BrokenPipeError] = []

    def searched(study: Study, trials: Sequence[Trial]) -> None:
        try:
            _print_results(study, trials, where, as_json=as_json)
        except (HpoError, BrokenPipeError) as error:  # the mirror must be written all the same
            unprinted.append(error)

    command = _submitted(study_file, overrides) if in_cluster_job() else options.typed()
    executors = Executors(study.workers, count, address, verbose=verbose)
    with closing(executors):
        service.check(study, where, executors)
        if enqueue_from is not None:
            study = service.enqueue_from(study, where, enqueue_from)
        for remark in before_run(study, count):
            to_stderr(remark)
        with resumable(command):
            result = service.run(
                study,
                where,
                executors,
                tracking=tracking,
                checkpoints=checkpoints,
                on_interrupt=on_interrupt,
                retry_failed=retry_failed,
                quiet=quiet,
                publish=True,
                wait=wait,
                searched=searched,
            )
    if unprinted:
        raise unprinted[0]
    _tell_of_mlflow(study, result.unwritten, tracking, as_json=as_json)
    _report_failures(study, result.trials, where)
    if result.interrupted:
        raise Interrupted.during(command)


def _submitted(study_file: Path, overrides: Sequence[str]) -> str:
    """The command that resumes a job of a cluster."""
    return shlex.join(["hpo", "submit", str(study_file), *(word for text in overrides for word in ("--set", text))])


def _print_results(study: Study, trials: Sequence[Trial], where: Address, *, as_json: bool) -> None:
    if as_json:
        from hpo.ledger.snapshots import Snapshot

        print_json(Snapshot(study, list(trials), holder=None).head())
    else:
        total = ", ".join(f"{count} {state}" for state, count in counts(list(trials)).items() if count)
        write(f"{study.name}: {total or 'no trials'} in {where}\n\n")
        if any(trial.state is State.COMPLETE for trial in trials):
            print_best(study, trials, 5)


def _report_failures(study: Study, trials: Sequence[Trial], where: Address) -> None:
    """Prints which trials have failed.

    Raises:
        SearchFailed: When no trial is complete.
    """
    failed = failures(trials, study.name, where)
    if has_failed(trials):
        last = trials[-1].error
        reason = f": {failed}" if failed else ""
        ending = f". The last one ended with:\n{last}" if last else ""
        raise SearchFailed(f"no trial of {study.name} is complete{reason}{ending}")
    if failed:
        to_stderr(failed)


def _tell_of_mlflow(study: Study, unwritten: int, tracking: str, *, as_json: bool) -> None:
    """Prints what MLflow has not, or else how to look at it."""
    if unwritten:
        to_stderr(f"{unwritten} trials are not in MLflow yet; to write them: hpo sync {study.name}")
    elif tracking != "none" and not as_json:
        write(_how_to_browse(tracking))


def _how_to_browse(tracking: str) -> str:
    if tracking.startswith(("http://", "https://")):
        return f"\nBrowse the runs: {browsed(tracking)}\n"
    other = "" if tracking == DEFAULT_TRACKING else f" --tracking {redact(tracking)}"
    return f"\nBrowse the runs: hpo ui{other}\n"
