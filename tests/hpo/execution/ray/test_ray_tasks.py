"""Ray tasks that an objective starts itself, on a cluster whose cores are all taken by workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray_cluster import RayCluster

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray cluster"), pytest.mark.timeout(300)]

OBJECTIVE = """
import ray

@ray.remote
def double(x):
    return 2 * x

def objective(params, seed):
    yield {"loss": float(ray.get(double.remote(params["x"])))}
"""
STUDY = """
name = "nested"
objective = "nested:objective"
metric = "loss"
direction = "minimize"
space.x = { low = 0.0, high = 1.0 }
budget.trials = 2
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    cluster = RayCluster({})
    yield cluster
    cluster.close()


def test_tasks_that_find_no_room_are_said_to_wait(cluster: RayCluster, tmp_path: Path) -> None:
    (tmp_path / "nested.py").write_text(OBJECTIVE)
    (tmp_path / "s.toml").write_text(STUDY)
    words = [sys.executable, "-m", "hpo", "run", "s.toml", "--tracking", "none", "--quiet"]
    environment = os.environ | cluster.credentials | {"RAY_ADDRESS": cluster.address}

    with subprocess.Popen(words, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as full:
        assert full.stderr is not None
        said = next(full.stderr)
        for _ in range(2):
            full.send_signal(signal.SIGINT)
            time.sleep(1)
        assert full.wait(60) == 130, full.stderr.read()
    assert said.startswith(
        "hpo: Ray tasks that your objective starts wait for 1 CPUs; the 2 workers use 2 CPUs of 2 CPUs, so these "
    )

    words += ["--workers", "1"]
    roomy = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert (roomy.returncode, roomy.stderr) == (0, "")
