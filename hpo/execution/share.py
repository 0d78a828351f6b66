"""Searches that fill one cluster divide it evenly: each writes down what it has and wants, and reads the others' lines.

The cluster's own key-value store holds a line per search. A search that has more than its part gives workers back, one
after the end of each trial, while another with the same needs has less than its part. No trial is cut short for it.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping
from time import time
from typing import Any

from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_list, _internal_kv_put

PREFIX = b"pool:"
NAMESPACE = b"hpo"
# Seconds after which a search that has written nothing is dead, and after which its line is cleared away.
SILENT, FORGOTTEN = 20.0, 600.0


class Share:
    """One search's part of a cluster.

    Args:
        needs: What one of its workers asks for; searches with other needs are none of its business.
    """

    def __init__(self, needs: Mapping[str, float]) -> None:
        self._key = PREFIX + uuid.uuid4().hex.encode()
        self._needs = dict(needs)

    def of(self, room: int, *, has: int, wants: int) -> int:
        """How many workers to keep, which is at least one.

        Args:
            room: How many such workers the cluster holds.
            has: How many work for this search now.
            wants: How many it can use.
        """
        line = {"needs": self._needs, "has": has, "wants": wants, "time": time()}
        _internal_kv_put(self._key, json.dumps(line), overwrite=True, namespace=NAMESPACE)
        others = self._others()
        part = max(1, math.ceil(room / (1 + len(others))))
        hungry = any(other["has"] < min(part, other["wants"]) for other in others)
        return min(wants, part) if hungry else wants

    def _others(self) -> list[dict[str, Any]]:
        found = []
        for key in _internal_kv_list(PREFIX, namespace=NAMESPACE):
            text = None if key == self._key else _internal_kv_get(key, namespace=NAMESPACE)
            line = json.loads(text) if text else None
            if line is None:
                continue
            if time() - line["time"] > FORGOTTEN:
                _internal_kv_del(key, namespace=NAMESPACE)
            elif time() - line["time"] < SILENT and line["needs"] == self._needs:
                found.append(line)
        return found

    def close(self) -> None:
        """Leaves everything to the others."""
        _internal_kv_del(self._key, namespace=NAMESPACE)
