"""Generated hostile objectives on real workers: each trial ends in its time, and no other trial or study is touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import commands
import programs
import pytest
from depth import FULL, seeds
from ray_cluster import marked

from hpo.ledger import snapshots
from hpo.ledger.address import parse
from hpo.trial import State, Trial

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(900)]

SEEDS, BATCH = seeds(100), 25
# Of functions on Ray, which run in the same process one after another.
MANY = seeds(300) if FULL else SEEDS
# What must become of each hostile trial.
Cases = Mapping[int, programs.Program | commands.Command]
STUDY = """
name = "hostile"
objective = {objective}
metric = "loss"
direction = "minimize"
trial = {{ retries = 0, timeout = "5s", grace = "1s", stop_after_failures = 0 }}
space = {{ n = {{ choice = {numbers} }}, kind = {{ choice = ["hostile", "good"] }} }}
budget.trials = {trials}
sampler = {{ name = "listed", points = [{points}] }}
"""


@pytest.mark.parametrize(
    ("first", "kind", "workers"),
    [
        (first, kind, workers)
        for kind in ("functions", "commands")
        for workers in ("0", "2")
        for first in (MANY if (kind, workers) == ("functions", "2") else SEEDS)[::BATCH]
    ],
)
def test_hostile_objectives_end_and_touch_nothing_else(
    tmp_path: Path, first: int, kind: str, workers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every hostile trial is followed by a good one, perhaps in the same process."""
    seeds = range(first, min(first + BATCH, MANY.stop if (kind, workers) == ("functions", "2") else SEEDS.stop))
    cases: Cases
    if kind == "functions":
        cases = {seed: programs.program(seed) for seed in seeds}
        if workers == "0":  # the parent is the driver, and nothing helps against its death
            cases = {seed: case for seed, case in cases.items() if "getppid" not in case.text}
        source, objective = programs.module(cases), '"hostile:objective"'
    else:
        cases = {seed: commands.command(seed) for seed in seeds}
        source, objective = commands.script(cases), f'["{sys.executable}", "hostile.py", "{{n}}", "{{kind}}"]'
    (tmp_path / "hostile.py").write_text(source, encoding="utf-8")
    points = [{"n": seed, "kind": kind} for seed in cases for kind in ("hostile", "good")]
    listed = ", ".join(f'{{ n = {point["n"]}, kind = "{point["kind"]}" }}' for point in points)
    text = STUDY.format(numbers=list(cases), trials=len(points), points=listed, objective=objective)
    (tmp_path / "s.toml").write_text(text)
    words = ("run", "s.toml", "--workers", workers, "--tracking", "none", "--quiet")

    mark = uuid.uuid4().hex
    ended = hpo(tmp_path, mark, *words)
    assert ended.returncode == 0, ended.stderr
    assert b"Traceback" not in ended.stderr
    journal = (tmp_path / "hpo.journal").read_bytes()
    trials = snapshots.read(parse(str(tmp_path / "hpo.journal")), "hostile").trials

    with capsys.disabled():
        states = Counter(f"{trial.params['kind']} {trial.state}" for trial in trials)
        print(f"hostile {kind}, {workers} workers, from seed {first}: {dict(sorted(states.items()))}")
    assert [dict(trial.params) for trial in trials] == points
    violated = [wrong for trial in trials if (wrong := violation(trial, trials, cases))]
    assert not violated, "\n\n".join(violated)
    left = left_behind(mark)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left
    assert hpo(tmp_path, mark, *words).returncode == 0
    assert (tmp_path / "hpo.journal").read_bytes() == journal


@pytest.mark.parametrize("seed", SEEDS[::4])
def test_a_hostile_import_ends_in_a_result_or_a_message(tmp_path: Path, seed: int) -> None:
    (tmp_path / "hostile.py").write_text(programs.importing(seed), encoding="utf-8")
    text = STUDY.format(numbers=[1], trials=1, points='{ n = 1, kind = "good" }', objective='"hostile:good"')
    (tmp_path / "s.toml").write_text(text)
    mark = uuid.uuid4().hex

    ended = hpo(tmp_path, mark, "run", "s.toml", "--workers", "0", "--tracking", "none", "--json", limit="3s")

    assert ended.returncode in (0, 1, 2), ended.stderr
    if ended.returncode < 2:
        assert json.loads(ended.stdout)["trials"]["running"] == 0
    else:
        assert b"hpo: s.toml: objective: " in ended.stderr
        assert not (tmp_path / "hpo.journal").exists()
    assert b"hpo/service.py" not in ended.stderr  # no traceback of the driver's
    left = left_behind(mark)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def hpo(folder: Path, mark: str, *words: str, limit: str = "2m") -> subprocess.CompletedProcess[bytes]:
    environment = {key: text for key, text in os.environ.items() if not key.startswith(("HPO_", "RAY_", "MLFLOW_"))}
    # Ray gives its workers a low priority: on a busy machine a good trial would not end within its limit.
    environment |= {"HPO_TEST_NODE": mark, "HPO_CHECK_TIMEOUT": limit, "RAY_worker_niceness": "0"}
    return subprocess.run(
        [sys.executable, "-m", "hpo", *words], cwd=folder, env=environment, capture_output=True, timeout=600
    )


def violation(trial: Trial, trials: list[Trial], cases: Cases) -> str | None:
    """What a trial may not have become."""
    if not trial.state.finished or (trial.state is State.COMPLETE) == (trial.error is not None):
        return f"{trial} has no proper end"
    if trial.params["kind"] == "good":
        expected: list[float] | None = [trial.params["n"] + step / 4 for step in (1, 2, 3)]
    else:
        value = cases[trial.params["n"]].value
        expected = None if value is None else [value]
    values = [report.metrics["loss"] for report in trial.reports if "loss" in report.metrics]
    if expected is None or (trial.state is State.COMPLETE and values[-len(expected) :] == expected):
        return None
    beside = [t.params["n"] for t in trials if t.params["kind"] == "hostile" and t.worker == trial.worker]
    if trial.state is State.FAILED and any(cases[n].violent for n in beside):
        return None
    texts = "\n\n".join(cases[n].text for n in beside)
    return f"{trial.number} is {trial.state} with {values}: {trial.error}\nIn its process ran:\n{texts}"


def left_behind(mark: str) -> list[int]:
    """Processes of the search that are still there some seconds after its end."""
    deadline = time.monotonic() + 30
    while (left := marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left
