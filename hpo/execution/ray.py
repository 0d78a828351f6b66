"""Trials on Ray: a pool of long-lived actors, one per worker slot, on this machine or on a cluster.

A process per trial costs about two seconds; an actor that serves trial after trial costs well under a millisecond. Each
attempt is one streaming call whose items are small batches of events; a stop reaches the actor beside it, in a
concurrency group of its own. An actor that dies takes its attempt with it and nothing else.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from time import monotonic, time
from typing import Any

# Read by Ray when it is imported: no phoning home, and no metrics that nobody looks at.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_enable_metrics_collection", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

# Ray's advice on a dead worker; the search says itself what became of its trial.
os.environ.setdefault(
    "RAY_DEDUP_LOGS_SKIP_REGEX", "A worker died or was killed|The node with node id|Raylet is terminated"
)

import ray
from ray._private.ray_constants import LOG_PREFIX_ACTOR_NAME
from ray.exceptions import RayError

from hpo.errors import HpoError, InputError
from hpo.execution import CREDENTIALS, LOST, Ended, Event, Job, Started, Task, reaper
from hpo.execution.share import Share
from hpo.execution.worker import Worker
from hpo.study import Resources

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
    quiet: dict[str, Any] = {"log_to_driver": verbose, "logging_level": "INFO" if verbose else "ERROR"}
    if address and address != "local":
        try:
            ray.init(address=address, **quiet)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(f"--address: no Ray cluster answers at {address}: {error}") from error
        return True
    reaper.watch()
    umask = os.umask(0o077)  # Ray writes a token file and logs that are nobody else's business
    try:
        ray.init(
            address="local",
            num_cpus=max(1, round(workers * resources.cpus + 0.499)),
            include_dashboard=False,
            **quiet,
        )
    finally:
        os.umask(umask)
    return False


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
        if capacity(resources) == 0:
            raise InputError(
                f"workers: no node has what one worker asks for: {_amounts(_needs(resources))}; "
                f"the nodes have: {_inventory(resources)}"
            )
        self._job = ray.put(job)
        self._resources = resources
        self._fixed = workers
        self._most = most
        self._share = Share(_needs(resources)) if shared else None
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
        self._slots: list[_Slot] = []
        self._resized = -RESIZE
        self._resize()

    def _fill(self) -> _Slot:
        actor = self._make.remote(self._job)
        return _Slot(actor, actor.ready.remote())

    def _resize(self) -> None:
        """Follows the cluster: a slot for every worker that fits, and none that waits for a node that is gone."""
        if self._slots and monotonic() - self._resized < RESIZE:
            return
        self._resized = monotonic()
        room = capacity(self._resources)
        wanted = min(self._most, room if self._fixed is None else self._fixed)
        if self._share is not None:
            part = self._share.of(room, has=sum(slot.starting is None for slot in self._slots), wants=wanted)
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
        self._resize()
        if self._say is not None and monotonic() - self._began > NOTICE:
            room = capacity(self._resources)
            self._say(
                f"no worker has started yet: the nodes hold {room}, unless something else takes the room; waiting"
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
    ray.shutdown()


def capacity(resources: Resources) -> int:
    """How many workers with these needs the nodes that are alive can hold together."""
    needs = _needs(resources)
    return sum(min(int(node.get(name, 0) / need + 1e-9) for name, need in needs.items()) for node in _nodes())


def _needs(resources: Resources) -> dict[str, float]:
    """What a worker asks for, under Ray's names."""
    asked = {"CPU": resources.cpus, "GPU": resources.gpus, "memory": resources.memory, **resources.resources}
    return {name: amount for name, amount in asked.items() if amount}


def _nodes() -> list[dict[str, float]]:
    """What every node that is alive has."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node["Resources"] for node in nodes if node["Alive"]]


def _inventory(resources: Resources) -> str:
    """What the nodes have, alike ones together, without what Ray keeps for itself and nobody asked for."""
    needs = _needs(resources)
    kinds = Counter(
        _amounts(
            {
                name: node[name]
                for name in sorted(node, key=lambda name: (name not in ("CPU", "GPU"), name))
                if name in needs or not re.match(r"node:|object_store_memory|memory$|accelerator_type:", name)
            }
        )
        for node in _nodes()
    )
    return "; ".join(f"{kind} ({count} nodes)" if count > 1 else kind for kind, count in kinds.items())


def _amounts(amounts: Mapping[str, float]) -> str:
    words = {"CPU": "CPUs", "GPU": "GPUs", "memory": "bytes of memory"}
    return ", ".join(f"{amount:g} {words.get(name, name)}" for name, amount in amounts.items()) or "nothing"


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
    return f"worker {worker} was lost ({name}): {text if len(text) <= 500 else '...' + text[-500:]}"
