"""The driver is killed while workers die too: at the end, exactly the folders of the best two trials are there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from worker_killer import BEGINNING, END

STUDY = """
name = "kept"
objective = ["python", "program.py"]
metric = "loss"
direction = "minimize"
space.lr = { low = 0.0, high = 1.0 }
sampler.name = "random"
trial = { keep = "best 2", retries = 3 }
budget.trials = 12
"""


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_killed_driver_and_killed_workers_leave_exactly_the_best_folders(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(BEGINNING + END)
    (tmp_path / "s.toml").write_text(STUDY)
    environment = {key: value for key, value in os.environ.items() if key not in ("HPO_STORAGE", "RAY_ADDRESS")}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    command = ["hpo", "run", "s.toml", "--workers", "2", "--tracking", "none", "--json"]

    def shown(*words: str) -> dict[str, Any]:
        ended = subprocess.run(
            ["hpo", "show", "kept", "--json", *words], cwd=tmp_path, env=environment, capture_output=True, check=False
        )
        return dict(json.loads(ended.stdout)) if ended.returncode == 0 else {}

    first = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while shown().get("trials", {}).get("complete", 0) < 3:
            assert time.monotonic() < deadline
            assert first.poll() is None, "the search ended before its driver could be killed"
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    assert shown()["trials"]["complete"] < 12
    again = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["trials"] == {
        "complete": 12,
        "pruned": 0,
        "failed": 0,
        "running": 0,
    }
    best = {str(trial["number"]): str(trial["params"]["lr"]) for trial in shown("--top", "2")["best"]}
    kept = {path.parent.name: path for path in tmp_path.glob(".hpo/trials/kept/*/files")}
    assert kept.keys() == best.keys()
    assert {number: [(f.name, f.read_text()) for f in path.iterdir()] for number, path in kept.items()} == {
        number: [("model", lr)] for number, lr in best.items()
    }
    assert not list(tmp_path.glob(".hpo/checkpoints/*/*"))
    assert max(shown("--trial", str(number))["attempt"] for number in range(12)) > 1
