"""A trial whose worker or driver dies goes on from its checkpoint, and ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpo.ledger import snapshots as books
from hpo.ledger.address import parse

OBJECTIVE = """
import json, os, time
from pathlib import Path

def objective(params, seed, checkpoint=None):
    file = Path(checkpoint) / "state.json"
    history = json.loads(file.read_text()) if file.exists() else []
    yield from list(history)
    value = history[-1]["loss"] if history else params["x"]
    for epoch in range(len(history), 6):
        with Path("computed").open("a") as log:
            log.write(f"{epoch}\\n")
        value = value / 2 + seed % 7
        history.append({"loss": value, "epoch": epoch})
        file.with_suffix(".new").write_text(json.dumps(history))
        os.replace(file.with_suffix(".new"), file)
        if epoch == 3 and not Path("died").exists():
            Path("died").touch()
            DIE
        yield history[-1]
"""
STUDY = """
name = "long"
objective = "long_objective:objective"
metric = "loss"
direction = "minimize"
[space]
x = { low = 1.0, high = 2.0 }
[budget]
trials = 1
"""

pytestmark = [pytest.mark.campaign, pytest.mark.xdist_group("ray")]


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "hpo", "run", "long.toml", "--workers", "1", "--tracking", "none", "-q"]
    environment = os.environ | {"RAY_ADDRESS": "local"}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(folder: Path) -> None:
    driver = start(folder)
    _, said = driver.communicate(timeout=200)
    assert driver.returncode == 0, said


def prepare(folder: Path, die: str) -> None:
    folder.mkdir()
    (folder / "long_objective.py").write_text(OBJECTIVE.replace("DIE", die))
    (folder / "long.toml").write_text(STUDY)


def result(folder: Path) -> tuple[float | None, list[dict[str, float]], list[str]]:
    (trial,) = books.read(parse(str(folder / "hpo.journal")), "long").trials
    return trial.value, [dict(report.metrics) for report in trial.reports], (folder / "computed").read_text().split()


def test_a_lost_trial_goes_on_from_its_checkpoint_with_the_identical_result(tmp_path: Path) -> None:
    undisturbed, worker_dies, driver_dies = (tmp_path / name for name in ("undisturbed", "worker", "driver"))
    prepare(undisturbed, "pass")
    finish(undisturbed)

    prepare(worker_dies, "os._exit(1)")
    finish(worker_dies)

    prepare(driver_dies, "time.sleep(1000)")
    driver = start(driver_dies)
    deadline = time.monotonic() + 120
    while not (driver_dies / "died").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    driver.kill()
    driver.communicate()
    finish(driver_dies)

    value, reports, computed = result(undisturbed)
    assert computed == ["0", "1", "2", "3", "4", "5"]
    for folder in (worker_dies, driver_dies):
        assert result(folder) == (value, reports, computed)
        assert list((folder / ".hpo" / "checkpoints").rglob("*.json")) == []


def test_worker_output_is_shown_on_demand_under_the_name_of_its_trial(tmp_path: Path) -> None:
    prepare(tmp_path / "loud", "pass")
    objective = tmp_path / "loud" / "long_objective.py"
    hello = "    print('hello', os.environ.get('RAY_AUTH_MODE'), flush=True)\n    yield from"
    objective.write_text(objective.read_text().replace("    yield from", hello))
    command = [sys.executable, "-m", "hpo", "run", "long.toml", "--workers", "1", "--tracking", "none"]
    environment = os.environ | {"RAY_ADDRESS": "local", "HOME": str(tmp_path)}
    quiet = subprocess.run(command, cwd=tmp_path / "loud", env=environment, capture_output=True, text=True, check=True)
    assert "hello" not in quiet.stdout + quiet.stderr

    more = [*command, "--verbose", "--json", "--set", "budget.trials=3"]
    loud = subprocess.run(more, cwd=tmp_path / "loud", env=environment, capture_output=True, text=True, check=True)
    assert json.loads(loud.stdout)["trials"]["complete"] == 3  # standard output belongs to results
    said = [line for line in loud.stderr.splitlines() if "hello" in line]
    assert sorted(said) == ["hpo: trial 1 | hello token", "hpo: trial 2 | hello token"]
    assert not (tmp_path / ".ray").exists()  # the token is the driver's own, and gone with it
