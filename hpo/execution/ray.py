"""Trials on Ray: a pool of long-lived actors, one per worker slot, on this machine or on a cluster.

A process per trial costs about two seconds; an actor that serves trial after trial costs well under a millisecond. Each
attempt is one streaming call whose items are small batches of events; a stop reaches the actor beside it, in a
concurrency group of its own. An actor that dies takes its attempt with it and nothing else.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import monotonic, time
from typing import Any

# Read by Ray when it is imported: no phoning home, and no metrics that nobody looks at.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_enable_metrics_collection", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# A SIGTERM while it connects would be taken for a crash, and end this process by SIGABRT three seconds later.
os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")

import ray
import ray._private.worker
from ray._private.ray_constants import LOG_PREFIX_ACTOR_NAME
from ray.exceptions import OutOfMemoryError, RayError

from hpo.errors import HpoError, InputError
from hpo.execution import CREDENTIALS, LOST, Ended, Event, Job, Started, Task, local, room
from hpo.execution.share import Share
from hpo.execution.worker import Worker
from hpo.resources import Resources

# A pool whose workers die this often in a row before one of them is ready will not heal.
HOPELESS = 3
# Seconds between two looks at what the cluster holds.
RESIZE = 2.0
# Seconds without a single worker after which a person is told.
NOTICE = 15.0


class _Actor:
    """A :class:`Worker` in a process of its own."""

    def __init__(self, job: Job) -> None:
        for name in CREDENTIALS:  # a worker's environment is its node's, and that may be the driver's
            os.environ.pop(name, None)
        self._worker = Worker(job)

    def ready(self) -> str:
        return self._worker.name

    def run(self, task: Task) -> Iterator[list[Event]]:
        for stream in (sys.stdout, sys.stderr):  # Ray's own mark for what its log lines are prefixed with
            print(f"{LOG_PREFIX_ACTOR_NAME}trial {task.number}", file=stream, flush=True)
        yield from self._worker.run(task)

    def stop(self, number: int, attempt: int) -> None:
        self._worker.stop(number, attempt)


@dataclass
class _Slot:
    """One place in the pool, and the actor that fills it now."""

    actor: Any
    starting: Any
    name: str = "?"
    task: Task | None = None
    stream: Any | None = None
    reason: str | None = None

    @property
    def awaited(self) -> Any | None:
        """What the driver waits for from this slot: the actor's readiness, or its stream."""
        return self.starting if self.starting is not None else self.stream


