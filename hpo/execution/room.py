"""What a worker asks for, and what the nodes of the cluster have."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import ray

from hpo.study import Resources


def capacity(resources: Resources) -> int:
    """How many workers with these needs the nodes that are alive can hold together."""
    asked = needs(resources)
    return sum(min(int(node.get(name, 0) / need + 1e-9) for name, need in asked.items()) for node in _nodes())


def needs(resources: Resources) -> dict[str, float]:
    """What a worker asks for, under Ray's names."""
    asked = {"CPU": resources.cpus, "GPU": resources.gpus, "memory": resources.memory, **resources.resources}
    return {name: amount for name, amount in asked.items() if amount}


def _nodes() -> list[dict[str, float]]:
    """What every node that is alive has."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node["Resources"] for node in nodes if node["Alive"]]


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
