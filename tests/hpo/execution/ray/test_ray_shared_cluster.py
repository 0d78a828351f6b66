"""One Ray cluster that is not hpo's, and several searches on it: none ends what is not its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_line import STUDY
from ray_cluster import RayCluster

from hpo.ledger import snapshots
from hpo.ledger.address import parse
from hpo.trial import State

pytestmark = [pytest.mark.slow, pytest.mark.servers, pytest.mark.xdist_group("ray"), pytest.mark.timeout(300)]

OBJECTIVE = """
import os, time
from pathlib import Path

def gated(params, seed):
    Path(f"FOLDER/began-{params['me']}").touch()  # workers of a cluster are in another folder
    while not Path(f"FOLDER/go-{params['me']}").exists():
        time.sleep(0.05)
    yield {"loss": params["lr"]}
"""
PROGRAM = """
import ray, hpo
from pathlib import Path
import time

ray.init("auto", log_to_driver=False)

@ray.remote(num_cpus=0)
class Kept:
    def alive(self):
        return "alive"

kept = Kept.remote()
print(ray.get(kept.alive.remote()), flush=True)
found = hpo.run("s.toml", overrides=["name=inside", "fixed.me='inside'"], workers=1, address="auto", tracking="none")
print(len(found.trials), ray.is_initialized(), ray.get(kept.alive.remote()), flush=True)
while not Path("over").exists():
    time.sleep(0.1)
print(ray.get(kept.alive.remote()), flush=True)
"""
RUN = ("-m", "hpo", "run", "s.toml", "--workers", "1", "--tracking", "none", "--address", "auto", "--quiet")


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    cluster = RayCluster({})
    yield cluster
    cluster.close()


@pytest.fixture
def start(cluster: RayCluster, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts programs on the cluster, as a person does who is logged in on its head."""
    (tmp_path / "gated_objective.py").write_text(OBJECTIVE.replace("FOLDER", str(tmp_path)))
    text = STUDY.replace("small_objectives:curve", "gated_objective:gated").replace("trials = 5", "trials = 2")
    (tmp_path / "s.toml").write_text(text.replace("\n    ", "\n"))
    # Where Ray notes the cluster that was started last; the folder of this one is its own.
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text(cluster.address)
    kept = {name: text for name, text in os.environ.items() if name not in ("RAY_ADDRESS", "HPO_STORAGE")}
    kept |= {**cluster.credentials, "RAY_TMPDIR": str(tmp_path), "RAY_ADDRESS": "auto"}
    started: list[subprocess.Popen[str]] = []

    def starting(*words: str) -> subprocess.Popen[str]:
        program = subprocess.Popen(
            [sys.executable, *words],
            cwd=tmp_path,
            env=kept,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(program)
        return program

    yield starting
    for program in started:
        program.kill()
        program.communicate()


def run(start: Callable[..., subprocess.Popen[str]], me: str, *words: str) -> subprocess.Popen[str]:
    return start(*RUN, "--set", f"name={me}", "--set", f"fixed.me='{me}'", "--storage", f"{me}.journal", *words)


def wait_for(condition: Callable[[], object], *programs: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        for program in programs:
            assert program.poll() is None, program.communicate()
        time.sleep(0.1)


def test_no_search_ends_another_one_or_a_program_on_the_same_cluster(
    start: Callable[..., subprocess.Popen[str]], cluster: RayCluster, tmp_path: Path
) -> None:
    """One ends as it should, one is told to end, one is killed."""
    servers = cluster.processes("--raylet_pid") or cluster.processes()
    quarter = ("--set", "workers.cpus=0.25")
    programs = {me: run(start, me, *quarter) for me in ("done", "told", "killed", "last")}
    wait_for(lambda: all((tmp_path / f"began-{me}").exists() for me in programs), *programs.values())
    (tmp_path / "s.toml").write_text((tmp_path / "s.toml").read_text() + "[workers]\ncpus = 0.25\n")
    (tmp_path / "program.py").write_text(PROGRAM)
    inside = start("program.py")
    wait_for((tmp_path / "began-inside").exists, inside, *programs.values())

    (tmp_path / "go-done").touch()
    assert programs["done"].wait(60) == 0
    programs["told"].send_signal(signal.SIGTERM)
    time.sleep(0.5)
    programs["told"].send_signal(signal.SIGTERM)
    assert programs["told"].wait(60) == 130
    programs["killed"].kill()
    programs["killed"].wait(60)
    time.sleep(5.0)  # what its end may do to others

    assert inside.poll() is None, inside.communicate()
    (tmp_path / "go-inside").touch()
    (tmp_path / "go-last").touch()
    _, said = programs["last"].communicate(timeout=60)
    assert (programs["last"].returncode, said) == (0, "")
    trials = snapshots.read(parse(str(tmp_path / "last.journal")), "last").trials
    assert [(trial.state, trial.attempt) for trial in trials] == [(State.COMPLETE, 1)] * 2
    (tmp_path / "over").touch()
    out, said = inside.communicate(timeout=60)
    assert out.splitlines() == ["alive", "2 True alive", "alive"], said
    assert (cluster.processes("--raylet_pid") or cluster.processes()) == servers


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_search_that_waits_for_room_on_a_cluster_ends_within_seconds(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, sign: signal.Signals
) -> None:
    whole = ("--set", "workers.cpus=2")
    holds = run(start, "holds", *whole)
    wait_for((tmp_path / "began-holds").exists, holds)
    waits = run(start, "waits", *whole)
    assert waits.stderr is not None
    assert "no worker has started yet" in waits.stderr.readline()

    began = time.monotonic()
    waits.send_signal(sign)
    _, said = waits.communicate(timeout=60)

    assert time.monotonic() - began < 15
    assert waits.returncode == 130
    assert "Traceback" not in said
    assert not snapshots.read(parse(str(tmp_path / "waits.journal")), "waits").trials
    (tmp_path / "go-holds").touch()
    assert holds.wait(60) == 0