def start(address: str | None, workers: int, resources: Resources, *, verbose: bool = False) -> bool:
    """Connects to a Ray cluster, or starts Ray on this machine with room for ``workers``.

    Args:
        address: The cluster's address; None for ``RAY_ADDRESS``, and without that for this machine alone.
        workers: How many workers a local Ray has to hold.
        resources: What each of them asks for.
        verbose: Show Ray's own log.

    Returns:
        Whether other searches may use the same Ray.

    Raises:
        InputError: When no cluster answers at the address, or when it is that of Ray's client.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    if address and address.startswith(("ray://", "http://", "https://")):
        raise InputError(
            f"--address: a search must run inside its cluster, and {address} reaches it from outside (Ray's client "
            "streams no reports); send it there: hpo submit STUDY.toml --address http://HEAD:8265"
        )
    # Ray's own function writes to standard output, where results belong, and leaves out lines that resemble others.
    ray._private.worker.print_to_stdstream = _show if verbose else _hide  # type: ignore[assignment]
    options: dict[str, Any] = {"log_to_driver": verbose, "logging_level": "INFO" if verbose else "ERROR"}
    if address and address != "local":
        try:
            with local.keeping_sigterm():
                ray.init(address=address, **options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(f"--address: no Ray cluster answers at {address}: {error}") from error
        return True
    local.start(max(1, round(workers * resources.cpus + 0.499)), **options)
    return False


def _show(batch: dict[str, Any], **_: object) -> None:
    """Shows some lines that a worker printed, each under the name of its trial."""
    name = batch.get("actor_name") or f"pid {batch['pid']}"
    where = "" if batch.get("ip") == batch.get("localhost") else f" on {batch['ip']}"
    sys.stderr.write("".join(f"({name}{where}) {line}\n" for line in batch["lines"]))


def _hide(batch: dict[str, Any], **_: object) -> None:
    """What Ray has to say of its own death, say; the search says itself what became of its trials."""


class RayExecutor:
    """A pool of actors on the Ray that :func:`start` found or started.

    Args:
        job: The study's objective.
        workers: How many actors to keep; None for as many as the cluster holds, now and when nodes join or leave.
        resources: What each of them asks of Ray.
        most: Never more actors than this; a study of ten trials needs no eleventh worker.
        shared: Divide the cluster with other searches: :mod:`hpo.execution.share`.
        say: Told when the search waits, as it does where others have taken all room.

    Raises:
        InputError: When no node can hold a single worker.
    """

    def __init__(
        self,
        job: Job,
        workers: int | None,
        resources: Resources,
        most: int = sys.maxsize,
        *,
        shared: bool = False,
        say: Callable[[str], object] = lambda text: None,
    ) -> None:
        if room.capacity(resources) == 0:
            raise InputError(
                f"workers: no node has what one worker asks for: {room.said(room.needs(resources))}; "
                f"the nodes have: {room.inventory(resources)}"
            )
        self._job = job
        self._resources = resources
        self._fixed = workers
        self._most = most
        self._share = Share(room.needs(resources)) if shared else None
        remote: Any = ray.remote  # its stubs know no concurrency groups
        self._make = remote(concurrency_groups={"control": 1})(_Actor).options(
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
            memory=resources.memory or None,
            resources=dict(resources.resources),
            max_restarts=0,  # Ray tells of a dead actor in milliseconds; we replace it ourselves
        )
        self._failed_starts = 0
        self._say: Callable[[str], object] | None = say
        self._began = monotonic()
        self._open()

    def _open(self) -> None:
        self._put = ray.put(self._job)
        self._slots: list[_Slot] = []
        self._wanted = 1
        self._resized = -RESIZE
        self._resize()

    def _fill(self) -> _Slot:
        actor = self._make.remote(self._put)
        return _Slot(actor, actor.ready.remote())

    def _resize(self) -> None:
        """Follows the cluster: a slot for every worker that fits, and none that waits for a node that is gone."""
        if self._slots and monotonic() - self._resized < RESIZE:
            return
        self._resized = monotonic()
        places = room.capacity(self._resources)
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
        if self._say is not None and late and (places := room.capacity(self._resources)) is not None:
            self._say(
                f"no worker has started yet: the nodes hold {places}, unless something else takes the room; waiting"
            )
            self._say = None
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
            reason = slot.reason or _say(error, slot.name)
            self._replace(slot)
            return [Ended(slot.task.number, slot.task.attempt, LOST, time(), reason)]
        for event in events:
            if isinstance(event, Started):
                slot.name = event.worker
            elif isinstance(event, Ended):
                slot.task = slot.stream = None
                if len(self._slots) > self._wanted:
                    self._give_back(slot)
                elif slot.reason is not None:  # killed a moment too late: its end was on the way
                    self._replace(slot)
        return events

    def _hear_start(self, slot: _Slot) -> None:
        try:
            slot.name = str(ray.get(slot.starting))
        except RayError as error:
            self._failed_starts += 1
            if self._failed_starts >= HOPELESS:
                raise HpoError(f"no worker can start: {_say(error, 'the worker')}") from error
            self._replace(slot)
        else:
            self._failed_starts = 0
            self._say = None  # there is room
            slot.starting = None

    def _start_over(self, part: str) -> list[Event]:
        """The driver's own Ray has lost a part of itself: what runs is lost with it, and Ray is started again."""
        self._failed_starts += 1
        if self._failed_starts >= HOPELESS:
            raise HpoError(f"Ray does not stay up on this machine: its {part} has died, {HOPELESS} times in a row")
        running = [(slot.task, slot.reason) for slot in self._slots if slot.task is not None]
        self._slots.clear()
        local.restart()
        self._open()
        return [Ended(task.number, task.attempt, LOST, time(), why or f"Ray's {part} died") for task, why in running]

    def _replace(self, slot: _Slot) -> None:
        ray.kill(slot.actor)
        self._slots[self._slots.index(slot)] = self._fill()

    def stop(self, number: int) -> None:
        for slot in self._slots:
            if slot.task is not None and slot.task.number == number:
                slot.actor.stop.options(concurrency_group="control").remote(number, slot.task.attempt)

    def kill(self, number: int, reason: str) -> None:
        for slot in self._slots:
            if slot.task is not None and slot.task.number == number and slot.reason is None:
                slot.reason = reason
                ray.kill(slot.actor)

    def close(self) -> None:
        for slot in self._slots:
            ray.kill(slot.actor)
        self._slots = []
        if self._share is not None:
            self._share.close()


def shutdown() -> None:
    """Leaves the cluster, or ends the local Ray."""
    local.stop()


def _say(error: BaseException, worker: str) -> str:
    """Ray's failure in one line."""
    if isinstance(error, StopIteration):
        return f"worker {worker} ended its stream without an end"
    name = type(error).__name__
    cause = getattr(error, "cause", None)
    text = str(cause or error)
    if own := re.search(r"\bhpo\.errors\.\w+: (.*)", text, re.DOTALL):
        return " ".join(own[1].split())
    text = " ".join(text.split())
    if isinstance(error, OutOfMemoryError) and (full := re.search(r"\S+ used / \S+ limit", text)):
        text = f"its node ran low on memory, {full[0]}"  # Ray goes on with the processes of the whole machine
    return f"worker {worker} was lost ({name}): {text if len(text) <= 500 else '...' + text[-500:]}"
