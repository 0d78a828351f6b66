"""The Ray that a search runs on: found, started or left alone; what its nodes hold; and how searches divide it.

Searches that fill one cluster divide it evenly. Each writes to the cluster's key-value store what it has and wants, and
reads what the others have written. A search that has more than its share gives workers back, one after the end of each
trial, while another one with the same needs has less than its share. No trial is cut short for it.
"""

from __future__ import annotations

import json
import math
import re
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Collection, Mapping
from time import time
from typing import Any

import ray
import ray._private.worker
from ray._private.services import find_bootstrap_address
from ray.core.generated.autoscaler_pb2 import GetClusterResourceStateReply  # type: ignore[attr-defined]
from ray.core.generated.gcs_pb2 import GcsNodeInfo  # type: ignore[attr-defined]
from ray.exceptions import RpcError
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_list, _internal_kv_put

from hpo.errors import ClusterUnusable
from hpo.execution.ray import address as cluster_address
from hpo.execution.ray import local
from hpo.execution.ray.address import ANSWER
from hpo.study.workers import Resources

# One search of this process uses Ray at a time; and whether the Ray it uses was there before.
_in_use = threading.Lock()
_found = False


def start(address: str | None, workers: int, resources: Resources, *, verbose: bool = False) -> bool:
    """Connects to a Ray cluster, or starts Ray on this machine for ``workers``.

    A Ray that this process has connected to before is used as it is.

    Args:
        address: The cluster's address; None for ``RAY_ADDRESS``, and without that for this machine alone.
        workers: How many workers a local Ray has to hold.
        resources: What each of them asks for.
        verbose: Show Ray's own log.

    Returns:
        Whether other searches may use the same Ray.

    Raises:
        ClusterUnusable: When no cluster answers at the address, when it is that of Ray's client, or when another search
            of this process uses Ray.
    """
    global _found
    there, source = cluster_address.resolve(address)
    if not _in_use.acquire(blocking=False):
        raise ClusterUnusable(
            "another search of this process uses Ray: run one after the other, run each in a process of its own, or "
            "pass workers=0"
        )
    try:
        _found = ray.is_initialized()
        return _found or _connect_or_start(there, source, workers, resources, verbose=verbose)
    except BaseException:
        _in_use.release()
        raise


def shutdown() -> None:
    """Leaves the cluster, or ends the local Ray; a Ray that was there before stays."""
    try:
        if not _found:
            local.stop()
    finally:
        _in_use.release()


def _connect_or_start(address: str | None, source: str, workers: int, resources: Resources, *, verbose: bool) -> bool:
    # Ray's own function writes to standard output, where results belong, and leaves out lines that resemble others.
    ray._private.worker.print_to_stdstream = _show if verbose else _hide  # type: ignore[assignment]
    options: dict[str, Any] = {"log_to_driver": verbose, "logging_level": "INFO" if verbose else "ERROR"}
    if address is None:
        local.start(cores(workers, resources), **options)
        return False
    # What Ray takes "auto" for: the cluster that was started last, which may have ended since.
    there = find_bootstrap_address(None) or "" if address == "auto" else address
    try:
        cluster_address.check_reachable(there)
        with local.keeping_sigterm():
            ray.init(address=address, **options)
    except (OSError, ValueError, RuntimeError, OverflowError) as error:
        raise cluster_address.no_answer(source, there or address, error) from error
    return True


def _show(batch: dict[str, Any], **_: object) -> None:
    """Shows lines that a worker printed, each under the name of its trial."""
    name = batch.get("actor_name") or f"pid {batch['pid']}"
    where = "" if batch.get("ip") == batch.get("localhost") else f" on {batch['ip']}"
    sys.stderr.write("".join(f"({name}{where}) {line}\n" for line in batch["lines"]))


def _hide(batch: dict[str, Any], **_: object) -> None:
    """Drops them: the search itself reports what became of its trials."""


def cores(workers: int, resources: Resources) -> int:
    """How many whole cores so many workers ask for."""
    return max(1, round(workers * resources.cpus + 0.499))


# What the nodes hold -----------------------------------------------------------------------------------------------


def capacity(resources: Resources) -> int | None:
    """How many workers with these needs the nodes that are alive can hold together; None while Ray does not answer."""
    asked = needs(resources)
    try:
        return sum(min(int(node.get(name, 0) / need + 1e-9) for name, need in asked.items()) for node in _nodes())
    except RpcError:
        return None


def needs(resources: Resources) -> dict[str, float]:
    """What a worker asks for, under Ray's names."""
    asked = {"CPU": resources.cpus, "GPU": resources.gpus, "memory": resources.memory, **resources.resources}
    return {name: amount for name, amount in asked.items() if amount}


