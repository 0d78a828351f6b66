"""`--workers auto` follows a cluster: it grows with a node that joins, and outlives one that is lost."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from hpo.ledger import snapshots as books
from hpo.ledger.address import parse
from hpo.trial import State

OBJECTIVE = """
import os, time

def objective(params, seed):
    with open(params["log"], "a") as log:
        log.write(f"{os.getpid()}\\n")
    for epoch in range(10):
        time.sleep(0.2)
        yield {"loss": params["x"]}
"""
STUDY = """
name = "nodes"
objective = "nodes_objective:objective"
metric = "loss"
direction = "minimize"
[fixed]
log = "{log}"
[space]
x = {{ low = 0.0, high = 1.0 }}
[budget]
trials = {trials}
"""
TRIALS = 10

pytestmark = [pytest.mark.campaign, pytest.mark.xdist_group("ray")]


@contextmanager
def cluster() -> Iterator[subprocess.Popen[str]]:
    """A cluster of one node with one core; a line to its standard input adds another."""
    process = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("cluster.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        family = psutil.Process(process.pid).children(recursive=True)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=30)
        process.kill()
        for child in family:
            with suppress(psutil.NoSuchProcess):
                child.kill()


def test_auto_grows_with_a_node_that_joins_and_survives_one_that_is_lost(tmp_path: Path) -> None:
    log = tmp_path / "starts.log"
    log.touch()
    (tmp_path / "nodes_objective.py").write_text(OBJECTIVE)
    (tmp_path / "nodes.toml").write_text(STUDY.format(log=log, trials=TRIALS))
    with cluster() as nodes:
        assert nodes.stdin is not None
        assert nodes.stdout is not None
        address = nodes.stdout.readline().strip()
        command = [sys.executable, "-m", "hpo", "run", "nodes.toml", "--address", address, "--workers", "auto"]
        driver = subprocess.Popen(
            [*command, "--tracking", "none", "-q"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
        )
        try:
            wait_until(lambda: len(log.read_text().split()) >= 2, driver)
            assert len(set(log.read_text().split())) == 1  # one core, one worker

            nodes.stdin.write("another\n")
            nodes.stdin.flush()
            raylet = psutil.Process(int(nodes.stdout.readline()))
            wait_until(lambda: len(set(log.read_text().split())) == 2, driver)
            first, second = dict.fromkeys(log.read_text().split())
            time.sleep(0.3)  # in the middle of its first trial
            lost = [raylet, *raylet.children(recursive=True)]
            assert int(second) in {process.pid for process in lost}
            for process in lost:
                process.kill()

            _, said = driver.communicate(timeout=200)
        finally:
            driver.kill()
    assert driver.returncode == 0, said
    trials = books.read(parse(str(tmp_path / "hpo.journal")), "nodes").trials
    assert [(trial.number, trial.state) for trial in trials] == [(number, State.COMPLETE) for number in range(TRIALS)]
    assert sorted(trial.attempt for trial in trials) == [1] * (TRIALS - 1) + [2]
    assert {(trial.worker or "").rpartition("/")[2] for trial in trials} == {first}


def wait_until(true: object, driver: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    assert callable(true)
    while not true():
        assert driver.poll() is None, driver.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
