"""Trials one after another in the driver's own process: for debugging an objective, and without Ray."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from hpo.execution import Ended, Event, Job, Outcome, Task
from hpo.execution.worker import Worker
from hpo.machine import variables

# If one of these is set, the user has chosen the number of threads.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class InlineExecutor:
    """One worker in this process; each :meth:`poll` advances its trial by one report.

    Args:
        job: The study's objective.
        threads: How many threads numeric libraries may use until :meth:`close`, unless the environment says it; None
            for as many as they like. A small network is trained faster by one thread than by many.
    """

    def __init__(self, job: Job, threads: int | None = None) -> None:
        with variables(job.env):
            self._worker = Worker(job)
        self._limits = ExitStack()
        self._limits.enter_context(variables(job.env))
        if threads and not {*THREADS} & {*os.environ}:
            self._limits.enter_context(_at_most(threads))
        self._task: Task | None = None
        self._steps: Generator[Event | None, None, None] | None = None
        self._reason: str | None = None

    @property
    def free(self) -> int:
        return 0 if self._steps else 1

    def submit(self, task: Task) -> None:
        if self._steps is not None:
            raise RuntimeError("the only worker is busy")
        self._task, self._steps, self._reason = task, self._worker.steps(task), None

    def poll(self, timeout: float) -> list[Event]:
        if self._steps is None:
            return []
        event = next(self._steps)
        if isinstance(event, Ended):
            self._steps = None
            if event.how == Outcome.STOPPED and self._reason is not None:
                event = replace(event, how=Outcome.LOST, error=self._reason)
        return [] if event is None else [event]

    def stop(self, number: int) -> None:
        if self._task is not None and self._task.number == number:
            self._worker.stop(number, self._task.attempt)

    def kill(self, number: int, reason: str) -> None:
        # Nothing can end a trial that shares the driver's process; closing its generator is the nearest thing.
        if self._task is not None and self._task.number == number:
            self._reason = self._reason or reason
            self.stop(number)

    def close(self) -> None:
        if self._steps is not None:
            self._steps.close()
            self._steps = None
        self._limits.close()


@contextmanager
def _at_most(threads: int) -> Iterator[None]:
    """Limits the threads of numeric libraries.

    Those that are loaded by now are told. Later ones read ``OMP_NUM_THREADS``, which Ray sets for its workers as well.
    """
    from threadpoolctl import threadpool_limits

    with variables({"OMP_NUM_THREADS": str(threads)}), threadpool_limits(threads):
        yield
