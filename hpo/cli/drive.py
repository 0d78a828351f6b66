"""One search from its ledger to its end: what ``hpo run`` does once and ``hpo compare`` many times."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hpo.cli.options import OnInterrupt
from hpo.errors import InputError, Interrupted
from hpo.ledger.address import Address
from hpo.resources import Resources
from hpo.study import Study

if TYPE_CHECKING:
    from hpo.execution import Executor
    from hpo.search import Search
    from hpo.trial import Trial


def read_workers(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal():
        raise InputError(f"--workers: must be a whole number or auto, got {text!r}")
    return int(text)


def check_study(study: Study) -> None:
    """What can be found wrong anywhere: a sampler or an objective that is not there. Data may be elsewhere."""
    from hpo import objective, samplers

    try:
        samplers.check(study.sampler.name, study.seed, study.space, study.sampler.options)
        objective.resolve(study.objective)
    except InputError as error:
        raise InputError(f"{study.file}: {error}") from error


def check_before_work(study: Study, where: Address) -> None:
    """Everything that can be found wrong in a fraction of a second, before Ray, Optuna or MLflow is imported."""
    from hpo import objective
    from hpo.ledger.storage import probe

    check_study(study)
    try:
        target = objective.resolve(study.objective)
        objective.check(target, [{**study.fixed, **corner} for corner in study.space.corners()])
        if study.model is not None:  # it is called only when all the work is done
            objective.resolve(study.model, ("params", "seed", "folder"))
    except InputError as error:
        raise InputError(f"{study.file}: {error}") from error
    probe(where, create=True)
    if folder := os.environ.get("HPO_DATA_DIR"):
        os.environ["HPO_DATA_DIR"] = str(Path(folder).absolute())  # workers have working folders of their own


class Engine:
    """Gives every search its workers; Ray starts with the first and ends with :meth:`close`.

    Args:
        resources: What the most demanding worker of any of the studies asks for.
        workers: How many trials run at once; None for as many as fit, 0 for this process alone, without Ray.
        address: A Ray cluster; None for ``RAY_ADDRESS``, and without that for this machine.
        verbose: Show Ray's log.
    """

    def __init__(self, resources: Resources, workers: int | None, address: str | None, *, verbose: bool) -> None:
        self._resources, self._workers, self._address, self._verbose = resources, workers, address, verbose
        self._started = self._shared = False

    @contextmanager
    def executor(self, study: Study) -> Iterator[Executor]:
        """Workers for one search."""
        from hpo.execution import Job

        job = Job(study.objective, study.metric, (str(Path.cwd()),))
        executor: Executor
        if self._workers == 0:
            from hpo.execution.inline import InlineExecutor

            executor = InlineExecutor(job)
        else:
            from hpo.execution.ray import RayExecutor

            self._start()
            most = min(study.budget.most, study.batch or study.budget.most)
            executor = RayExecutor(
                job,
                self._workers,
                study.workers,
                most=most,
                shared=self._shared,
                say=lambda text: sys.stderr.write(f"hpo: {text}\n"),
            )
        with closing(executor):
            yield executor

    def _start(self) -> None:
        from hpo.execution import ray

        if not self._started:
            cores = len(os.sched_getaffinity(0))
            workers = self._workers or max(1, int(cores / self._resources.cpus))
            self._shared = ray.start(self._address, workers, self._resources, verbose=self._verbose)
            self._started = True

    def close(self) -> None:
        """Leaves the cluster, or ends the Ray that was started."""
        if self._started:
            from hpo.execution import ray

            ray.shutdown()


def drive(
    study: Study,
    where: Address,
    engine: Engine,
    *,
    tracking: str,
    checkpoints: Path | None = None,
    on_interrupt: OnInterrupt = OnInterrupt.finish,
    quiet: bool = False,
    publish: bool = False,
    say: Callable[[list[Trial]], None] = lambda trials: None,
) -> tuple[Search, int]:
    """Runs a study, or goes on with it.

    Args:
        study: What to search.
        where: The ledger.
        engine: What runs the trials.
        tracking: The MLflow tracking store, or ``"none"``.
        checkpoints: Where objectives that save checkpoints do so; None for a folder beside the ledger.
        on_interrupt: What becomes of running trials at the first Ctrl-C or SIGTERM.
        quiet: No progress.
        publish: Complete the study's page in MLflow, with report and model, when the search has ended.
        say: Told the trials when the search has ended, before the mirror writes what is left.

    Returns:
        The search, and how many of its trials the mirror could not write.
    """
    from hpo.cli import tracked
    from hpo.cli.progress import Progress
    from hpo.ledger.ledger import Ledger
    from hpo.search import Search

    with closing(Ledger.open(where, study)) as ledger:
        search = Search(study, ledger, (checkpoints or where.folder / "checkpoints").absolute())
        tracker = tracked.mirror(study, ledger.uid, ledger.created, search.trials, tracking)
        try:
            if not search.done:
                with (
                    _signals(lambda: search.interrupt(stop=on_interrupt is OnInterrupt.stop)),
                    engine.executor(study) as executor,
                    closing(Progress(study, search.trials, quiet=quiet)) as progress,
                ):
                    search.run(executor, (progress, tracker))
        except KeyboardInterrupt:
            tracker.close("KILLED", tracked.QUICK_DRAIN)
            raise
        except BaseException:
            tracked.drain(tracker, "FAILED", study.name)
            raise
        say(search.trials)
        missing = tracked.drain(tracker, "KILLED" if search.interrupted else "FINISHED", study.name)
        if tracking != "none" and not missing:
            whole = publish and not search.interrupted
            tracked.publish(study, ledger.uid, search.trials, tracking, whole=whole)
        return search, missing


@contextmanager
def resumable(command: str) -> Iterator[None]:
    """Ends on a second Ctrl-C with the word that ``command`` goes on where it was."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(command) from None


@contextmanager
def _signals(interrupt: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM asks the search to end, the second ends it; other threads than the main hear none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

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
