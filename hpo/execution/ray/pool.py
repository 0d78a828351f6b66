"""Trials on Ray: a pool of long-lived actors, one per worker slot, on this machine or on a cluster.

A process per trial costs about two seconds; an actor that serves trial after trial costs well under a millisecond. Each
attempt is one streaming call whose items are small batches of events; a stop reaches the actor beside it, in a
concurrency group of its own. An actor that dies takes its attempt with it and nothing else.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any

import ray
from ray._private.ray_constants import LOG_PREFIX_ACTOR_NAME
from ray.exceptions import OutOfMemoryError, RayError

from hpo.errors import ClusterError, ClusterUnusable, InputError
from hpo.execution import Ended, Event, Job, Outcome, Started, Task
from hpo.execution.process import Child, ChildRefused
from hpo.execution.ray import cluster, local, nodes
from hpo.study.workers import Resources

# How often in a row workers may die before one of them is ready.
MOST_FAILED_STARTS = 3
# Seconds between two looks at what the cluster holds.
RESIZE = 2.0
# Seconds without a single worker after which the user is told.
NOTICE = 15.0
# Seconds after which an actor that was asked to end its trial, and has not, is replaced.
UNRESPONSIVE = 10.0


class _Actor:
    """Ray's side of a worker: it passes on what the child process that runs the objective says."""

    def __init__(self, job: Job) -> None:
        # Ray tasks that the objective starts itself run on this cluster too.
        address = ray.get_runtime_context().gcs_address
        os.environ.pop("PYTHONBREAKPOINT", None)  # Ray's debugger, which works in this process only
        try:
            self._child = Child(job, {"RAY_ADDRESS": address})
            self._child.ready()
        except ChildRefused as error:
            raise InputError(str(error)) from None

    def ready(self) -> str:
        return self._child.name

    def run(self, task: Task) -> Iterator[list[Event]]:
        for stream in (sys.stdout, sys.stderr):  # Ray's own mark for the prefix of the log lines that follow
            print(f"{LOG_PREFIX_ACTOR_NAME}trial {task.number}", file=stream, flush=True)
        if task.uid and task.folder and not nodes.shared(task.folder, task.uid):
            yield from self._run_here(task)
        else:
            yield from self._child.run(task)

    def _run_here(self, task: Task) -> Iterator[list[Event]]:
        """Runs an attempt with a folder on this node, and tells where it is."""
        name, folder = nodes.new(task.uid)
        for batch in self._child.run(replace(task, folder=str(folder))):
            if batch and isinstance(ended := batch[-1], Ended) and folder.exists():
                place = f"{ray.get_runtime_context().get_node_id()}/{name}"
                yield [*batch[:-1], replace(ended, place=place)]
            else:
                yield batch

    def stop(self, number: int, attempt: int) -> None:
        self._child.stop(number, attempt)

    def kill(self, number: int, attempt: int, reason: str) -> None:
        self._child.kill(number, attempt, reason)


@dataclass
class _Slot:
    """One place in the pool, and the actor that fills it now."""

    actor: Any
    starting: Any
    name: str = "?"
    task: Task | None = None
    stream: Any | None = None
    reason: str | None = None
    killed: float = math.inf

    @property
    def awaited(self) -> Any | None:
        """What the driver waits for from this slot: the actor's readiness, or its stream."""
        return self.starting if self.starting is not None else self.stream


