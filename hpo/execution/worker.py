"""One resolved objective that runs trial after trial, in the thread that asks for it."""

from __future__ import annotations

import os
import pickle
import platform
import sys
import traceback
from collections.abc import Generator
from contextlib import suppress
from os import chdir
from time import monotonic, time  # by name: the study's code may replace what modules hold

from hpo.errors import InputError
from hpo.execution import Ended, Event, Job, Outcome, Reported, Started, Task
from hpo.imports import look_in
from hpo.objective.command import CommandFailed
from hpo.objective.contract import moments, resolve
from hpo.text import cut
from hpo.trial import Report

# Characters of an error that the ledger keeps.
MAX_ERROR_CHARACTERS = 100_000


class Worker:
    """Resolves the objective once and then serves trials.

    Args:
        job: The study's objective and metric.
    """

    def __init__(self, job: Job) -> None:
        look_in(*job.path)
        self._metric, self._fixed, self._infeasible = job.metric, job.fixed, job.infeasible
        self._objective = resolve(job.objective) if job.code is None else pickle.loads(job.code)
        self._folder = os.getcwd()  # noqa: PTH109 -- as `chdir` takes it
        self._stop: tuple[int, int] | None = None
        self.name = f"{platform.node()}/{os.getpid()}"
        self._epoch = time() - monotonic()

    def stop(self, number: int, attempt: int) -> None:
        """Ends the attempt at its next report."""
        self._stop = (number, attempt)

    def _now(self) -> float:
        """Seconds since the epoch, by the monotonic clock: setting the system's changes no trial's length."""
        return self._epoch + monotonic()

    def steps(self, task: Task) -> Generator[Event | None, None, None]:
        """Runs one attempt; yields every event as it happens. What the objective raises is an event too.

        Of a command, None comes in between: moments in which it can be stopped.
        """
        key = (task.number, task.attempt)
        yield Started(*key, self.name, self._now())
        with suppress(OSError):  # it is gone
            chdir(self._folder)  # the trial before may have gone elsewhere
        params = {**self._fixed, **task.params}  # the objective gets copies
        places = {"checkpoint": task.checkpoint, "folder": task.folder, "trial": task.number}
        running = moments(self._objective, params, task.seed, self._metric, **places)
        how: Outcome = Outcome.FINISHED
        error: str | None = None
        step = 0
        try:
            for metrics in running:
                step += metrics is not None
                yield None if metrics is None else Reported(*key, (Report(step, self._now(), metrics),))
                if self._stop == key:
                    how = Outcome.STOPPED
                    break
        except (Exception, SystemExit) as raised:
            how, error = self._raised(raised)
        finally:
            try:
                running.close()
            except (Exception, SystemExit) as raised:
                how, error = self._raised(raised)
        yield Ended(*key, how, self._now(), error)

    def _raised(self, raised: BaseException) -> tuple[Outcome, str]:
        means = any(is_called(raised, name) for name in self._infeasible)
        return Outcome.INFEASIBLE if means else Outcome.RAISED, error_text(raised)


def is_called(raised: BaseException, name: str) -> bool:
    """Whether an exception is of the class of this name, or ended a program with the exit code in ``"exit 3"``.

    Nothing is imported for it: a class that was raised is there already, perhaps under several names
    (``torch.cuda.OutOfMemoryError`` is defined elsewhere).
    """
    if name.startswith("exit "):
        return isinstance(raised, SystemExit | CommandFailed) and name == f"exit {raised.code}"
    module, _, last = name.rpartition(".")
    module = module or "builtins"
    there = vars(sys.modules[module]).get(last) if module in sys.modules else None
    kinds = type(raised).__mro__
    return there in kinds or any(f"{kind.__module__}.{kind.__qualname__}" == f"{module}.{last}" for kind in kinds)


def error_text(raised: BaseException) -> str:
    """The traceback from the objective's own frames on; where it is longer than the ledger keeps, its middle is cut."""
    if isinstance(raised, InputError):
        return cut(str(raised), MAX_ERROR_CHARACTERS)
    frames, own = raised.__traceback__, ("hpo.execution.", "hpo.objective.")
    while frames is not None and frames.tb_frame.f_globals.get("__name__", "").startswith(own):
        frames = frames.tb_next
    return cut("".join(traceback.format_exception(raised.with_traceback(frames))).rstrip(), MAX_ERROR_CHARACTERS)
