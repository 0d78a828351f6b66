"""What runs the trials of one search after another: this process, a child of it, or Ray."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from hpo.execution.guest import Guest, job
from hpo.machine import usable_cores
from hpo.progress import to_stderr
from hpo.study import Study
from hpo.study.workers import Resources

if TYPE_CHECKING:
    from hpo.execution import Executor, Nodes


class Executors:
    """Gives every search its executor; Ray starts with the first and ends with :meth:`close`.

    Args:
        resources: What the most demanding worker of any of the studies asks for.
        workers: How many trials run at once; None for as many as fit, 0 for one after another, without Ray.
        address: A Ray cluster; None for ``RAY_ADDRESS``, and without that for this machine.
        here: With 0 workers, run the trials, and check the study, in this process itself.
        verbose: Show Ray's log.
        code: An objective that workers cannot import, pickled by this process.
    """

    def __init__(
        self,
        resources: Resources,
        workers: int | None,
        address: str | None = None,
        *,
        here: bool = False,
        verbose: bool = False,
        code: bytes | None = None,
    ) -> None:
        self._resources, self._workers, self._address, self._code = resources, workers, address, code
        self.echo = to_stderr if verbose else None
        self._here, self._verbose = here and workers == 0, verbose
        self._started = self._shared = False
        self._guest: Guest | None = None

    def guest(self, study: Study) -> Guest:
        """Where the study is checked; the process that has checked it runs the trials of a search without Ray."""
        if self._guest is None or self._guest.job != job(study):
            self._dismiss()
            self._guest = Guest(study, here=self._here)
            self._guest.start()
        return self._guest

    def _dismiss(self) -> None:
        if self._guest is not None:
            self._guest.close()
            self._guest = None

    def prefer(self, workers: str | None) -> None:
        """Runs as many trials at once as an edit of the study asks for, unless the user has said how many."""
        if self._workers is None and workers not in (None, "auto"):
            self._workers = int(workers or 0)

    @property
    def uses_cluster(self) -> bool:
        """Whether a cluster is named that is to run the trials."""
        return self._workers != 0 and (self._address or os.environ.get("RAY_ADDRESS") or "local") != "local"

    def check(self) -> None:
        """Finds out whether a cluster may be where one is named, without Ray.

        Raises:
            ClusterUnusable: When there is none.
        """
        if self.uses_cluster:
            from hpo.execution.ray import address

            address.check(self._address)

    def prepare(self) -> None:
        """Checks the cluster, and imports what :meth:`open` needs before another thread imports as much beside it."""
        self.check()
        if self._workers != 0:
            importlib.import_module("hpo.execution.ray.pool")

    @contextmanager
    def open(self, study: Study) -> Iterator[Executor]:
        """An executor for one search, closed at the end of the block."""
        with closing(self._single(study) if self._workers == 0 else self._pool(study)) as executor:
            yield executor

    def _single(self, study: Study) -> Executor:
        guest, self._guest = self.guest(study), None
        if (child := guest.start()) is None:
            from hpo.execution.inline import InlineExecutor

            return InlineExecutor(guest.job, study.workers.threads)
        from hpo.execution.single import SingleExecutor

        return SingleExecutor(child)

    def _pool(self, study: Study) -> Executor:
        from hpo.execution.ray.pool import RayExecutor

        # Before Ray: if two nodes share a machine, it may unpack a submitted job's folder again, under the job itself.
        known = job(study, code=self._code)
        self._dismiss()
        self._start()
        if not self._shared:  # Ray's own files are private; the objective's are not
            known = replace(known, umask=_umask())
        most = min(study.budget.most, study.batch or study.budget.most)
        return RayExecutor(known, self._workers, study.workers, most=most, shared=self._shared, notify=to_stderr)

    def _start(self) -> None:
        if not self._started:
            from hpo.execution.ray import cluster as ray

            workers = self._workers or max(1, int(usable_cores() / self._resources.cpus))
            self._shared = ray.start(self._address, workers, self._resources, verbose=self._verbose)
            self._started = True

    def nodes(self) -> Nodes | None:
        """The nodes of the cluster, which hold folders of trials; None where all trials run on this machine."""
        if not (self._shared and self._workers != 0 if self._started else self.uses_cluster):
            return None
        from hpo.execution.ray.nodes import RayNodes

        self._start()
        return RayNodes(to_stderr)

    def close(self) -> None:
        """Leaves the cluster, or ends the Ray that was started."""
        self._dismiss()
        if self._started:
            from hpo.execution.ray import cluster as ray

            ray.shutdown()


def _umask() -> int:
    """This process's mask for new files, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
