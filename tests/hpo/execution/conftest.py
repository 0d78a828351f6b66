"""The workers that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from player import HALF, JOB

from hpo.execution import Executor


@pytest.fixture(scope="module")
def pool(ray_here: None) -> Iterator[Executor]:
    """Two workers, for all tests of a file: whatever one test does to them, they must be well for the next."""
    from hpo.execution.ray.pool import RayExecutor

    pool = RayExecutor(JOB, 2, HALF)
    yield pool
    pool.close()


@pytest.fixture
def whole_ray(pool: Executor) -> None:
    """All of Ray's room: the other tests' pool gives its own back, until one of them polls it again."""
    pool.close()
