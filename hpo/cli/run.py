"""``hpo run``: a study from its file to its best trials."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli.options import AsJson, Storage, Tracking
from hpo.errors import HpoError, InputError, Interrupted
from hpo.ledger.address import DEFAULT_STORAGE, Address, parse, redact
from hpo.study import Study, load
from hpo.tracking import DEFAULT_TRACKING
from hpo.trial import COMPLETE

if TYPE_CHECKING:
    from hpo.execution import Executor
    from hpo.ledger.ledger import Ledger
    from hpo.tracking import Tracker
    from hpo.trial import Trial

# Seconds that the mirror may take for one more trial when the search is over.
DRAIN = 30.0
# Seconds after which a person is told what it is that takes so long.
NOTICE = 5.0
# The same as DRAIN, when a person has said twice that it should stop.
QUICK_DRAIN = 5.0


class OnInterrupt(StrEnum):
    """What becomes of running trials when a search is interrupted."""

    finish = "finish"
    stop = "stop"


def run(
    study_file: Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.", show_default=False)],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Replace one key of the study, such as sampler.name=tpe."),
    ] = None,
    workers: Annotated[
        str,
        typer.Option(
            metavar="N|auto",
            help="How many trials run at once; auto fills the machine or the cluster; "
            "0 runs them in this process, without Ray.",
        ),
    ] = "auto",
    address: Annotated[
        str | None,
        typer.Option(envvar="RAY_ADDRESS", metavar="RAY", help="A Ray cluster; without it Ray starts on this machine."),
    ] = None,
    on_interrupt: Annotated[
        OnInterrupt, typer.Option(help="What Ctrl-C or SIGTERM does to running trials; twice always ends at once.")
    ] = OnInterrupt.finish,
    checkpoints: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where objectives that save checkpoints do so; on a cluster, a folder that every node sees.",
            show_default=".hpo/checkpoints",
        ),
    ] = None,
    enqueue_from: Annotated[
        str | None,
        typer.Option(metavar="OTHER", help="Try the best trials of this study, in the same ledger, first."),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    tracking: Tracking = DEFAULT_TRACKING,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show Ray's log and the workers' output.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a study, or go on with it: finished trials are kept and count."""
    study = load(study_file, overrides or ())
    count = _workers(workers)
    where = parse(storage)
    _check_before_work(study, where)
    if enqueue_from is not None:
        study = _warm_start(study, where, enqueue_from)
    _remark(study, count)
    from hpo.cli.progress import Progress
    from hpo.ledger.ledger import Ledger
    from hpo.search import Search

    with _resumable(study_file), ExitStack() as stack:
        ledger = Ledger.open(where, study)
        stack.callback(ledger.close)
        search = Search(study, ledger, (checkpoints or where.folder / "checkpoints").absolute())
        tracker = _tracker(study, ledger, search.trials, tracking)
        try:
            if not search.done:
                executor = _executor(stack, study, count, address, verbose=verbose)
                with (
                    closing(Progress(study, search.trials, quiet=quiet)) as progress,
                    _signals(lambda: search.interrupt(stop=on_interrupt is OnInterrupt.stop)),
                ):
                    search.run(executor, (progress, tracker))
        except KeyboardInterrupt:
            tracker.close("KILLED", QUICK_DRAIN)
            raise
        except BaseException:
            _drain(tracker, "FAILED")
            raise
        _say_results(study, search.trials, where, as_json=as_json)
        missing = _drain(tracker, "KILLED" if search.interrupted else "FINISHED")
    if missing:
        sys.stderr.write(f"hpo: {missing} trials are not in MLflow yet; the next `hpo run` of this study writes them\n")
    elif tracking != "none" and not as_json:
        sys.stdout.write(_how_to_browse(tracking))
    if search.interrupted:
        raise Interrupted(study_file)
    if not any(trial.state == COMPLETE for trial in search.trials):
        raise HpoError(f"no trial of {study.name} is complete; the last one ended with:\n{search.trials[-1].error}")


