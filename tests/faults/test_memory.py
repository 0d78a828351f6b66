"""A worker that eats its node's memory is killed by Ray's memory monitor: its trial is run again, and then failed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from hpo.ledger import snapshots as books
from hpo.ledger.address import parse
from hpo.trial import State

OBJECTIVE = """
import time
from pathlib import Path

import numpy as np

def objective(params, seed):
    yield {"loss": 1.0}
    tried = Path(params["folder"]) / params["appetite"]
    if params["appetite"] == "always" or (params["appetite"] == "once" and not tried.exists()):
        tried.touch()
        eaten = []
        for _ in range(100):
            eaten.append(np.ones(100_000_000 // 8))
            time.sleep(0.02)
        time.sleep(60)
        raise RuntimeError("ten gigabytes, and nobody minded")
    yield {"loss": 0.5}
"""
STUDY = """
name = "hungry"
objective = "hungry_objective:objective"
metric = "loss"
direction = "minimize"
[fixed]
folder = "{folder}"
[space]
appetite = {{ choice = ["never", "once", "always"] }}
[sampler]
name = "grid"
[trial]
retries = 1
[budget]
trials = 3
"""
# Bytes that may be used on top of what is used now, before Ray kills a worker.
SPARE = 3e9

pytestmark = [pytest.mark.campaign, pytest.mark.xdist_group("ray")]


def test_a_trial_out_of_memory_is_run_again_and_then_failed_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "hungry_objective.py").write_text(OBJECTIVE)
    (tmp_path / "hungry.toml").write_text(STUDY.format(folder=tmp_path))
    memory = psutil.virtual_memory()
    limits = {
        "RAY_ADDRESS": "local",
        "RAY_memory_usage_threshold": str((memory.total - memory.available + SPARE) / memory.total),
        "RAY_memory_monitor_refresh_ms": "100",
    }
    command = [sys.executable, "-m", "hpo", "run", "hungry.toml", "--workers", "1", "--tracking", "none", "-q"]

    done = subprocess.run(command, cwd=tmp_path, env=os.environ | limits, capture_output=True, text=True, timeout=200)

    assert done.returncode == 0, done.stderr
    trials = {
        trial.params["appetite"]: trial for trial in books.read(parse(str(tmp_path / "hpo.journal")), "hungry").trials
    }
    assert {name: (trial.state, trial.attempt) for name, trial in trials.items()} == {
        "never": (State.COMPLETE, 1),
        "once": (State.COMPLETE, 2),
        "always": (State.FAILED, 2),
    }
    error = trials["always"].error or ""
    assert error.startswith("lost in attempt 2, its last: worker ")
    assert "(OutOfMemoryError): its node ran low on memory, " in error
    assert error.endswith("GB limit")
    assert len(error) < 250  # Ray's own message names the processes of the whole machine