class RayExecutor:
    """A pool of actors on the Ray that :func:`hpo.execution.ray.cluster.start` found or started.

    Args:
        job: The study's objective.
        workers: How many actors to keep; None for as many as the cluster holds, now and when nodes join or leave.
        resources: What each of them asks of Ray.
        most: Never more actors than this; a study of ten trials needs no eleventh worker.
        shared: Divide the cluster with other searches: :class:`hpo.execution.ray.cluster.Share`.
        notify: Receives a remark when the search waits for its first worker, or an objective's Ray tasks for room.

    Raises:
        ClusterUnusable: When no node can hold a single worker.
    """

    def __init__(
        self,
        job: Job,
        workers: int | None,
        resources: Resources,
        most: int = sys.maxsize,
        *,
        shared: bool = False,
        notify: Callable[[str], object] = lambda text: None,
    ) -> None:
        if cluster.capacity(resources) == 0:
            raise ClusterUnusable(
                f"workers: no node has what one worker asks for: {cluster.in_words(cluster.needs(resources))}; "
                f"the nodes have: {cluster.inventory(resources)}; ask for less in [workers], or add a node that has it"
            )
        self._job = job
        self._resources = resources
        self._fixed = workers
        self._most = most
        self._share = cluster.Share(cluster.needs(resources)) if shared else None
        remote: Any = ray.remote  # its stubs know no concurrency groups
        self._make = remote(concurrency_groups={"control": 1})(_Actor).options(
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
            memory=resources.memory or None,
            resources={
                **resources.resources,
                **({} if local.cores() is None else {local.WORKERS_CORES: resources.cpus}),
            },
            max_restarts=0,  # Ray tells of a dead actor in milliseconds; we replace it ourselves
        )
        self._failed_starts = 0
        self._notify: Callable[[str], object] | None = notify  # until a worker has started
        self._warn: Callable[[str], object] | None = notify  # until Ray tasks have waited for room
        self._began = monotonic()
        self._open()

    def _open(self) -> None:
        self._put = ray.put(self._job)
        self._slots: list[_Slot] = []
        self._wanted = 1
        self._resized = -math.inf
        self._resize()

    def _fill(self) -> _Slot:
        actor = self._make.remote(self._put)
        return _Slot(actor, actor.ready.remote())

    def _resize(self) -> None:
        """Follows the cluster: a slot for every worker that fits, and none that waits for a node that is gone."""
        if self._slots and monotonic() - self._resized < RESIZE:
            return
        self._resized = monotonic()
        self._look_for_waiting_tasks()
        places = cluster.capacity(self._resources)
        if places is None:  # slow, or gone: `poll` tells the one from the other
            return
        wanted = min(self._most, places if self._fixed is None else self._fixed)
        if self._share is not None:
            part = self._share.of(places, has=sum(slot.starting is None for slot in self._slots), wants=wanted)
            wanted = part if self._fixed is None else wanted
        self._wanted = max(1, wanted)
        while len(self._slots) < self._wanted:
            self._slots.append(self._fill())
        unused = sorted((slot for slot in self._slots if slot.task is None), key=lambda slot: slot.starting is None)
        for slot in unused[: len(self._slots) - self._wanted]:
            self._give_back(slot)

    def _look_for_waiting_tasks(self) -> None:
        """Says when Ray tasks of the objective's own wait for what the workers hold: they would do so for ever."""
        pids = [int(slot.name.rpartition("/")[2]) for slot in self._slots if slot.task is not None and slot.name != "?"]
        if self._warn is None or not pids or any(slot.starting is not None for slot in self._slots):
            return
        held = {name: need * len(self._slots) for name, need in cluster.needs(self._resources).items()}
        if (waits := cluster.crowded_out(pids, held)) is not None:
            self._warn(
                f"Ray tasks that your objective starts wait for {waits}; the {len(self._slots)} workers use "
                f"{cluster.in_words(held)} of {cluster.inventory(self._resources)}, so these trials cannot end. Stop "
                "the run (Ctrl-C twice) and use fewer workers (--workers) or fewer CPUs for each (workers.cpus)"
            )
            self._warn = None

    def _give_back(self, slot: _Slot) -> None:
        ray.kill(slot.actor)
        self._slots.remove(slot)

    @property
    def free(self) -> int:
        return sum(slot.awaited is None for slot in self._slots)

    def submit(self, task: Task) -> None:
        slot = next(slot for slot in self._slots if slot.awaited is None)
        slot.task = task
        slot.stream = slot.actor.run.options(num_returns="streaming").remote(task)

    def poll(self, timeout: float) -> list[Event]:
        if (part := local.lost()) is not None:
            return self._start_over(part)
        self._resize()
        late = monotonic() - self._began > NOTICE
        if self._notify is not None and late and (places := cluster.capacity(self._resources)) is not None:
            self._notify(
                f"no worker has started yet: the nodes have room for {places}, but something else may use it, or they "
                "are slow; waiting"
            )
            self._notify = None
        if unresponsive := [slot for slot in self._slots if monotonic() - slot.killed > UNRESPONSIVE]:
            return [self._lose(slot, slot.reason or "") for slot in unresponsive]
        awaited = {slot.awaited: slot for slot in self._slots if slot.awaited is not None}
        if not awaited:
            return []
        ready, _ = ray.wait(list(awaited), num_returns=1, timeout=timeout, fetch_local=False)
        if ready and len(awaited) > 1:
            ready, _ = ray.wait(list(awaited), num_returns=len(awaited), timeout=0, fetch_local=False)
        return [event for item in ready for event in self._hear(awaited[item])]

    def _hear(self, slot: _Slot) -> list[Event]:
        if slot.starting is not None:
            self._hear_start(slot)
            return []
        assert slot.stream is not None
        assert slot.task is not None
        try:
            events: list[Event] = ray.get(next(slot.stream))
        except (RayError, StopIteration) as error:
            return [self._lose(slot, slot.reason or _in_words(error, slot.name))]
        for event in events:
            if isinstance(event, Started):
                slot.name = event.worker
            elif isinstance(event, Ended):
                slot.task = slot.stream = None
                if len(self._slots) > self._wanted:
                    self._give_back(slot)
                slot.reason, slot.killed = None, math.inf
        return events

    def _lose(self, slot: _Slot, reason: str) -> Ended:
        """Replaces an actor that is dead, or that does not answer."""
        assert slot.task is not None
        self._replace(slot)
        return Ended(slot.task.number, slot.task.attempt, Outcome.LOST, None, reason)

    def _hear_start(self, slot: _Slot) -> None:
        try:
            slot.name = str(ray.get(slot.starting))
        except RayError as error:
            self._failed_starts += 1
            if self._failed_starts >= MOST_FAILED_STARTS:
                why = _in_words(error, "the worker")
                raise ClusterError(
                    f"no worker can start: {why}; to see more: the same command with --verbose"
                ) from error
            self._replace(slot)
        else:
            self._failed_starts = 0
            self._notify = None
            slot.starting = None

    def _start_over(self, part: str) -> list[Event]:
        """The driver's own Ray has lost a part of itself: what runs is lost with it, and Ray is started again."""
        self._failed_starts += 1
        if self._failed_starts >= MOST_FAILED_STARTS:
            raise ClusterError(
                f"Ray does not stay up on this machine: its {part} has died, {MOST_FAILED_STARTS} times in a row; "
                "use fewer workers (--workers), or none of Ray with --workers 0"
            )
        running = [(slot.task, slot.reason) for slot in self._slots if slot.task is not None]
        self._slots.clear()
        local.restart()
        self._open()
        return [
            Ended(task.number, task.attempt, Outcome.LOST, None, why or f"Ray's {part} died") for task, why in running
        ]

    def _replace(self, slot: _Slot) -> None:
        ray.kill(slot.actor)
        self._slots[self._slots.index(slot)] = self._fill()

    def resize(self, workers: int | None) -> None:
        """Keeps this many workers from the next poll on; None for as many as fit. Those too many end after a trial."""
        if workers is not None:
            local.grow(cluster.cores(workers, self._resources))
        self._fixed, self._resized = workers, -math.inf

    def limit(self, most: int) -> None:
        """Never keeps more workers than this, from the next poll on."""
        self._most, self._resized = most, -math.inf

    def stop(self, number: int) -> None:
        for slot in self._slots:
            if slot.task is not None and slot.task.number == number:
                slot.actor.stop.options(concurrency_group="control").remote(number, slot.task.attempt)

    def kill(self, number: int, reason: str) -> None:
        for slot in self._slots:
            if slot.task is not None and slot.task.number == number and slot.reason is None:
                slot.reason, slot.killed = reason, monotonic()
                slot.actor.kill.options(concurrency_group="control").remote(number, slot.task.attempt, reason)

    def close(self) -> None:
        for slot in self._slots:
            ray.kill(slot.actor)
        self._slots = []
        if self._share is not None:
            self._share.close()


def _in_words(error: BaseException, worker: str) -> str:
    """Ray's failure in one line."""
    if isinstance(error, StopIteration):
        return f"worker {worker} stopped sending events before its trial ended"
    name = type(error).__name__
    cause = getattr(error, "cause", None)
    text = str(cause or error)
    if own := re.search(r"\bhpo\.errors\.\w+: (.*)", text, re.DOTALL):
        return " ".join(own[1].split())
    text = " ".join(text.split())
    if isinstance(error, OutOfMemoryError) and (full := re.search(r"\S+ used / \S+ limit", text)):
        text = f"its node ran low on memory, {full[0]}"  # Ray lists all processes of the machine after that
    return f"worker {worker} was lost ({name}): {text if len(text) <= 500 else '...' + text[-500:]}"