@contextmanager
def _resumable(study_file: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(study_file) from None


def _workers(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal():
        raise InputError(f"--workers: must be a whole number or auto, got {text!r}")
    return int(text)


def _check_before_work(study: Study, where: Address) -> None:
    """Everything that can be found wrong in a fraction of a second, before Ray, Optuna or MLflow is imported."""
    from hpo import objective, samplers
    from hpo.ledger.storage import probe

    try:
        samplers.check(study.sampler.name, study.seed, study.space, study.sampler.options)
        target = objective.resolve(study.objective)
        objective.check(target, [{**study.fixed, **corner} for corner in study.space.corners()])
    except InputError as error:
        raise InputError(f"{study.file}: {error}") from error
    probe(where, create=True)
    if folder := os.environ.get("HPO_DATA_DIR"):
        os.environ["HPO_DATA_DIR"] = str(Path(folder).absolute())  # workers have working folders of their own


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
    if size is not None and study.budget.most < wanted:
        sys.stderr.write(f"hpo: the grid has {size} points, the search ends after them\n")
    elif size is not None and study.budget.most < size + len(study.enqueue):
        sys.stderr.write(f"hpo: the grid has {size} points, the budget ends after {wanted} trials\n")
    if study.batch and workers and workers > study.batch:
        sys.stderr.write(f"hpo: batch = {study.batch} keeps {workers - study.batch} of {workers} workers idle\n")


def _tracker(study: Study, ledger: Ledger, trials: list[Trial], tracking: str) -> Tracker:
    from hpo.tracking import NoTracker

    if tracking == "none":
        return NoTracker()
    from hpo.tracking.mirror import Mirror

    def make_store() -> Any:
        from hpo.tracking.mlflow import MlflowStore

        return MlflowStore(tracking, study, ledger.uid, ledger.created)

    def warn(reason: str) -> None:
        sys.stderr.write(
            f"hpo: MLflow at {redact(tracking)} does not answer, the search goes on without it: {reason}\n"
        )

    return Mirror(make_store, trials, warn)


def _executor(stack: ExitStack, study: Study, workers: int | None, address: str | None, *, verbose: bool) -> Executor:
    from hpo.execution import Job

    job = Job(study.objective, study.metric, (str(Path.cwd()),))
    if workers == 0:
        from hpo.execution.inline import InlineExecutor

        executor: Executor = InlineExecutor(job)
        stack.callback(executor.close)
        return executor
    from hpo.execution import ray

    cores = len(os.sched_getaffinity(0))
    ray.start(address, workers or max(1, int(cores / study.workers.cpus)), study.workers, verbose=verbose)
    stack.callback(ray.shutdown)
    executor = ray.RayExecutor(
        job, workers, study.workers, most=min(study.budget.most, study.batch or study.budget.most)
    )
    stack.callback(executor.close)
    return executor


@contextmanager
def _signals(interrupt: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM asks the search to end, the second ends it."""

    def handle(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        sys.stderr.write("\nhpo: no new trials; once more to stop now\n")
        interrupt()

    before = {sign: signal.signal(sign, handle) for sign in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


def _drain(tracker: Tracker, status: str) -> int:
    """Lets the tracker write what is left, and says so where that takes a while; returns how many are missing."""
    text = f"hpo: writing what is left to MLflow, for up to {DRAIN:g} s; Ctrl-C leaves it to the next `hpo run`\n"
    notice = threading.Timer(NOTICE, sys.stderr.write, [text])
    notice.daemon = True
    try:
        notice.start()
        return tracker.close(status, DRAIN)
    finally:
        notice.cancel()


def _say_results(study: Study, trials: list[Trial], where: Address, *, as_json: bool) -> None:
    from hpo.cli.text import print_best, print_json
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
        return f"\nBrowse the runs: {redact(tracking)}\n"
    other = "" if tracking == DEFAULT_TRACKING else f" --tracking {redact(tracking)}"
    return f"\nBrowse the runs: hpo ui{other}\n"
