"""Kept folders come from nodes that do not share the driver's: with lost workers, dead drivers and a dead node."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from worker_killer import BEGINNING, END

from hpo.ledger import snapshots
from hpo.ledger.address import parse
from hpo.trial import State, Trial, best_first

# A program that kills workers, and that keeps a link and a large file.
PROGRAM = f"""{BEGINNING}
(folder / "out").symlink_to("/etc/hostname")
with (folder / "large").open("wb") as file:
    file.truncate(params["size"])
{END}"""
STUDY = """
name = "kept"
objective = ["python", "{program}"]
metric = "loss"
direction = "minimize"
fixed.size = {size}
space.lr = {{ low = 0.0, high = 1.0 }}
sampler.name = "random"
trial = {{ keep = "best 2", retries = 3 }}
budget.trials = {trials}
"""
# A cluster without a second node yet, which ends with its standard input.
HEAD = """
import sys, time
import ray
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": int(sys.argv[1])})
print(cluster.address, flush=True)
ray.init(cluster.address, log_to_driver=False)
while sum(node["Alive"] for node in ray.nodes()) < 2:
    time.sleep(0.1)
ray.shutdown()
print("complete", flush=True)
sys.stdin.read()
cluster.shutdown()
"""
# A node whose project folder is another one: an empty one, of its own.
NODE = 'mount -t tmpfs none "$1" && exec "$2" start "--address=$3" --num-cpus=1 --block'

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("ray"),
    pytest.mark.skipif(
        subprocess.run(["sh", "-c", "unshare -m true"], check=False, capture_output=True).returncode != 0,
        reason="needs root, for folders that only a node sees",
    ),
]


class Place:
    """A project, and a cluster: a head without cores, and one node that does not see the project.

    Args:
        root: Holds all.
        cores: The cores of the head, which sees the project.
    """

    def __init__(self, root: Path, cores: int) -> None:
        self.project, self._tmp = root / "project", root / "node"
        self.project.mkdir()
        self._tmp.mkdir()
        (root / "program.py").write_text(PROGRAM)
        self._program = root / "program.py"
        self.environment = {
            key: value for key, value in os.environ.items() if key not in ("HPO_STORAGE", "RAY_ADDRESS")
        }
        self.environment["PATH"] = f"{Path(sys.executable).parent}:{self.environment['PATH']}"
        self.environment["RAY_worker_niceness"] = "0"  # or a busy machine would hardly let the trials run
        head = [sys.executable, "-c", HEAD, str(cores)]
        self.head = subprocess.Popen(
            head, env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.head.stdout is not None
        self.address = self.head.stdout.readline().strip()
        words = [str(self.project), str(Path(sys.executable).with_name("ray")), self.address]
        self.node = subprocess.Popen(
            ["unshare", "-m", "sh", "-c", NODE, "sh", *words],
            env=self.environment | {"TMPDIR": str(self._tmp)},
            stdout=subprocess.DEVNULL,
        )
        assert self.head.stdout.readline() == "complete\n"
        self.command = ["hpo", "run", "s.toml", "--address", self.address, "--workers", "auto", "--tracking", "none"]

    def study(self, trials: int, size: int) -> None:
        (self.project / "s.toml").write_text(STUDY.format(program=self._program, trials=trials, size=size))

    def trials(self) -> list[Trial]:
        return list(snapshots.read(parse(str(self.project / "hpo.journal")), "kept").trials)

    def run_and_kill(self, when: Callable[[], bool]) -> None:
        """Kills the driver at a moment."""
        driver = subprocess.Popen(self.command, cwd=self.project, env=self.environment, stderr=subprocess.PIPE)
        try:
            deadline = time.monotonic() + 200
            while not when():
                assert driver.poll() is None, driver.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.01)
        finally:
            driver.kill()
            driver.communicate()

    def run(self) -> str:
        """Runs the study to its end; returns the remarks."""
        ended = subprocess.run(
            self.command, cwd=self.project, env=self.environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stderr

    def kept(self) -> dict[int, str]:
        found = self.project.glob(".hpo/trials/kept/*/files/model")
        return {int(path.parents[1].name): path.read_text() for path in found}

    def pending(self) -> list[Path]:
        return [*self.project.glob(".hpo/trials/kept/*/place")]

    def arriving(self) -> bool:
        return any(self.project.glob(".hpo/trials/kept/*/files.arriving"))

    def on_node(self) -> list[str]:
        return [path.name for path in self._tmp.glob("hpo-*/*/*")]

    def kill_node(self) -> None:
        if self.node.poll() is not None:
            return
        family = psutil.Process(self.node.pid).children(recursive=True)
        for process in [psutil.Process(self.node.pid), *family]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.node.wait()

    def close(self) -> None:
        self.kill_node()
        family = psutil.Process(self.head.pid).children(recursive=True)
        with suppress(subprocess.TimeoutExpired):
            self.head.communicate(timeout=30)
        self.head.kill()
        for child in family:
            with suppress(psutil.NoSuchProcess):
                child.kill()


@contextmanager
def place(root: Path, cores: int) -> Iterator[Place]:
    made = Place(root, cores)
    try:
        yield made
    finally:
        made.close()


def test_exactly_the_best_folders_arrive_though_drivers_and_workers_die(tmp_path: Path) -> None:
    with place(tmp_path, cores=1) as there:
        there.study(trials=12, size=9_000_000)
        there.run_and_kill(lambda: len(there.kept()) == 2)
        said = there.run()
        trials = there.trials()
        assert len(trials) == 12
        assert {trial.attempt for trial in trials} > {1}
        best = best_first(trials, snapshots.read(parse(str(there.project / "hpo.journal")), "kept").study.direction)[:2]
        assert there.kept() == {trial.number: str(trial.params["lr"]) for trial in best}
        for trial in best:
            assert there.project.joinpath(f".hpo/trials/kept/{trial.number}/files/large").stat().st_size == 9_000_000
            assert not there.project.joinpath(f".hpo/trials/kept/{trial.number}/files/rubbish").exists()
        assert not there.pending()
        assert not there.on_node()
        assert "could not" not in said


def test_a_dead_driver_s_folder_is_fetched_by_the_next_run_and_a_dead_node_s_is_lost(tmp_path: Path) -> None:
    with place(tmp_path, cores=0) as there:
        there.study(trials=1, size=500_000_000)
        there.run_and_kill(there.arriving)
        assert there.kept() == {}
        assert [trial.state for trial in there.trials()] == [State.COMPLETE]
        said = there.run()
        assert there.kept() == {0: str(there.trials()[0].params["lr"])}
        assert not there.on_node()
        assert not there.pending()
        assert "lead out of the trial's folder or are special files: 'out'" in said

        there.study(trials=2, size=500_000_000)
        there.run_and_kill(there.arriving)
        there.kill_node()
        assert "trial 1: its folder is lost: its node has left the cluster" in there.run()
        assert there.kept().keys() == {0}
        assert there.pending() == []
