"""How many workers one driver keeps busy: the real loop, ledger, samplers and mirror; workers on a virtual clock.

    python benchmarks/scale.py [--workers 1000] [--trials 100000] [--samplers random tpe asha] [--clock wall]

The workers are imagined: a trial takes 10 to 100 s of virtual time (``--seconds``) when it is not pruned. The clock
jumps to the next event when the driver has nothing to do, and goes on by the seconds that the driver needs for its
work, so that workers wait for it as real ones do. With ``--clock cpu`` these are the seconds of processors that the
whole process needs, mirror included: an upper bound for a driver with a core of its own, and of use on a machine that
does other things as well. What the driver waits for (a slow disk) is then not in it.

The mirror has less time than in a real search, because the virtual hours pass in minutes; how long it took in all is
printed, and so is how long after the last trial.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import os
import resource
import sqlite3
import tempfile
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from hpo.execution import Ended, Event, Outcome, Reported, Started, Task
from hpo.ledger.address import parse as parse_address
from hpo.ledger.ledger import Ledger
from hpo.mirroring import start_mirror
from hpo.search.loop import Search
from hpo.study import parse
from hpo.trial import Report, StudyState

STUDY: dict[str, Any] = {
    "name": "scale",
    "objective": "benchmarks.scale:objective",
    "metric": "loss",
    "direction": "minimize",
    "space": {"lr": {"low": 1e-5, "high": 1.0, "log": True}, "wd": {"low": 0.0, "high": 0.1}},
}
KINDS: dict[str, dict[str, Any]] = {
    "random": {"sampler": {"name": "random"}},
    "tpe": {"sampler": {"name": "tpe"}},
    "asha": {"sampler": {"name": "random"}, "pruner": {"name": "asha", "min_resource": 1, "reduction_factor": 3}},
}
# Reports of a trial, evenly over its time.
REPORTS = 9


def loss(params: dict[str, Any], step: int, noise: float) -> float:
    return float((np.log10(params["lr"]) + 2) ** 2 + 10 * params["wd"] + 3 / step + 0.1 * noise)


class VirtualExecutor:
    """Workers on a virtual clock, which the driver's own work moves on.

    Args:
        workers: How many trials run at once.
        lengths: The shortest and the longest time of a trial, in seconds.
        seconds: The driver's clock, in seconds from any moment.

    Attributes:
        now: The virtual time, in seconds.
        busy: Seconds that workers had a trial, in all.
        waits: For each trial that followed another on its worker: the seconds from the end to the next start.
    """

    def __init__(self, workers: int, lengths: tuple[float, float], seconds: Callable[[], float]) -> None:
        self._lengths = lengths
        self._seconds, self._before = seconds, seconds()
        self._rng = np.random.default_rng(0)
        self._order = itertools.count()
        self._due: list[tuple[float, int, Event]] = []
        self._free = deque((worker, -1.0) for worker in range(workers))  # and since when; the longest waiting first
        self._running: dict[int, tuple[int, float]] = {}  # worker, and since when
        self._stopping: set[int] = set()
        self.now = self.busy = 0.0
        self.waits: list[float] = []

    @property
    def free(self) -> int:
        return len(self._free)

    def _work(self) -> None:
        """Adds what the driver has needed since the last look at its clock."""
        seconds = self._seconds()
        self.now += seconds - self._before
        self._before = seconds

    def submit(self, task: Task) -> None:
        self._work()
        worker, since = self._free.popleft()
        if since >= 0:
            self.waits.append(self.now - since)
        key, took = (task.number, task.attempt), float(self._rng.uniform(*self._lengths))
        self._running[task.number] = (worker, self.now)
        self._add(self.now, Started(*key, f"virtual/{worker}", self.now))
        for step in range(1, REPORTS + 1):
            at = self.now + took * step / REPORTS
            value = loss(dict(task.params), step, float(self._rng.normal()))
            self._add(at, Reported(*key, (Report(step, at, {"loss": value}),)))
        self._add(self.now + took, Ended(*key, Outcome.FINISHED, self.now + took))

    def _add(self, at: float, event: Event) -> None:
        heapq.heappush(self._due, (at, next(self._order), event))

    def poll(self, timeout: float) -> list[Event]:
        self._work()
        events: list[Event] = []
        while self._due and (not events or self._due[0][0] <= self.now):
            at, _, event = heapq.heappop(self._due)
            if event.number not in self._running:
                continue  # it was stopped
            if event.number in self._stopping:
                event = Ended(event.number, event.attempt, Outcome.STOPPED, at)
            self.now = max(self.now, at)
            events.append(event)
            if isinstance(event, Ended):
                worker, since = self._running.pop(event.number)
                self._stopping.discard(event.number)
                self.busy += at - since
                self._free.append((worker, at))
        return events

    def stop(self, number: int) -> None:
        self._stopping.add(number)

    def kill(self, number: int, reason: str) -> None:
        raise AssertionError(reason)

    def close(self) -> None:
        self._due.clear()


def measure(
    kind: str, workers: int, trials: int, lengths: tuple[float, float], clock: Callable[[], float], folder: Path
) -> str:
    """Runs one search; returns its row of the table."""
    study = parse(STUDY | KINDS[kind] | {"budget": {"trials": trials}}, file="scale")
    ledger = Ledger.open(parse_address(str(folder / f"{kind}.journal")), study)
    search = Search(study, ledger)
    began = time.perf_counter()
    mirror = start_mirror(study, ledger.uid, ledger.created, [], f"sqlite:///{folder}/{kind}.db", print)
    executor, started = VirtualExecutor(workers, lengths, clock), clock()
    search.run(executor, [mirror])
    work = clock() - started
    searched = time.perf_counter()
    missing = mirror.close(StudyState.COMPLETE, 24 * 3600)
    with closing(sqlite3.connect(folder / f"{kind}.db")) as database:
        (written,) = database.execute(
            "SELECT count(*) FROM runs WHERE name LIKE 'trial %' AND status = 'FINISHED'"
        ).fetchone()
    if missing or written != trials:
        raise RuntimeError(f"MLflow has {written} of {trials} trials as finished")
    drained = time.perf_counter()
    ledger.close()
    idle = sum(executor.waits)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    last = np.percentile(executor.waits, [50, 99, 100])
    cells = [f"{1000 * work / trials:.2f} ms", *(f"{1000 * wait:.1f} ms" for wait in last)]
    cells += [f"{100 * idle / (idle + executor.busy):.3f}%", f"{executor.now / 3600:.2f} h"]
    cells += [f"{searched - began:.0f} s", f"{drained - searched:.0f} s", f"{memory:.0f} MB"]
    return f"| {kind} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--samplers", nargs="+", choices=list(KINDS), default=list(KINDS))
    lengths_help = "shortest and longest time of a trial that is not pruned (default: 10 100)"
    parser.add_argument("--seconds", type=float, nargs=2, default=(10.0, 100.0), metavar="S", help=lengths_help)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    options = parser.parse_args()
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    shortest, longest = options.seconds
    print(f"{options.workers} workers, {options.trials} trials of {shortest} to {longest} s, clock: {options.clock}")
    print("| search | driver per trial | wait: median | p99 | longest | idle | virtual | search | drain | memory |")
    print("|---|---|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.samplers:  # each in a process of its own, for its memory
            if child := os.fork():
                _, status = os.waitpid(child, 0)
                if status:
                    raise SystemExit(os.waitstatus_to_exitcode(status))
                continue
            print(measure(kind, options.workers, options.trials, (shortest, longest), clock, Path(folder)), flush=True)
            os._exit(0)


if __name__ == "__main__":
    main()
