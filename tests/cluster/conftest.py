"""A cluster of hosts, brought up once from docker-compose.yml for all tests here."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import images
import pytest
from compose import Compose
from machine import Machine, lacking

from trainer.data import mnist


@pytest.fixture(scope="session")
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A host of its own that has the images."""
    if reason := lacking():
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must run the cluster: it {reason}", pytrace=False)
        pytest.skip(f"the cluster {reason}")
    store = Path(request.config.cache.mkdir("cluster"))
    with (store / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        machine = Machine(store / "images")
        try:
            images.build(machine)
            machine.unplug()
            yield machine
        finally:
            machine.close()


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
