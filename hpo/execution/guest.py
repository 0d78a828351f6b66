"""The study's own code, called where it cannot harm the driver: in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from hpo.errors import HpoError
from hpo.execution import WARNINGS, Job
from hpo.execution.inline import THREADS
from hpo.execution.process import Child, ChildDied, ChildFailed
from hpo.imports import look_in
from hpo.machine import variables, working_folder
from hpo.study import Study

# Seconds for which reports may wait for each other: where a pruner decides by them, and where people only look at them.
REPORT_PAUSE_PRUNED, REPORT_PAUSE = 0.05, 0.25
# The module of a notebook or a script, which no other process can import.
_MAIN = "__main__:"


def job(study: Study, code: bytes | None = None) -> Job:
    """What workers need to know of a study; its code is looked for in the working folder, then in its file's folder."""
    pause = REPORT_PAUSE_PRUNED if study.pruner.algorithm.prunes else REPORT_PAUSE
    path = (str(Path.cwd()), study.folder)
    settings = study.trial
    warnings = {WARNINGS: os.environ[WARNINGS]} if WARNINGS in os.environ else {}
    env = {**warnings, **settings.env}
    return Job(study.objective, study.metric, study.fixed, path, None, pause, env, code, settings.infeasible)


class GuestFailed(HpoError):
    """The study's own code failed, or ended its process; the message continues a sentence about what was called."""


class Guest:
    """Calls functions that import and call what a study names.

    Each is called in one child process, which starts with the first and has this process's standard streams. A study
    that names anything of ``__main__`` is served in this process, because no other one has it.

    Args:
        study: The study.
        here: Serve any study in this process.
    """

    def __init__(self, study: Study, *, here: bool = False) -> None:
        self.job = job(study)
        self._here = here or any(_of_main(study))
        # As many threads as a worker's libraries have.
        self._environment = {} if {*THREADS} & {*os.environ} else {THREADS[0]: str(study.workers.threads)}
        self._child: Child | None = None

    def start(self) -> Child | None:
        """The process, which starts now unless it has started before; None for this one."""
        if self._child is None and not self._here:
            self._child = Child(self.job, self._environment, inherits=True)
        return self._child

    def call(self, function: Callable[..., Any], *arguments: Any, limit: float | None = None) -> Any:
        """Calls one of hpo's own functions.

        Args:
            function: From the top of its module.
            arguments: What it is called with.
            limit: Seconds that it may take in another process; None for any number.

        Raises:
            GuestFailed: When the study's code raises what it should not, ends its process, or takes too long.
            HpoError: What else the function raises.
        """
        if (child := self.start()) is None:
            look_in(*self.job.path)
            with working_folder(), variables(self.job.env):  # of the driver, whose folder stays the same
                return function(*arguments)
        try:
            return child.call(function, *arguments, limit=limit)
        except ChildFailed as failure:
            raise GuestFailed(str(failure)) from None
        except ChildDied as death:
            raise GuestFailed(f": {death}") from None

    def close(self) -> None:
        """Ends the child."""
        if self._child is not None:
            self._child.close()


def _of_main(study: Study) -> Iterable[bool]:
    named = (study.objective, study.evaluate, study.model, study.sampler.name, study.pruner.name)
    return (isinstance(name, str) and name.startswith(_MAIN) for name in (*named, *(f.kind for f in study.figures)))
