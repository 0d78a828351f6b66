"""``hpo run``: a study from its file to its best trials."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.drive import Engine, check_before_work, drive, read_workers, resumable
from hpo.cli.options import (
    AsJson,
    Checkpoints,
    OnInterrupt,
    Overrides,
    Quiet,
    RayAddress,
    Storage,
    Tracking,
    Verbose,
    WhenInterrupted,
    Workers,
)
from hpo.cli.text import browsed, print_best, print_json
from hpo.errors import HpoError, InputError, Interrupted
from hpo.execution import in_cluster_job
from hpo.ledger.address import DEFAULT_STORAGE, Address, parse, redact
from hpo.study import Study, load
from hpo.tracking import DEFAULT_TRACKING
from hpo.trial import COMPLETE

if TYPE_CHECKING:
    from hpo.trial import Trial


def run(
    study_file: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.", show_default=False)],
    overrides: Overrides = None,
    workers: Workers = "auto",
    address: RayAddress = None,
    on_interrupt: WhenInterrupted = OnInterrupt.finish,
    checkpoints: Checkpoints = None,
    enqueue_from: Annotated[
        str | None,
        typer.Option(metavar="OTHER", help="Try the best trials of this study, in the same ledger, first."),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    tracking: Tracking = DEFAULT_TRACKING,
    quiet: Quiet = False,
    verbose: Verbose = False,
    as_json: AsJson = False,
) -> None:
    """Run a study, or go on with it: finished trials are kept and count."""
    study = load(study_file, overrides or ())
    count = read_workers(workers)
    where = parse(storage)
    if in_cluster_job():
        _check_lasting(study, where, tracking, checkpoints)
    check_before_work(study, where)
    if enqueue_from is not None:
        study = _warm_start(study, where, enqueue_from)
    _remark(study, count)
    again = f"hpo {'submit' if in_cluster_job() else 'run'} {study_file}"
    with resumable(again), closing(Engine(study.workers, count, address, verbose=verbose)) as engine:
        search, missing = drive(
            study,
            where,
            engine,
            tracking=tracking,
            checkpoints=checkpoints,
            on_interrupt=on_interrupt,
            quiet=quiet,
            publish=True,
            say=lambda trials: _say_results(study, trials, where, as_json=as_json),
        )
    if missing:
        sys.stderr.write(f"hpo: {missing} trials are not in MLflow yet; `hpo sync {study.name}` writes them\n")
    elif tracking != "none" and not as_json:
        sys.stdout.write(_how_to_browse(tracking))
    if search.interrupted:
        raise Interrupted(again)
    if not any(trial.state == COMPLETE for trial in search.trials):
        raise HpoError(f"no trial of {study.name} is complete; the last one ended with:\n{search.trials[-1].error}")


def _check_lasting(study: Study, where: Address, tracking: str, checkpoints: Path | None) -> None:
    """Nothing may be kept in the working folder of a Ray job: it is a copy on one node, and goes with the job."""
    from hpo.objective import resolve, takes_checkpoint

    lost, how = "would be lost with this job's folder; where the cluster's head is started, set", "or give a full path"
    if where.path is not None and not where.path.is_absolute():
        raise InputError(f"storage: {where} {lost} HPO_STORAGE=postgresql://USER@HOST/DATABASE, {how}")
    if tracking.startswith("sqlite:///") and not Path(tracking.removeprefix("sqlite:///")).is_absolute():
        raise InputError(f"tracking: {tracking} {lost} MLFLOW_TRACKING_URI=http://HOST:5000, {how}, or none")
    if checkpoints is None and takes_checkpoint(resolve(study.objective)):
        sys.stderr.write("hpo: checkpoints stay on their node; --checkpoints DIR keeps them where all nodes see them\n")


def _warm_start(study: Study, where: Address, name: str) -> Study:
    from hpo.enqueue import warm_start
    from hpo.ledger import books

    other = books.read(where, name)
    return warm_start(study, other.study, other.trials)


def _remark(study: Study, workers: int | None) -> None:
    """What is allowed, but may not be what was meant."""
    from hpo import samplers

    wanted = study.resolved["budget"].get("trials", sys.maxsize)
    size = samplers.size(study.sampler.name, study.space, study.sampler.options)
    points = "grid" if study.sampler.name == "grid" else "list"
    if size is not None and study.budget.most < wanted:
        sys.stderr.write(f"hpo: the {points} has {size} points, the search ends after them\n")
    elif size is not None and study.budget.most < size + len(study.enqueue):
        sys.stderr.write(f"hpo: the {points} has {size} points, the budget ends after {wanted} trials\n")
    if study.batch and workers and workers > study.batch:
        sys.stderr.write(f"hpo: batch = {study.batch} keeps {workers - study.batch} of {workers} workers idle\n")


def _say_results(study: Study, trials: list[Trial], where: Address, *, as_json: bool) -> None:
    from hpo.ledger.books import Book
    from hpo.trial import best_first, counts

    if as_json:
        print_json(Book(study, trials, holder=None).head())
    else:
        total = ", ".join(f"{count} {state}" for state, count in counts(trials).items() if count)
        sys.stdout.write(f"{study.name}: {total or 'no trials'} in {where}\n\n")
        if best := best_first(trials, study.direction)[:5]:
            print_best(best, study.metric)
    sys.stdout.flush()


def _how_to_browse(tracking: str) -> str:
    if tracking.startswith(("http://", "https://")):
        return f"\nBrowse the runs: {browsed(tracking)}\n"
    other = "" if tracking == DEFAULT_TRACKING else f" --tracking {redact(tracking)}"
    return f"\nBrowse the runs: hpo ui{other}\n"