def alive() -> dict[str, Any]:
    """What Ray says of the nodes that are alive, by their identities.

    Raises:
        RpcError: While Ray does not answer.
    """
    worker: Any = ray._private.worker.global_worker
    nodes = worker.gcs_client.get_all_node_info(timeout=ANSWER).values()
    return {node.node_id.hex(): node for node in nodes if node.state == GcsNodeInfo.ALIVE}


def _nodes() -> list[dict[str, float]]:
    """What every node that is alive has for workers; a local Ray's other cores are for tasks of objectives."""
    cores = local.cores()
    ours = {} if cores is None else {"CPU": float(cores)}
    found = [{**node.resources_total, **ours} for node in alive().values()]
    return [{name: amount for name, amount in node.items() if name != local.WORKERS_CORES} for node in found]


def inventory(resources: Resources) -> str:
    """What the nodes have, alike ones together, without what Ray keeps for itself and nobody asked for."""
    asked = needs(resources)
    kinds = Counter(
        in_words(
            {
                name: node[name]
                for name in sorted(node, key=lambda name: (name not in ("CPU", "GPU"), name))
                if name in asked or not re.match(r"node:|object_store_memory|memory$|accelerator_type:", name)
            }
        )
        for node in _nodes()
    )
    return "; ".join(f"{kind} ({count} nodes)" if count > 1 else kind for kind, count in kinds.items())


def in_words(amounts: Mapping[str, float]) -> str:
    """Amounts of resources, in words."""
    words = {"CPU": "CPUs", "GPU": "GPUs", "memory": "bytes of memory"}
    return ", ".join(f"{amount:g} {words.get(name, name)}" for name, amount in amounts.items()) or "nothing"


def crowded_out(pids: Collection[int], held: Mapping[str, float]) -> str | None:
    """What the cluster's Ray tasks wait for that it cannot give them while some of its resources are held, in words.

    Args:
        pids: Processes; None of their Ray tasks waits where none of them has connected to Ray.
        held: The resources, under Ray's names.
    """
    worker: Any = ray._private.worker.global_worker
    reply = GetClusterResourceStateReply()
    try:
        jobs = worker.gcs_client.get_all_job_info(
            skip_submission_job_info_field=True, skip_is_running_tasks_field=True, timeout=ANSWER
        )
        if not any(job.driver_pid in pids and not job.is_dead for job in jobs.values()):
            return None
        reply.ParseFromString(worker.gcs_client.get_cluster_resource_state(timeout_s=ANSWER))
    except RpcError:
        return None
    state = reply.cluster_resource_state
    left = Counter[str]()
    for node in state.node_states:
        left.update(node.total_resources)
    left.subtract(held)
    for pending in state.pending_resource_requests:
        asked = dict(pending.request.resources_bundle)
        if any(left[name] + 1e-9 < amount for name, amount in asked.items()):
            return in_words(asked)
    return None


# Sharing -----------------------------------------------------------------------------------------------------------

PREFIX = b"pool:"
NAMESPACE = b"hpo"
# Seconds after which a search that has written nothing is dead, and after which its line is cleared away.
SEARCH_TIMEOUT, SEARCH_EXPIRY_SECONDS = 20.0, 600.0


class Share:
    """One search's part of a cluster.

    Args:
        needs: What one of its workers asks for; searches with other needs are none of its business.
    """

    def __init__(self, needs: Mapping[str, float]) -> None:
        self._key = PREFIX + uuid.uuid4().hex.encode()
        self._needs = dict(needs)

    def of(self, capacity: int, *, has: int, wants: int) -> int:
        """How many workers to keep, which is at least one.

        Args:
            capacity: How many such workers the cluster holds.
            has: How many work for this search now.
            wants: How many it can use.
        """
        line = {"needs": self._needs, "has": has, "wants": wants, "time": time()}
        _internal_kv_put(self._key, json.dumps(line), overwrite=True, namespace=NAMESPACE)
        others = self._others()
        part = max(1, math.ceil(capacity / (1 + len(others))))
        others_wait = any(other["has"] < min(part, other["wants"]) for other in others)
        return min(wants, part) if others_wait else wants

    def _others(self) -> list[dict[str, Any]]:
        found = []
        for key in _internal_kv_list(PREFIX, namespace=NAMESPACE):
            text = None if key == self._key else _internal_kv_get(key, namespace=NAMESPACE)
            line = json.loads(text) if text else None
            if line is None:
                continue
            if time() - line["time"] > SEARCH_EXPIRY_SECONDS:
                _internal_kv_del(key, namespace=NAMESPACE)
            elif time() - line["time"] < SEARCH_TIMEOUT and line["needs"] == self._needs:
                found.append(line)
        return found

    def close(self) -> None:
        """Leaves everything to the others."""
        _internal_kv_del(self._key, namespace=NAMESPACE)
