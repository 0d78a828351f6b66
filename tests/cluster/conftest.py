"""A cluster of hosts, brought up once from docker-compose.yml for all tests here."""

from __future__ import annotations

import os
from collections.abc import Iterator

import images
import pytest
from compose import Compose
from machine import Machine, lacking

from trainer.data import mnist


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    """A host of its own that has the images, and no way to what is around it."""
    if reason := lacking():
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must run the cluster: it {reason}", pytrace=False)
        pytest.skip(f"the cluster {reason}")
    with images.machine() as made:
        made.unplug()
        yield made


@pytest.fixture(scope="session")
def whole_cluster(machine: Machine) -> Compose:
    compose = Compose(machine, mnist.folder().parent.absolute())
    compose.up(ray_worker=2)
    return compose


@pytest.fixture
def cluster(whole_cluster: Compose) -> Compose:
    """PostgreSQL, MLflow, Ray's head and two workers, all healthy, whatever the test before has done to them."""
    whole_cluster.settle()
    return whole_cluster
