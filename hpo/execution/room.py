"""What a worker asks for, and what the nodes of the cluster have."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import ray._private.worker
from ray.core.generated.gcs_pb2 import GcsNodeInfo  # type: ignore[attr-defined]
from ray.exceptions import RpcError

from hpo.resources import Resources

# Seconds after which Ray's global control server is taken for silent. Ray's own `ray.nodes` waits for a minute and then
# ends this process.
ANSWER = 5.0


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


def _nodes() -> list[dict[str, float]]:
    """What every node that is alive has."""
    worker: Any = ray._private.worker.global_worker
    nodes = worker.gcs_client.get_all_node_info(timeout=ANSWER).values()
    return [dict(node.resources_total) for node in nodes if node.state == GcsNodeInfo.ALIVE]


def inventory(resources: Resources) -> str:
    """What the nodes have, alike ones together, without what Ray keeps for itself and nobody asked for."""
    asked = needs(resources)
    kinds = Counter(
        said(
            {
                name: node[name]
                for name in sorted(node, key=lambda name: (name not in ("CPU", "GPU"), name))
                if name in asked or not re.match(r"node:|object_store_memory|memory$|accelerator_type:", name)
            }
        )
        for node in _nodes()
    )
    return "; ".join(f"{kind} ({count} nodes)" if count > 1 else kind for kind, count in kinds.items())


def said(amounts: Mapping[str, float]) -> str:
    """Amounts of resources, in words."""
    words = {"CPU": "CPUs", "GPU": "GPUs", "memory": "bytes of memory"}
    return ", ".join(f"{amount:g} {words.get(name, name)}" for name, amount in amounts.items()) or "nothing"
