"""What one worker asks of its node: the ``[workers]`` table of a study."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hpo.study.fields import Field, Place, number, read_table, show, table


@dataclass(frozen=True)
class Resources:
    """What one worker asks of Ray.

    Attributes:
        cpus: Cores; fractions are allowed, here and below.
        gpus: GPUs.
        memory: Bytes.
        resources: Ray's custom resources by name, as the cluster's nodes offer them.
    """

    cpus: float
    gpus: float
    memory: float
    resources: Mapping[str, float] = field(default_factory=dict)

    @property
    def threads(self) -> int:
        """Threads that Ray lets a worker's numeric libraries use: its whole cores, at least one."""
        return max(1, int(self.cpus))


# Names of Ray's that are no custom resources, and the key that asks for them.
_OWN_KEY = {"CPU": "cpus", "GPU": "gpus", "memory": "memory"}


def _custom(value: Any) -> dict[str, float]:
    """Custom resources, in the amounts that Ray can count: ten-thousandths."""
    for name, amount in table(value).items():
        if name in _OWN_KEY:
            raise ValueError(f"must hold custom resources only; {name} is the key {_OWN_KEY[name]!r}")
        if not re.fullmatch(r"[A-Za-z][\w.:/-]{0,99}", name) or name.startswith(("bundle", "object_store_memory")):
            raise ValueError(f"must hold names of resources, a letter first, and none of Ray's own, not {show(name)}")
        try:
            number(1e-4)(amount)
        except ValueError as rule:
            raise ValueError(f"each amount {rule}") from None
    return {name: float(amount) for name, amount in value.items()}


WORKERS = {
    "cpus": Field(number(0, 1e6, above=True), 1.0),
    "gpus": Field(number(0, 1e6), 0.0),
    "memory": Field(number(0), 0.0),
    "resources": Field(_custom, {}),
}


def read_resources(place: Place, raw: Any) -> dict[str, Any]:
    """Reads a study's ``[workers]`` table.

    Raises:
        InputError: With file, key, rule and value of the first thing that is wrong.
    """
    return read_table(place, raw, WORKERS)
