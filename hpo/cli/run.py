"""``hpo run``: a study from its file to its best trials."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli.options import AsJson, Storage, Tracking
from hpo.errors import HpoError, InputError
from hpo.ledger.address import DEFAULT_STORAGE, Address, parse, redact
from hpo.study import Study, load
from hpo.tracking import DEFAULT_TRACKING

if TYPE_CHECKING:
    from hpo.execution import Executor
    from hpo.ledger.ledger import Ledger
    from hpo.tracking import Tracker
    from hpo.trial import Trial

# Seconds that the mirror may take to write what is left when the search is over.
DRAIN = 120.0
# The same, when a person has said twice that it should stop.
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
    from hpo.cli.progress import Progress
    from hpo.ledger.ledger import Ledger
    from hpo.search import Search

    with ExitStack() as stack:
        ledger = Ledger.open(where, study)
        stack.callback(ledger.close)
        search = Search(study, ledger, (checkpoints or where.folder / "checkpoints").absolute())
        tracker = _tracker(study, ledger, search.trials, tracking)
        try:
            if not search.done:
                executor = _executor(stack, study, count, address, verbose=verbose)
                progress = stack.enter_context(closing(Progress(study, search.trials, quiet=quiet)))
                with _signals(lambda: search.interrupt(stop=on_interrupt is OnInterrupt.stop)):
                    search.run(executor, (progress, tracker))
        except KeyboardInterrupt:
            tracker.close("KILLED", QUICK_DRAIN)
            raise
        except BaseException:
            tracker.close("FAILED", DRAIN)
            raise
        missing = tracker.close("KILLED" if search.interrupted else "FINISHED", DRAIN)
    interrupted = search.interrupted
    _conclude(study, search.trials, where, tracking, missing, as_json=as_json)
    if interrupted:
        sys.stderr.write(f"hpo: interrupted; `hpo run {study_file}` goes on with it\n")
        raise typer.Exit(130)
    if not any(trial.state == "complete" for trial in search.trials):
        raise HpoError(f"no trial of {study.name} is complete; `hpo show {study.name}` lists them")


def _workers(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdigit():
        raise InputError(f"--workers: must be a whole number or auto, got {text!r}")
    return int(text)


def _check_before_work(study: Study, where: Address) -> None:
    """Everything that can be found wrong in a fraction of a second, before Ray, Optuna or MLflow is imported."""
    from hpo import objective
    from hpo.ledger.storage import probe

    try:
        target = objective.resolve(study.objective)
        objective.check(target, [{**study.fixed, **corner} for corner in study.space.corners()])
    except InputError as error:
        raise InputError(f"{study.file}: {error}") from error
    probe(where, create=True)
    if folder := os.environ.get("HPO_DATA_DIR"):
        os.environ["HPO_DATA_DIR"] = str(Path(folder).absolute())  # workers have working folders of their own


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

        return InlineExecutor(job)
    from hpo.execution import ray

    cores = len(os.sched_getaffinity(0))
    ray.start(address, workers or max(1, int(cores / study.workers.cpus)), study.workers, verbose=verbose)
    stack.callback(ray.shutdown)
    executor = ray.RayExecutor(job, workers, study.workers, most=study.budget.trials)
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


def _conclude(study: Study, trials: list[Trial], where: Address, tracking: str, missing: int, *, as_json: bool) -> None:
    from hpo.cli.text import print_best, print_json
    from hpo.ledger.books import Book
    from hpo.trial import best_first

    book = Book(study, trials, holder=None)
    if as_json:
        print_json(book.head())
    else:
        total = {state: count for state, count in book.head()["trials"].items() if count}
        sys.stdout.write(
            f"{study.name}: {', '.join(f'{count} {state}' for state, count in total.items())} in {where}\n\n"
        )
        print_best(best_first(trials, study.direction)[:5], study.metric)
    if missing:
        sys.stderr.write(f"hpo: {missing} trials are not in MLflow yet; the next `hpo run` writes them\n")
    elif tracking != "none" and not as_json:
        sys.stdout.write(_how_to_browse(tracking))


def _how_to_browse(tracking: str) -> str:
    if tracking.startswith(("http://", "https://")):
        return f"Browse the runs: {redact(tracking)}\n"
    return f"Browse the runs: mlflow ui --backend-store-uri {redact(tracking)}\n"
